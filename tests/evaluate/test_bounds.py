import itertools

import numpy as np
import ot
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.evaluate.bounds import (
    Bound,
    Fusion,
    diameter_lemma,
    end_to_end_bound,
    exact_barycenter,
    lattice_ground,
    normalisation_lemma,
    parameter_bound,
    policy_value,
    reward_bound,
    spacing_lemma,
    stability_lemma,
    transport_bound,
    value_bound,
)
from fedirl_ray.problem.family import draw_world
from fedirl_ray.transport.barycenter import barycenter

LINE = lattice_ground([np.arange(6.0)])
AXES = [np.arange(3.0), np.array([0.0, 1.0, 2.5])]
GRID = lattice_ground(AXES)
WORLD = draw_world(ProblemConfig(size=3), 0, 0, "client", 0)


def spike(at, n=6):
    return np.eye(n)[at]


def random_fusion(seed, k, scale):
    """Rewards around a random truth; some entries at the very bottom, where the bounds bite."""
    rng = np.random.default_rng(seed)
    truth = rng.random(9) ** 3
    rewards = truth + scale * rng.normal(size=(k, 9))
    weights = rng.random(k) + 0.1
    sigma = 1e-3 - min(0.0, rewards.min())
    return Fusion(rewards, truth, weights / weights.sum(), sigma, GRID)


cases = st.builds(
    random_fusion, st.integers(0, 10**6), st.integers(1, 4), st.sampled_from([1e-3, 0.1, 1.0])
)


def test_a_lattices_cost_is_the_squared_euclidean_distance():
    points = np.array(list(itertools.product(*AXES)))
    np.testing.assert_allclose(GRID.cost, ot.dist(points, points), atol=1e-12)
    assert GRID.diameter == pytest.approx(np.hypot(2.0, 2.5))
    assert GRID.spacing == 1.0


def test_categories_bring_their_own_cost():
    ground = lattice_ground([np.array([0.0, 3.0]), 1.0 - np.eye(2)])
    assert ground.cost.tolist() == [[0, 1, 9, 10], [1, 0, 10, 9], [9, 10, 0, 1], [10, 9, 1, 0]]


@given(st.integers(0, 10**6))
def test_the_squared_distance_is_the_quantile_formula_on_a_line(seed):
    p, q = np.random.default_rng(seed).dirichlet(np.full(6, 0.3), size=2)
    # Merge the jumps of both quantile functions and integrate their squared difference.
    edges = np.unique(np.concatenate([[0.0], np.cumsum(p), np.cumsum(q)]).clip(0.0, 1.0))
    middle = 0.5 * (edges[1:] + edges[:-1])
    at = [np.searchsorted(np.cumsum(m), middle).clip(0, 5) for m in (p, q)]
    expected = np.diff(edges) @ (at[0] - at[1]) ** 2
    assert LINE.squared_distance(p, q) == pytest.approx(expected, abs=1e-12)


def test_spikes_on_a_line_meet_at_their_mean():
    fused = exact_barycenter(np.stack([spike(0), spike(4)]), np.array([0.25, 0.75]), LINE)
    np.testing.assert_allclose(fused, spike(3), atol=1e-9)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6))
def test_no_other_measure_is_closer_to_all_than_the_barycenter(seed):
    rng = np.random.default_rng(seed)
    measures, weights = rng.dirichlet(np.ones(9), size=3), rng.dirichlet(np.ones(3))
    fused = exact_barycenter(measures, weights, GRID)

    def spread(q):
        return sum(w * GRID.squared_distance(p, q) for w, p in zip(weights, measures, strict=True))

    others = [weights @ measures, *measures, *rng.dirichlet(np.ones(9), size=5)]
    others += [0.999 * fused + 0.001 * other for other in others]
    assert all(spread(fused) <= spread(other) + 1e-9 for other in others)


def test_the_barycenter_has_the_value_of_an_independent_linear_program():
    rng = np.random.default_rng(5)
    measures, weights = rng.dirichlet(np.ones(6), size=2), np.array([0.3, 0.7])
    fused = exact_barycenter(measures, weights, LINE)
    got = sum(w * LINE.squared_distance(p, fused) for w, p in zip(weights, measures, strict=True))
    # For two measures the least spread is that of one plan with cost w1 w2 d^2 between *points of
    # the line*; on the lattice the middle must be a lattice point.
    meeting = (weights[0] * LINE.cost[:, None, :] + weights[1] * LINE.cost[None, :, :]).min(axis=2)
    rows = [np.kron(np.eye(6)[i], np.ones(6)) for i in range(6)]
    columns = [np.kron(np.ones(6), np.eye(6)[i]) for i in range(6)]
    least = linprog(
        meeting.ravel(), A_eq=np.array(rows + columns), b_eq=np.concatenate(measures)
    ).fun
    assert got == pytest.approx(least, abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(cases)
def test_every_lemma_and_theorem_1_hold_for_the_exact_barycenter(fusion):
    fused = exact_barycenter(fusion.measures, fusion.weights, GRID)
    truth = fusion.true_measure
    phi = np.random.default_rng(0).normal(size=(9, 3))
    bounds = {
        "normalisation": normalisation_lemma(fusion.rewards[0], fusion.truth, fusion.sigma),
        "diameter": diameter_lemma(fusion.measures[0], truth, GRID),
        "stability": stability_lemma(fusion, fused),
        "spacing": spacing_lemma(fused, truth, GRID),
        "13": transport_bound(fusion, fused),
        "14": reward_bound(fusion, fused),
        "15": parameter_bound(fusion, fused, phi),
        "19": end_to_end_bound(WORLD, fusion, fused, 0.9),
    }
    assert [name for name, bound in bounds.items() if not bound.holds] == []


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.floats(0.1, 0.99))
def test_theorem_2_holds_for_any_two_rewards(seed, discount):
    one, other = np.random.default_rng(seed).normal(size=(2, 9))
    loss = value_bound(WORLD, one, other, discount)
    assert loss.measured >= -1e-9
    assert loss.holds


