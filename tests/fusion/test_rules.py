"""What every fusing rule owes its user, then what each owes its own definition."""

import numpy as np
import ot
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import trim_mean
from worlds import random_world

from fedirl_ray.config_fusion import CHOOSING, REFERENCES, RULE_NAMES, FusionConfig
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.fusion.rules import RULES, fuse
from fedirl_ray.fusion.spec import Given, Support, support_of
from fedirl_ray.problem.family import draw_world
from fedirl_ray.testing import check_rule, scoring

SUPPORT = support_of(draw_world(ProblemConfig(size=4), 0, 0, "probe", 0))
CONFIG = FusionConfig(tolerance=1e-12)

every_rule = pytest.mark.parametrize("rule", RULES)
CONTROLS = {"self-control": "barycenter"} | {
    f"self-{rule}": rule for rule in ("debiased", "gibbs", "signed", "signed-median", "blur")
}
UNBLURRED = [rule for rule in RULES if not (RULES[rule].transports or RULES[rule].blurs)]
THROUGH_MEASURES = {"arithmetic", "barycenter", "debiased", "gibbs"}
THROUGH_MEASURES |= {name for name, rule in CONTROLS.items() if rule in THROUGH_MEASURES}


def clients(k, seed=0, d=2):
    """Random thetas `[k, d]`, Hessians `[k, d, d]` and weights `[k]`."""
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(k, d, d))
    hessians = roots @ roots.transpose(0, 2, 1) + 0.1 * np.eye(d)
    return rng.normal(size=(k, d)), hessians, rng.dirichlet(np.ones(k))


def fused(rule, thetas, hessians, weights, config=CONFIG):
    given = Given(thetas, weights, SUPPORT, config, curvatures=hessians, score=scoring(thetas))
    return fuse(rule, given)


def test_the_rules_are_those_that_settings_name():
    assert tuple(RULES) == RULE_NAMES


def degrees(left, right):
    cosine = left @ right / np.linalg.norm(left) / np.linalg.norm(right)
    return np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule not in CONTROLS])
def test_every_rule_keeps_to_the_conformance_suite(rule):
    check_rule(rule)


@pytest.mark.parametrize("rule", UNBLURRED)
@given(seed=st.integers(0, 2**31), k=st.integers(1, 5))
def test_identical_clients_are_given_back(rule, seed, k):
    thetas, hessians, weights = clients(k, seed)
    thetas[:] = thetas[0]
    found = fused(rule, thetas, hessians, weights)
    np.testing.assert_allclose(found.theta, thetas[0], rtol=1e-7, atol=1e-9)


def test_debiasing_takes_most_of_the_blur_away():
    thetas, hessians, weights = clients(4)
    thetas[:] = thetas[0]
    off = np.linalg.norm(
        fused("debiased", thetas, hessians, weights, FusionConfig()).theta - thetas[0]
    )
    assert off < 0.01 * np.linalg.norm(thetas[0])


@every_rule
def test_all_weight_on_one_client_turns_its_reward_by_no_more_than_a_blur(rule):
    thetas, hessians, _ = clients(3)
    found = fused(rule, thetas, hessians, np.array([0.0, 1.0, 0.0]))
    assert degrees(found.theta, thetas[1]) < 10.0


@every_rule
@pytest.mark.parametrize("measure", ["shift", "gibbs"])
@pytest.mark.parametrize("intercept", [False, True])
def test_every_setting_gives_a_finite_theta_and_a_probability_measure(rule, measure, intercept):
    config = FusionConfig(measure=measure, intercept=intercept)
    found = fused(rule, *clients(4), config)
    assert found.theta.shape == (2,)
    assert np.isfinite(found.theta).all()
    assert (found.measure is None) == ((found.chosen or rule) not in THROUGH_MEASURES)
    if found.measure is not None:
        assert found.converged
        assert found.measure.min() >= 0.0
        np.testing.assert_allclose(found.measure.sum(), 1.0, rtol=1e-9)


@pytest.mark.parametrize("rule", REFERENCES)
def test_a_reference_fuses_nothing(rule):
    with pytest.raises(ValueError, match=f"{rule} is a reference, not a fusion rule"):
        fused(rule, *clients(2))


@given(seed=st.integers(0, 2**31), counts=st.lists(st.integers(1, 4), min_size=1, max_size=6))
def test_median_is_numpys_median_of_clients_as_often_as_they_weigh(seed, counts):
    thetas, hessians, _ = clients(len(counts), seed)
    weights = np.array(counts) / sum(counts)
    expected = np.median(np.repeat(thetas, counts, axis=0), axis=0)
    np.testing.assert_allclose(
        fused("median", thetas, hessians, weights).theta, expected, atol=1e-12
    )


@pytest.mark.parametrize(("k", "trim"), [(10, 0.1), (10, 0.3), (5, 0.2), (4, 0.25), (7, 0.0)])
def test_trimmed_mean_is_scipys_where_whole_clients_are_cut(k, trim):
    thetas, hessians, _ = clients(k)
    config = FusionConfig(trim=trim)
    found = fused("trimmed", thetas, hessians, np.full(k, 1 / k), config)
    np.testing.assert_allclose(found.theta, trim_mean(thetas, trim + 1e-9, axis=0), atol=1e-12)


def test_trimmed_mean_cuts_part_of_a_clients_weight():
    thetas = np.array([[0.0], [1.0], [10.0]])
    support = Support(np.ones((16, 1)), SUPPORT.axes)
    found = fuse("trimmed", Given(thetas, np.full(3, 1 / 3), support, FusionConfig(trim=0.1)))
    # 1/3 - .1 of the outer ones and 1/3 of the middle one are left.
    share = 1 / 3 - 0.1
    np.testing.assert_allclose(found.theta[0], (share * 10 + 1 / 3) / 0.8, atol=1e-12)


