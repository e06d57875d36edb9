import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import dense, dense_soft, random_world

from fedirl_ray.config import IRLConfig, RunConfig
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.irl.block import prepare
from fedirl_ray.irl.maxent import Fit, dual, fit, fit_pooled
from fedirl_ray.problem.family import horizon as horizon_of
from fedirl_ray.problem.greedy import greedy_policy
from fedirl_ray.problem.mdp import Stack
from fedirl_ray.problem.planning import occupancy, soft_policy

SHORT = [(1, 0.5), (2, 0.7), (3, 0.95), (4, 1.0), (6, 0.9), (6, 1.0)]
"""Horizons at which a shift by one step, or a lost discount, cannot hide."""


def achieved(worlds, horizon, discount, seed=0):
    """Feature counts `[k, d]` that a random policy really produces in each world."""
    rng = np.random.default_rng(seed)
    counts = []
    for world in worlds:
        s, a, _, _ = world.shape
        policy = rng.dirichlet(np.ones(a), (horizon, s)).transpose(0, 2, 1)
        stack = Stack([world])
        counts.append(stack.feature_sums(occupancy(stack, policy, discount=discount))[0])
    return np.array(counts)


def problem(k=3, horizon=5, discount=0.9, feature_actions=1, d=2):
    worlds = [random_world(i, d=d, feature_actions=feature_actions) for i in range(k)]
    return worlds, achieved(worlds, horizon, discount)


def config(**settings):
    return IRLConfig(**({"discount": 0.9, "l2": 0.1, "tolerance": 1e-9} | settings))


@pytest.mark.parametrize(("horizon", "discount"), SHORT)
@pytest.mark.parametrize("feature_actions", [1, 3])
@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_the_gradient_is_the_derivative_of_the_dual(
    horizon, discount, feature_actions, temperature
):
    worlds, counts = problem(3, horizon, discount, feature_actions)
    learner = config(discount=discount, temperature=temperature)
    stack, theta = Stack(worlds), np.random.default_rng(1).normal(size=(3, 2))
    _, gradient = dual(stack, theta, counts, learner, horizon)
    small = 1e-5
    for j, unit in enumerate(np.eye(2)):
        above, _ = dual(stack, theta + small * unit, counts, learner, horizon)
        below, _ = dual(stack, theta - small * unit, counts, learner, horizon)
        np.testing.assert_allclose(
            gradient[:, j], (above - below) / (2 * small), rtol=1e-6, atol=1e-9
        )


@given(
    seed=st.integers(0, 2**31),
    short=st.sampled_from(SHORT),
    feature_actions=st.sampled_from([1, 3]),
    temperature=st.sampled_from([1.0, 0.4]),
)
def test_dual_and_gradient_agree_with_a_dense_implementation(
    seed, short, feature_actions, temperature
):
    horizon, discount = short
    world = random_world(seed, d=3, feature_actions=feature_actions)
    rng = np.random.default_rng(seed)
    theta, counts = rng.normal(size=3), rng.normal(size=3)
    _, first, visits = dense_soft(world, theta, horizon, discount, temperature)
    features = np.broadcast_to(world.features, (6, 3, 3))
    learner = config(discount=discount, temperature=temperature)
    value, gradient = dual(Stack([world]), theta[None], counts[None], learner, horizon)
    np.testing.assert_allclose(value[0], world.initial @ first - theta @ counts, atol=1e-11)
    expected = np.einsum("sa,sad->d", visits, features)
    np.testing.assert_allclose(gradient[0], expected - counts, atol=1e-11)


@pytest.mark.parametrize(("horizon", "discount"), SHORT)
@pytest.mark.parametrize("feature_actions", [1, 3])
def test_occupancies_sum_to_the_discounted_horizon(horizon, discount, feature_actions):
    stack = Stack(problem(3, feature_actions=feature_actions)[0])
    reward = stack.rewards(np.ones((3, 2)))
    soft = soft_policy(stack, reward, horizon=horizon, discount=discount, temperature=1.0)
    sums = occupancy(stack, soft.policy, discount=discount).sum(axis=0).reshape(3, -1).sum(axis=1)
    np.testing.assert_allclose(sums, sum(discount**t for t in range(horizon)), rtol=1e-12)


