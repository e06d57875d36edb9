"""What the dials of `HeterogeneityConfig` draw for each client, before any learning.

Every draw has a stream of its own, named after the dial and the client (or the seed), and a dial's
level only scales or cuts it: at a higher level the same clients are weak, and further ones.

Letters: `k` clients, `s` states, `n` support points.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedirl_ray.config_problem import HeterogeneityConfig
from fedirl_ray.problem.mdp import Bools, Floats, TabularMDP
from fedirl_ray.seeds import stream

HOTTEST = 5.0
"""Temperature up to which experts are drawn at a dial of 1, in units of reward a step: under a soft
policy that hot two in five reach the goal of a 5x5 grid-world, one in twenty that of a 10x10."""


def chosen(share: float, clients: int, root: int, seed: int, dial: str) -> NDArray[np.intp]:
    """The clients a dial singles out: the first `share` of a random order.

    Args:
        share: In [0, 1]; times `clients`, rounded.
        clients: Number of clients `k`.
        root: Root seed.
        seed: Repetition.
        dial: Whose order.

    Returns:
        Client numbers, ascending.
    """
    order = stream(root, "seed", seed, dial).permutation(clients)
    return np.sort(order[: round(share * clients)])


def count_episodes(most: int, dial: float, root: int, seed: int, client: int) -> int:
    """Demonstrations of one client: `most` times a share from U(1 - dial, 1), at least one."""
    return max(1, round(most * (1.0 - dial * _uniform(root, seed, client, "demonstration share"))))


def expert_temperatures(
    base: float, dial: float, root: int, seed: int, members: Sequence[int]
) -> Floats:
    """Temperatures of some clients' experts, `base` and U(0, 5 dial) more, `[k]`."""
    drawn = [_uniform(root, seed, i, "expert temperature") for i in members]
    return base + HOTTEST * dial * np.array(drawn)


def spread_start(world: TabularMDP, dial: float, root: int, seed: int, client: int) -> TabularMDP:
    """Let episodes start, with chance `dial`, in one state of the client's own.

    That state is uniform over those that are not terminal and can reach a goal.
    """
    if dial == 0.0:
        return world
    able = np.flatnonzero(can_win(world) & ~world.terminal)
    own = able[int(_uniform(root, seed, client, "start") * len(able))]
    initial = (1.0 - dial) * world.initial
    initial[own] += dial
    return dataclasses.replace(world, initial=initial)


def can_win(world: TabularMDP) -> Bools:
    """States from which some way leads to a goal, goals included, `[s]`."""
    able = world.goal
    while True:
        further = able | (able[world.successors] & (world.probabilities > 0.0)).any(axis=(1, 2))
        if (further == able).all():
            return able
        able = further


def iteration_limits(
    most: int, config: HeterogeneityConfig, clients: int, root: int, seed: int
) -> NDArray[np.int64]:
    """Largest number of IRL iterations of every client: fewer than `most` for weak ones, `[k]`."""
    limits = np.full(clients, most, dtype=np.int64)
    for i in chosen(config.weak_clients, clients, root, seed, "weak clients"):
        limits[i] = 1 + int(_uniform(root, seed, int(i), "iterations") * max(most - 1, 0))
    few: NDArray[np.int64] = np.minimum(limits, most)
    return few


def seen_support(
    axes: tuple[Floats, ...], hidden: float, members: Sequence[int], root: int, seed: int
) -> Bools:
    """Which points of the support some clients see: the nearest to a point of its own.

    Args:
        axes: Lattice of `n` points: coordinates, or costs between categories.
        hidden: Share of the points out of sight; at least one stays in.
        members: Client numbers.
        root: Root seed.
        seed: Repetition.

    Returns:
        `[k, n]`, in the members' order; equally near points are seen in C order.
    """
    n = int(np.prod([len(axis) for axis in axes]))
    kept = max(1, round((1.0 - hidden) * n))
    seen = np.zeros((len(members), n), dtype=bool)
    for row, client in enumerate(members):
        centre = int(_uniform(root, seed, client, "view") * n)
        seen[row, np.argsort(_cost_from(axes, centre), kind="stable")[:kept]] = True
    return seen


def _cost_from(axes: tuple[Floats, ...], point: int) -> Floats:
    """Squared distance (plus categories' costs) of every lattice point to one, `[n]`."""
    at = np.unravel_index(point, tuple(len(axis) for axis in axes))
    total = np.zeros(1)
    for axis, i in zip(axes, at, strict=True):
        row = axis[i] if axis.ndim == 2 else (axis - axis[i]) ** 2
        total = (total[:, None] + row).ravel()
    return total


def _uniform(root: int, seed: int, client: int, dial: str) -> float:
    return float(stream(root, "seed", seed, "client", client, dial).random())
