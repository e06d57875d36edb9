import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedirl_ray.errors import DataError
from fedirl_ray.problem.mdp import Stack, TabularMDP, absorb, add_slip


def random_world(seed, s=6, a=3, b=2, d=2, feature_actions=1):
    rng = np.random.default_rng(seed)
    terminal = np.zeros(s, dtype=bool)
    terminal[-2:] = True
    goal = np.zeros(s, dtype=bool)
    goal[-1] = True
    successors, probabilities = absorb(
        rng.integers(s, size=(s, a, b), dtype=np.int32), rng.dirichlet(np.ones(b), (s, a)), terminal
    )
    return TabularMDP(
        successors=successors,
        probabilities=probabilities,
        initial=rng.dirichlet(np.ones(s)),
        terminal=terminal,
        goal=goal,
        features=rng.normal(size=(s, feature_actions, d)),
        reward=rng.normal(size=(s, feature_actions)),
        axes=(np.arange(2.0), np.arange(s / 2)),
    )


def dense(successors, probabilities):
    """Transition matrix `[a, s, s]`, summed branch by branch."""
    s, a, b = successors.shape
    matrix = np.zeros((a, s, s))
    for state in range(s):
        for action in range(a):
            for branch in range(b):
                to = successors[state, action, branch]
                matrix[action, state, to] += probabilities[state, action, branch]
    return matrix


def with_changes(**changes):
    return dataclasses.replace(random_world(0), **changes)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31), k=st.integers(1, 4), b=st.integers(1, 4))
def test_expectation_is_that_of_the_dense_matrices(seed, k, b):
    worlds = [random_world(seed + i, b=b) for i in range(k)]
    stack = Stack(worlds)
    values = np.random.default_rng(seed).normal(size=(k, stack.s))
    ours = (stack.expect @ values.ravel()).reshape(stack.a, k, stack.s)
    for i, world in enumerate(worlds):
        theirs = dense(world.successors, world.probabilities) @ values[i]
        np.testing.assert_allclose(ours[:, i], theirs, atol=1e-12)


def test_worlds_with_different_numbers_of_branches_stack():
    narrow, wide = random_world(0, b=1), random_world(1, b=4)
    ours = Stack([narrow, wide]).expect @ np.ones(12)
    np.testing.assert_allclose(ours, 1.0, atol=1e-12)


@pytest.mark.parametrize(("widths", "padded"), [((3, 3, 3, 2), True), ((1, 1, 6), False)])
def test_products_do_not_depend_on_how_the_operator_is_kept(widths, padded):
    stack = Stack([random_world(i, b=b) for i, b in enumerate(widths)])
    assert (stack.ahead.nnz > stack.expect.nnz) is padded
    rng = np.random.default_rng(0)
    for columns in ((), (3,)):
        values = rng.normal(size=(stack.k * stack.s, *columns))
        assert (stack.ahead @ values).tobytes() == (stack.expect @ values).tobytes()
        flow = rng.random((stack.a * stack.k * stack.s, *columns))
        assert (stack.push @ flow).tobytes() == (stack.expect.T.tocsr() @ flow).tobytes()


def test_push_is_the_transpose_of_expect():
    stack = Stack([random_world(i) for i in range(3)])
    np.testing.assert_array_equal(stack.push.toarray(), stack.expect.toarray().T)


@pytest.mark.parametrize("feature_actions", [1, 3])
def test_stacking_does_not_change_a_byte(feature_actions):
    k = 7
    worlds = [random_world(i, s=40, d=5, feature_actions=feature_actions) for i in range(k)]
    rng = np.random.default_rng(0)
    values, theta = rng.normal(size=(k, 40)), rng.normal(size=(k, 5))
    occupancy = rng.random((feature_actions, k, 40))
    together = Stack(worlds)
    expected = (together.expect @ values.ravel()).reshape(3, k, 40)
    rewards = together.rewards(theta).reshape(feature_actions, k, 40)
    sums = together.feature_sums(occupancy.reshape(feature_actions, -1))
    for i, world in enumerate(worlds):
        alone = Stack([world])
        assert expected[:, i].tobytes() == (alone.expect @ values[i]).tobytes()
        assert rewards[:, i].tobytes() == alone.rewards(theta[i : i + 1]).tobytes()
        own = np.ascontiguousarray(occupancy[:, i])
        assert sums[i].tobytes() == alone.feature_sums(own).tobytes()


