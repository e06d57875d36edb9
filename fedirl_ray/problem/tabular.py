"""Gymnasium's own tabular environments as worlds that differ between clients.

Dynamics, rewards and first states are read from each environment's transition table, never
written here; on top come two dials. `problem.slip`: a world's chance of moving sideways instead
is drawn from U(0, slip). `problem.layout`: FrozenLake's holes and CliffWalking's cliff vary with
it; Taxi's walls are part of its table and stay, so its worlds differ in slip alone.

Letters: `s` states, `a` actions, `b` branches. Features ignore the action, `[s, 1, d]`, and were
chosen so that some linear reward makes an optimal planner succeed:

- FrozenLake, CliffWalking: L2 distance to the goal, and to the nearest hole or cliff cell. With a
  negative weight on the first and a smaller positive one on the second the goal is the best cell.
- Taxi: steps left as if there were no walls (to the passenger while waiting, and with it to the
  destination), then whether the passenger waits, and whether aboard. Being delivered is 0 in all
  three, so negative weights make picking up and delivering pay, even equal ones on the last two.
  (Steps to the current target alone would jump up on picking up, and punish it.)
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.toy_text.frozen_lake import MAPS, generate_random_map

from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.errors import ConfigError
from fedirl_ray.problem.gridworld import MOVES, SLIPS, distance_to, place, redraw
from fedirl_ray.problem.mdp import Bools, Floats, TabularMDP, absorb, add_slip
from fedirl_ray.problem.table import Table, read_table

_TAXI_SLIPS = {
    "sideways": [(2, 3), (2, 3), (0, 1), (0, 1), (), ()],
    "anywhere": [*((*(other for other in range(4) if other != a),) for a in range(4)), (), ()],
}
"""As `SLIPS`, for moves south, north, east, west; picking up and dropping off never slip."""

_CLIFF_SHAPE = 4, 12
_CLIFF_MOVES = np.array([[-1, 0], [0, 1], [1, 0], [0, -1]], dtype=np.float64)
"""Up, right, down, left as (row, column)."""

_TAXI_STANDS = np.array([(0, 0), (0, 4), (4, 0), (4, 3)])
"""Where passengers wait and go, (row, column) by number."""
_ABOARD = 4
"""Passenger location number of one in the taxi."""

_DENSEST_MAP = 0.4
"""Share of holes up to which Gymnasium's map generator, which rejects, comes to an end."""


def slide(table: Table, slip: float, beside: Sequence[tuple[int, ...]]) -> Table:
    """Mix slip into dynamics and expected rewards; see `add_slip`."""
    to, chance = add_slip(table.successors, table.probabilities, slip, beside)
    taken = np.eye(len(beside))
    for action, others in enumerate(beside):
        if others:
            taken[action, action] -= slip
            taken[action, list(others)] += slip / len(others)
    return table._replace(successors=to, probabilities=chance, reward=table.reward @ taken.T)


def close(
    table: Table,
    goal: Bools,
    features: Floats,
    axes: tuple[Floats, ...],
    moves: Floats | None = None,
) -> TabularMDP:
    """Make the table's ended states absorbing, worth nothing further, and the table a world.

    Args:
        table: Dynamics, slip included.
        goal: `[s]`.
        features: `[s, d]`.
        axes: As in `TabularMDP`.
        moves: As in `TabularMDP`.
    """
    successors, probabilities = absorb(table.successors, table.probabilities, table.done)
    return TabularMDP(
        successors=successors,
        probabilities=probabilities,
        initial=table.initial,
        terminal=table.done,
        goal=goal,
        features=features[:, None],
        reward=np.where(table.done[:, None], 0.0, table.reward),
        axes=axes,
        moves=moves,
    )


def frozen_lake(
    config: ProblemConfig, base: np.random.Generator, own: np.random.Generator, deterministic: bool
) -> TabularMDP:
    """Draw a FrozenLake-v1: the seed's map with holes moved, and a slip.

    Sizes 4 and 8 start from Gymnasium's own maps, whatever `config.obstacles`; other sizes from
    its generator, with that share of holes. Each hole is moved with probability `config.layout`.

    Args:
        config: `size`, `obstacles`, `layout`, `slip`, `slip_to` are read.
        base: Stream of the seed's common map; pass it freshly opened for each world.
        own: Stream of this world alone.
        deterministic: Do not slip at all.

    Raises:
        ConfigError: More holes than Gymnasium's generator can place.
    """
    slip = 0.0 if deterministic else own.uniform(0.0, config.slip)
    n = config.size
    holes = redraw(_common_map(config, base) == "H", config.layout, own)
    letters = np.where(holes, "H", "F")
    letters[0, 0], letters[-1, -1] = "S", "G"
    desc = ["".join(row) for row in letters]
    # Without Gymnasium's own slip, which is 2/3 or nothing; ours is mixed in afterwards.
    dry = read_table(_make("FrozenLake-v1", desc=desc, is_slippery=False))
    table = slide(dry, slip, SLIPS[config.slip_to])
    goal = letters == "G"
    cells = np.arange(n, dtype=np.float64)
    features = np.stack([distance_to(goal), distance_to(holes)], axis=-1)
    return close(table, goal.ravel(), features, (cells, cells), MOVES)


