"""A client's dynamics on the state lattice, as one sparse matrix.

The true dynamics lead from a lattice point to somewhere between lattice points; multilinear
interpolation makes that a mixture of the corners around it. This adds diffusion: a step much
shorter than the spacing becomes a small chance of a whole one (the mean is exact, the variance is
not). An episode that ends leaves the lattice: rows sum to one less the chance of ending, and
nothing is earned afterwards, as in Gymnasium.

Letters: `s` lattice states, `a` lattice actions.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from fedirl_ray.problem.control.physics import Physics
from fedirl_ray.problem.control.task import Task
from fedirl_ray.problem.lattice import Lattice
from fedirl_ray.problem.mdp import Floats

STARTS = 2_000
"""First states that the distribution of the first state is made of."""


@dataclass(frozen=True)
class LatticeModel:
    """One client's dynamics and true reward on a lattice."""

    state: Lattice
    action: Lattice
    expect: sp.csr_array
    """Chance of the next state, `[a s, s]`, rows ordered (action, state)."""
    reward: Floats
    """The task's own reward, `[a, s]`."""
    initial: Floats
    """Distribution of the first state, `[s]`."""

    @cached_property
    def push(self) -> sp.csr_array:
        """The transpose of `expect`: mass pushed forward."""
        return self.expect.T.tocsr()

    @cached_property
    def ends(self) -> Floats:
        """Chance that the episode ends with this step, `[a, s]`."""
        rows = np.asarray(self.expect.sum(axis=1)).reshape(self.reward.shape)
        chance: Floats = np.clip(1.0 - rows, 0.0, 1.0)
        return chance


def model_from_physics(
    task: Task, physics: Physics, state: Lattice, action: Lattice, rng: np.random.Generator
) -> LatticeModel:
    """One step of the true dynamics from every lattice point under every lattice action.

    Args:
        task: How observations are located.
        physics: The client's.
        state: Lattice of states.
        action: Lattice of actions.
        rng: First states.

    Returns:
        The model; exact at lattice points but for interpolation.
    """
    s, a = state.size, action.size
    blocks, reward = [], np.empty((a, s))
    for number, act in enumerate(action.points):
        step = physics.step(state.points, np.broadcast_to(act, (s, len(act))))
        reward[number] = step.reward
        reached = task.locate(physics.observe(step.states))
        blocks.append(interpolation(state, reached, 1.0 - step.terminated.astype(np.float64)))
    first = task.locate(physics.observe(physics.reset(STARTS, rng)))
    return LatticeModel(state, action, sp.vstack(blocks).tocsr(), reward, occupied(state, first))


def interpolation(lattice: Lattice, places: Floats, share: Floats) -> sp.csr_array:
    """Places as mixtures of lattice points, each row times its share.

    Args:
        lattice: `s` points.
        places: `[m, p]`.
        share: What each row sums to, `[m]`.

    Returns:
        `[m, s]`.
    """
    points, weight = lattice.corners(places)
    weight = weight * share[:, None]
    m, corners = points.shape
    rows = np.arange(0, m * corners + 1, corners)
    matrix = sp.csr_array((weight.ravel(), points.ravel(), rows), shape=(m, lattice.size))
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return matrix


def occupied(lattice: Lattice, places: Floats) -> Floats:
    """Share of places at each lattice point, `[s]`."""
    points, weight = lattice.corners(places)
    counted = np.bincount(points.ravel(), weight.ravel(), minlength=lattice.size)
    return counted / len(places)
