"""Features that see positions only: the same matrix for every client of a problem.

A problem's own features (distances) move with its goal and obstacles, so a client's theta says
nothing about *where* things are. These do not move: theta is a map of the support, and two
clients whose goals differ hold displaced copies of one bump.

Letters: `s` states, `a` actions, `d` features, `m` points and `c` centres of one axis.
"""

import dataclasses

import numpy as np

from fedirl_ray.config import ProblemConfig
from fedirl_ray.problem.mdp import Floats, TabularMDP


def with_features(world: TabularMDP, config: ProblemConfig) -> TabularMDP:
    """Give a world the configured features instead of its own.

    Args:
        world: Drawn world.
        config: `features`, `rbf_centres` and `rbf_width` are read.

    Returns:
        The same world with features `[s, 1, d]`.
    """
    match config.features:
        case "distance":
            return world
        case "rbf":
            basis = rbf_basis(world.axes, config.rbf_centres, config.rbf_width)
        case "one-hot":
            basis = np.eye(len(world.initial))
    return dataclasses.replace(world, features=basis[:, None])


def rbf_basis(axes: tuple[Floats, ...], centres: int, width: float) -> Floats:
    """Gaussian bumps on a product lattice, centred on a coarser lattice.

    Args:
        axes: Coordinates `[m]`, or a ground cost `[m, m]` between categories, which have no
            in-between and get an indicator each.
        centres: Bumps along an axis, evenly spaced end to end; at most `m`.
        width: Standard deviation, in distances between neighbouring centres.

    Returns:
        `[s, d]`: products of one bump an axis, both in C order; 1 at a bump's centre.
    """
    basis: Floats = np.ones((1, 1))
    for axis in axes:
        basis = np.kron(basis, _axis_basis(axis, centres, width)).astype(np.float64)
    return basis


def _axis_basis(axis: Floats, centres: int, width: float) -> Floats:
    """`[m, c]`."""
    if axis.ndim == 2 or len(axis) == 1:
        return np.eye(len(axis))
    placed = np.linspace(axis[0], axis[-1], min(centres, len(axis)))
    apart = (axis[:, None] - placed) / (width * (placed[1] - placed[0]))
    bumps: Floats = np.exp(-0.5 * apart**2)
    return bumps
