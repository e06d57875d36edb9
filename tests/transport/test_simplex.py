"""Exact transport against what is known without a solver."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedirl_ray import wasserstein2
from fedirl_ray.errors import NotConvergedError
from fedirl_ray.evaluate import bounds
from fedirl_ray.transport import distance
from fedirl_ray.transport.simplex import exact_transport


def on_a_line(x, p, q):
    """W2^2 in closed form: the quantile functions' squared distance."""
    levels = np.unique(np.concatenate([[0.0], np.cumsum(p), np.cumsum(q)]).clip(0.0, 1.0))
    middle = 0.5 * (levels[1:] + levels[:-1])
    at = [np.searchsorted(np.cumsum(m), middle).clip(0, len(x) - 1) for m in (p, q)]
    return float(np.diff(levels) @ (x[at[0]] - x[at[1]]) ** 2)


def marginal_bound(axes, p, q):
    """No plan between measures on a lattice is cheaper than those between their marginals."""
    total = 0.0
    for i, x in enumerate(axes):
        others = tuple(j for j in range(len(axes)) if j != i)
        total += on_a_line(x, p.sum(axis=others), q.sum(axis=others))
    return total


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(2, 40), st.sampled_from([0.1, 1.0]))
def test_the_exact_distance_is_the_quantile_formula_on_a_line(seed, m, spread):
    rng = np.random.default_rng(seed)
    x = np.cumsum(0.1 + rng.random(m))
    p, q = rng.dirichlet(np.full(m, spread), size=2)
    found = wasserstein2(p, q, [x], exact=True, cost_scale="none")
    assert found.converged
    assert found.error < 1e-12
    assert found.divergence == pytest.approx(on_a_line(x, p, q), abs=1e-10 * x[-1] ** 2)


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_the_exact_distance_of_products_is_the_sum_along_the_axes(seed):
    rng = np.random.default_rng(seed)
    axes = [np.cumsum(0.1 + rng.random(m)) for m in (6, 5)]
    p, q = (np.outer(rng.dirichlet(np.ones(6)), rng.dirichlet(np.ones(5))) for _ in range(2))
    found = wasserstein2(p, q, axes, exact=True, cost_scale="none")
    assert found.transport_cost == pytest.approx(marginal_bound(axes, p, q), rel=1e-9)


def far_apart(m):
    grid = np.linspace(0.0, 1.0, m)
    x, y = np.meshgrid(grid, grid, indexing="ij")
    p = np.exp(-((x - 0.2) ** 2 + (y - 0.2) ** 2) / 0.005) + 1e-3
    q = np.exp(-((x - 0.8) ** 2 + (y - 0.7) ** 2) / 0.1) + 1e-3
    return [grid, grid], p / p.sum(), q / q.sum()


def test_more_than_a_hundred_thousand_steps_are_taken_where_they_are_needed():
    axes, p, q = far_apart(44)
    found = wasserstein2(p, q, axes, exact=True, cost_scale="none")
    assert found.converged
    assert found.error < 1e-12
    assert found.transport_cost >= marginal_bound(axes, p, q) * (1 - 1e-9)


def test_a_simplex_that_ran_out_of_steps_is_not_called_converged(monkeypatch):
    axes, p, q = far_apart(20)
    monkeypatch.setattr(
        distance, "exact_transport", lambda *given: exact_transport(*given, max_steps=50)
    )
    found = wasserstein2(p, q, axes, exact=True, cost_scale="none")
    assert not found.converged
    assert found.error > 0.01


def test_what_the_solver_says_is_one_line():
    axes, p, q = far_apart(12)
    cost = (axes[0][:, None] - axes[0]) ** 2
    found = exact_transport(p.sum(axis=1), q.sum(axis=1), cost, max_steps=2)
    assert found.flaw.startswith("POT's network simplex: numItermax reached")
    assert "\n" not in found.flaw
    assert exact_transport(p.sum(axis=1), q.sum(axis=1), cost).flaw is None


def test_masses_are_relative():
    cost = np.array([[0.0, 1.0], [1.0, 0.0]])
    assert exact_transport(np.array([3.0, 1.0]), np.array([10.0, 10.0]), cost).cost == 0.25


def test_a_bound_is_not_built_on_a_distance_that_was_not_reached(monkeypatch):
    axes, p, q = far_apart(8)
    ground = bounds.lattice_ground(axes)
    assert ground.squared_distance(p.ravel(), q.ravel()) > 0.1
    monkeypatch.setattr(
        bounds, "exact_transport", lambda *given: exact_transport(*given, max_steps=20)
    )
    with pytest.raises(NotConvergedError, match="an exact distance was not reached: POT's") as info:
        ground.squared_distance(p.ravel(), q.ravel())
    assert "\n" not in str(info.value)


def test_a_bound_is_not_built_on_a_barycenter_that_was_not_found():
    # Nothing is carried to a negative mass, so the linear program is infeasible.
    ground = bounds.lattice_ground([np.arange(3.0)])
    rows = np.array([[1.0, 0.0, 0.0], [1.5, -0.5, 0.0]])
    with pytest.raises(NotConvergedError, match="barycenter's linear program"):
        bounds.exact_barycenter(rows, np.full(2, 0.5), ground)
