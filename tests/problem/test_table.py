import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import (
    ClipReward,
    NormalizeReward,
    OrderEnforcing,
    RecordEpisodeStatistics,
    TimeLimit,
    TransformAction,
    TransformObservation,
    TransformReward,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from fedirl_ray.errors import DataError
from fedirl_ray.problem.table import read_table


class Made(gymnasium.Env):
    """An environment with the given table, starting in state 0."""

    observation_space = gymnasium.spaces.Discrete(4)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, table, initial=None):
        self.P = table
        self.initial_state_distrib = np.eye(len(table))[0] if initial is None else initial


TABLE = {
    0: {0: [(0.5, 1, 2.0, False), (0.5, 2, -3.0, True)], 1: [(1.0, 1, 0.5, False)]},
    1: {0: [(1.0, 3, 4.0, True)], 1: [(1.0, 0, -1.0, False)]},
    2: {0: [(1.0, 2, 0.0, True)], 1: [(1.0, 2, 0.0, True)]},
    3: {0: [(1.0, 3, 0.0, True)], 1: [(1.0, 3, 0.0, True)]},
}
SHAPES = {
    "lists": lambda: [[TABLE[s][a] for a in range(2)] for s in range(4)],
    "tuples": lambda: tuple(tuple(tuple(TABLE[s][a]) for a in range(2)) for s in range(4)),
    "a dict of lists": lambda: {s: [TABLE[s][a] for a in range(2)] for s in range(4)},
    "a list of dicts": lambda: [TABLE[s] for s in range(4)],
    "dicts in any order": lambda: {
        s: dict(reversed(row.items())) for s, row in reversed(TABLE.items())
    },
    "numpy numbers as keys": lambda: {np.int64(s): TABLE[s] for s in range(4)},
    "five entries": lambda: {
        s: {a: [(*one, False) for one in TABLE[s][a]] for a in range(2)} for s in range(4)
    },
    "lists of numbers": lambda: [
        [[list(map(float, one)) for one in TABLE[s][a]] for a in range(2)] for s in range(4)
    ],
    "one array": lambda: np.array(
        [
            [[*TABLE[s][a], (0.0, 0, 0.0, False)][:2] for a in range(2)]
            for s in range(4)
        ],
        dtype=float,
    ),
    "an array of objects": lambda: np.array([TABLE[s] for s in range(4)], dtype=object),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_a_table_says_the_same_whatever_it_is_made_of(shape):
    plain, other = read_table(Made(TABLE)), read_table(Made(SHAPES[shape](), np.eye(4)[0]))
    for one, same in zip(plain, other, strict=True):
        np.testing.assert_array_equal(one, same)


def test_a_table_is_read_as_it_stands():
    found = read_table(Made(TABLE))
    assert found.reward.tolist() == [[-0.5, 0.5], [4.0, -1.0], [0.0, 0.0], [0.0, 0.0]]
    assert found.done.tolist() == [False, False, True, True]
    assert found.won.tolist() == [False, False, False, True]
    assert found.successors[0, 0].tolist() == [1, 2]
    assert found.probabilities[0, 0].tolist() == [0.5, 0.5]
    assert found.probabilities[1, 0].tolist() == [1.0, 0.0]


def changed(entry):
    """The table with another branch in state 1 under action 0."""
    return {**TABLE, 1: {0: [entry], 1: TABLE[1][1]}}


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ((1.0, 3, 4.0), r"state 1, action 0 holds \(1.0, 3, 4.0\)"),
        ((1.0, 3, 4.0, True, False, {}), "state 1, action 0 holds"),
        ((1.0, 3, 4.0, True, True), "state 1, action 0 truncates the episode"),
        ((1.0, 3, 4.0, True, {}), "holds"),
        ((1.0, 3.5, 4.0, True), "holds"),
        ((1.0, "goal", 4.0, True), "holds"),
        ((np.nan, 3, 4.0, True), "holds"),
        ((1.5, 3, 4.0, True), "holds"),
        ((-0.5, 3, 4.0, True), "holds"),
        ((1.0, 3, np.inf, True), "holds"),
        ((1.0, 3, None, True), "holds"),
        ((1.0, 3, 4.0, "no"), "holds"),
        ((1.0, 3, 4.0, 2), "holds"),
        (0.25, "state 1, action 0 holds 0.25"),
    ],
)
def test_a_branch_that_is_none_is_refused_by_its_place(entry, said):
    with pytest.raises(DataError, match=said) as error:
        read_table(Made(changed(entry)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (np.full((4, 2, 4), 0.25), r"must list branches .*; state 0, action 0 holds np.float64\(0"),
        (7, "must list branches .*, got 7"),
        ({0: 7}, "must list branches .*, got 7"),
        ({0: {0: "branch"}}, "must list branches .*, got 'branch'"),
    ],
)
def test_what_is_no_table_is_refused(table, said):
    with pytest.raises(DataError, match=said) as error:
        read_table(Made(table, np.eye(4)[0]))
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("initial", "said"),
    [
        (np.eye(3)[0], r"must be 4 chances, one a state, got shape \(3,\)"),
        (np.eye(4), r"got shape \(4, 4\)"),
        (["a", "b", "c", "d"], "must be 4 chances"),
        ({0: 1.0}, "must be 4 chances"),
    ],
)
def test_first_states_that_are_none_are_refused(initial, said):
    with pytest.raises(DataError, match=said):
        read_table(Made(TABLE, initial))


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_rewards_come_through_wrappers_as_through_steps(seed):
    """Checked by stepping Gymnasium's own FrozenLake through the same wrappers."""
    rng = np.random.default_rng(seed)
    scale, offset = rng.normal(size=2)
    env = gymnasium.make("FrozenLake-v1", is_slippery=False)
    layers = [
        lambda one: TransformReward(one, lambda r: scale * r + offset),
        lambda one: ClipReward(one, -0.5, 0.5),
        lambda one: TransformReward(one, lambda r: r**2 - r),
        lambda one: TransformObservation(one, lambda seen: seen, one.observation_space),
        RecordEpisodeStatistics,
    ]
    for choice in rng.permutation(len(layers)):
        env = layers[choice](env)
    table = read_table(env)
    env.reset(seed=0)
    for state in rng.permutation(16)[:4]:
        action = int(rng.integers(4))
        env.reset()
        env.unwrapped.s = int(state)
        _, reward, _, _, _ = env.step(action)
        assert table.reward[state, action] == pytest.approx(float(reward), abs=1e-12)


