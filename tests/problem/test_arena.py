from dataclasses import replace

import numpy as np
import pytest

from fedirl_ray.problem.control.arena import Arena, play
from fedirl_ray.problem.control.paper import ACROBOT, CARTPOLE, PENDULUM
from fedirl_ray.seeds import stream


def still(task):
    return lambda seen: np.zeros((len(seen), len(task.action.axes)))


def drunk(task, seed):
    rng = np.random.default_rng(seed)
    return lambda seen: task.action.points[rng.integers(task.action.size, size=len(seen))]


def test_a_fallen_pole_begins_anew_at_once():
    arena = Arena(CARTPOLE, [0.0] * 8, stream(0, "arena"))
    right, fallen = np.ones((8, 1)), 0
    for _ in range(60):
        move = arena.step(right)
        for row in np.flatnonzero(move.terminated):
            fallen += 1
            assert np.abs(move.observations[row]).max() <= 0.05  # a first state of Gymnasium's
            assert np.abs(move.last[row, [0, 2]]).max() > 0.2  # what ended it
        assert not move.truncated.any()
    assert fallen >= 40


def test_the_time_limit_truncates_and_terminates_nothing():
    task = replace(PENDULUM, steps=7)
    arena = Arena(task, [0.0, 1.0], stream(0, "arena"))
    for number in range(1, 22):
        move = arena.step(np.zeros((2, 1)))
        assert not move.terminated.any()
        assert move.truncated.all() == (number % 7 == 0)


def test_observation_noise_has_the_papers_deviation():
    clients = [0.0, 1.0, 5.0]
    arena = Arena(PENDULUM, [i for i in clients for _ in range(400)], stream(1, "arena"))
    circle = (arena.observations[:, :2] ** 2).sum(axis=1) ** 0.5 - 1.0  # noise along the radius
    spread = circle.reshape(3, 400).std(axis=1)
    assert spread[0] == pytest.approx(0.0, abs=1e-12)
    assert spread[1:] == pytest.approx([0.005, 0.025], rel=0.15)


def test_the_same_stream_plays_the_same_episodes():
    one, same, other = (
        play(ACROBOT, [0.0, 3.0], drunk(ACROBOT, 5), stream(seed, "play"), steps=30)
        for seed in (1, 1, 2)
    )
    assert (one.observations == same.observations).all()
    assert (one.observations != other.observations).any()


@pytest.mark.parametrize("task", [PENDULUM, CARTPOLE], ids=lambda task: task.name)
def test_arrays_and_gymnasiums_environments_play_alike(task):
    quiet = replace(task, noise=0.0)
    arrays = play(quiet, [2.0] * 300, drunk(task, 7), stream(3, "play"), steps=60)
    environments = play(
        replace(quiet, physics=None), [2.0] * 300, drunk(task, 8), stream(4, "play"), steps=60
    )
    for name in ("returns", "lengths"):
        one, other = getattr(arrays, name), getattr(environments, name)
        error = np.hypot(one.std(), other.std()) / np.sqrt(300)
        assert abs(one.mean() - other.mean()) < 4.0 * error + 1e-9


@pytest.mark.parametrize("task", [PENDULUM, CARTPOLE, ACROBOT], ids=lambda task: task.name)
def test_every_step_that_gymnasium_recorded_is_the_arrays_own(task):
    clients = [0.0, 2.5, 5.0]
    quiet = replace(task, noise=0.0, physics=None)
    found = play(quiet, clients, drunk(task, 9), stream(7, "play"), steps=40)
    for row, i in enumerate(clients):
        physics, length = task.physics(i), found.lengths[row]
        places = task.locate(found.observations[row, :length])
        step = physics.step(places, found.actions[row, :length])
        reached = np.concatenate([found.observations[row, 1:length], found.last[row : row + 1]])
        assert physics.observe(step.states) == pytest.approx(reached, abs=1e-4)  # float32 inside
        assert step.reward.sum() == pytest.approx(found.returns[row], abs=1e-3)
        assert step.terminated.tolist() == [False] * (length - 1) + [found.terminated[row]]


def test_an_end_at_the_time_limit_is_the_tasks_own():
    right = np.ones((1, 1))
    arena = Arena(CARTPOLE, [0.0], stream(8, "arena"))
    age = 1
    while not arena.step(right).terminated[0]:
        age += 1
    for limit, terminated in ((age, True), (age - 1, False)):
        arena = Arena(replace(CARTPOLE, steps=limit), [0.0], stream(8, "arena"))
        for _ in range(limit):
            move = arena.step(right)
        assert move.terminated[0] == terminated
        assert move.truncated[0] != terminated


def test_a_row_that_goes_on_is_seen_once_a_step():
    arena = Arena(PENDULUM, [5.0] * 4, stream(9, "arena"))
    move = arena.step(np.zeros((4, 1)))
    assert (move.observations == move.last).all()
    assert (arena.observations == move.observations).all()


def test_episodes_hold_what_was_seen_done_and_earned():
    found = play(CARTPOLE, [0.0] * 20, drunk(CARTPOLE, 1), stream(5, "play"))
    assert found.terminated.all()
    assert found.returns == pytest.approx(found.lengths)  # a point a step
    observations, actions = found.steps()
    assert len(observations) == len(actions) == found.lengths.sum()
    beyond = np.arange(found.actions.shape[1]) >= found.lengths[:, None]
    assert (found.observations[beyond] == 0.0).all()
    assert (np.abs(found.last[:, 2]) > CARTPOLE.state.axes[2].high).any()


def test_a_shorter_demonstration_is_cut_not_ended():
    found = play(PENDULUM, [0.0] * 3, still(PENDULUM), stream(6, "play"), steps=11)
    assert (found.lengths == 11).all()
    assert not found.terminated.any()
