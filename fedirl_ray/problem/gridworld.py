"""The paper's navigation task (section 6.1): from one corner to the other, around obstacles.

Letters: `n` side of the grid, `m` obstacles; states are cells in C order (row, column).

Start (0, 0), goal (n-1, n-1) unless a dial moves it. Four moves; with the world's slip u the agent
moves to one of the two perpendicular sides instead, u/2 each (or, by choice, to any of the three
other neighbours, u/3 each); off the grid means staying put. Entering an obstacle or the goal ends
the episode. True reward: +1 on the goal, -1 on an obstacle, 0 elsewhere, earned to the horizon
(see `mdp`). The paper leaves density and kind of slip open; ours are in ProblemConfig.
"""

from collections import deque

import numpy as np
from scipy import ndimage

from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.errors import ConfigError
from fedirl_ray.problem.mdp import Bools, Floats, Ints, TabularMDP, absorb, add_slip

MOVES = np.array([[0, -1], [1, 0], [0, 1], [-1, 0]], dtype=np.float64)
"""Left, down, right, up as (row, column): neighbours in this cycle are perpendicular."""

SLIPS: dict[str, list[tuple[int, ...]]] = {
    "sideways": [((a - 1) % 4, (a + 1) % 4) for a in range(4)],
    "anywhere": [tuple(other for other in range(4) if other != a) for a in range(4)],
}
"""Moves a slip may lead to, by `problem.slip-to`, for four moves that go around the compass."""

Cell = tuple[int, int]
"""Row and column."""

_TRIES = 100
"""Layouts drawn before a path is set aside; enough that 25 % obstacles practically never do."""


def draw(
    config: ProblemConfig,
    base: np.random.Generator,
    own: np.random.Generator,
    deterministic: bool,
    *,
    shifts: bool = False,
) -> TabularMDP:
    """Draw one world: the seed's layout, redrawn in part, a slip, and a goal.

    Args:
        config: `size`, `obstacles`, `layout`, `slip`, `slip_to`, `goal`, `goal_shift` are read.
        base: Stream of the seed's common layout; pass it freshly opened for each world.
        own: Stream of this world alone.
        deterministic: Do not slip at all.
        shifts: Whether the goal strays by `config.goal_shift`.

    Raises:
        ConfigError: So many obstacles leave no path.
    """
    slip = 0.0 if deterministic else own.uniform(0.0, config.slip)
    obstacles, goal = draw_layout(config, base, own), goal_cell(config)
    if shifts and config.goal_shift > 0.0:
        goal = shift_goal(obstacles, goal, config.goal_shift, own)
    return world(obstacles, slip, SLIPS[config.slip_to], goal)


