"""What releases cost, beside the closed form and dp-accounting's privacy loss distributions."""

import math

import dp_accounting
import pytest
from dp_accounting.pld.pld_privacy_accountant import PLDAccountant
from scipy import stats

from fedirl_ray.errors import ConfigError
from fedirl_ray.privacy import accountant
from fedirl_ray.privacy.accountant import multiplier_for, require_accountant, spent

MEASURED = {0.5: 7.0318, 1.0: 3.7306, 2.0: 1.9938, 4.0: 1.0812, 8.0: 0.6002}


def delta_of(z, epsilon):
    """Balle and Wang 2018, theorem 8."""
    left = stats.norm.cdf(0.5 / z - epsilon * z)
    return left - math.exp(epsilon) * stats.norm.cdf(-0.5 / z - epsilon * z)


@pytest.mark.parametrize("epsilon", MEASURED)
def test_noise_is_what_the_closed_form_asks_for(epsilon):
    z = multiplier_for(epsilon, 1e-5)
    assert delta_of(z, epsilon) == pytest.approx(1e-5, rel=1e-6)
    assert z == pytest.approx(MEASURED[epsilon], abs=1e-4)
    assert spent([z], 1e-5).epsilon == pytest.approx(epsilon, rel=1e-6)


@pytest.mark.parametrize("several", [[3.0] * 7, [2.0, 4.0, 4.0, 9.0], [10.0] * 200])
def test_releases_compose_as_privacy_loss_distributions_say(several):
    other = PLDAccountant(value_discretization_interval=1e-3)
    for z in several:
        other.compose(dp_accounting.GaussianDpEvent(z))
    found = spent(several, 1e-5)
    assert found.epsilon == pytest.approx(other.get_epsilon(1e-5), rel=1e-2)
    assert found.rho == pytest.approx(sum(0.5 / z**2 for z in several))
    assert found.releases == len(several)


def test_a_thousand_trials_at_ten_cost_what_was_measured_before():
    assert spent([10.0] * 1000, 1e-5).epsilon == pytest.approx(17.9, abs=0.1)
    assert multiplier_for(4.0, 1e-5, 1000) == pytest.approx(34.2, abs=0.1)


@pytest.mark.parametrize("releases", [1, 3, 50])
def test_noise_for_several_releases_costs_epsilon_in_all(releases):
    z = multiplier_for(2.0, 1e-6, releases)
    assert spent([z] * releases, 1e-6).epsilon == pytest.approx(2.0, rel=1e-6)


def test_without_the_extra_nothing_is_promised(monkeypatch):
    monkeypatch.setattr(accountant, "find_spec", lambda name: None)
    require_accountant("none")
    with pytest.raises(ConfigError, match=r"privacy.unit must be none without dp-accounting"):
        require_accountant("trajectory")
