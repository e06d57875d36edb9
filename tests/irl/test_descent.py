import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit

from fedirl_ray.irl.descent import adam, lbfgs


def quadratics(seed, k, d, condition=1e4):
    """`k` convex quadratics with eigenvalues from 1 to `condition`, and their minima `[k, d]`."""
    rng = np.random.default_rng(seed)
    hessians = []
    for _ in range(k):
        basis, _ = np.linalg.qr(rng.normal(size=(d, d)))
        hessians.append(basis @ np.diag(np.geomspace(1.0, condition, d)) @ basis.T)
    hessian, best = np.array(hessians), rng.normal(size=(k, d))

    def objective(theta, which):
        off = theta - best[which]
        slope = (hessian[which] * off[:, None]).sum(axis=2)
        return 0.5 * (off * slope).sum(axis=1), slope

    return objective, best


def regressions(seed, k, d):
    """`k` logistic regressions with an L2 term."""
    rng = np.random.default_rng(seed)
    inputs, labels = rng.normal(size=(k, 30, d)), rng.integers(2, size=(k, 30))

    def objective(theta, which):
        score = np.einsum("jnd,jd->jn", inputs[which], theta)
        loss = np.logaddexp(0.0, score) - labels[which] * score
        off = expit(score) - labels[which]
        slope = (off[:, :, None] * inputs[which]).sum(axis=1) + 0.1 * theta
        return loss.sum(axis=1) + 0.05 * (theta**2).sum(axis=1), slope

    return objective


def tight(objective, k, d, iterations=500, tolerance=1e-8):
    return lbfgs(
        objective,
        np.zeros((k, d)),
        tolerance=np.full(k, tolerance),
        iterations=np.full(k, iterations),
    )