@pytest.mark.parametrize("seed", range(5))
def test_an_optimal_policy_is_the_best_of_all_listed_policies(seed):
    reward = np.random.default_rng(seed).normal(size=9)
    free = np.flatnonzero(~WORLD.terminal)
    assert len(free) == 6
    chances = np.zeros((9, 4, 9))
    for s, a in itertools.product(range(9), range(4)):
        np.add.at(chances[s, a], WORLD.successors[s, a], WORLD.probabilities[s, a])
    best = -np.inf
    for choice in itertools.product(range(4), repeat=6):
        actions = np.zeros(9, dtype=int)
        actions[free] = choice
        step = chances[np.arange(9), actions]
        best = max(best, np.linalg.solve(np.eye(9) - 0.8 * step, reward)[0])
    assert policy_value(WORLD, reward, reward, 0.8) == pytest.approx(best, rel=1e-9)


def test_equation_13_by_hand():
    # Truth: all mass on the left point of two; one client that has it all on the right.
    ground = lattice_ground([np.array([0.0, 3.0])])
    fusion = Fusion(np.array([[0.0, 2.0]]), np.array([1.0, 0.0]), np.ones(1), 0.0, ground)
    bound = transport_bound(fusion, np.array([0.0, 1.0]))
    assert bound.measured == pytest.approx(3.0)
    # D = 3, Zmin = 1, eps = |0 - 1| + |2 - 0| = 3.
    assert bound.bound == pytest.approx(2 * 3 * np.sqrt(3.0))
    assert reward_bound(fusion, np.array([0.0, 1.0])) == pytest.approx(
        (np.sqrt(2.0), np.sqrt(2.0) / 3.0 * bound.bound)
    )


def test_the_lemmas_by_hand():
    # p = (1/4, 3/4) and q = (2/3, 1/3), once both rewards are raised by one: Zmin = 3, error 3.
    both = normalisation_lemma(np.array([0.0, 2.0]), np.array([1.0, 0.0]), 1.0)
    assert both == pytest.approx((2 * (2 / 3 - 1 / 4), 2.0 / 3.0 * 3.0))
    ground = lattice_ground([np.array([0.0, 3.0, 5.0])])
    left, middle = spike(0, 3), spike(1, 3)
    assert diameter_lemma(left, middle, ground) == pytest.approx((9.0, 25.0))
    assert spacing_lemma(left, middle, ground) == pytest.approx((2**0.5, 2**0.5 * 3.0 / 2.0))
    # Two clients, of which one is right; the fused measure is the other's.
    fusion = Fusion(np.stack([left, middle]), left, np.array([0.25, 0.75]), 0.0, ground)
    assert stability_lemma(fusion, middle) == pytest.approx((9.0, 4.0 * 0.75 * 9.0))


def test_equations_15_18_and_19_by_hand():
    ground = lattice_ground([np.array([0.0, 3.0])])
    fusion = Fusion(np.array([[0.0, 2.0]]), np.array([1.0, 0.0]), np.ones(1), 0.0, ground)
    fused = np.array([0.0, 1.0])
    # (14) with its right side: sqrt(2) Z / delta = sqrt(2) / 3, times (13)'s 6 sqrt(3).
    allowed = 2.0 * np.sqrt(6.0)
    found = parameter_bound(fusion, fused, np.diag([2.0, 4.0]))
    assert found == pytest.approx((np.hypot(1 / 2, 1 / 4), allowed / 2.0))
    # Every world state is worth what its way there and its stay pay: a reward and its negative.
    reward = np.arange(9.0)
    loss = value_bound(WORLD, reward, -reward, 0.9)
    best, worst = (policy_value(WORLD, sign * reward, reward, 0.9) for sign in (1.0, -1.0))
    assert loss == pytest.approx((best - worst, 20.0 * 16.0))
    three = lattice_ground([np.arange(3.0), np.arange(3.0)])
    whole = Fusion(spike(1, 9)[None], spike(0, 9), np.ones(1), 0.0, three)
    found = end_to_end_bound(WORLD, whole, spike(1, 9), 0.9)
    # (13): 2 sqrt(8) sqrt(2) = 8, as D^2 = 8, Z = 1 and eps = 2; (14): sqrt(2) times that.
    assert found.bound == pytest.approx(20.0 * 8.0 * np.sqrt(2.0))
    assert found.measured == value_bound(WORLD, spike(0, 9), spike(1, 9), 0.9).measured


def test_an_entropic_barycenter_can_break_what_the_exact_one_keeps():
    # Equal clients that know the truth: no error is allowed, and entropy makes one.
    truth = spike(2) + 0.01
    fusion = Fusion(np.stack([truth, truth]), truth, np.full(2, 0.5), 0.0, LINE)
    exact = exact_barycenter(fusion.measures, fusion.weights, LINE)
    blurred = barycenter(fusion.measures, [np.arange(6.0)], epsilon=0.5, cost_scale="none").measure
    assert transport_bound(fusion, exact).holds
    assert not transport_bound(fusion, blurred).holds
    assert not stability_lemma(fusion, blurred).holds


def test_ratio_is_how_often_the_measured_side_fits_into_the_bound():
    assert Bound(2.0, 6.0).ratio == 3.0
    assert Bound(0.0, 0.0).ratio == float("inf")
    assert not Bound(1.0, 0.5).holds
