"""A client's demonstrations on its lattice.

Letters: `m` episodes, `h` most steps, `s` lattice states, `a` lattice actions.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from fedirl_ray.problem.control.arena import Episodes
from fedirl_ray.problem.control.task import Task
from fedirl_ray.problem.lattice import Lattice, place, product
from fedirl_ray.problem.mdp import Floats


@dataclass(frozen=True)
class Shown:
    """What demonstrations say, spread over lattice points by interpolation."""

    steps: Floats
    """Share of all demonstrated steps at each point, `[a, s]`; sums to one."""
    visits: Floats
    """Discounted visits of an episode, mean over episodes, `[a, s]`."""
    outside: float
    """Share of steps that lay beyond a limit of the lattice and were moved to it."""


def show(
    task: Task,
    episodes: Episodes,
    state: Lattice,
    action: Lattice,
    discount: float,
    outside: Literal["clip", "refuse"] = "clip",
) -> Shown:
    """Put demonstrations on a lattice.

    An episode that the time limit cut would have gone on: its last step counts for all that would
    have followed, so that living on is not mistaken for an end.

    Args:
        task: How observations are located.
        episodes: The demonstrations.
        state: Lattice of states.
        action: Lattice of actions.
        discount: Of the visits, below 1.
        outside: What to do with steps beyond the lattice.

    Raises:
        DataError: Steps lie outside and may not, or are not finite.
    """
    inside = np.arange(episodes.actions.shape[1]) < episodes.lengths[:, None]
    observations, actions = episodes.steps()
    lattice = product(state, action)
    placed = place(lattice, np.concatenate([task.locate(observations), actions], axis=1), outside)
    points, weight = lattice.corners(placed.places)

    def spread(worth: Floats) -> Floats:
        """A number a step, summed at lattice points, `[a, s]`."""
        mass = (weight * worth[:, None]).ravel()
        sums = np.bincount(points.ravel(), mass, minlength=lattice.size)
        return np.ascontiguousarray(sums.reshape(state.size, action.size).T)

    count = len(placed.places)
    visits = _discounted(episodes, discount)[inside]
    return Shown(spread(np.full(count, 1.0 / count)), spread(visits), placed.outside)


def _discounted(episodes: Episodes, discount: float) -> Floats:
    """Weight of each step, `[m, h]`, what follows a cut included."""
    m, h = episodes.actions.shape[:2]
    weight = np.tile(discount ** np.arange(h), (m, 1))
    cut = np.flatnonzero(~episodes.terminated)
    last = episodes.lengths[cut] - 1
    weight[cut, last] /= 1.0 - discount
    discounted: Floats = weight / m
    return discounted