def goal_cell(config: ProblemConfig) -> Cell:
    """Where the goal is that all worlds share."""
    side = config.size
    return (side - 1, side - 1) if config.goal == "corner" else (side // 2, side // 2)


def shift_goal(obstacles: Bools, goal: Cell, share: float, rng: np.random.Generator) -> Cell:
    """Draw another goal near the shared one, uniform over the cells in reach.

    Args:
        obstacles: `[n, n]`, with a path from start to goal.
        goal: The shared one, (row, column).
        share: 0 leaves it; 1 lets it stray by half the grid's side along either axis.
        rng: Consumed: one draw.

    Returns:
        A free cell other than the start, with a path from there; perhaps the same.
    """
    parts, _ = ndimage.label(~obstacles)
    away = np.abs(np.indices(obstacles.shape) - np.array(goal)[:, None, None]).max(axis=0)
    able = (parts == parts[0, 0]) & (away <= round(share * len(obstacles) / 2))
    able[0, 0] = False
    cells = np.argwhere(able)
    row, column = cells[int(rng.random() * len(cells))].tolist()
    return row, column


def world(
    obstacles: Bools,
    slip: float,
    beside: list[tuple[int, ...]] = SLIPS["sideways"],
    goal_at: Cell = (-1, -1),
) -> TabularMDP:
    """Build the world of a layout.

    Args:
        obstacles: `[n, n]`, free at start and goal.
        slip: Probability in [0, 1] of making another move than the intended one.
        beside: For each move, those a slip may lead to, equally likely.
        goal_at: The goal, (row, column).
    """
    goal, first = np.zeros(obstacles.shape, dtype=bool), np.zeros(obstacles.size)
    goal[goal_at], first[0] = True, 1.0
    return ground(goal, obstacles, first, slip, beside)


def ground(
    goal: Bools,
    hazard: Bools,
    initial: Floats,
    slip: float,
    beside: list[tuple[int, ...]] = SLIPS["sideways"],
) -> TabularMDP:
    """Build a square world of cells that pay when they end an episode.

    Args:
        goal: Cells that pay +1, `[n, n]`.
        hazard: Cells that pay -1, `[n, n]`; none is a goal.
        initial: Distribution of the first cell, `[n x n]`.
        slip: Probability in [0, 1] of making another move than the intended one.
        beside: For each move, those a slip may lead to, equally likely.
    """
    n = len(goal)
    won, lost = goal.ravel(), hazard.ravel()
    to = grid_steps(n, n, MOVES)
    successors, probabilities = add_slip(to, np.ones(to.shape), slip, beside)
    successors, probabilities = absorb(successors, probabilities, won | lost)
    cells = np.arange(n, dtype=np.float64)
    return TabularMDP(
        successors=successors,
        probabilities=probabilities,
        initial=initial,
        terminal=won | lost,
        goal=won,
        features=np.stack([distance_to(goal), distance_to(hazard)], axis=-1)[:, None],
        reward=(won.astype(np.float64) - lost)[:, None],
        axes=(cells, cells),
        moves=MOVES,
    )


def grid_steps(rows: int, columns: int, moves: Floats) -> Ints:
    """Cell that each move leads to, staying put at the edge: `[rows x columns, a, 1]`."""
    cell = np.indices((rows, columns)).reshape(2, -1).T  # [s, 2]
    to = np.clip(cell[:, None] + moves.astype(np.int64), 0, (rows - 1, columns - 1))
    return (to @ (columns, 1)).astype(np.int32)[:, :, None]


def distance_to(cells: Bools) -> Floats:
    """L2 distance of every cell to the nearest marked one, in cells, `[rows x columns]`.

    Where none is marked, every cell counts as a grid's diagonal away, farther than any can be.
    """
    if not cells.any():
        return np.full(cells.size, float(np.hypot(*cells.shape)))
    distance: Floats = ndimage.distance_transform_edt(~cells)
    return distance.ravel()


def draw_layout(
    config: ProblemConfig, base: np.random.Generator, own: np.random.Generator
) -> Bools:
    """Draw a world's obstacles, `[n, n]`, with a path from start to the shared goal.

    The seed's common layout comes from `base`, and is redrawn by the share `config.layout`.

    Raises:
        ConfigError: So many obstacles leave no path.
    """
    m = count_obstacles(config)
    ends = (0, 0), goal_cell(config)
    common = place(np.zeros((config.size, config.size), dtype=bool), m, base, ends)
    return redraw(common, config.layout, own, ends)


def redraw(
    common: Bools, share: float, rng: np.random.Generator, ends: tuple[Cell, Cell] | None = None
) -> Bools:
    """Lift each obstacle with probability `share`, and place the lifted ones anew.

    Args:
        common: `[rows, columns]`, with a path between the ends.
        share: 0 returns the same layout, 1 one drawn from scratch.
        rng: Consumed.
        ends: Cells to stay connected, (row, column) each; None: the first and the last.

    Returns:
        `[rows, columns]` with as many obstacles and with a path.
    """
    lifted = common & (rng.random(common.shape) < share)
    return place(common & ~lifted, int(lifted.sum()), rng, ends)


def count_obstacles(config: ProblemConfig) -> int:
    """Obstacles in a grid: the configured share of all cells but start and goal, rounded.

    Raises:
        ConfigError: A path takes at least 2n - 1 cells, and not so many are left.
    """
    n = config.size
    able, most = n * n - 2, (n - 1) ** 2
    m = round(config.obstacles * able)
    if m > most:
        allowed = most / able
        raise ConfigError(
            f"problem.obstacles must leave a path from corner to corner, at most "
            f"{int(allowed * 100) / 100:.2f} with problem.size {n}, got {config.obstacles}"
        )
    return m


def place(
    kept: Bools,
    count: int,
    rng: np.random.Generator,
    ends: tuple[Cell, Cell] | None = None,
) -> Bools:
    """Add obstacles to those kept so that a path between two cells remains.

    Uniform over all such layouts by rejection while that is cheap. Where layouts with a path are
    rare (large grids beyond 40 % obstacles) a shortest path around the kept ones, ties broken at
    random, is set aside after 100 tries, and the rest is drawn uniformly off it.

    Args:
        kept: `[rows, columns]` obstacles that stay, with a path around them short enough.
        count: Obstacles to add.
        rng: Consumed.
        ends: Cells to stay connected, (row, column) each; None: the first and the last.

    Returns:
        `[rows, columns]`, with exactly `count` more than `kept`.
    """
    if count == 0:
        return kept.copy()
    start, goal = ends or ((0, 0), (kept.shape[0] - 1, kept.shape[1] - 1))
    free = ~kept
    free[start] = free[goal] = False
    for _ in range(_TRIES):
        layout = _add(kept, free, count, rng)
        if connected(layout, start, goal):
            return layout
    free[tuple(_shortest_path(kept, start, goal, rng).T)] = False
    return _add(kept, free, count, rng)


def _add(kept: Bools, free: Bools, count: int, rng: np.random.Generator) -> Bools:
    layout = kept.copy()
    layout.flat[rng.choice(np.flatnonzero(free), size=count, replace=False)] = True
    return layout


def connected(obstacles: Bools, start: Cell = (0, 0), goal: Cell = (-1, -1)) -> bool:
    """Whether a path around the obstacles leads from start to goal, both (row, column)."""
    parts, _ = ndimage.label(~obstacles)
    return bool(parts[start] == parts[goal] != 0)


def _shortest_path(obstacles: Bools, start: Cell, goal: Cell, rng: np.random.Generator) -> Ints:
    """Cells `[length, 2]` of a shortest path, ties broken at random."""
    rows, columns = obstacles.shape
    steps = MOVES.astype(int).tolist()

    def around(cell: Cell) -> list[Cell]:
        beside = [(cell[0] + i, cell[1] + j) for i, j in steps]
        return [(i, j) for i, j in beside
                if 0 <= i < rows and 0 <= j < columns and not obstacles[i, j]]  # fmt: skip

    left = {goal: 0}  # steps to the goal
    queue = deque([goal])
    while queue:
        cell = queue.popleft()
        for other in around(cell):
            if other not in left:
                left[other] = left[cell] + 1
                queue.append(other)
    path = [start]
    while path[-1] != goal:
        closer = [cell for cell in around(path[-1]) if left[cell] < left[path[-1]]]
        path.append(closer[rng.integers(len(closer))])
    return np.array(path, dtype=np.int32)
