"""What is measured of the theorems and the Gaussians, against closed forms and cases by hand."""

from itertools import islice

import numpy as np
import pytest
from scipy import optimize, stats

from fedirl_ray.study.reproduction import gaussians, scenes, theorems
from fedirl_ray.study.reproduction.plan import Plan
from fedirl_ray.study.reproduction.theorems import Tally, exponents, tally

SMOKE = Plan(scale="smoke")


def row(kind, seed, holds, equation="13", series="error", error=1.0, measured=1.0):
    return {
        "source": "synthetic", "series": series, "level": error, "seed": seed, "split": "",
        "barycenter": kind, "equation": equation, "local_error": error, "measured": measured,
        "bound": 1.0, "holds": holds,
    }  # fmt: skip


def test_the_closed_form_minimises_the_summed_distance_of_quantiles():
    means, deviations = np.array([0.4, 0.5, 0.65]), np.array([0.04, 0.06, 0.08])
    weights = np.array([0.2, 0.5, 0.3])
    levels = (np.arange(4000) + 0.5) / 4000
    quantiles = [stats.norm.ppf(levels, m, s) for m, s in zip(means, deviations, strict=True)]

    def spread(at):
        own = stats.norm.ppf(levels, *at)
        return sum(w * np.mean((own - q) ** 2) for w, q in zip(weights, quantiles, strict=True))

    best = optimize.minimize(spread, [0.5, 0.05], method="Nelder-Mead", tol=1e-10).x
    np.testing.assert_allclose(gaussians.closed_form(means, deviations, weights), best, rtol=1e-4)


def test_plain_gaussians_close_in_on_the_closed_form_as_epsilon_falls():
    (rows,) = gaussians.run(SMOKE)
    plain = [r for r in rows if not r["debiased"]]
    assert [r["epsilon"] for r in plain] == list(gaussians.EPSILONS)
    assert all(r["converged"] for r in plain)
    assert (np.diff([r["l1"] for r in plain]) < 0.0).all()
    assert plain[-1]["std_ratio"] == pytest.approx(1.0, abs=0.02)
    assert plain[-1]["mean_error"] < 1e-4


def test_debiasing_takes_the_blur_off_gaussians():
    (rows,) = gaussians.run(SMOKE)
    plain, debiased = (
        {r["epsilon"]: r["std_ratio"] for r in rows if r["debiased"] is kind}
        for kind in (False, True)
    )
    assert plain[0.1] > 2.0
    assert debiased[0.1] == pytest.approx(1.0, abs=0.06)


def test_a_violation_is_entropys_only_where_the_exact_barycenter_keeps_the_bound():
    rows = [
        row("exact", 0, True), row("exact", 1, False), row("exact", 2, True),
        row("entropic .5", 0, False), row("entropic .5", 1, False), row("entropic .5", 2, True),
        row("entropic .5", 0, False, equation="14"),
    ]  # fmt: skip
    assert tally(rows, "13", "entropic .5") == Tally(cases=3, violations=2, explained=1)
    assert tally(rows, "13", "exact") == Tally(cases=3, violations=1, explained=0)


def test_the_exponent_of_a_power_law_is_found_seed_by_seed():
    rows = [
        row("exact", seed, True, error=error, measured=(1 + seed) * error ** (0.5 + seed))
        for seed in range(2)
        for error in (0.01, 0.1, 1.0)
    ]
    np.testing.assert_allclose(exponents(rows), [0.5, 1.5])


def test_no_exponent_is_fitted_to_one_error_or_to_other_series():
    rows = [row("exact", 0, True), row("exact", 1, True, series="clients", error=2.0)]
    assert exponents(rows).size == 0


@pytest.fixture(scope="module")
def first():
    """The synthetic scenes of one seed, and both theorems on them."""
    return tuple(
        next(islice(measure(SMOKE), 1))
        for measure in (scenes.draw, theorems.theorem1, theorems.theorem2)
    )


def test_noise_grows_along_one_direction_so_local_errors_grow_in_proportion(first):
    grown = [scene for scene in first[0] if scene.series == "error"]
    errors = np.array([scene.fusion.mean_error for scene in grown])
    np.testing.assert_allclose(errors / errors[0], np.array([1.0, 100.0, 3000.0]))


def test_every_shifted_reward_is_positive(first):
    for scene in first[0]:
        assert (scene.fusion.measures > 0.0).all()
        assert (scene.fusion.true_measure > 0.0).all()


def test_the_exact_barycenter_keeps_every_bound_of_both_theorems(first):
    _, one, two = first
    assert {r["equation"] for r in one} >= {"13", "14", "15"}
    assert {r["equation"] for r in two} == {"18", "19"}
    broken = [r for r in (*one, *two) if r["barycenter"] == "exact" and not r["holds"]]
    assert broken == []


def test_blur_breaks_13_where_clients_nearly_know_the_truth(first):
    found = tally(first[1], "13", "entropic .5")
    assert found.violations == found.explained > 0
    assert tally(first[1], "13", "debiased .5").violations == 0


def test_fitted_rewards_come_nearer_the_truth_with_more_demonstrations():
    several = list(scenes.fitted(SMOKE, 0, "one-hot"))
    error = {(s.series, s.level): s.fusion.mean_error for s in several}
    assert error["error", 4.0] < error["error", 1.0]
    assert {s.series for s in several} == {"error", "clients", "rounds"}
