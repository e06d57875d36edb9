import warnings
from inspect import signature

import numpy as np
import ot
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transport.strategies import bumps, dense_cost, problems

from fedirl_ray import barycenter
from fedirl_ray.transport.solver import Solver

laws = settings(deadline=None, max_examples=15)


def l1(one, two):
    return float(np.abs(np.ravel(one) - np.ravel(two)).sum())


def pot_barycenter(rows, axes, epsilon, weights=None, **options):
    rows = np.reshape(rows, (len(rows), -1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the logarithm of zero
        return ot.bregman.barycenter(
            rows.T,
            dense_cost(axes),
            epsilon,
            weights=weights,
            method="sinkhorn_log",
            numItermax=options.get("steps", 20_000),
            stopThr=1e-14,
        )


@pytest.mark.parametrize("lengths", [(12,), (7, 5), (4, 3, 3), (3, 2, 3, 2), (2, 3, 2, 2, 2)])
@pytest.mark.parametrize("epsilon", [0.05, 0.5])
def test_agrees_with_pot_for_unequal_weights_and_zeros(lengths, epsilon):
    rng = np.random.default_rng(sum(lengths))
    axes = [np.sort(rng.random(m)) for m in lengths]
    rows = rng.random((4, int(np.prod(lengths)))) ** 3
    rows[rng.random(rows.shape) < 0.2] = 0
    rows /= rows.sum(1, keepdims=True)
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    ours = barycenter(rows, axes, weights=weights, epsilon=epsilon, tol=1e-12)
    assert ours.converged
    assert l1(ours.measure, pot_barycenter(rows, axes, epsilon, weights)) < 1e-10


@laws
@given(problem=problems(), epsilon=st.sampled_from([0.1, 1.0, 10.0]))
def test_agrees_with_pot_on_random_lattices(problem, epsilon):
    rows, axes, weights = problem
    ours = barycenter(rows, axes, weights=weights, epsilon=epsilon, tol=1e-11)
    assert l1(ours.measure, pot_barycenter(rows, axes, epsilon, weights, steps=5000)) < 1e-6


@pytest.mark.parametrize("domain", ["plain", "log"])
def test_both_domains_and_mixing_give_the_same_barycenter(domain):
    axes = [np.linspace(0, 1, 9), np.linspace(0, 1, 6)]
    rows = bumps(axes, 3)
    whole = barycenter(rows, axes, epsilon=0.01, tol=1e-11)
    for steps in (0, 3):
        other = barycenter(
            rows, axes, epsilon=0.01, tol=1e-11, max_iters=3000, domain=domain, anderson=steps
        )
        assert other.converged
        assert l1(other.measure, whole.measure) < 1e-9


def test_debiased_agrees_with_pot():
    axes = [np.linspace(0, 1, 9), np.linspace(0, 1, 7)]
    rows = bumps(axes, 3, width=0.2, floor=0.3).reshape(3, -1)
    ours = barycenter(rows, axes, epsilon=0.01, debiased=True, tol=1e-11)
    theirs = ot.bregman.barycenter_debiased(
        rows.T, dense_cost(axes), 0.01, method="sinkhorn_log", stopThr=1e-10, numItermax=5000
    )
    assert ours.converged
    assert l1(ours.measure, theirs / theirs.sum()) < 1e-6


def test_approaches_the_linear_program_as_epsilon_falls():
    axes = [np.linspace(0, 1, 6), np.linspace(0, 1, 4)]
    rows = bumps(axes, 2, width=0.25, floor=0.05).reshape(2, -1)
    cost = dense_cost(axes)
    exact = ot.lp.barycenter(rows.T, cost, solver="highs")
    value = sum(ot.emd2(row, exact, cost) for row in rows) / 2
    excess = []
    for epsilon in (0.05, 0.01, 0.002):
        measure = barycenter(rows, axes, epsilon=epsilon, tol=1e-9).measure.ravel()
        measure /= measure.sum()
        excess.append(sum(ot.emd2(row, measure, cost) for row in rows) / 2 - value)
    # An excess may be zero up to the rounding of three sums of costs of size one.
    rounding = 1e-12
    assert excess[0] > excess[1] - rounding
    assert excess[1] > excess[2] - rounding
    assert -rounding < excess[2] < 0.1 * value
    assert excess[0] > 0.05 * value


@pytest.mark.parametrize("dimensions", [1, 2])
def test_debiased_barycenter_of_gaussians_has_their_mean_and_variance(dimensions):
    axes = [np.linspace(0, 1, 200 if dimensions == 1 else 48)] * dimensions
    grid = np.meshgrid(*axes, indexing="ij")
    sigma, means = 0.07, (0.35, 0.6)
    rows = [np.exp(-sum((x - m) ** 2 for x in grid) / (2 * sigma**2)) for m in means]
    result = barycenter(
        rows, axes, weights=[0.25, 0.75], epsilon=0.002, debiased=True, tol=1e-6, cost_scale="none"
    )
    expected = 0.25 * means[0] + 0.75 * means[1]
    for x in grid:
        mean = (result.measure * x).sum()
        variance = (result.measure * (x - mean) ** 2).sum()
        assert abs(mean - expected) < 1e-3
        assert abs(variance / sigma**2 - 1) < 0.01


def test_debiasing_removes_the_blur_at_large_epsilon():
    x = np.linspace(0, 1, 150)
    rows = [np.exp(-((x - m) ** 2) / (2 * 0.06**2)) for m in (0.35, 0.65)]

    def deviation(debiased):
        p = barycenter(rows, [x], epsilon=0.05, debiased=debiased, tol=1e-6).measure
        return np.sqrt(p @ x**2 - (p @ x) ** 2)

    assert deviation(False) > 2 * 0.06
    assert abs(deviation(True) / 0.06 - 1) < 0.05


@laws
@given(problem=problems(), seed=st.integers(0, 1000))
def test_order_of_clients_does_not_matter(problem, seed):
    rows, axes, weights = problem
    order = np.random.default_rng(seed).permutation(len(rows))
    one = barycenter(rows, axes, weights=weights, epsilon=0.1)
    two = barycenter(rows[order], axes, weights=weights[order], epsilon=0.1)
    assert l1(one.measure, two.measure) < 1e-9


@laws
@given(problem=problems(), factor=st.floats(1e-3, 1e3))
def test_weights_and_masses_are_relative(problem, factor):
    rows, axes, weights = problem
    one = barycenter(rows, axes, weights=weights, epsilon=0.1)
    two = barycenter(factor * rows, axes, weights=weights / factor, epsilon=0.1)
    assert l1(one.measure, two.measure) < 1e-9


@laws
@given(problem=problems())
def test_repeating_a_client_is_doubling_its_weight(problem):
    rows, axes, weights = problem
    twice, double = np.concatenate([rows, rows[:1]]), np.append(weights, weights[0])
    one = barycenter(twice, axes, weights=double, epsilon=0.1, tol=1e-11)
    double = weights * np.where(np.arange(len(rows)) == 0, 2, 1)
    two = barycenter(rows, axes, weights=double, epsilon=0.1, tol=1e-11)
    assert l1(one.measure, two.measure) < 1e-8


@laws
@given(problem=problems())
def test_a_client_of_weight_zero_leaves_no_trace(problem):
    rows, axes, weights = problem
    extra = np.concatenate([rows, np.ones((1, *rows.shape[1:]))])
    one = barycenter(rows, axes, weights=weights, epsilon=0.1).measure
    two = barycenter(extra, axes, weights=np.append(weights, 0.0), epsilon=0.1).measure
    assert l1(one, two) < 1e-12


@laws
@given(problem=problems())
def test_mirrored_measures_have_the_mirrored_barycenter(problem):
    rows, axes, weights = problem
    mirrored = barycenter(
        rows[:, ::-1], [-axes[0][::-1], *axes[1:]], weights=weights, epsilon=0.1, tol=1e-11
    )
    one = barycenter(rows, axes, weights=weights, epsilon=0.1, tol=1e-11)
    assert l1(one.measure[::-1], mirrored.measure) < 1e-9


@laws
@given(problem=problems(), shift=st.floats(-100, 100))
def test_moving_the_lattice_moves_nothing_on_it(problem, shift):
    rows, axes, weights = problem
    one = barycenter(rows, axes, weights=weights, epsilon=0.1)
    two = barycenter(rows, [axis + shift for axis in axes], weights=weights, epsilon=0.1)
    assert l1(one.measure, two.measure) < 1e-9


def test_products_of_measures_have_the_product_of_barycenters():
    x, y = np.linspace(0, 1, 8), np.linspace(0, 2, 6)
    one, two = bumps([x], 3, seed=1), bumps([y], 3, seed=2)
    options = {"epsilon": 0.1, "cost_scale": "none", "tol": 1e-12}
    both = barycenter(one[:, :, None] * two[:, None, :], [x, y], **options).measure
    apart = np.outer(
        barycenter(one, [x], **options).measure, barycenter(two, [y], **options).measure
    )
    assert l1(both, apart) < 1e-9


@pytest.mark.parametrize("epsilon", [0.002, 0.01])
def test_debiased_barycenter_of_one_measure_is_that_measure(epsilon):
    axes = [np.linspace(0, 1, 12), np.linspace(0, 1, 5)]
    rows = bumps(axes, 1, floor=0.2)
    result = barycenter(rows, axes, epsilon=epsilon, debiased=True, tol=1e-9)
    assert l1(result.measure, rows) < 1e-5


def test_rotating_an_angle_rotates_the_barycenter():
    angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    rows = bumps([angle], 3)
    options = {"epsilon": 0.05, "periodic": [2 * np.pi], "tol": 1e-11}
    one = barycenter(rows, [angle], **options).measure
    two = barycenter(np.roll(rows, 5, axis=1), [angle], **options).measure
    assert l1(np.roll(one, 5), two) < 1e-9


def test_a_cost_matrix_may_stand_for_an_axis():
    axes = [np.linspace(0, 1, 5), np.linspace(0, 1, 4)]
    rows = bumps(axes, 3)
    squares = (axes[1][:, None] - axes[1]) ** 2
    one = barycenter(rows, axes, epsilon=0.05)
    two = barycenter(rows, [axes[0], squares], epsilon=0.05)
    assert one.measure.tobytes() == two.measure.tobytes()


def test_objective_is_the_entropic_cost_of_the_plans():
    axes = [np.linspace(0, 1, 7), np.linspace(0, 1, 4)]
    rows = bumps(axes, 3).reshape(3, -1)
    weights = np.array([0.2, 0.3, 0.5])
    result = barycenter(rows, axes, weights=weights, epsilon=0.05, tol=1e-12)
    cost, total = dense_cost(axes), 0.0
    for row, weight in zip(rows, weights, strict=True):
        plan = ot.sinkhorn(row, result.measure.ravel(), cost, 0.05, stopThr=1e-13)
        total += weight * ((plan * cost).sum() + 0.05 * (plan * np.log(plan)).sum())
    assert abs(result.objective - total) < 1e-7


def test_a_solver_has_the_settings_of_the_public_function_and_their_defaults():
    def shown(function):
        return {
            name: (p.default, p.annotation) for name, p in signature(function).parameters.items()
        }

    public, solver = shown(barycenter), shown(Solver)
    # What a lattice and a cloud have defaults of their own for is settled before there is a solver.
    own = {"epsilon", "cost_scale"}
    assert solver.keys() == public.keys() - {"measures", "axes", "points", "weights", "shards"}
    assert {name: solver[name] for name in solver.keys() - own} == {
        name: public[name] for name in solver.keys() - own
    }