@pytest.mark.parametrize(("horizon", "discount"), SHORT)
def test_features_match_at_the_optimum(horizon, discount):
    worlds, counts = problem(4, horizon, discount)
    learner = config(discount=discount, l2=1e-9)
    found = fit(worlds, counts, learner, horizon)
    assert found.converged.all()
    for world, theta, wanted in zip(worlds, found.theta, counts, strict=True):
        _, _, visits = dense_soft(world, theta, horizon, discount, 1.0)
        np.testing.assert_allclose(visits.sum(axis=1) @ world.features[:, 0], wanted, atol=1e-6)


def test_the_l2_term_is_what_is_left_of_the_mismatch():
    worlds, counts = problem(4)
    found = fit(worlds, counts, config(l2=0.5), 5)
    _, gradient = dual(Stack(worlds), found.theta, counts, config(), 5)
    np.testing.assert_allclose(gradient, -0.5 * found.theta, atol=1e-8)
    assert (found.mismatch <= 1e-8).all()


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize("feature_actions", [1, 3])
def test_a_client_is_fitted_to_the_same_bytes_alone_or_in_a_batch(optimizer, feature_actions):
    k = 9
    worlds = [random_world(i, s=50, d=4, feature_actions=feature_actions) for i in range(k)]
    counts = achieved(worlds, 8, 0.9)
    learner = config(optimizer=optimizer, iterations=60, step=0.05)
    iterations = np.array([60, 0, 1, 60, 5, 60, 2, 60, 60])
    start = np.random.default_rng(1).normal(size=counts.shape)
    together = fit(worlds, counts, learner, 8, start=start, iterations=iterations)
    for i in range(k):
        one = slice(i, i + 1)
        own = fit(
            worlds[one], counts[one], learner, 8, start=start[one], iterations=iterations[one]
        )
        for field in dataclasses.fields(Fit):
            many, single = getattr(together, field.name), getattr(own, field.name)
            assert many[i].tobytes() == single[0].tobytes(), field.name


def test_adam_underfits_by_the_number_of_its_steps():
    worlds, counts = problem()
    learner = config(optimizer="adam", step=0.02)
    steps = np.array([0, 5, 50])
    found = fit([worlds[0]] * 3, counts[[0, 0, 0]], learner, 5, iterations=steps)
    np.testing.assert_array_equal(found.iterations, steps)
    np.testing.assert_array_equal(found.theta[0], 0.0)
    assert found.mismatch[0] > found.mismatch[1] > found.mismatch[2] > 0.0
    assert not found.converged.any()
    same = fit(worlds[:1], counts[:1], dataclasses.replace(learner, iterations=5), 5)
    np.testing.assert_array_equal(same.theta[0], found.theta[1])


def test_a_fit_goes_on_from_where_it_is_told_to():
    worlds, counts = problem()
    found = fit(worlds, counts, config(), 5)
    again = fit(worlds, counts, config(), 5, start=found.theta)
    np.testing.assert_array_equal(again.iterations, 0)
    np.testing.assert_array_equal(again.theta, found.theta)
    start = np.random.default_rng(0).normal(size=(3, 2))
    elsewhere = fit(worlds, counts, config(), 5, start=start)
    np.testing.assert_allclose(elsewhere.theta, found.theta, atol=1e-7)
    untouched = fit(worlds, counts, config(iterations=0), 5, start=start)
    np.testing.assert_array_equal(untouched.theta, start)