@pytest.mark.parametrize("feature_actions", [1, 3])
def test_rewards_and_feature_sums_are_inner_products_with_the_features(feature_actions):
    worlds = [random_world(i, feature_actions=feature_actions) for i in range(2)]
    stack = Stack(worlds)
    rng = np.random.default_rng(1)
    theta, occupancy = rng.normal(size=(2, 2)), rng.random((feature_actions, 2, 6))
    rewards = stack.rewards(theta).reshape(feature_actions, 2, 6)
    sums = stack.feature_sums(occupancy.reshape(feature_actions, -1))
    for i, world in enumerate(worlds):
        np.testing.assert_allclose(rewards[:, i].T, world.features @ theta[i], atol=1e-12)
        expected = np.einsum("as,sad->d", occupancy[:, i], world.features)
        np.testing.assert_allclose(sums[i], expected, atol=1e-12)


def test_worlds_of_different_shape_do_not_stack():
    worlds = [random_world(0), random_world(1, feature_actions=3)]
    with pytest.raises(DataError, match="stacked worlds must share"):
        Stack(worlds)


def test_true_rewards_come_world_by_world_in_each_row():
    worlds = [random_world(0), dataclasses.replace(random_world(1), reward=np.ones((6, 3)))]
    rewards = Stack(worlds).true_rewards()
    assert rewards.shape == (3, 12)
    np.testing.assert_array_equal(rewards[2, :6], worlds[0].reward[:, 0])


def test_absorb_sends_every_action_back_and_spares_the_arguments():
    rng = np.random.default_rng(0)
    to = rng.integers(5, size=(5, 2, 3), dtype=np.int32)
    chance = rng.dirichlet(np.ones(3), (5, 2))
    before = to.copy(), chance.copy()
    terminal = np.array([False, True, False, False, True])
    matrix = dense(*absorb(to, chance, terminal))
    np.testing.assert_array_equal(matrix[:, terminal], np.stack([np.eye(5)[terminal]] * 2))
    np.testing.assert_array_equal(matrix[:, ~terminal], dense(to, chance)[:, ~terminal])
    np.testing.assert_array_equal(to, before[0])
    np.testing.assert_array_equal(chance, before[1])


@settings(deadline=None, max_examples=25)
@given(slip=st.floats(0, 1), seed=st.integers(0, 1000))
def test_slip_mixes_an_action_with_those_beside_it(slip, seed):
    world = random_world(seed, a=4)
    plain = dense(world.successors, world.probabilities)
    beside = [(1, 2), (3,), (), (0, 1)]
    mixed = dense(*add_slip(world.successors, world.probabilities, slip, beside))
    np.testing.assert_allclose(mixed.sum(axis=-1), 1.0, atol=1e-12)
    for action, others in enumerate(beside):
        expected = plain[action]
        if others:
            expected = (1 - slip) * plain[action] + slip * plain[list(others)].mean(axis=0)
        np.testing.assert_allclose(mixed[action], expected, atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probabilities": np.ones((6, 3, 1))}, r"probabilities must have shape \(6, 3, 2\)"),
        ({"initial": np.ones(5) / 5}, r"initial must have shape \(6,\), got \(5,\)"),
        ({"initial": np.ones(6)}, "initial must be >= 0 and sum to 1"),
        ({"initial": np.array([2.0, -1.0, 0, 0, 0, 0])}, "initial must be >= 0 and sum to 1"),
        ({"initial": np.full(6, np.nan)}, "initial must be >= 0 and sum to 1"),
        ({"features": np.ones((6, 2, 2))}, r"features must have shape \(6, 1, 2\) or \(6, 3, 2\)"),
        ({"features": np.full((6, 1, 2), np.inf)}, "features must be finite"),
        ({"reward": np.ones((6, 2))}, r"reward must have shape \(6, 1\) or \(6, 3\)"),
        ({"reward": np.full((6, 1), np.nan)}, "reward must be finite"),
        ({"axes": (np.arange(5.0),)}, r"axes must span as many points .* \(6\), got 5"),
        ({"successors": np.full((6, 3, 2), 6, np.int32)}, r"successors must lie in 0\.\.5"),
        (
            {"successors": np.array([[[-1, 0]] * 3] * 6, np.int32)},
            r"successors must lie in 0\.\.5, got -1 to 0",
        ),
        ({"terminal": np.ones(6, dtype=bool)}, "terminal states must lead only to themselves"),
        ({"goal": np.ones(6, dtype=bool)}, "goal states must be terminal"),
    ],
)
def test_an_impossible_world_is_refused_by_name(changes, message):
    with pytest.raises(DataError, match=message):
        with_changes(**changes)