def _common_map(config: ProblemConfig, base: np.random.Generator) -> np.ndarray[Any, Any]:
    """The seed's letters, `[n, n]`."""
    n = config.size
    if (own := f"{n}x{n}") in MAPS:
        return np.array([list(row) for row in MAPS[own]])
    if config.obstacles > _DENSEST_MAP:
        raise ConfigError(
            f"problem.obstacles must be at most {_DENSEST_MAP} for a generated FrozenLake map "
            f"(denser ones hardly ever have a path), got {config.obstacles}"
        )
    seed = int(base.integers(2**31))
    return np.array([list(row) for row in generate_random_map(n, 1.0 - config.obstacles, seed)])


def cliff_walking(
    config: ProblemConfig, own: np.random.Generator, deterministic: bool
) -> TabularMDP:
    """Draw a CliffWalking-v1: further cliff cells at random, and a slip.

    A share `config.layout x config.obstacles` of the 36 cells above the cliff turns to cliff as
    well: entering one costs what the table's own cliff costs and leads back to the start. A way
    from start to goal always remains.

    Args:
        config: `obstacles`, `layout`, `slip`, `slip_to` are read; the size is Gymnasium's 4 x 12.
        own: Stream of this world alone.
        deterministic: Do not slip at all.

    Raises:
        ConfigError: So many further cliff cells leave no way.
    """
    slip = 0.0 if deterministic else own.uniform(0.0, config.slip)
    table = _fixed_table("CliffWalking-v1")
    rows, columns = _CLIFF_SHAPE
    start, goal = int(table.initial.argmax()), table.done.reshape(_CLIFF_SHAPE)
    # The table's cliff is the cells that no move ever leads to: all of them are sent back.
    sheer = np.bincount(table.successors.ravel(), minlength=goal.size) == 0
    cliff = place(
        sheer.reshape(_CLIFF_SHAPE),
        _count_cliff(config),
        own,
        (divmod(start, columns), divmod(int(goal.argmax()), columns)),
    )
    falls = cliff.ravel()[table.successors]
    table = table._replace(
        successors=np.where(falls, np.int32(start), table.successors),
        reward=np.where(falls[:, :, 0], table.reward.min(), table.reward),
    )
    return close(
        slide(table, slip, SLIPS[config.slip_to]),
        goal.ravel(),
        np.stack([distance_to(goal), distance_to(cliff)], axis=-1),
        (np.arange(rows, dtype=np.float64), np.arange(columns, dtype=np.float64)),
        _CLIFF_MOVES,
    )


def _count_cliff(config: ProblemConfig) -> int:
    """Further cliff cells."""
    rows, columns = _CLIFF_SHAPE
    able = (rows - 1) * columns
    most = able - columns  # the straight way along the cliff
    count = round(config.layout * config.obstacles * able)
    if count > most:
        raise ConfigError(
            "problem.obstacles x problem.layout must leave a way along the cliff, at most "
            f"{int(100 * most / able) / 100:.2f}, got {config.obstacles} x {config.layout}"
        )
    return count


def taxi(config: ProblemConfig, own: np.random.Generator, deterministic: bool) -> TabularMDP:
    """Draw a Taxi-v4: its four moves slip, picking up and dropping off never do.

    Gymnasium's own rain differs in one point: there a move into a wall does not drift, here it
    does, as in the other families.

    Args:
        config: `slip` and `slip_to` are read.
        own: Stream of this world alone.
        deterministic: Do not slip at all.
    """
    slip = 0.0 if deterministic else own.uniform(0.0, config.slip)
    table = _fixed_table("Taxi-v4")
    row, column, passenger, target = np.indices((5, 5, 5, 4)).reshape(4, -1)
    waiting = (passenger < _ABOARD) & (passenger != target)
    aboard = passenger == _ABOARD
    here, there = np.stack([row, column], axis=-1), _TAXI_STANDS[target]  # [s, 2]
    pick_up = _TAXI_STANDS[passenger % _ABOARD]
    via = np.where(waiting[:, None], pick_up, here)
    distance = np.abs(here - via).sum(axis=-1) + np.abs(via - there).sum(axis=-1)
    cells = np.arange(5, dtype=np.float64)
    return close(
        slide(table, slip, _TAXI_SLIPS[config.slip_to]),
        table.done,
        np.stack([distance * (waiting | aboard), waiting, aboard], axis=-1).astype(np.float64),
        (cells, cells, 1.0 - np.eye(5), 1.0 - np.eye(4)),
    )


def _make(name: str, **settings: Any) -> gymnasium.Env[Any, Any]:
    return gymnasium.make(name, disable_env_checker=True, **settings)


@cache
def _fixed_table(name: str) -> Table:
    """Table of an environment that no dial rebuilds; read once a process, and never written."""
    table = read_table(_make(name))
    for array in table:
        array.setflags(write=False)
    return table
