"""Features that see positions only: the same matrix for every client of a problem.

A problem's own features (distances) move with its goal and obstacles, so a client's theta says
nothing about *where* things are. These do not move: theta is a map of the support, and two
clients whose goals differ hold displaced copies of one bump. What the user's own see is theirs.

Letters: `s` states, `a` actions, `d` features, `m` points and `c` centres of one axis.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.errors import ConfigError
from fedirl_ray.problem.custom import as_numbers, load, require_finite, user_code
from fedirl_ray.problem.mdp import Floats, TabularMDP, read_only


def with_features(world: TabularMDP, config: ProblemConfig) -> TabularMDP:
    """Give a world the configured features instead of its own.

    Args:
        world: Drawn world.
        config: `features`, `rbf_centres` and `rbf_width` are read.

    Returns:
        The same world with features `[s, 1, d]`, or `[s, a, d]` where the user's own see actions.

    Raises:
        ConfigError: The user's own cannot be found, fail, or are no features.
    """
    match config.features:
        case "distance":
            return world
        case "rbf":
            basis = rbf_basis(world.axes, config.rbf_centres, config.rbf_width)
        case "one-hot":
            basis = np.eye(len(world.initial))
        case own:
            function = load(own, "problem.features", ("world",))
            with user_code(f"problem.features {own}", function):
                found = as_features(function(read_only(world)), world, own)
            return dataclasses.replace(world, features=found)
    return dataclasses.replace(world, features=basis[:, None])


def as_features(found: object, world: TabularMDP, name: str) -> Floats:
    """What a user's function has made of a world, once it is features.

    Args:
        found: `[s, 1 or a, d]`, finite; with `[s, d]` the action's place is left out.
        world: Which world.
        name: The function's, for messages.

    Raises:
        ConfigError: It is something else; one line.
    """
    s, a, _, _ = world.shape
    shapes = f"({s}, 1, d), ({s}, {a}, d) or ({s}, d)"
    law = f"problem.features {name} must return finite numbers of shape {shapes}"
    numbers = as_numbers(found, law)
    shape = numbers.shape
    placed = numbers[:, None] if numbers.ndim == 2 else numbers
    if placed.ndim != 3 or len(placed) != s or placed.shape[1] not in (1, a) or 0 in placed.shape:
        raise ConfigError(f"{law}, got shape {shape}")
    require_finite(placed, law, "state")
    return np.array(placed, dtype=np.float64)


def require_alike(worlds: Sequence[TabularMDP], d: int, config: ProblemConfig) -> None:
    """Refuse worlds whose features cannot share one theta.

    Args:
        worlds: Any.
        d: Number of features of the others.
        config: Whose they are, for the message.

    Raises:
        ConfigError: A world has another number of features.
    """
    for world in worlds:
        if world.shape[2] != d:
            own = "features" if ":" in config.features else "name"
            raise ConfigError(
                f"problem.{own} {getattr(config, own)} must give every world the same number of "
                f"features, got {d} and {world.shape[2]}"
            )


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
