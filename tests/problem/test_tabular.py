import itertools

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.toy_text.frozen_lake import MAPS, is_valid
from hypothesis import given, settings
from hypothesis import strategies as st

from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.errors import ConfigError
from fedirl_ray.problem import tabular
from fedirl_ray.problem.family import draw_world
from fedirl_ray.problem.mdp import Stack
from fedirl_ray.seeds import stream


class Slipperiest(np.random.Generator):
    """Draws the upper end of every uniform interval, so that a world slips by a known amount."""

    def uniform(self, low, high):
        return high


def draw(name, index=0, role="client", seed=0, **problem):
    return draw_world(ProblemConfig(name=name, **problem), 0, seed, role, index)


def slipperiest():
    return Slipperiest(np.random.PCG64(0))


def dynamics(env):
    """Transition matrix `[a, s, s]` and expected reward `[s, a]` of an environment's own table."""
    table = env.unwrapped.P
    matrix, reward = np.zeros((len(table[0]), len(table), len(table))), np.zeros((len(table), 6))
    done = {to for row in table.values() for branches in row.values()
            for p, to, _, ends in branches if ends and p}  # fmt: skip
    for s, row in table.items():
        for a, branches in row.items():
            for p, to, r, _ in branches:
                matrix[a, s, s if s in done else to] += p
                reward[s, a] += 0.0 if s in done else p * r
    return matrix, reward[:, : len(matrix)]


def dense(world):
    stack = Stack([world])
    return stack.expect.toarray().reshape(stack.a, stack.s, stack.s)


def assert_has_dynamics_of(world, env):
    matrix, reward = dynamics(env)
    np.testing.assert_allclose(dense(world), matrix, atol=1e-12)
    np.testing.assert_allclose(world.reward, reward, atol=1e-12)
    np.testing.assert_array_equal(world.initial, env.unwrapped.initial_state_distrib)


def success(world, theta, horizon, discount=0.99):
    """Share of episodes that end in a goal under value iteration's greedy policy."""
    matrix, reward = dense(world), world.features @ np.array(theta)
    value = np.zeros(len(reward))
    for _ in range(3000):
        q = reward.T + discount * (matrix @ value)
        value = q.max(axis=0)
    taken = matrix[q.argmax(axis=0), np.arange(len(value))]  # [s, s]
    mass = world.initial
    for _ in range(horizon):
        mass = mass @ taken
    return mass[world.goal].sum()


@pytest.mark.parametrize("size", [4, 8])
def test_frozen_lake_is_gymnasiums_own_map_when_no_dial_is_turned(size):
    world = draw("FrozenLake-v1", size=size, layout=0.0, slip=0.0)
    env = gymnasium.make("FrozenLake-v1", map_name=f"{size}x{size}", is_slippery=False)
    assert_has_dynamics_of(world, env)


@pytest.mark.parametrize("size", [4, 8])
def test_frozen_lake_with_slip_two_thirds_is_gymnasiums_slippery_one(size):
    config = ProblemConfig(name="FrozenLake-v1", size=size, layout=0.0, slip=2 / 3)
    world = tabular.frozen_lake(config, stream(0), slipperiest(), deterministic=False)
    env = gymnasium.make("FrozenLake-v1", map_name=f"{size}x{size}", is_slippery=True)
    assert_has_dynamics_of(world, env)


@pytest.mark.parametrize("slippery", [False, True])
def test_cliff_walking_with_slip_0_or_two_thirds_is_gymnasiums_own(slippery):
    slip = 2 / 3 if slippery else 0.0
    config = ProblemConfig(name="CliffWalking-v1", layout=0.0, slip=slip)
    world = tabular.cliff_walking(config, slipperiest(), deterministic=False)
    assert_has_dynamics_of(world, gymnasium.make("CliffWalking-v1", is_slippery=slippery))


def test_taxi_without_slip_is_gymnasiums_own():
    assert_has_dynamics_of(draw("Taxi-v4", slip=0.0), gymnasium.make("Taxi-v4"))


def test_taxi_slips_as_in_gymnasiums_rain_wherever_the_way_ahead_is_free():
    config = ProblemConfig(name="Taxi-v4", slip=0.2)
    world = tabular.taxi(config, slipperiest(), deterministic=False)
    ours = dense(world)
    theirs, _ = dynamics(gymnasium.make("Taxi-v4", is_rainy=True, rainy_probability=0.8))
    dry, _ = dynamics(gymnasium.make("Taxi-v4"))
    ahead_is_free = np.diagonal(dry, axis1=1, axis2=2) == 0.0  # [a, s]
    ahead_is_free[4:] = True  # picking up and dropping off
    np.testing.assert_allclose(ours[ahead_is_free], theirs[ahead_is_free], atol=1e-12)
    assert ahead_is_free[:4].mean() > 0.6


def test_taxi_slips_into_walls_as_into_anything_else():
    world = tabular.taxi(ProblemConfig(slip=0.2), slipperiest(), deterministic=False)
    dry = dense(draw("Taxi-v4", slip=0.0))
    for action, sides in enumerate([(2, 3), (2, 3), (0, 1), (0, 1)]):
        mixed = 0.8 * dry[action] + 0.1 * dry[sides[0]] + 0.1 * dry[sides[1]]
        np.testing.assert_allclose(dense(world)[action], mixed, atol=1e-12)


