"""Open ground with sites on it: goals and hazards at places between the cells.

The world of the transport study: what clients see of one map may be displaced, by any fraction of
a cell. All worlds of a repetition share the sites; a client's are moved by its own `Displacement`.

Letters: `n` side of the grid, `k` sites; states are cells in C order, cell (i, j) lies at (i, j).

A cell belongs to a site within `site_radius` of it, and to the site it is nearest to of all cells;
where goal and hazard overlap the cell is the goal's. Such cells end the episode: +1 in a goal, -1
in a hazard, earned to the horizon (see `mdp`). Episodes start anywhere else, uniformly. Moves and
slips are GridWorld's.
"""

import math
from dataclasses import dataclass, fields

import numpy as np
from scipy import ndimage

from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.errors import ConfigError
from fedirl_ray.laws import require
from fedirl_ray.problem.gridworld import SLIPS, ground
from fedirl_ray.problem.mdp import Bools, Floats, TabularMDP
from fedirl_ray.seeds import stream

APART, MARGIN = 3.5, 4.0
"""Least distances between sites, and from a site to the outermost cells, in cells."""
FULL_SIZE = 16
"""Side of a map from which on they hold; smaller maps have them in proportion to their width."""
_DIALS = ("frame_shift", "frame_turn", "frame_scale", "site_shift")
TRIES, CANDIDATES = 1_000, 64
"""How often placing is begun anew, and places drawn for each site before that."""


@dataclass(frozen=True)
class Displacement:
    """What a client's map is to the shared one, in shares of the dials, each in [-1, 1]."""

    shift: Floats
    """Of the whole map, (row, column)."""
    turn: float
    scale: float
    sites: Floats
    """Of every site alone, `[k, 2]`."""

    def moved(self, places: Floats, config: ProblemConfig) -> Floats:
        """Sites of the shared map, `[k, 2]`, as the client sees them.

        First each site moves alone, then the map turns and stretches about its middle, then it
        moves as a whole. A dial at 0 leaves places as they are, to the last bit.
        """
        found = places + config.site_shift * self.sites
        if config.frame_turn > 0.0 or config.frame_scale > 0.0:
            middle = (config.size - 1) / 2.0
            angle = math.radians(config.frame_turn * self.turn)
            cosine, sine = math.cos(angle), math.sin(angle)
            grown = 1.0 + config.frame_scale * self.scale / 100.0
            turned = (found - middle) @ np.array([[cosine, sine], [-sine, cosine]])
            found = middle + grown * turned
        moved: Floats = found + config.frame_shift * self.shift
        return moved


def displacement(sites: int, root: int, seed: int, client: int) -> Displacement:
    """Draw a client's displacement, the same whatever the dials' levels, uniform in each part.

    Args:
        sites: How many.
        root: Root seed.
        seed: Repetition.
        client: Whose.
    """

    def drawn(dial: str, *shape: int) -> Floats:
        own = stream(root, "seed", seed, "client", client, dial)
        return own.uniform(-1.0, 1.0, size=shape)

    turn, scale = float(drawn("frame turn")), float(drawn("frame scale"))
    # Sites one after the other, so that further ones leave the first where they are.
    return Displacement(drawn("frame shift", 2), turn, scale, drawn("site shift", sites, 2))


def draw(
    config: ProblemConfig,
    base: np.random.Generator,
    own: np.random.Generator,
    deterministic: bool,
    displaced: Displacement | None,
) -> TabularMDP:
    """Draw one world: the repetition's sites, displaced for a client, and a slip.

    Args:
        config: `size`, `sites`, `goals`, `site_radius`, `slip`, `slip_to` and the four dials of
            displacement are read.
        base: Stream of the repetition's sites; pass it freshly opened for each world.
        own: Stream of this world alone.
        deterministic: Do not slip at all.
        displaced: A client's; None: the shared map.

    Raises:
        ConfigError: The sites do not fit, might leave the map, or leave no way to a goal.
    """
    require_inside(config)
    slip = 0.0 if deterministic else own.uniform(0.0, config.slip)
    places = place_sites(config, base)
    if displaced is not None:
        places = displaced.moved(places, config)
    return world(config, places, slip)