@given(seed=st.integers(0, 2**31), short=st.sampled_from(SHORT), temperature=st.floats(0.2, 2))
def test_the_likelihood_of_achievable_counts_is_never_negative(seed, short, temperature):
    horizon, discount = short
    worlds = [random_world(seed)]
    counts = achieved(worlds, horizon, discount, seed)
    learner = config(discount=discount, l2=1e-3, temperature=temperature, tolerance=1e-6)
    found = fit(worlds, counts, learner, horizon)
    assert found.negative_log_likelihood[0] >= 0.0
    assert not found.unachievable[0]


def test_the_likelihood_is_the_causal_entropy_where_features_match():
    worlds, counts = problem(1, 4, 0.9)
    found = fit(worlds, counts, config(l2=1e-9, temperature=0.5), 4)
    policy, _, _ = dense_soft(worlds[0], found.theta[0], 4, 0.9, 0.5)
    mass, entropy = worlds[0].initial, 0.0
    for t in range(4):
        flow = mass[:, None] * policy[t]
        entropy -= 0.9**t * (flow * np.log(policy[t])).sum()
        mass = np.einsum("sa,sat->t", flow, dense(worlds[0]))
    np.testing.assert_allclose(found.negative_log_likelihood[0], entropy, atol=1e-6)


def test_counts_that_no_policy_reaches_are_flagged():
    worlds, counts = problem(2)
    far = counts.copy()
    far[1] = 10.0 * np.abs(worlds[1].features).max() * 5  # beyond any sum of five features
    found = fit(worlds, far, config(l2=1e-3), 5)
    np.testing.assert_array_equal(found.unachievable, [False, True])
    assert found.negative_log_likelihood[1] < 0.0 <= found.negative_log_likelihood[0]


def test_only_a_negative_likelihood_says_that_counts_cannot_be_reached():
    worlds, counts = problem(3)
    found = dataclasses.replace(
        fit(worlds, counts, config(), 5), negative_log_likelihood=np.array([-1e-3, 0.0, 1e-3])
    )
    assert found.unachievable.tolist() == [True, False, False]


def test_without_an_l2_term_a_deterministic_expert_is_followed_as_far_as_steps_allow():
    run = RunConfig(problem=ProblemConfig(slip=0.0))
    block = prepare(run, 0, range(2))
    found = fit(block.worlds, block.counts, IRLConfig(l2=0.0, iterations=30), 30)
    assert np.isfinite(found.theta).all()
    assert (found.iterations <= 30).all()


@pytest.mark.parametrize(("horizon", "discount"), SHORT)
@pytest.mark.parametrize("feature_actions", [1, 3])
def test_the_hessian_is_the_derivative_of_the_gradient(horizon, discount, feature_actions):
    worlds, counts = problem(2, horizon, discount, feature_actions, d=3)
    learner = config(discount=discount, l2=0.2, temperature=0.6, iterations=3)
    found, stack = fit(worlds, counts, learner, horizon), Stack(worlds)
    small = 1e-5
    for j, unit in enumerate(np.eye(3)):
        _, above = dual(stack, found.theta + small * unit, counts, learner, horizon)
        _, below = dual(stack, found.theta - small * unit, counts, learner, horizon)
        slope = (above - below) / (2 * small) + 0.2 * unit
        np.testing.assert_allclose(found.hessian[:, j], slope, rtol=1e-6, atol=1e-8)


def test_pooling_identical_clients_is_fitting_one():
    worlds, counts = problem(1)
    one = fit(worlds, counts, config(), 5)
    many = fit_pooled(worlds * 4, np.repeat(counts, 4, axis=0), config(), 5)
    np.testing.assert_allclose(many, one.theta[0], atol=1e-8)


@pytest.mark.parametrize("pull", [0.3, 30.0])
def test_a_fit_that_is_pulled_to_its_start_settles_where_pull_and_gradient_cancel(pull):
    worlds, counts = problem(3, d=6)
    start = np.random.default_rng(2).normal(size=counts.shape)
    found = fit(worlds, counts, config(), 5, start=start, proximal=np.full(3, pull))
    assert found.converged.all()
    _, slopes = dual(Stack(worlds), found.theta, counts, config(), 5)
    away = found.theta - start
    np.testing.assert_allclose(slopes, -0.1 * found.theta - pull * away, atol=1e-6)


