import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedirl_ray.irl.shown import show
from fedirl_ray.problem.control.arena import Arena, play
from fedirl_ray.problem.control.model import model_from_physics
from fedirl_ray.problem.control.paper import ACROBOT, CARTPOLE, PENDULUM, TASKS
from fedirl_ray.problem.control.rollouts import gather, model_from_transitions
from fedirl_ray.problem.control.sensors import Displaced, displaced, drawn_offset

SPACING = 2.0 * math.pi / 32
"""Of the paper's pendulum lattice along its angle."""


def offset_by(task, *shares):
    return tuple(share * axis.spacing for share, axis in zip(shares, task.state.axes, strict=True))


def swinging(observations):
    """A policy that reads observations alone."""
    return np.tanh(observations.sum(axis=1, keepdims=True))


def test_without_an_offset_a_task_is_itself():
    assert displaced(PENDULUM, ()) is PENDULUM


@pytest.mark.parametrize(
    ("task", "offset"),
    [(PENDULUM, (1.2, 0.0)), (CARTPOLE, (0.3, 0.0, -0.05, 0.2)), (ACROBOT, (-1.0, 0.4, 0.0, 0.0))],
    ids=["pendulum", "cart", "acrobot"],
)
def test_a_client_sees_gymnasiums_states_beside_where_they_are(task, offset):
    own, env, rng = displaced(task, offset), task.environment(2.0), np.random.default_rng(0)
    physics = own.physics(2.0)
    seen, _ = env.reset(seed=0)
    for _ in range(60):
        before = np.array(env.state, dtype=np.float64) + offset
        action = task.action.points[rng.integers(task.action.size)]
        step = physics.step(before[None], action[None])
        number = int(np.abs(task.action.points[:, 0] - action).argmin())
        command = number if task.discrete else action * env.max_torque
        seen, reward, terminated, _, _ = env.step(command)
        np.testing.assert_allclose(step.states[0], np.array(env.state) + offset, atol=1e-6)
        np.testing.assert_allclose(physics.observe(step.states)[0], seen, atol=1e-6)
        away = own.locate(seen[None].astype(np.float64)) - step.states
        np.testing.assert_allclose(own.state.shortest(away), 0.0, atol=1e-5)
        assert step.reward[0] == pytest.approx(reward, abs=1e-6)
        assert step.terminated[0] == terminated
        if terminated:
            env.reset(seed=1)


@pytest.mark.parametrize("cells", [1, -5, 16])
def test_a_model_seen_off_by_whole_cells_is_the_model_read_elsewhere(cells):
    def made(task):
        rng = np.random.default_rng(0)
        return model_from_physics(task, task.physics(1.0), task.state, task.action, rng)

    here, there = made(PENDULUM), made(displaced(PENDULUM, (cells * SPACING, 0.0)))
    to = np.roll(np.arange(32 * 21).reshape(32, 21), cells, axis=0).ravel()
    np.testing.assert_allclose(there.reward, here.reward[:, to], atol=1e-12)
    np.testing.assert_allclose(there.initial, here.initial[to], atol=1e-12)
    rows = (np.arange(5)[:, None] * len(to) + to).ravel()
    np.testing.assert_allclose(
        there.expect.toarray(), here.expect.toarray()[rows][:, to], atol=1e-12
    )


def test_what_a_client_shows_lies_off_by_as_many_cells():
    episodes = play(PENDULUM, [1.0] * 4, swinging, np.random.default_rng(0))

    def steps(task):
        found = show(task, episodes, task.state, task.action, 0.95)
        return found.steps.reshape(5, 32, 21), found.visits.reshape(5, 32, 21)

    own = displaced(PENDULUM, (3 * SPACING, 0.0))
    for here, there in zip(steps(PENDULUM), steps(own), strict=True):
        np.testing.assert_allclose(there, np.roll(here, 3, axis=1), atol=1e-12)


def test_a_model_of_recorded_steps_is_off_as_well():
    recorded = gather(PENDULUM, 0.0, [], np.random.default_rng(0), 2_000)
    small = PENDULUM.state.resized((8, 5))

    def made(task):
        return model_from_transitions(task, recorded, small, task.action)

    here, there = made(PENDULUM), made(displaced(PENDULUM, (2 * small.axes[0].spacing, 0.0)))
    to = np.roll(np.arange(40).reshape(8, 5), 2, axis=0).ravel()
    np.testing.assert_allclose(there.reward, here.reward[:, to], atol=1e-9)
    np.testing.assert_allclose(there.initial, here.initial[to], atol=1e-9)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("task", [PENDULUM, CARTPOLE], ids=["pendulum", "cart"])
def test_observations_and_returns_stay_what_the_environment_gives(task, rows):
    own = displaced(task, offset_by(task, *(0.3,) * len(task.state.axes)))
    one, other = (
        play(which, [2.0] * rows, swinging, np.random.default_rng(0), steps=40)
        for which in (task, own)
    )
    np.testing.assert_allclose(other.observations, one.observations, atol=1e-9)
    np.testing.assert_allclose(other.returns, one.returns, atol=1e-9)
    np.testing.assert_array_equal(other.lengths, one.lengths)


def test_rows_of_several_physics_are_seen_by_the_same_sensors():
    own = displaced(PENDULUM, (1.0, 0.0))
    arena = Arena(own, [0.0, 5.0], np.random.default_rng(0))
    plain = Arena(PENDULUM, [0.0, 5.0], np.random.default_rng(0))
    for _ in range(5):
        one, other = (one.step(np.ones((2, 1))) for one in (arena, plain))
        np.testing.assert_allclose(one.observations, other.observations, atol=1e-12)
        np.testing.assert_allclose(one.reward, other.reward, atol=1e-12)
    assert arena.observations[0] != pytest.approx(arena.observations[1], abs=1e-3)


def test_a_displaced_clients_physics_are_its_own():
    own = displaced(PENDULUM, (1.0, 0.0)).physics(3.0)
    assert isinstance(own, Displaced)
    assert own.inner == PENDULUM.physics(3.0)


@given(level=st.floats(0.01, 3.0), client=st.integers(0, 50), seed=st.integers(0, 5))
def test_an_offset_grows_with_the_dial_and_stays_on_the_chosen_axes(level, client, seed):
    one = drawn_offset(ACROBOT, level, [0, 1], 0, seed, client)
    half = drawn_offset(ACROBOT, level / 2.0, [1], 0, seed, client)
    assert one[2:] == (0.0, 0.0)
    assert half[0] == 0.0
    assert half[1] == pytest.approx(one[1] / 2.0)
    assert max(map(abs, one)) <= level


def test_offsets_are_uniform_and_everybodys_own():
    who = itertools.product(range(10), range(40))
    drawn = np.array([drawn_offset(PENDULUM, 1.2, [0], 0, seed, i) for seed, i in who])
    assert len(set(drawn[:, 0])) == 400
    assert abs(drawn[:, 0].mean()) < 4 * 1.2 / math.sqrt(3 * 400)
    assert (drawn[:, 0] ** 2).mean() == pytest.approx(1.2**2 / 3, rel=0.2)
    assert drawn_offset(PENDULUM, 1.2, [0], 0, 3, 7) == drawn_offset(PENDULUM, 1.2, [0], 0, 3, 7.0)


def test_positions_are_the_axes_that_are_not_called_after_velocities():
    for task in TASKS.values():
        names = [axis.name for axis in task.state.axes]
        fast = [j for j, name in enumerate(names) if name.startswith(("speed", "turn", "v"))]
        assert sorted((*task.positions, *fast)) == list(range(len(names)))