def world(config: ProblemConfig, places: Floats, slip: float) -> TabularMDP:
    """Build the world of a map.

    Args:
        config: `size`, `goals`, `site_radius`, `slip_to` are read.
        places: Of sites, goals first, `[k, 2]` (row, column), on the map.
        slip: Probability in [0, 1] of making another move than the intended one.

    Raises:
        ConfigError: No cell is left from which a goal can be reached.
    """
    each = [cells_of(place, config.size, config.site_radius) for place in places]
    goal = np.any(each[: config.goals], axis=0)
    taken = np.any(each, axis=0)
    law = "so small that a goal can be reached from some cell that is left"
    able = ndimage.binary_dilation(goal) & ~taken
    require(bool(able.any()), "problem.site-radius", law, config.site_radius)
    initial = ~taken.ravel() / (~taken).sum()
    return ground(goal, taken & ~goal, initial, slip, SLIPS[config.slip_to])


def cells_of(place: Floats, size: int, radius: float) -> Bools:
    """Cells that belong to a site at (row, column): those in reach and the nearest, `[n, n]`."""
    row, column = (np.arange(size) - at for at in place)
    away = np.hypot(row[:, None], column)
    reached: Bools = (away <= radius) | (away == away.min())
    return reached


def place_sites(config: ProblemConfig, rng: np.random.Generator) -> Floats:
    """Place the sites of the shared map one after the other, each uniformly where it has room.

    Where that ends with no room for the next, all are placed anew.

    Args:
        config: `size` and `sites` are read.
        rng: Consumed.

    Returns:
        `[k, 2]`, (row, column).

    Raises:
        ConfigError: They have no room.
    """
    scale = _scale(config.size)
    low, high = MARGIN * scale, config.size - 1 - MARGIN * scale
    apart = APART * scale
    for _ in range(TRIES):
        places = np.empty((0, 2))
        while len(places) < config.sites:
            new = rng.uniform(low, high, size=(CANDIDATES, 2))
            free = (np.linalg.norm(new[:, None] - places, axis=2) >= apart).all(axis=1)
            if not free.any():
                break
            places = np.concatenate([places, new[free][:1]])
        else:
            return places
    raise ConfigError(
        f"problem.sites must have room {apart:.3g} cells apart on a map of problem.size "
        f"{config.size}, {low:.3g} from its border, got {config.sites}"
    )


def _scale(size: int) -> float:
    """How large a map is to a full one, at most 1."""
    return min(1.0, (size - 1) / (FULL_SIZE - 1))


def require_inside(config: ProblemConfig) -> None:
    """Refuse dials that might move a site off the map.

    Raises:
        ConfigError: Names those above 0.
    """
    turned = [name for name in _DIALS if getattr(config, name) > 0.0]
    if not turned:
        return
    half = (config.size - 1) / 2.0
    reach = half - MARGIN * _scale(config.size) + config.site_shift
    if config.frame_turn > 0.0:
        # The corners of a square leave it farthest at 45 degrees.
        angle = math.radians(min(config.frame_turn, 45.0))
        reach *= math.cos(angle) + math.sin(angle)
    reach = reach * (1.0 + config.frame_scale / 100.0) + config.frame_shift
    names = ", ".join(f"problem.{name.replace('_', '-')}" for name in turned)
    got = ", ".join(f"{getattr(config, name):g}" for name in turned)
    law = (
        f"so small that sites stay on a map of problem.size {config.size}, with {half:g} cells "
        f"from its middle to its border (they may come as far as {reach:.4g})"
    )
    require(reach <= half * (1.0 + 1e-12), names, law, got)


def require_sites(config: ProblemConfig) -> None:
    """Refuse settings of sites where there are none.

    Raises:
        ConfigError: Names the first.
    """
    usual = {field.name: field.default for field in fields(ProblemConfig)}
    for name in (*_DIALS, "sites", "goals", "site_radius"):
        got = getattr(config, name)
        if got != usual[name]:
            setting = f"problem.{name.replace('_', '-')}"
            raise ConfigError(f"{setting} is SitesWorld's alone, got {got} for {config.name}")
