import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import dense, dense_soft, random_world

from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.problem import gridworld
from fedirl_ray.problem.family import draw_world
from fedirl_ray.problem.greedy import greedy_policy
from fedirl_ray.problem.mdp import Stack
from fedirl_ray.problem.planning import (
    feature_covariance,
    occupancy,
    roll_out,
    soft_policy,
    surest_policy,
)


def alone(world, theta):
    stack = Stack([world])
    return stack, stack.rewards(theta[None])


def policy_values(matrix, reward, discount):
    """Discounted value `[n, s]` of each of the a^s deterministic policies, by linear solves."""
    s, a, _ = matrix.shape
    values = []
    for choice in itertools.product(range(a), repeat=s):
        at = np.arange(s), list(choice)
        values.append(np.linalg.solve(np.eye(s) - discount * matrix[at], reward[at]))
    return np.array(values)


@given(seed=st.integers(0, 2**31), horizon=st.integers(1, 5), temperature=st.floats(0.2, 3))
def test_where_nothing_is_random_plans_weigh_as_the_exponential_of_their_return(
    seed, horizon, temperature
):
    world = random_world(seed, s=4, a=2, b=1, feature_actions=2, ends=1)
    theta = np.random.default_rng(seed).normal(size=2)
    start = int(np.argmax(world.initial))
    returns = []
    for plan in itertools.product(range(2), repeat=horizon):
        state, total = start, 0.0
        for action in plan:
            total += world.features[state, action] @ theta
            state = world.successors[state, action, 0]
        returns.append(total)
    weight = np.exp(np.array(returns) / temperature)
    stack, reward = alone(world, theta)
    soft = soft_policy(stack, reward, horizon=horizon, discount=1.0, temperature=temperature)
    np.testing.assert_allclose(soft.value[start], temperature * np.log(weight.sum()), atol=1e-10)
    # The first half of the plans begin with action 0.
    share = weight[: len(weight) // 2].sum() / weight.sum()
    np.testing.assert_allclose(soft.policy[0, 0, start], share, atol=1e-10)


@given(
    seed=st.integers(0, 2**31),
    horizon=st.integers(1, 6),
    discount=st.sampled_from([0.5, 0.9, 1.0]),
    feature_actions=st.sampled_from([1, 3]),
)
def test_soft_policy_and_occupancy_agree_with_a_dense_recursion(
    seed, horizon, discount, feature_actions
):
    world = random_world(seed, feature_actions=feature_actions)
    theta = np.random.default_rng(seed).normal(size=2)
    stack, reward = alone(world, theta)
    soft = soft_policy(stack, reward, horizon=horizon, discount=discount, temperature=0.7)
    policy, value, visits = dense_soft(world, theta, horizon, discount, 0.7)
    np.testing.assert_allclose(soft.policy.transpose(0, 2, 1), policy, atol=1e-12)
    np.testing.assert_allclose(soft.value, value, atol=1e-12)
    ours = occupancy(stack, soft.policy, discount=discount)
    wanted = visits.T if feature_actions == 3 else visits.sum(axis=1)[None]
    np.testing.assert_allclose(ours, wanted, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_soft_policy_neither_overflows_nor_underflows(scale):
    stack, reward = alone(random_world(0), np.array([scale, -scale]))
    soft = soft_policy(stack, reward, horizon=50, discount=1.0, temperature=1.0)
    np.testing.assert_allclose(soft.policy.sum(axis=1), 1.0, atol=1e-12)
    assert np.isfinite(soft.value).all()


def test_without_reward_the_soft_value_is_the_same_everywhere():
    world = draw_world(ProblemConfig(), 0, 0, "client", 0)
    stack, reward = alone(world, np.zeros(2))
    soft = soft_policy(stack, reward, horizon=30, discount=0.9, temperature=2.0)
    expected = 2.0 * np.log(4.0) * (1 - 0.9**30) / (1 - 0.9)
    np.testing.assert_allclose(soft.value, expected, rtol=1e-12)


@given(seed=st.integers(0, 2**31), discount=st.sampled_from([0.3, 0.9, 0.99]))
def test_greedy_policy_is_the_best_of_all_deterministic_ones(seed, discount):
    world = random_world(seed, s=5, a=3, feature_actions=3, ends=1)
    theta = np.random.default_rng(seed).normal(size=2)
    stack, reward = alone(world, theta)
    greedy = greedy_policy(stack, reward[:, :, None], discount=discount)[:, :, 0].T
    matrix, table = dense(world), world.features @ theta
    best = policy_values(matrix, table, discount).max(axis=0)
    followed = np.einsum("sa,sat->st", greedy, matrix)
    value = np.linalg.solve(np.eye(5) - discount * followed, (greedy * table).sum(axis=1))
    np.testing.assert_allclose(value, best, atol=1e-6)


def test_greedy_policy_splits_ties_evenly():
    world = gridworld.world(np.zeros((4, 4), dtype=bool), 0.0)
    stack, reward = alone(world, np.array([-1.0, 0.0]))
    greedy = greedy_policy(stack, reward[:, :, None], discount=0.9)[:, :, 0]
    left, down, right, up = greedy[:, 0]
    assert (left, down, right, up) == (0.0, 0.5, 0.5, 0.0)
    np.testing.assert_array_equal(greedy[:, 15], 0.25)  # at the goal nothing matters
    np.testing.assert_array_equal(greedy[:, 3], [0, 1, 0, 0])  # on the right edge only down


def test_a_reward_of_nothing_leaves_every_action_equally_good():
    stack, reward = alone(random_world(0), np.zeros(2))
    np.testing.assert_array_equal(greedy_policy(stack, reward[:, :, None], discount=0.9), 1 / 3)


@given(seed=st.integers(0, 2**31), scale=st.sampled_from([1e-6, 3.0, 1e6]), shift=st.floats(-5, 5))
def test_greedy_policy_is_blind_to_scale_and_offset(seed, scale, shift):
    stack, reward = alone(random_world(seed), np.random.default_rng(seed).normal(size=2))
    plain = greedy_policy(stack, reward[:, :, None], discount=0.9)
    moved = greedy_policy(stack, scale * (reward + shift)[:, :, None], discount=0.9)
    np.testing.assert_array_equal(plain, moved)


@pytest.mark.parametrize("seed", range(3))
def test_soft_policy_tends_to_the_greedy_one_as_temperature_falls(seed):
    world = random_world(seed, feature_actions=3)
    stack, reward = alone(world, np.array([1.0, -0.5]))
    greedy = greedy_policy(stack, reward[:, :, None], discount=0.9)[:, :, 0]
    live = ~world.terminal  # in the others all actions but the reward's best differ by design
    gaps = []
    for temperature in (1.0, 0.1, 0.01, 1e-4):
        soft = soft_policy(stack, reward, horizon=300, discount=0.9, temperature=temperature)
        gaps.append(np.abs(soft.policy[0] - greedy)[:, live].max())
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-6 < gaps[0]


@given(
    seed=st.integers(0, 2**31), horizon=st.integers(1, 7), reward_actions=st.sampled_from([1, 3])
)
def test_roll_out_agrees_with_powers_of_the_transition_matrix(seed, horizon, reward_actions):
    world = random_world(seed, reward_actions=reward_actions)
    policy = np.random.default_rng(seed).dirichlet(np.ones(3), 6)  # [s, a]
    found = roll_out(Stack([world]), policy.T[:, :, None], horizon=horizon, discount=0.8)
    step = np.einsum("sa,sat->st", policy, dense(world))
    paid = (policy * world.reward).sum(axis=1)
    powers = [world.initial @ np.linalg.matrix_power(step, t) for t in range(horizon + 1)]
    np.testing.assert_allclose(found.success[0, 0], powers[-1][world.goal].sum(), atol=1e-12)
    value = sum(0.8**t * mass @ paid for t, mass in enumerate(powers[:-1]))
    np.testing.assert_allclose(found.value[0, 0], value, atol=1e-12)


def test_roll_out_follows_each_step_of_a_changing_policy():
    world = dataclasses.replace(random_world(3), initial=np.eye(6)[0])
    policy = np.random.default_rng(3).dirichlet(np.ones(3), (4, 6))  # [h, s, a]
    mass, value = world.initial, 0.0
    for t in range(4):
        value += 0.8**t * (mass @ world.reward[:, 0])
        mass = np.einsum("s,sa,sat->t", mass, policy[t], dense(world))
    found = roll_out(Stack([world]), policy.transpose(0, 2, 1)[..., None], horizon=4, discount=0.8)
    np.testing.assert_allclose(found.success[0, 0], mass[world.goal].sum(), atol=1e-12)
    np.testing.assert_allclose(found.value[0, 0], value, atol=1e-12)


@pytest.mark.parametrize("feature_actions", [1, 3])
def test_a_world_is_planned_to_the_same_bytes_alone_or_in_a_stack(feature_actions):
    k, s, horizon = 7, 40, 9
    worlds = [random_world(i, s=s, d=5, feature_actions=feature_actions) for i in range(k)]
    theta = np.random.default_rng(0).normal(size=(k, 5))

    def plan(worlds, theta):
        stack = Stack(worlds)
        reward = stack.rewards(theta)
        soft = soft_policy(stack, reward, horizon=horizon, discount=0.9, temperature=0.5)
        greedy = greedy_policy(stack, reward[:, :, None], discount=0.95)
        outcome = roll_out(stack, greedy, horizon=horizon, discount=0.9)
        late = roll_out(stack, soft.policy[..., None], horizon=horizon, discount=0.9)
        spread = feature_covariance(stack, soft.policy, discount=0.9, temperature=0.5)
        by_world = (len(worlds), s)
        return (
            soft.policy.reshape(horizon, 3, *by_world).transpose(2, 0, 1, 3),
            soft.value.reshape(by_world),
            occupancy(stack, soft.policy, discount=0.9).reshape(-1, *by_world).swapaxes(0, 1),
            greedy.reshape(3, *by_world).swapaxes(0, 1),
            *outcome,
            *late,
            spread,
        )

    together = plan(worlds, theta)
    for i in range(k):
        for whole, own in zip(together, plan([worlds[i]], theta[i : i + 1]), strict=True):
            assert whole[i].tobytes() == own[0].tobytes()


def test_a_reward_is_planned_to_the_same_bytes_alone_or_beside_others():
    c, horizon = 6, 9
    stack = Stack([random_world(i, s=40, d=5) for i in range(3)])
    rng = np.random.default_rng(0)
    columns = np.stack([stack.rewards(rng.normal(size=(3, 5))) for _ in range(c)], axis=-1)

    def plan(rewards):
        soft = soft_policy(stack, rewards, horizon=horizon, discount=0.9, temperature=0.5)
        greedy = greedy_policy(stack, rewards, discount=0.95)
        return (
            soft.policy,
            soft.value,
            greedy,
            *roll_out(stack, greedy, horizon=horizon, discount=0.9)[:2],
            *roll_out(stack, soft.policy, horizon=horizon, discount=0.9)[:2],
        )

    together = plan(columns)
    for i in range(c):
        for whole, own in zip(together, plan(columns[:, :, i : i + 1]), strict=True):
            assert whole[..., i].tobytes() == own[..., 0].tobytes()


@pytest.mark.parametrize("feature_actions", [1, 3])
@pytest.mark.parametrize(("horizon", "discount"), [(1, 1.0), (2, 0.7), (5, 0.7), (6, 1.0)])
def test_feature_covariance_is_the_derivative_of_the_feature_sums(
    feature_actions, horizon, discount
):
    worlds = [random_world(i, d=3, feature_actions=feature_actions) for i in range(2)]
    stack = Stack(worlds)
    theta = np.random.default_rng(5).normal(size=(2, 3))

    def planned(theta):
        return soft_policy(
            stack, stack.rewards(theta), horizon=horizon, discount=discount, temperature=0.6
        ).policy

    def sums(theta):
        return stack.feature_sums(occupancy(stack, planned(theta), discount=discount))

    ours = feature_covariance(stack, planned(theta), discount=discount, temperature=0.6)
    small = 1e-5
    for j, unit in enumerate(np.eye(3)):
        slope = (sums(theta + small * unit) - sums(theta - small * unit)) / (2 * small)
        np.testing.assert_allclose(ours[:, j], slope, rtol=1e-6, atol=1e-8)


@given(seed=st.integers(0, 2**31), horizon=st.integers(1, 4))
def test_the_surest_policy_succeeds_as_often_as_the_best_of_all_plans(seed, horizon):
    world = random_world(seed, s=4, a=2, ends=1)
    world = dataclasses.replace(world, goal=world.terminal)
    matrix = dense(world)
    best = world.goal.astype(float)
    for _ in range(horizon):  # the best plan for what is left, state by state
        best = np.max([[matrix[s, a] @ best for a in range(2)] for s in range(4)], axis=1)
    stack = Stack([world])
    policy = surest_policy(stack, horizon)
    np.testing.assert_allclose(policy.sum(axis=1), 1.0)
    found = roll_out(stack, policy[..., None], horizon=horizon, discount=0.9).success
    np.testing.assert_allclose(found[0, 0], world.initial @ best, atol=1e-7)