@pytest.mark.parametrize("l2", [0.3, 30.0])
def test_a_pooled_reward_of_many_features_pays_the_whole_l2_term(l2):
    worlds, counts = problem(4, d=6)
    learner = config(l2=l2)
    theta = fit_pooled(worlds, counts, learner, 5)
    _, slopes = dual(Stack(worlds), np.tile(theta, (4, 1)), counts, learner, 5)
    np.testing.assert_allclose(slopes.mean(axis=0), -l2 * theta, atol=1e-6)


def test_pooling_ends_where_no_entry_of_the_gradient_is_above_the_tolerance():
    worlds, counts = problem(4)
    small = 0.1 * counts  # below one, so that the tolerance is absolute
    assert np.abs(small).max() < 1.0
    _, slopes = dual(Stack(worlds), np.zeros((4, 2)), small, config(), 5)
    steepest = np.abs(slopes.mean(axis=0)).max()
    assert not fit_pooled(worlds, small, config(tolerance=1.1 * steepest), 5).any()
    assert fit_pooled(worlds, small, config(tolerance=0.9 * steepest), 5).any()


def test_the_pooled_reward_settles_where_the_clients_gradients_cancel():
    worlds, counts = problem(4)
    theta = fit_pooled(worlds, counts, config(l2=0.3), 5)
    slopes = [
        dual(Stack([world]), theta[None], counts[i : i + 1], config(), 5)[1][0]
        for i, world in enumerate(worlds)
    ]
    np.testing.assert_allclose(np.mean(slopes, axis=0), -0.3 * theta, atol=1e-8)
    assert np.abs(slopes).max() > 1e-2  # none of them vanishes by itself


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("slip", [0.0, 0.1])
def test_an_expert_that_avoids_obstacles_is_learnt_to_avoid_them(seed, slip):
    run = RunConfig(clients=4, seed=seed, problem=ProblemConfig(slip=slip))
    block = prepare(run, 0, range(4))
    steps = horizon_of(run.problem)
    found = fit(block.worlds, block.counts, run.irl, steps)

    def ends(stack, rewards, discount):
        """Chance to stand on an obstacle, and on the goal, when the horizon ends, `[k]` each."""
        policy = greedy_policy(stack, rewards[:, :, None], discount=discount)[:, :, 0]
        mass = stack.initial
        for _ in range(steps):
            mass = stack.push @ (policy * mass).ravel()
        trapped = stack.terminal & ~stack.goal
        return [np.where(where, mass, 0.0).reshape(4, -1).sum(1) for where in (trapped, stack.goal)]

    stack = Stack(block.worlds)
    expert, _ = ends(stack, stack.true_rewards(), run.problem.expert_discount)
    learnt, won = ends(stack, stack.rewards(found.theta), run.evaluation.discount)
    assert (found.theta[:, 0] < 0.0).all()  # near the goal is better
    assert learnt.mean() <= expert.mean() + 0.05
    assert won.mean() >= 0.9 - expert.mean()


def test_a_fit_does_not_depend_on_whether_its_curvature_is_asked_for():
    worlds = [random_world(i) for i in range(3)]
    counts = np.random.default_rng(0).normal(size=(3, worlds[0].shape[2]))
    asked, plain = (fit(worlds, counts, IRLConfig(), 6, curvature=on) for on in (True, False))
    assert asked.hessian.shape == (3, counts.shape[1], counts.shape[1])
    assert plain.hessian is None
    for name in ("theta", "negative_log_likelihood", "mismatch", "iterations"):
        assert getattr(asked, name).tobytes() == getattr(plain, name).tobytes()
