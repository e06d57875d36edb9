import numpy as np
import ot
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.errors import ConfigError
from fedirl_ray.fusion.measure import to_measures, to_reward

MAPS = {
    "shared": FusionConfig(sigma="shared"),
    "client": FusionConfig(sigma="client"),
    "given": FusionConfig(sigma=60.0),
    "gibbs": FusionConfig(measure="gibbs", gibbs_temperature=2.5),
}
every_map = pytest.mark.parametrize("config", MAPS.values(), ids=MAPS)
blind_to_offset = pytest.mark.parametrize(
    "config", [MAPS["shared"], MAPS["client"], MAPS["gibbs"]], ids=["shared", "client", "gibbs"]
)


def rewards(seed=0, k=4, n=12):
    return 5.0 * np.random.default_rng(seed).normal(size=(k, n))


@every_map
def test_measures_are_positive_and_sum_to_one(config):
    density = to_measures(rewards(), config).density
    assert density.min() > 0.0
    np.testing.assert_allclose(density.sum(axis=1), 1.0, rtol=1e-12)


@every_map
@given(seed=st.integers(0, 2**31))
def test_a_clients_own_measure_leads_back_to_its_reward(config, seed):
    given = rewards(seed)
    measures = to_measures(given, config)
    for i, unit in enumerate(np.eye(len(given))):
        back = to_reward(measures.density[i], measures, unit, config)
        np.testing.assert_allclose(back, given[i], atol=1e-9)


@blind_to_offset
def test_a_constant_added_to_all_rewards_leaves_the_measures_and_comes_back(config):
    plain, moved = to_measures(rewards(), config), to_measures(rewards() + 7.0, config)
    np.testing.assert_allclose(moved.density, plain.density, rtol=1e-9)
    weights = np.full(4, 0.25)
    np.testing.assert_allclose(
        to_reward(moved.density[0], moved, weights, config),
        to_reward(plain.density[0], plain, weights, config) + 7.0,
        atol=1e-9,
    )


@pytest.mark.parametrize("config", [MAPS["client"], MAPS["gibbs"]], ids=["client", "gibbs"])
def test_each_client_may_have_an_offset_of_its_own(config):
    offset = np.array([[0.0], [100.0], [-3.0], [1e4]])
    np.testing.assert_allclose(
        to_measures(rewards() + offset, config).density,
        to_measures(rewards(), config).density,
        rtol=1e-7,
    )


def test_the_shifts_leave_the_floor_at_the_least_entry():
    given = rewards()
    shared = to_measures(given, FusionConfig(floor=0.2))
    assert np.ptp(shared.shift) == 0.0
    np.testing.assert_allclose(given.min() + shared.shift[0], 0.2 * np.ptp(given, axis=1).max())
    own = to_measures(given, FusionConfig(sigma="client", floor=0.2))
    np.testing.assert_allclose(given.min(axis=1) + own.shift, 0.2 * np.ptp(given, axis=1))


def test_gibbs_weighs_by_the_exponential():
    given = rewards()
    weight = np.exp(given / 2.5)
    expected = weight / weight.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(to_measures(given, MAPS["gibbs"]).density, expected, rtol=1e-12)
    far = to_measures(1e6 * given, MAPS["gibbs"])  # exp would overflow
    np.testing.assert_allclose(far.density.sum(axis=1), 1.0)


@pytest.mark.parametrize("sigma", ["shared", "client"])
@pytest.mark.parametrize("level", [0.0, -3.0, 8.0])
def test_a_reward_without_any_differences_is_the_uniform_measure(sigma, level):
    config = FusionConfig(sigma=sigma)
    measures = to_measures(np.full((2, 5), level), config)
    np.testing.assert_allclose(measures.density, 0.2)
    back = to_reward(measures.density[0], measures, np.full(2, 0.5), config)
    np.testing.assert_allclose(back, level, atol=1e-12)


def test_a_given_mass_scales_what_comes_back():
    given, weights = rewards(), np.full(4, 0.25)
    measures = to_measures(given, FusionConfig())
    density = weights @ measures.density
    back = to_reward(density, measures, weights, FusionConfig(mass=50.0))
    np.testing.assert_allclose(back, 50.0 * density - measures.shift[0], rtol=1e-12)
    gibbs = FusionConfig(measure="gibbs", mass=50.0)
    back = to_reward(density, to_measures(given, gibbs), weights, gibbs)
    np.testing.assert_allclose(back, np.log(50.0 * density), rtol=1e-12)


@pytest.mark.parametrize("sigma", [1.0, 1.5])
def test_a_sigma_too_small_is_refused_with_the_least_that_does(sigma):
    given = np.array([[0.0, 2.0], [-1.5, 4.0]])
    config = FusionConfig(sigma=sigma)
    with pytest.raises(ConfigError, match=rf"fusion.sigma must exceed 1\.5 .*got {sigma}$"):
        to_measures(given, config)


@given(seed=st.integers(0, 2**31), sigma=st.floats(0.01, 100), noise=st.floats(1e-6, 10))
def test_measures_are_as_near_as_the_papers_lemma_says(seed, sigma, noise):
    rng = np.random.default_rng(seed)
    r = rng.exponential(size=10)
    s = np.abs(r + noise * rng.normal(size=10))
    both = to_measures(np.stack([r, s]), FusionConfig(sigma=sigma))
    apart = np.abs(both.density[0] - both.density[1]).sum()
    assert apart <= 2.0 / both.mass.min() * np.abs(r - s).sum() * (1 + 1e-9)


@given(seed=st.integers(0, 2**31))
def test_transport_is_bounded_by_total_variation_as_the_papers_lemma_says(seed):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(10, 2))
    cost = ((points[:, None] - points[None]) ** 2).sum(axis=-1)
    p, q = to_measures(rng.normal(size=(2, 10)), FusionConfig()).density
    assert ot.emd2(p, q, cost) <= cost.max() * 0.5 * np.abs(p - q).sum() * (1 + 1e-9)