class Doubled(gymnasium.Wrapper):
    def step(self, action):
        seen, reward, terminated, truncated, info = self.env.step(action)
        return seen, 2.0 * reward, terminated, truncated, info


class Elsewhere(gymnasium.Wrapper):
    def reset(self, **settings):
        return 2, {}


class Counting(gymnasium.RewardWrapper):
    calls = 0

    def reward(self, reward):
        self.calls += 1
        return reward + self.calls


class Named(gymnasium.Wrapper):
    """Changes nothing."""


@pytest.mark.parametrize(
    ("wrap", "said"),
    [
        (Doubled, "wrapper Doubled may change what the table below it says"),
        (Elsewhere, "wrapper Elsewhere may change"),
        (NormalizeReward, "wrapper NormalizeReward may change"),
        (lambda env: TransformAction(env, lambda a: 1 - a, env.action_space), "TransformAction"),
        (Counting, "wrapper Counting must make finite rewards of rewards alone"),
        (lambda env: TransformReward(env, lambda r: r * np.nan), "must make finite rewards"),
        (lambda env: Named(Doubled(Named(env))), "wrapper Doubled may change"),
    ],
)
def test_a_wrapper_whose_effect_is_unknown_is_refused(wrap, said):
    with pytest.raises(DataError, match=said):
        read_table(wrap(Made(TABLE)))


def test_wrappers_that_change_nothing_are_passed_by():
    wrapped = TimeLimit(OrderEnforcing(Named(Made(TABLE))), max_episode_steps=3)
    assert wrapped.spec is None
    for one, same in zip(read_table(Made(TABLE)), read_table(wrapped), strict=True):
        np.testing.assert_array_equal(one, same)


def test_a_state_that_ends_the_episode_only_sometimes_is_refused():
    table = {
        0: {0: [(0.5, 1, 0.0, False), (0.5, 2, 1.0, True)]},
        1: {0: [(1.0, 2, 1.0, False)]},
        2: {0: [(1.0, 0, 0.0, False)]},
    }
    with pytest.raises(DataError, match="must end the episode however it is entered, got state 2"):
        read_table(Made(table))


@pytest.mark.parametrize(
    "table",
    [
        {1: {0: [(1.0, 1, 0.0, True)]}},
        {0: {0: [(1.0, 5, 0.0, True)]}},
        {0: {0: [(1.0, -1, 0.0, True)]}},
        {0: {0: [(1.0, 1, 0.0, True)]}, 1: {1: [(1.0, 1, 0.0, True)]}},
        [[[(1.0, 1, 0.0, True)], [(1.0, 1, 0.0, True)]], [[(1.0, 1, 0.0, True)]]],
        {0: {}},
        {},
        [],
    ],
)
def test_a_table_that_is_not_numbered_through_is_refused(table):
    env = Made({0: {}})
    env.P = table
    with pytest.raises(DataError, match="must number states and actions from 0"):
        read_table(env)


def test_an_environment_without_a_table_is_refused():
    env = gymnasium.make("CartPole-v1")
    with pytest.raises(DataError, match=r"must have unwrapped\.P and .* got CartPoleEnv without"):
        read_table(env)