@given(seed=st.integers(0, 2**31), d=st.integers(1, 6), condition=st.sampled_from([1.0, 1e2, 1e6]))
def test_lbfgs_finds_the_minimum_of_a_quadratic(seed, d, condition):
    objective, best = quadratics(seed, 3, d, condition)
    found = tight(objective, 3, d, tolerance=1e-6)
    assert found.converged.all()
    np.testing.assert_allclose(found.theta, best, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_lbfgs_ends_where_scipy_does_and_about_as_fast(seed):
    k, d = 4, 8
    objective = regressions(seed, k, d)
    found = tight(objective, k, d)
    assert found.converged.all()
    for i in range(k):
        theirs = minimize(
            lambda x, i=i: [part[0] for part in objective(x[None], np.array([i]))],
            np.zeros(d),
            jac=True,
            method="L-BFGS-B",
            options={"gtol": 1e-8, "ftol": 0.0, "maxiter": 500},
        )
        np.testing.assert_allclose(found.theta[i], theirs.x, atol=1e-7)
        assert found.iterations[i] <= 2 * theirs.nit + 5


@pytest.mark.parametrize("make", [lambda: quadratics(0, 6, 5)[0], lambda: regressions(0, 6, 5)])
def test_a_row_descends_to_the_same_bytes_alone_or_beside_others(make):
    whole = make()
    counts = np.array([3, 50, 500, 0, 7, 500])
    tolerance = np.full(6, 1e-8)
    for descend in (
        lambda objective, start, which: lbfgs(
            objective, start, tolerance=tolerance[which], iterations=counts[which]
        ),
        lambda objective, start, which: adam(objective, start, step=0.1, iterations=counts[which]),
    ):
        together = descend(whole, np.zeros((6, 5)), np.arange(6))
        for i in range(6):
            own = descend(
                lambda theta, which, i=i: whole(theta, np.array([i])),
                np.zeros((1, 5)),
                np.array([i]),
            )
            for many, one in zip(together, own, strict=True):
                assert many[i].tobytes() == one[0].tobytes()


def test_lbfgs_stops_at_each_rows_own_cap():
    caps = np.array([0, 1, 2, 5])
    objective, _ = quadratics(0, 4, 6)
    found = lbfgs(objective, np.ones((4, 6)), tolerance=np.full(4, 1e-12), iterations=caps)
    np.testing.assert_array_equal(found.iterations, caps)
    assert not found.converged.any()
    np.testing.assert_array_equal(found.theta[0], 1.0)
    assert (found.theta[1:] != 1.0).all()


def test_every_further_step_of_lbfgs_lowers_the_value():
    objective, _ = quadratics(1, 1, 6)
    values = [
        objective(tight(objective, 1, 6, iterations=n).theta, np.array([0]))[0][0]
        for n in range(12)
    ]
    assert values == sorted(values, reverse=True)
    assert values[-1] < values[0]


def test_lbfgs_takes_no_step_from_a_minimum():
    objective, best = quadratics(2, 3, 4)
    found = lbfgs(objective, best, tolerance=np.full(3, 1e-9), iterations=np.full(3, 9))
    assert found.converged.all()
    np.testing.assert_array_equal(found.iterations, 0)
    np.testing.assert_array_equal(found.theta, best)


def test_convergence_means_that_the_gradient_is_below_the_tolerance():
    objective, _ = quadratics(3, 5, 4)
    tolerance = np.array([1e-1, 1e-3, 1e-5, 1e-7, 1e-300])
    found = lbfgs(objective, np.zeros((5, 4)), tolerance=tolerance, iterations=np.full(5, 300))
    slope = np.abs(objective(found.theta, np.arange(5))[1]).max(axis=1)
    np.testing.assert_array_equal(found.converged, slope <= tolerance)
    assert found.converged[:4].all()


def test_lbfgs_comes_to_rest_where_rounding_hides_all_descent():
    def objective(theta, which):  # a value so large that its decrease is below an ulp
        return 1e12 + (theta**2).sum(axis=1), 2.0 * theta

    found = lbfgs(
        objective, np.full((1, 3), 1e-3), tolerance=np.zeros(1), iterations=np.full(1, 99)
    )
    assert found.iterations[0] <= 99
    assert np.isfinite(found.theta).all()


@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e4])
def test_the_unit_of_a_problem_costs_lbfgs_few_evaluations(unit):
    spectrum, best, seen = unit * np.linspace(1.0, 3.0, 10), np.arange(10.0), []

    def objective(theta, which):
        seen.append(which)
        off = theta - best
        return 0.5 * (spectrum * off**2).sum(axis=1), spectrum * off

    found = tight(objective, 1, 10, tolerance=1e-8 * unit)
    assert found.converged.all()
    assert len(seen) <= 22  # about as many as parameters, not as the unit would have it


@pytest.mark.parametrize("seed", range(3))
def test_adam_takes_the_steps_of_the_paper_that_names_it(seed):
    objective, _ = quadratics(seed, 4, 3, condition=10.0)
    counts = np.array([0, 1, 10, 40])
    found = adam(objective, np.ones((4, 3)), step=0.05, iterations=counts)
    for i, count in enumerate(counts):
        theta, m, v = np.ones(3), np.zeros(3), np.zeros(3)
        for t in range(1, count + 1):
            slope = objective(theta[None], np.array([i]))[1][0]
            m = 0.9 * m + (1 - 0.9) * slope
            v = 0.999 * v + (1 - 0.999) * slope**2
            theta = theta - 0.05 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        np.testing.assert_allclose(found.theta[i], theta, rtol=1e-10)
    np.testing.assert_array_equal(found.iterations, counts)
    assert not found.converged.any()


def test_descents_spare_their_start():
    start = np.ones((2, 3))
    tight = {"tolerance": np.full(2, 1e-9), "iterations": np.array([5, 5])}
    assert (lbfgs(quadratics(0, 2, 3)[0], start, **tight).theta != start).any()
    np.testing.assert_array_equal(start, 1.0)
    adam(quadratics(0, 2, 3)[0], start, step=0.1, iterations=np.array([5, 5]))
    np.testing.assert_array_equal(start, 1.0)
