import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import dense, random_world, save_episodes

from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.errors import DataError
from fedirl_ray.problem.demonstrations import (
    Demonstrations,
    demonstrate,
    expert_policy,
    feature_expectation,
    load_demonstrations,
    require_possible,
)
from fedirl_ray.problem.family import draw_world
from fedirl_ray.problem.greedy import greedy_policy
from fedirl_ray.problem.mdp import Stack, TabularMDP
from fedirl_ray.problem.planning import occupancy, soft_policy

EPISODES = 20_000


def sampled(feature_actions=1, horizon=6):
    """A world, a policy that changes with time `[h, a, s]`, and many episodes of it."""
    world = random_world(1, feature_actions=feature_actions)
    policy = np.random.default_rng(2).dirichlet(np.ones(3), (horizon, 6)).transpose(0, 2, 1)
    return world, policy, demonstrate(world, policy, EPISODES, np.random.default_rng(3))


def test_visits_and_actions_are_as_frequent_as_the_occupancy_says():
    world, policy, data = sampled(feature_actions=3)
    for horizon in (1, 2, 6):  # a shift by one step cannot hide in a long sum
        exact = occupancy(Stack([world]), policy[:horizon], discount=0.8)
        counts = np.zeros((3, 6))
        for t in range(horizon):
            np.add.at(counts, (data.actions[:, t], data.states[:, t]), 0.8**t / EPISODES)
        # An episode's weight in a cell lies in [0, h]; four standard errors of the widest.
        assert np.abs(counts - exact).max() < 4 * np.sqrt(horizon) / np.sqrt(4 * EPISODES)


@pytest.mark.parametrize("feature_actions", [1, 3])
def test_feature_expectation_tends_to_the_exact_feature_sums(feature_actions):
    world, policy, data = sampled(feature_actions)
    stack = Stack([world])
    exact = stack.feature_sums(occupancy(stack, policy, discount=0.8))[0]
    found = feature_expectation(world, data, 0.8)
    assert np.abs(found - exact).max() < 0.05
    by_hand = np.zeros(2)
    few = Demonstrations(data.states[:50], data.actions[:50])
    for states, actions in zip(few.states, few.actions, strict=True):
        for t, (s, a) in enumerate(zip(states, actions, strict=True)):
            by_hand += 0.8**t * world.features[s, a if feature_actions == 3 else 0] / 50
    np.testing.assert_allclose(feature_expectation(world, few, 0.8), by_hand, atol=1e-12)


def test_episodes_move_only_as_the_world_allows_and_stay_where_they_end():
    world, _, data = sampled()
    now, then, taken = data.states[:, :-1], data.states[:, 1:], data.actions[:, :-1]
    possible = (world.successors[now, taken] == then[..., None]) & (
        world.probabilities[now, taken] > 0.0
    )
    assert possible.any(axis=-1).all()
    ended = world.terminal[now]
    assert ended.any()
    np.testing.assert_array_equal(then[ended], now[ended])


def test_actions_without_any_chance_are_never_taken():
    world = random_world(0)
    policy = np.zeros((5, 3, 6))
    policy[:, 1] = 1.0
    data = demonstrate(world, policy, 500, np.random.default_rng(0))
    assert (data.actions == 1).all()


def test_the_same_stream_gives_the_same_episodes():
    world, policy, data = sampled()
    again = demonstrate(world, policy, EPISODES, np.random.default_rng(3))
    assert again.states.tobytes() == data.states.tobytes()
    assert again.actions.tobytes() == data.actions.tobytes()


def test_an_expert_without_temperature_is_greedy_at_every_step():
    stack = Stack([draw_world(ProblemConfig(), 0, 0, "client", i) for i in range(2)])
    policy = expert_policy(stack, ProblemConfig(expert_discount=0.9), 7)
    greedy = greedy_policy(stack, stack.true_rewards()[:, :, None], discount=0.9)[:, :, 0]
    assert policy.shape == (7, 4, 50)
    assert all(np.array_equal(step, greedy) for step in policy)


