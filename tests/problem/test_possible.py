"""Recorded steps against physics: what an environment did is possible, what it did not is not."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from actors import make

from fedirl_ray.errors import DataError
from fedirl_ray.problem.control.arena import Episodes, play
from fedirl_ray.problem.control.demonstrations import demonstrate
from fedirl_ray.problem.control.model import model_from_physics
from fedirl_ray.problem.control.paper import ACROBOT, CARTPOLE, PENDULUM
from fedirl_ray.problem.control.possible import require_possible, unlikeliest_step
from fedirl_ray.problem.control.rollouts import gather, model_from_transitions
from fedirl_ray.seeds import stream

TASKS = (PENDULUM, CARTPOLE, ACROBOT)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize("client", [0.0, 2.0, 5.0])
def test_what_a_client_did_is_possible_for_it(task, client):
    for kept in (np.float64, np.float32):
        shown = demonstrate(task, client, make(task), 30, stream(7, task.name))
        rounded = replace(
            shown, **{name: vars(shown)[name].astype(kept) for name in ("observations", "last")}
        )
        require_possible(task, client, rounded, "it")


def test_what_gymnasiums_own_cartpole_did_is_possible_for_the_first_client():
    env = gymnasium.make("CartPole-v1")
    rng = np.random.default_rng(3)
    seen, acts = [env.reset(seed=3)[0]], []
    over = False
    while not over:
        acts.append(int(rng.integers(2)))
        observation, _, over, _, _ = env.step(acts[-1])
        seen.append(observation)
    shares = CARTPOLE.action.points[acts][None]
    length = np.array([len(acts)])
    shown = Episodes(
        np.array(seen[:-1])[None].astype(float), shares, length, 1.0 * length,
        np.array(seen[-1:], dtype=float), np.array([True]),
    )  # fmt: skip
    require_possible(CARTPOLE, 0.0, shown, "it")
    with pytest.raises(DataError, match="it, episode 0, step 0: in the physics of CartPole-v1, cl"):
        require_possible(CARTPOLE, 1.0, replace(shown, actions=-shares), "it")


def quiet(task):
    """Without noise, where nothing but the very step is possible."""
    return replace(task, noise=0.0)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_another_clients_steps_are_impossible_without_noise(task):
    shown = demonstrate(quiet(task), 1.0, make(task), 2, stream(7, task.name))
    require_possible(quiet(task), 1.0, shown, "it")
    with pytest.raises(DataError, match=r"^it, episode 0, step [0-9]+: .* client 3,"):
        require_possible(quiet(task), 3.0, shown, "it")


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize("client", [0.0, 3.0])
def test_the_first_impossible_step_is_named(task, client):
    shown = demonstrate(task, client, make(task), 4, stream(8, task.name))
    spoilt = shown.observations.copy()
    spoilt[2, 6, -1] += 6.0  # a velocity: seen after step 5
    spoilt[3, 1, -1] += 6.0
    with pytest.raises(DataError, match=f"^it, episode 2, step 5: in the physics of {task.name}"):
        require_possible(task, client, replace(shown, observations=spoilt), "it")
    ended = replace(shown, last=shown.last + 6.0 * (np.arange(shown.last.shape[1]) == 2))
    step = shown.lengths[0] - (0 if task is ACROBOT else 1)
    with pytest.raises(DataError, match=f"^it, episode 0, step {step}: "):
        require_possible(task, client, ended, "it")


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_an_episode_that_begins_where_none_does_is_named(task):
    shown = demonstrate(task, 0.0, make(task), 3, stream(9, task.name))
    later = replace(
        shown, observations=shown.observations[:, 3:], actions=shown.actions[:, 3:],
        lengths=shown.lengths - 3,
    )  # fmt: skip
    fast = later.observations.copy()
    fast[:, :, -1] = np.where(np.arange(3)[:, None] == 1, 5.0, fast[:, :, -1])
    with pytest.raises(DataError, match=r"^it, episode [01]: no episode of .* begins with observ"):
        require_possible(task, 0.0, replace(later, observations=fast), "it")


def test_what_no_state_looks_like_is_named():
    shown = demonstrate(PENDULUM, 2.0, make(PENDULUM), 2, stream(7, "zeros"))
    padded = shown.observations.copy()
    padded[1, 50:] = 0.0
    with pytest.raises(DataError, match=r"^it, episode 1, step (49|50): "):
        require_possible(PENDULUM, 2.0, replace(shown, observations=padded), "it")
    zeros = replace(shown, observations=0.0 * shown.observations)
    with pytest.raises(DataError, match=r"^it, episode 0"):
        require_possible(PENDULUM, 2.0, zeros, "it")


def steps_between(task, places, actions, ended):
    """One episode through lattice states."""
    seen = np.array(places, dtype=float)[None]
    return Episodes(
        seen[:, :-1], np.array(actions, dtype=float)[None, :, None], np.array([len(actions)]),
        np.zeros(1), seen[:, -1], np.array([ended]),
    )  # fmt: skip


def test_the_least_likely_step_is_found_by_its_chance_in_the_dense_model():
    task = CARTPOLE
    rng = stream(0, "model")
    model = model_from_physics(task, task.physics(0.0), task.state, task.action, rng)
    dense = model.expect.toarray().reshape(task.action.size, task.state.size, task.state.size)
    points = task.state.points
    walk, numbers = [rng.integers(task.state.size)], []
    for _ in range(12):
        numbers.append(int(rng.integers(2)))
        row = dense[numbers[-1], walk[-1]]
        if row.sum() < 0.5:
            row = np.ones(task.state.size)
        walk.append(int(rng.choice(task.state.size, p=row / row.sum())))
    nearly = points[walk] * (1.0 - 1e-9)  # inside the cell towards the middle
    actions = task.action.points[numbers, 0]
    found = unlikeliest_step(task, model, steps_between(task, nearly, actions, False))
    chances = []
    for t, number in enumerate(numbers):
        cell = task.state.corners(nearly[t + 1 : t + 2]).points[0]
        near, weight = task.state.corners(nearly[t : t + 1])
        row = weight[0] @ dense[number, near[0]]
        chances.append(row[np.unique(cell)].sum())
    assert found.chance == pytest.approx(min(chances), abs=1e-12)
    assert found.step == int(np.argmin(chances))
    assert found.episode == 0


def test_a_jump_is_the_least_likely_step_of_an_estimated_model_and_an_end_is_none():
    task = PENDULUM
    recorded = gather(task, 0.0, [], stream(0, "fit"), 3_000)
    model = model_from_transitions(task, recorded, task.state.resized((16, 11)), task.action)
    shown = play(task, [0.0] * 3, make(task), stream(1, "shown"), steps=40)
    usual = unlikeliest_step(task, model, shown)
    spoilt = shown.observations.copy()
    spoilt[1, 20:] *= [-1.0, -1.0, 1.0]  # half a turn in one step
    jumped = unlikeliest_step(task, model, replace(shown, observations=spoilt))
    assert usual.chance > jumped.chance
    assert jumped[1:] == (1, 19)
    assert jumped.chance == pytest.approx(0.0, abs=1e-12)
    last = replace(shown, last=shown.last * [-1.0, -1.0, 1.0])
    assert unlikeliest_step(task, model, last)[1:] == (0, 39)
    ended = replace(last, terminated=np.ones(3, dtype=bool))
    assert unlikeliest_step(task, model, ended).chance == usual.chance
    short = replace(ended, lengths=np.ones(3, dtype=int))
    assert unlikeliest_step(task, model, short) == (1.0, 0, 0)
