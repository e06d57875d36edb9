"""Whether recorded steps can have happened in a client's physics.

Letters: `t` steps, `o` numbers in an observation, `s` lattice states, `a` lattice actions.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from fedirl_ray.errors import DataError
from fedirl_ray.problem.control.arena import Episodes
from fedirl_ray.problem.control.model import STARTS, LatticeModel
from fedirl_ray.problem.control.task import Task
from fedirl_ray.problem.lattice import product
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.seeds import stream

EXACT = 1e-3
"""How far single precision may put an observation, as a share of it or in all."""
SIGMAS = 8.0
"""Standard deviations of observation noise beyond which nothing is ever seen."""
NUDGE = 1e-5
"""Step of finite differences."""
CHUNK = 1_024
"""Steps looked up at once."""


def require_possible(task: Task, client: float, episodes: Episodes, what: str) -> None:
    """Refuse episodes with a step that a client's equations of motion cannot have made.

    A step is predicted from what was seen; the noise of that, and of what was seen next, may
    explain a difference, as far as it reaches to first order.

    Args:
        task: The task, whose physics are known.
        client: Whose physics.
        episodes: Shaped as the task's are.
        what: What messages call them.

    Raises:
        DataError: The first such step, or first state where no episode begins; counted from 0.
    """
    assert task.physics is not None
    physics, noise = task.physics(client), task.noise * client
    begun = physics.observe(physics.reset(STARTS, stream(0, "control", task.name, "first states")))
    low, high = begun.min(axis=0), begun.max(axis=0)
    slack = EXACT + 0.05 * (high - low) + SIGMAS * noise
    first = episodes.observations[:, 0]
    off = (first < low - slack) | (first > high + slack)
    if off.any():
        episode, number = np.argwhere(off)[0]
        raise DataError(
            f"{what}, episode {episode}: no episode of {task.name}, client {client:g}, begins with "
            f"observation {number + 1} at {first[episode, number]:g}, only from "
            f"{low[number]:.3g} to {high[number]:.3g}"
        )
    now, actions = episodes.steps()
    then, (episode_of, step_of) = _following(episodes)

    for seen, later in ((now, 0), (then, 1)):
        nearest = physics.observe(task.locate(seen))
        strange = np.abs(seen - nearest) > EXACT * np.maximum(1.0, np.abs(seen)) + SIGMAS * noise
        if strange.any():
            row = int(strange.any(axis=1).argmax())
            raise DataError(
                f"{what}, episode {episode_of[row]}, step {step_of[row] + later}: no state of "
                f"{task.name} looks like {np.round(seen[row], 4).tolist()}"
            )

    def predicted(seen: Floats) -> Floats:
        return physics.observe(physics.step(task.locate(seen), actions).states)

    expected = predicted(now)
    spread = np.full(expected.shape, noise**2)
    for j in range(now.shape[1] if noise > 0.0 else 0):
        nudged = now.copy()
        nudged[:, j] += NUDGE
        spread += (noise * (predicted(nudged) - expected) / NUDGE) ** 2
    allowed = EXACT * np.maximum(1.0, np.abs(expected)) + SIGMAS * np.sqrt(spread)
    wrong = np.abs(then - expected) > allowed
    if wrong.any():
        row, number = np.argwhere(wrong)[0]
        raise DataError(
            f"{what}, episode {episode_of[row]}, step {step_of[row]}: in the physics of "
            f"{task.name}, client {client:g}, observation {number + 1} becomes "
            f"{expected[row, number]:.4g}, never {then[row, number]:.4g}"
        )


class Unlikely(NamedTuple):
    """The least likely step of some episodes, counted from 0."""

    chance: float
    """Share of the model's next states that lie in the lattice cell where the step led."""
    episode: int
    step: int


def unlikeliest_step(task: Task, model: LatticeModel, episodes: Episodes) -> Unlikely:
    """Look up every step that ended no episode in an estimated model.

    Args:
        task: How observations are located.
        model: Of the same lattice.
        episodes: With at least one step.

    Returns:
        The least likely step; of equally likely ones the first.
    """
    now, actions = episodes.steps()
    then, (episode_of, step_of) = _following(episodes)
    goes = np.flatnonzero(
        (step_of < episodes.lengths[episode_of] - 1) | ~episodes.terminated[episode_of]
    )
    if not goes.size:
        return Unlikely(1.0, 0, 0)
    chance = np.concatenate(
        [
            _chances(task, model, now[cut], actions[cut], then[cut])
            for cut in np.array_split(goes, -(-goes.size // CHUNK))
        ]
    )
    row = goes[chance.argmin()]
    return Unlikely(float(chance.min()), int(episode_of[row]), int(step_of[row]))


def _chances(task: Task, model: LatticeModel, now: Floats, actions: Floats, then: Floats) -> Floats:
    """Chance of the lattice cell that each step led to, `[t]`."""
    state, action = model.state, model.action
    places = np.concatenate([task.locate(now), actions], axis=1)
    points, weight = product(state, action).corners(places)
    rows = points % action.size * state.size + points // action.size
    cells = state.corners(task.locate(then)).points
    edges = np.arange(0, cells.size + 1, cells.shape[1])
    shape = (len(cells), state.size)
    cell = sp.csr_array((np.ones(cells.size), cells.ravel(), edges), shape=shape)
    found = np.zeros(len(now))
    for corner, share in zip(rows.T, weight.T, strict=True):
        found += share * np.asarray(model.expect[corner].multiply(cell).sum(axis=1)).ravel()
    return found


def _following(episodes: Episodes) -> tuple[Floats, NDArray[np.intp]]:
    """What was seen after each of `Episodes.steps` `[t, o]`; its episode and number `[2, t]`."""
    m, h = episodes.actions.shape[:2]
    after = np.concatenate([episodes.observations[:, 1:], episodes.observations[:, :1]], axis=1)
    after[np.arange(m), episodes.lengths - 1] = episodes.last
    inside = np.arange(h) < episodes.lengths[:, None]
    return after[inside], np.stack(np.nonzero(inside))