def test_an_expert_with_temperature_is_soft():
    stack = Stack([draw_world(ProblemConfig(), 0, 0, "client", 0)])
    policy = expert_policy(stack, ProblemConfig(expert_temperature=0.3, expert_discount=0.9), 7)
    soft = soft_policy(stack, stack.true_rewards(), horizon=7, discount=0.9, temperature=0.3)
    np.testing.assert_array_equal(policy, soft.policy)


def two_clients():
    rng = np.random.default_rng(0)
    return [
        Demonstrations(
            rng.integers(9, size=(m, 4), dtype=np.int32),
            rng.integers(3, size=(m, 4), dtype=np.int32),
        )
        for m in (2, 5)
    ]


def load(path, clients=2):
    return load_demonstrations(path, clients, states=9, actions=3, horizon=4)


def test_what_is_saved_is_loaded(tmp_path):
    data = two_clients()
    save_episodes(tmp_path / "demos.npz", data)
    for saved, loaded in zip(data, load(tmp_path / "demos.npz"), strict=True):
        np.testing.assert_array_equal(saved.states, loaded.states)
        np.testing.assert_array_equal(saved.actions, loaded.actions)
        assert loaded.states.dtype == loaded.actions.dtype == np.int32


def test_episodes_may_come_in_any_order_and_any_integer_type(tmp_path):
    data = two_clients()
    client = np.array([1, 0, 1, 1, 0, 1, 1], dtype=np.uint8)
    states, actions = np.empty((7, 4), np.int64), np.empty((7, 4), np.int8)
    for i in range(2):
        states[client == i], actions[client == i] = data[i].states, data[i].actions
    np.savez(tmp_path / "demos.npz", client=client, states=states, actions=actions)
    for saved, loaded in zip(data, load(tmp_path / "demos.npz"), strict=True):
        np.testing.assert_array_equal(saved.states, loaded.states)
        np.testing.assert_array_equal(saved.actions, loaded.actions)


GOOD = {
    "client": np.array([0, 0, 1]),
    "states": np.zeros((3, 4), dtype=int),
    "actions": np.zeros((3, 4), dtype=int),
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"client": None}, "must hold client, states, actions; missing client$"),
        ({"states": None, "actions": None}, "missing states, actions$"),
        (
            {"states": np.zeros((3, 5), int)},
            r"states must have shape \(3, 4\) \(episodes, horizon\), got \(3, 5\)$",
        ),
        ({"actions": np.zeros((2, 4), int)}, r"actions must have shape \(3, 4\) .*got \(2, 4\)$"),
        ({"states": np.zeros(12, int)}, r"states must have shape \(3, 4\) .*got \(12,\)$"),
        (
            {"client": np.zeros((3, 1), int)},
            r"client must have shape \(3,\) \(episodes\), got \(3, 1\)$",
        ),
        ({"client": np.array(0)}, r"client must have shape .*got \(\)$"),
        ({"states": np.zeros((3, 4))}, "states must be integers, got float64$"),
        ({"actions": np.zeros((3, 4), bool)}, "actions must be integers, got bool$"),
        ({"client": np.array(["a", "b", "c"])}, "client must be integers, got <U1$"),
        ({"states": np.full((3, 4), 9)}, r"states must lie in 0\.\.8, got 9\.\.9$"),
        ({"actions": np.full((3, 4), -1)}, r"actions must lie in 0\.\.2, got -1\.\.-1$"),
        ({"client": np.array([0, 1, 2])}, r"client must lie in 0\.\.1, got 0\.\.2$"),
        ({"client": np.array([0, 1, -1])}, r"client must lie in 0\.\.1, got -1\.\.1$"),
        ({"client": np.zeros(3, int)}, "must hold an episode of every client; none of client 1$"),
        ({"states": np.array([[None] * 4] * 3)}, r"must be a readable \.npz of plain arrays, got"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_line(tmp_path, changes, message):
    path = tmp_path / "demos.npz"
    np.savez(path, **{name: array for name, array in (GOOD | changes).items() if array is not None})
    with pytest.raises(DataError, match=message) as error:
        load(path)
    assert str(error.value).startswith(f"problem.demonstrations-file {path}")
    assert "\n" not in str(error.value)


def archive():
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **GOOD)
    return buffer.getvalue()