def test_one_liar_moves_the_mean_but_not_the_robust_rules():
    thetas, hessians, _ = clients(11)
    liar = thetas.copy()
    liar[3] = 1e6
    weights = np.full(11, 1 / 11)
    for rule in ("median", "trimmed"):
        moved = (
            fused(rule, liar, hessians, weights).theta
            - fused(rule, thetas, hessians, weights).theta
        )
        assert np.abs(moved).max() < 2.0
    assert np.abs(fused("mean", liar, hessians, weights).theta).max() > 1e4


def test_precision_weighs_each_direction_by_how_sure_a_client_is_of_it():
    thetas = np.array([[1.0, 0.0], [0.0, 1.0]])
    hessians = np.array([np.diag([9.0, 1.0]), np.diag([1.0, 3.0])])
    found = fused("precision", thetas, hessians, np.full(2, 0.5))
    np.testing.assert_allclose(found.theta, [9 / 10, 3 / 4], rtol=1e-12)
    tilted = clients(4, 2)
    total = np.einsum("k,kij->ij", tilted[2], tilted[1])
    pull = np.einsum("k,kij,kj->i", tilted[2], tilted[1], tilted[0])
    np.testing.assert_allclose(
        fused("precision", *tilted).theta, np.linalg.solve(total, pull), rtol=1e-10
    )


def test_precision_bears_a_direction_nobody_knows():
    hessians = np.array([np.diag([2.0, 0.0]), np.diag([6.0, 0.0])])
    found = fused("precision", np.array([[1.0, 5.0], [2.0, -9.0]]), hessians, np.full(2, 0.5))
    np.testing.assert_allclose(found.theta, [14 / 8, 0.0], atol=1e-12)


def by_hand(thetas, weights, *, merge):
    """The paper's steps 2 to 6, with one shared sigma, written out densely."""
    rewards = thetas @ SUPPORT.features.T
    sigma = 0.01 * np.ptp(rewards, axis=1).max() - rewards.min()
    mass = (rewards + sigma).sum(axis=1)
    density = merge((rewards + sigma) / mass[:, None])
    reward = (weights @ mass) * density - sigma
    phi = SUPPORT.features
    return np.linalg.inv(phi.T @ phi) @ phi.T @ reward, density


@pytest.mark.parametrize("seed", range(3))
def test_arithmetic_is_the_papers_recipe_with_a_mean_in_the_middle(seed):
    thetas, hessians, weights = clients(4, seed)
    theta, density = by_hand(thetas, weights, merge=lambda rows: weights @ rows)
    found = fused("arithmetic", thetas, hessians, weights)
    np.testing.assert_allclose(found.theta, theta, rtol=1e-9)
    np.testing.assert_allclose(found.measure, density, rtol=1e-12)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("cost_scale", ["none", "max"])
def test_barycenter_is_the_papers_recipe_with_pots_barycenter_in_the_middle(seed, cost_scale):
    thetas, hessians, weights = clients(4, seed)
    cells = np.stack(np.meshgrid(*SUPPORT.axes, indexing="ij"), axis=-1).reshape(-1, 2)
    cost = ((cells[:, None] - cells[None]) ** 2).sum(axis=-1)
    if cost_scale == "max":
        cost /= cost.max()

    def merge(rows):
        return ot.bregman.barycenter(
            rows.T, cost, 0.5, weights, method="sinkhorn_log", numItermax=5000, stopThr=1e-13
        )

    theta, density = by_hand(thetas, weights, merge=merge)
    config = FusionConfig(tolerance=1e-12, cost_scale=cost_scale)
    found = fused("barycenter", thetas, hessians, weights, config)
    np.testing.assert_allclose(found.measure, density, atol=1e-9)
    np.testing.assert_allclose(found.theta, theta, rtol=1e-6)


@pytest.mark.parametrize(("control", "rule"), CONTROLS.items())
def test_a_self_control_is_its_rule_on_copies_of_the_mean(control, rule):
    thetas, hessians, weights = clients(4)
    copies = np.tile(weights @ thetas, (4, 1))
    found = fused(control, thetas, hessians, weights).theta
    np.testing.assert_allclose(found, fused(rule, copies, hessians, weights).theta, rtol=1e-10)
    seen = np.random.default_rng(3).random((4, 16)) < 0.5
    given = Given(thetas, weights, SUPPORT, CONFIG, curvatures=hessians, seen=seen)
    assert np.array_equal(fuse(control, given).theta, found)


def test_every_rule_that_moves_or_blurs_has_a_self_control():
    blurred = [rule for rule in RULES if rule not in UNBLURRED]
    assert set(blurred) == {*CONTROLS, *CONTROLS.values(), *CHOOSING}


def test_a_barycenter_that_was_cut_short_says_so():
    whole = fused("barycenter", *clients(4), FusionConfig(epsilon=0.05))
    found = fused("barycenter", *clients(4), FusionConfig(iterations=5, epsilon=0.05))
    assert whole.converged
    assert not found.converged
    assert 0 < found.iterations < whole.iterations


def test_features_that_know_the_action_get_an_action_axis():
    world = draw_world(ProblemConfig(size=3), 0, 0, "probe", 0)
    assert len(support_of(world).axes) == 2
    support = support_of(random_world(0, feature_actions=3))
    assert support.features.shape == (18, 2)
    np.testing.assert_array_equal(support.axes[1], 1.0 - np.eye(3))
