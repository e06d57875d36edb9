"""Objectworld, a benchmark of inverse reinforcement learning by others, as tables.

Levine, Popovic & Koltun 2011, "Nonlinear inverse reinforcement learning with Gaussian processes",
section 6: objects of two colours lie on open ground; it is good to be near both colours and bad to
be near the first alone; nothing ends an episode. Five actions, one of them to stay, of which three
in ten are replaced by a random one. Objects lie here on one fixed map, so that clients can see it
displaced; a state has one feature, that it is this state.
"""

import numpy as np

from fedirl_ray.problem.gridworld import MOVES, grid_steps
from fedirl_ray.problem.mdp import Floats, TabularMDP, add_slip

SIDE, OBJECTS = 12, 6
NEAR = (3.0, 2.0)
"""Distances within which the first and the second colour count, in cells."""
ASTRAY = 0.3
"""Chance of a random action."""
SHIFT = 2.0
"""Of `displaced`: the largest offset along each axis, in cells."""


def still(role: str, index: int, rng: np.random.Generator) -> TabularMDP:
    """The map as it is, for all."""
    return _world(np.zeros(2), role)


def displaced(role: str, index: int, rng: np.random.Generator) -> TabularMDP:
    """For a client the map moved as a whole; for all others as it is."""
    offset = rng.uniform(-SHIFT, SHIFT, size=2)
    return _world(offset if role == "client" else np.zeros(2), role)


def _world(offset: Floats, role: str) -> TabularMDP:
    cells = np.indices((SIDE, SIDE)).reshape(2, -1).T  # [s, 2]
    moves = np.vstack([MOVES, np.zeros(2)])
    to = grid_steps(SIDE, SIDE, moves)
    s, a, _ = to.shape
    beside = [tuple(range(a))] * a  # a random action may be the intended one
    chance = 0.0 if role == "probe" else ASTRAY
    successors, probabilities = add_slip(to, np.ones(to.shape), chance, beside)
    first, second = (
        np.linalg.norm(cells[:, None] - (places + offset), axis=2).min(axis=1) <= near
        for places, near in zip(_objects(), NEAR, strict=True)
    )
    return TabularMDP(
        successors=successors,
        probabilities=probabilities,
        initial=np.full(s, 1.0 / s),
        terminal=np.zeros(s, dtype=bool),
        goal=np.zeros(s, dtype=bool),
        features=np.eye(s)[:, None],
        reward=np.where(first, np.where(second, 1.0, -1.0), 0.0)[:, None],
        axes=(np.arange(SIDE, dtype=np.float64), np.arange(SIDE, dtype=np.float64)),
        moves=moves,
    )


def _objects() -> Floats:
    """Where objects lie, by colour, `[2, n / 2, 2]`; away from the border by what they may move."""
    rng = np.random.default_rng(2011)
    return rng.uniform(SHIFT, SIDE - 1 - SHIFT, size=(2, OBJECTS // 2, 2))