@settings(deadline=None, max_examples=25)
@given(size=st.integers(4, 9), dial=st.floats(0, 1), index=st.integers(0, 1000))
def test_frozen_lake_keeps_its_holes_in_number_and_a_path(size, dial, index):
    common = draw("FrozenLake-v1", size=size, layout=0.0)
    world = draw("FrozenLake-v1", size=size, layout=dial, index=index)
    holes = (world.terminal & ~world.goal).reshape(size, size)
    assert holes.sum() == (common.terminal & ~common.goal).sum()
    board = np.where(holes, "H", "F")
    board[-1, -1] = "G"
    assert is_valid(board.tolist(), size)
    np.testing.assert_allclose(dense(world).sum(axis=-1), 1.0, atol=1e-12)


@pytest.mark.parametrize("size", [4, 5])
def test_frozen_lake_dial_leaves_or_moves_the_holes(size):
    for dial, different in ((0.0, 1), (1.0, 4)):
        worlds = [draw("FrozenLake-v1", size=size, layout=dial, index=i) for i in range(4)]
        assert len({world.terminal.tobytes() for world in worlds}) == different


def test_frozen_lakes_own_map_is_not_redrawn_by_a_seed_but_a_generated_one_is():
    def terminal(size, seed):
        return draw("FrozenLake-v1", size=size, layout=0.0, seed=seed).terminal

    holes = np.array([list(row) for row in MAPS["8x8"]]).ravel() == "H"
    np.testing.assert_array_equal(terminal(8, 1)[:-1], holes[:-1])
    assert (terminal(9, 0) != terminal(9, 1)).any()


def test_frozen_lake_refuses_holes_too_dense_for_gymnasiums_generator():
    with pytest.raises(ConfigError, match=r"problem.obstacles must be at most 0.4 .*, got 0.6"):
        draw("FrozenLake-v1", size=6, obstacles=0.6)


@settings(deadline=None, max_examples=25)
@given(dial=st.floats(0, 1), share=st.floats(0, 0.66), index=st.integers(0, 1000))
def test_cliff_walking_always_keeps_a_way(dial, share, index):
    world = draw("CliffWalking-v1", layout=dial, obstacles=share, slip=0.0, index=index)
    graph = dense(world).max(axis=0) > 0.0
    seen = world.initial > 0.0
    for _ in range(48):
        seen = seen | (seen @ graph)
    assert seen[world.goal].all()
    assert (world.features[:, 0, 1] == 0.0).sum() == 10 + round(dial * share * 36)


def test_falling_off_a_further_cliff_costs_and_leads_like_the_tables_own():
    world = draw("CliffWalking-v1", layout=1.0, slip=0.0)
    plain = draw("CliffWalking-v1", layout=0.0, slip=0.0)
    cliff = world.features[:, 0, 1] == 0.0
    to = world.successors[:, :, 0]
    assert not cliff[to].any()
    falls = cliff[plain.successors[:, :, 0]]
    assert falls.sum() > 9
    assert (to[falls] == 36).all()
    assert (world.reward[falls] == -100.0).all()
    same = ~falls & ~world.terminal[:, None]
    np.testing.assert_array_equal(to[same], plain.successors[:, :, 0][same])
    np.testing.assert_array_equal(world.reward[same], plain.reward[same])


def test_cliff_walking_refuses_a_cliff_that_leaves_no_way():
    law = r"problem.obstacles x problem.layout must .* at most 0.66, got 0.9 x 1.0"
    with pytest.raises(ConfigError, match=law):
        draw("CliffWalking-v1", obstacles=0.9)


def test_taxi_features_measure_the_way_still_to_go():
    world = draw("Taxi-v4")
    env = gymnasium.make("Taxi-v4").unwrapped
    for s in range(500):
        row, column, passenger, target = env.decode(s)
        if passenger == target:
            expected = [0, 0, 0]
        else:
            stops = [(row, column), *env.locs[passenger : passenger + 1], env.locs[target]]
            distance = sum(abs(i - x) + abs(j - y) for (i, j), (x, y) in itertools.pairwise(stops))
            expected = [distance, passenger < 4, passenger == 4]
        np.testing.assert_array_equal(world.features[s, 0], expected)


def test_taxi_is_won_where_the_passenger_is_delivered():
    world = draw("Taxi-v4")
    env = gymnasium.make("Taxi-v4").unwrapped
    delivered = [env.encode(*stand, i, i) for i, stand in enumerate(env.locs)]
    assert np.flatnonzero(world.goal).tolist() == sorted(delivered)
    np.testing.assert_array_equal(world.goal, world.terminal)


@pytest.mark.parametrize("layout", [0.0, 1.0])
@pytest.mark.parametrize(
    ("name", "size", "theta", "horizon"),
    [
        ("FrozenLake-v1", 4, (-1.0, 0.3), 24),
        ("FrozenLake-v1", 5, (-1.0, 0.3), 30),
        ("FrozenLake-v1", 8, (-1.0, 0.3), 48),
        ("CliffWalking-v1", 5, (-1.0, 0.1), 100),
        ("Taxi-v4", 5, (-1.0, -0.5, -0.5), 200),
    ],
)
def test_a_sensible_linear_reward_makes_the_planner_succeed(name, size, theta, horizon, layout):
    world = draw(name, size=size, layout=layout, role="probe")
    assert success(world, theta, horizon) == pytest.approx(1.0)


def test_worlds_of_one_family_stack():
    for name in ("FrozenLake-v1", "CliffWalking-v1", "Taxi-v4"):
        worlds = [draw(name, role="probe"), *(draw(name, index=i) for i in range(3))]
        assert Stack(worlds).k == 4


def test_a_fixed_table_is_not_worn_by_use():
    before = draw("CliffWalking-v1", layout=0.0)
    draw("CliffWalking-v1", layout=1.0)
    after = draw("CliffWalking-v1", layout=0.0)
    assert before.successors.tobytes() == after.successors.tobytes()
    assert before.reward.tobytes() == after.reward.tobytes()
