"""Sensors that are off: a client takes every state for one that lies a constant beside it.

All of a client's affairs on the lattice go through `Task.locate`, which turns observations into
places, and through its physics, which steps from places. So a task whose `locate` adds the
constant, and whose physics take it off again before each step, is the client's own: its
demonstrations, its model, its true reward and its judges are displaced alike. Observations stay
what the environment gives, so that an expert acts as ever.

Letters: `n` rows, `p` state axes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fedirl_ray.problem.control.physics import Physics, Step
from fedirl_ray.problem.control.task import Task
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.seeds import stream


@dataclass(frozen=True)
class Displaced:
    """Dynamics in the coordinates of sensors that are off."""

    inner: Physics
    """In true coordinates."""
    offset: Floats
    """What sensors add to a state, `[p]`."""

    def reset(self, count: int, rng: np.random.Generator) -> Floats:
        """First states, `[count, p]`."""
        return self.inner.reset(count, rng) + self.offset

    def step(self, states: Floats, actions: Floats) -> Step:
        """Advance every row; rewards and ends are those of the true states."""
        step = self.inner.step(states - self.offset, actions)
        return step._replace(states=step.states + self.offset)

    def observe(self, states: Floats) -> Floats:
        """What the environment gives, `[n, o]`."""
        return self.inner.observe(states - self.offset)


def displaced(task: Task, offset: Sequence[float]) -> Task:
    """The same task to a client whose sensors add `offset`, `[p]`, to every place; none: as it is.

    On an axis that wraps, places may then lie beyond its limits, as they may anywhere.
    """
    if not offset:
        return task
    by, physics = np.array(offset), task.physics
    seen = replace(task, locate=lambda observations: task.locate(observations) + by)
    if physics is None:
        return seen
    return replace(seen, physics=lambda i: Displaced(physics(i), by))


def drawn_offset(
    task: Task, level: float, axes: Sequence[int], root: int, seed: int, client: float
) -> tuple[float, ...]:
    """What a client's sensors add, uniform in +-level on some axes of the state, else 0.

    Args:
        task: The task.
        level: In the units of each axis.
        axes: Which, from 0.
        root: Root seed.
        seed: Repetition.
        client: Whose.

    Returns:
        A number an axis.
    """
    where = ("seed", seed, "client", f"{client:g}", "sensor offset")
    share = stream(root, "control", task.name, *where).uniform(-1.0, 1.0, len(task.state.axes))
    chosen = np.isin(np.arange(len(share)), axes)
    offset: list[float] = np.where(chosen, level * share, 0.0).tolist()
    return tuple(offset)