def bare_array():
    buffer = io.BytesIO()
    np.save(buffer, GOOD["states"])
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"client,states,actions\n0,0,0\n",
        bare_array(),
        archive()[:200],
        bytes(b ^ (255 if 40 <= i < 120 else 0) for i, b in enumerate(archive())),
    ],
    ids=["empty", "text", "npy", "cut", "flipped"],
)
def test_a_file_that_is_no_npz_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "demos.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"must be a readable \.npz of plain arrays, got") as error:
        load(path)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_refused_in_one_line(tmp_path):
    with pytest.raises(DataError, match=r"nosuch\.npz must be a readable .npz .*no such file"):
        load(tmp_path / "nosuch.npz")


def test_a_pickled_object_is_never_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    path = tmp_path / "demos.npz"
    np.savez(path, **(GOOD | {"client": np.array([Trap()] * 3, dtype=object)}))
    with pytest.raises(DataError, match=r"must be a readable \.npz of plain arrays"):
        load(path)


def chain():
    """From 0 up to 4, which ends it, or slipping back by one; starts in 0 or 1."""
    to = np.array([[[0, 1]], [[0, 2]], [[1, 3]], [[2, 4]], [[4, 4]]], dtype=np.int32)
    to = np.concatenate([to, to], axis=1)
    chance = np.tile([0.5, 0.5], (5, 2, 1))
    chance[:4, 1] = [0.0, 1.0]  # the second action never slips
    return TabularMDP(
        successors=to,
        probabilities=chance,
        initial=np.array([0.5, 0.5, 0.0, 0.0, 0.0]),
        terminal=np.arange(5) == 4,
        goal=np.arange(5) == 4,
        features=np.eye(5)[:, None],
        reward=np.zeros((5, 1)),
        axes=(np.arange(5.0),),
    )


def episodes(states, actions):
    return Demonstrations(np.array(states, np.int32), np.array(actions, np.int32))


@pytest.mark.parametrize(
    ("states", "actions", "said"),
    [
        (
            [[1, 2, 3, 4, 4], [3, 4, 4, 4, 4]],
            [[0] * 5] * 2,
            "it, episode 1: its world never starts in state 3, only in 0, 1",
        ),
        (
            [[0, 1, 2, 3, 4], [1, 2, 3, 4, 0]],
            [[1] * 5] * 2,
            "it, episode 1, step 3: in its world action 1 leads from state 4 to 4, never to 0; "
            "where an episode has ended, it stays",
        ),
        (
            [[0, 1, 0, 1, 2]],
            [[0, 1, 0, 0, 0]],
            "it, episode 0, step 1: in its world action 1 leads from state 1 to 2, never to 0",
        ),
        (
            [[0, 2, 3, 4, 4]],
            [[0] * 5],
            "it, episode 0, step 0: in its world action 0 leads from state 0 to 0, 1, never to 2",
        ),
    ],
)
def test_a_step_that_cannot_have_happened_is_named(states, actions, said):
    with pytest.raises(DataError) as error:
        require_possible(chain(), episodes(states, actions), "it")
    assert str(error.value) == said


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), horizon=st.integers(1, 8))
def test_what_was_sampled_in_a_world_is_possible_there(seed, horizon):
    rng = np.random.default_rng(seed)
    world = random_world(seed)
    policy = rng.dirichlet(np.ones(3), (horizon, 6)).transpose(0, 2, 1)
    require_possible(world, demonstrate(world, policy, 20, rng), "it")


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_step_is_refused_exactly_where_the_dense_dynamics_have_a_zero(seed):
    rng = np.random.default_rng(seed)
    world = random_world(seed)
    states, actions = rng.integers(6, size=(1, 4)), rng.integers(3, size=(1, 4))
    steps = dense(world)[states[0, :-1], actions[0, :-1], states[0, 1:]]
    data = episodes(states, actions)
    if (steps > 0.0).all():
        require_possible(world, data, "it")
    else:
        with pytest.raises(DataError, match=f"step {int((steps == 0.0).argmax())}: "):
            require_possible(world, data, "it")
