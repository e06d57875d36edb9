import numpy as np
import pytest
from transport.strategies import bumps

from fedirl_ray import barycenter
from fedirl_ray.transport.solver import LostDigitsError

AXES = [np.linspace(0, 1, 12), np.linspace(0, 1, 6)]


def dirac(place):
    rows = np.zeros((12, 6))
    rows[place] = 1.0
    return rows


@pytest.mark.parametrize("epsilon", [10, 1, 0.1, 0.01, 1e-3, 1e-4, 1e-5])
@pytest.mark.parametrize("kind", ["bumps", "diracs", "wide range"])
def test_any_epsilon_gives_a_finite_measure_of_mass_one(epsilon, kind):
    rows = {
        "bumps": bumps(AXES, 3),
        "diracs": np.array([dirac((0, 0)), dirac((11, 5)), dirac((3, 2))]),
        "wide range": 10.0 ** np.random.default_rng(0).uniform(-300, 0, (3, 12, 6)),
    }[kind]
    result = barycenter(rows, AXES, epsilon=epsilon, tol=1e-6, max_iters=200)
    assert np.isfinite(result.measure).all()
    assert (result.measure >= 0).all()
    assert abs(result.measure.sum() - 1) < 1e-12
    assert np.isfinite([result.error, result.objective]).all()
    assert result.converged == (result.error <= 1e-6)


@pytest.mark.parametrize("epsilon", [0.02, 0.005, 0.002, 0.001])
def test_the_guarded_plain_domain_agrees_with_logarithms(epsilon):
    rows = np.array([dirac((0, 0)), dirac((11, 5))]) + 1e-9
    options = {"epsilon": epsilon, "tol": 1e-9, "max_iters": 3000}
    chosen = barycenter(rows, AXES, **options)
    exact = barycenter(rows, AXES, domain="log", **options)
    assert chosen.converged
    assert exact.converged
    assert np.abs(chosen.measure - exact.measure).sum() < 1e-6


def test_the_domain_is_told():
    rows = bumps(AXES, 2)
    assert barycenter(rows, AXES, epsilon=0.1).domain == "plain"
    assert barycenter(rows, AXES, epsilon=1e-4, max_iters=5).domain == "log"
    diracs = np.array([dirac((0, 0)), dirac((11, 5))])
    assert barycenter(diracs, AXES, epsilon=7e-4, max_iters=50).domain == "log"


def test_insisting_on_the_plain_domain_beyond_its_range_is_an_error():
    diracs = np.array([dirac((0, 0)), dirac((11, 5))])
    with pytest.raises(LostDigitsError, match="use domain='log' or a larger epsilon"):
        barycenter(diracs, AXES, epsilon=7e-4, domain="plain")


def test_the_barycenter_of_two_points_tends_to_their_midpoint():
    x = np.linspace(0, 1, 101)
    rows = np.zeros((2, 101))
    rows[0, 20], rows[1, 60] = 1, 1
    deviations = []
    for epsilon in (1e-2, 1e-3, 1e-4, 1e-5):
        result = barycenter(rows, [x], epsilon=epsilon)
        mean = result.measure @ x
        deviations.append(np.sqrt(result.measure @ (x - mean) ** 2))
        assert result.converged
        assert abs(mean - 0.4) < 1e-6
    assert deviations == sorted(deviations, reverse=True)
    assert deviations[-1] < 0.005


def test_running_out_of_steps_is_said():
    rows = bumps(AXES, 3)
    result = barycenter(rows, AXES, epsilon=1e-3, tol=1e-9, max_iters=7)
    assert not result.converged
    assert result.iterations == 7
    assert result.error > 1e-9


def test_mixing_saves_most_of_the_steps_at_small_epsilon():
    axes = [np.linspace(0, 1, m) for m in (32, 21, 5)]
    rows = bumps(axes, 6, floor=0.05)
    mixed = barycenter(rows, axes, epsilon=0.002, tol=1e-6)
    assert mixed.converged
    assert mixed.iterations <= 350
    plain = barycenter(rows, axes, epsilon=0.002, tol=1e-6, anderson=0, max_iters=700)
    assert plain.iterations > 1.5 * mixed.iterations


def test_one_iteration_is_enough_to_return_something_sane():
    result = barycenter(bumps(AXES, 2), AXES, epsilon=0.1, max_iters=1)
    assert not result.converged
    assert abs(result.measure.sum() - 1) < 1e-12


def test_float32_is_right_to_its_precision():
    rows = bumps(AXES, 4)
    exact = barycenter(rows, AXES, epsilon=0.05)
    single = barycenter(rows, AXES, epsilon=0.05, dtype="float32", tol=1e-5)
    assert single.converged
    assert np.abs(single.measure - exact.measure).sum() < 1e-5
    small = barycenter(rows, AXES, epsilon=1e-3, dtype="float32", tol=1e-3, max_iters=500)
    assert np.isfinite(small.measure).all()


@pytest.mark.parametrize("epsilon", [0.1, 0.01, 0.001])
def test_where_mixing_diverges_plain_steps_take_over(epsilon):
    x = np.linspace(-1.0, 2.0, 401)
    mean, std = np.array([0.3, 0.5, 0.7]), np.array([0.05, 0.1, 0.15])
    rows = np.exp(-0.5 * ((x - mean[:, None]) / std[:, None]) ** 2)
    found = barycenter(
        rows, [x], epsilon=epsilon, cost_scale="none", debiased=True, tol=1e-6, max_iters=3000
    )
    assert found.converged
    centre = found.measure @ x
    assert centre == pytest.approx(0.5, abs=1e-3)
    # The barycenter of Gaussians has the mean of their standard deviations.
    assert np.sqrt(found.measure @ (x - centre) ** 2) == pytest.approx(0.1, rel=0.08)
