"""Rows of agents live as single episodes do, and begin anew where these end."""

from dataclasses import replace

import numpy as np
import pytest

from fedirl_ray.evaluate.environments import AHEAD, Environments
from fedirl_ray.problem.control.paper import ACROBOT, CARTPOLE, PENDULUM

QUIET = [replace(task, noise=0.0) for task in (CARTPOLE, PENDULUM, ACROBOT)]


def streams(*seeds):
    return [np.random.default_rng(seed) for seed in seeds]


def drawn(task, shape, rng):
    points = task.action.points
    return points[rng.integers(len(points), size=shape)]


@pytest.mark.parametrize("task", QUIET, ids=lambda task: task.name)
def test_arrays_live_as_gymnasiums_environments_do(task):
    clients, rng = [0.0, 3.5], np.random.default_rng(1)
    arrays = Environments(replace(task, steps=50), clients, 3, streams(1, 2))
    envs = [[task.environment(i) for _ in range(3)] for i in clients]
    for agent in range(2):
        for row in range(3):
            env = envs[agent][row]
            env.reset(seed=0)
            start = arrays._dynamics._states.reshape(2, 3, -1)[agent, row]
            env.unwrapped.state = start.copy()
    for _ in range(50):
        actions = drawn(task, (2, 3), rng)
        move = arrays.step(actions)
        for agent in range(2):
            for row in range(3):
                command = actions[agent, row]
                if task.discrete:
                    command = int(np.flatnonzero((task.action.points == command).all(axis=1))[0])
                else:
                    command = command * envs[agent][row].action_space.high
                seen, reward, ended, _, _ = envs[agent][row].step(command)
                np.testing.assert_allclose(move.last[agent, row], seen, atol=1e-4)
                assert move.reward[agent, row] == pytest.approx(reward, abs=1e-3)
                assert move.terminated[agent, row] == ended
        if move.terminated.any():
            return


@pytest.mark.parametrize("physics", [CARTPOLE.physics, None], ids=["arrays", "gymnasium"])
def test_ends_and_cuts_are_told_apart_and_rows_begin_anew(physics):
    task = replace(CARTPOLE, steps=12, physics=physics, noise=0.0)
    rows = Environments(task, [0.0, 4.0], 32, streams(5, 6))
    rng, age = np.random.default_rng(0), np.zeros((2, 32), dtype=int)
    cut = ended = 0
    for _ in range(40):
        push = np.where(rng.random((2, 32, 1)) < 0.85, 1.0, -1.0)  # most fall within twelve steps
        move = rows.step(push)
        age += 1
        fallen = (np.abs(move.last[..., 2]) > 0.2095) | (np.abs(move.last[..., 0]) > 2.4)
        np.testing.assert_array_equal(move.terminated, fallen)
        np.testing.assert_array_equal(move.truncated, (age >= 12) & ~fallen)
        over = move.terminated | move.truncated
        age[over] = 0
        assert (np.abs(move.observations[over]) <= 0.05).all()
        np.testing.assert_array_equal(move.observations[~over], move.last[~over])
        np.testing.assert_array_equal(rows.observations, move.observations)
        cut, ended = cut + move.truncated.sum(), ended + move.terminated.sum()
    assert cut > 0
    assert ended > 0


def test_noise_is_each_clients_own_also_where_a_row_begins_anew():
    task = replace(PENDULUM, noise=0.5, steps=4)
    rows = Environments(task, [0.0, 2.0], 500, streams(1, 2))
    quiet = Environments(replace(task, noise=0.0), [0.0, 2.0], 500, streams(1, 2))
    np.testing.assert_array_equal(rows.observations[0], quiet.observations[0])
    for _ in range(AHEAD + 2):
        move = rows.step(np.zeros((2, 500, 1)))
        for seen in (move.observations, move.last):
            length = np.hypot(seen[..., 0], seen[..., 1])
            np.testing.assert_allclose(length[0], 1.0)
            # A circle of radius 1 under normal noise of deviation 1 in both coordinates.
            assert (seen[1, :, 0] ** 2 + seen[1, :, 1] ** 2).mean() == pytest.approx(3.0, abs=0.5)
    assert move.truncated.all() == ((AHEAD + 2) % 4 == 0)


def test_who_stays_goes_on_as_if_nobody_had_left():
    task = replace(PENDULUM, steps=10)
    kept = Environments(task, [0.0, 3.0, 6.0], 4, streams(1, 2, 3))
    whole = Environments(task, [0.0, 3.0, 6.0], 4, streams(1, 2, 3))
    rng = np.random.default_rng(0)
    for number in range(40):
        if number == 7:
            kept.keep(np.array([0, 2]))
        push = rng.uniform(-1.0, 1.0, size=(3, 4, 1))
        stay = [0, 1, 2] if number < 7 else [0, 2]
        for ours, all_ in zip(kept.step(push[stay]), whole.step(push), strict=True):
            np.testing.assert_array_equal(ours, all_[stay])
