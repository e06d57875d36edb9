"""A block of clients: their worlds, and what their experts showed them.

Everything is drawn from streams named after the client, so a block holds the same numbers
wherever, and beside whichever other clients, it is prepared.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedirl_ray.config import RunConfig
from fedirl_ray.problem.demonstrations import (
    demonstrate_all,
    expert_policy,
    feature_expectation,
    load_demonstrations,
)
from fedirl_ray.problem.family import draw_world, horizon
from fedirl_ray.problem.mdp import Floats, Stack, TabularMDP, tiles, untile
from fedirl_ray.seeds import stream


@dataclass(frozen=True)
class Block:
    """Some clients of one seed."""

    members: tuple[int, ...]
    """Client numbers."""
    worlds: tuple[TabularMDP, ...]
    """Their worlds, in the members' order."""
    counts: Floats
    """Their demonstrations' discounted feature counts, `[k, d]`."""


def prepare(config: RunConfig, seed: int, members: Sequence[int]) -> Block:
    """Draw the worlds and demonstrations of some clients.

    Args:
        config: The run.
        seed: Which repetition.
        members: Client numbers.

    Returns:
        The block.
    """
    problem, steps = config.problem, horizon(config.problem)
    worlds = [draw_world(problem, config.seed, seed, "client", i) for i in members]
    if problem.demonstrations_file is not None:
        s, a = (max(world.shape[axis] for world in worlds) for axis in (0, 1))
        loaded = load_demonstrations(problem.demonstrations_file, config.clients, s, a, steps)
        data = [loaded[i] for i in members]
    else:
        cut = tiles(worlds)
        parts = [
            demonstrate_all(
                [worlds[i] for i in tile],
                expert_policy(Stack([worlds[i] for i in tile]), problem, steps),
                problem.demonstrations,
                [
                    stream(config.seed, "seed", seed, "client", members[i], "demonstrations")
                    for i in tile
                ],
            )
            for tile in cut
        ]
        joined = [episodes for part in parts for episodes in part]
        data = [joined[i] for i in untile(cut)]
    counts = [
        feature_expectation(world, episodes, config.irl.discount)
        for world, episodes in zip(worlds, data, strict=True)
    ]
    return Block(tuple(members), tuple(worlds), np.stack(counts))
