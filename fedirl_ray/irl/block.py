"""A block of clients: their worlds, what their experts showed them, and how far they learn.

Everything is drawn from streams named after the client, so a block holds the same numbers
wherever, and beside whichever other clients, it is prepared.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedirl_ray.config import RunConfig
from fedirl_ray.problem.demonstrations import (
    Demonstrations,
    demonstrate_all,
    expert_policy,
    feature_expectation,
    load_demonstrations,
    require_possible,
)
from fedirl_ray.problem.dials import (
    count_episodes,
    expert_temperatures,
    iteration_limits,
    spread_start,
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
    """Their worlds as demonstrated, in the members' order (`coverage` moves first states)."""
    counts: Floats
    """Their demonstrations' discounted feature counts, `[k, d]`."""
    iterations: NDArray[np.int64]
    """Largest number of IRL iterations of each, `[k]`."""


def prepare(config: RunConfig, seed: int, members: Sequence[int]) -> Block:
    """Draw the worlds and demonstrations of some clients.

    Args:
        config: The run.
        seed: Which repetition.
        members: Client numbers.

    Returns:
        The block.

    Raises:
        DataError: Recorded demonstrations cannot be read, or have not happened in these worlds.
    """
    problem, dials, steps = config.problem, config.heterogeneity, horizon(config.problem)
    worlds = [
        spread_start(
            draw_world(problem, config.seed, seed, "client", i),
            dials.coverage,
            config.seed,
            seed,
            i,
        )
        for i in members
    ]
    if problem.demonstrations_file is not None:
        s, a = (max(world.shape[axis] for world in worlds) for axis in (0, 1))
        loaded = load_demonstrations(problem.demonstrations_file, config.clients, s, a, steps)
        data = [loaded[i] for i in members]
        for i, world, episodes in zip(members, worlds, data, strict=True):
            file = f"problem.demonstrations-file {problem.demonstrations_file}"
            require_possible(world, episodes, f"{file}: client {i}")
    else:
        data = _demonstrate(config, seed, members, worlds)
    counts = [
        feature_expectation(world, episodes, config.irl.discount)
        for world, episodes in zip(worlds, data, strict=True)
    ]
    limits = iteration_limits(config.irl.iterations, dials, config.clients, config.seed, seed)
    return Block(tuple(members), tuple(worlds), np.stack(counts), limits[list(members)])


def _demonstrate(
    config: RunConfig, seed: int, members: Sequence[int], worlds: Sequence[TabularMDP]
) -> list[Demonstrations]:
    """Let each member's expert show its episodes."""
    problem, dials = config.problem, config.heterogeneity
    temperatures = None
    if dials.expert_temperature > 0.0:
        temperatures = expert_temperatures(
            problem.expert_temperature, dials.expert_temperature, config.seed, seed, members
        )
    cut = tiles(worlds)
    data: list[Demonstrations] = []
    for tile in cut:
        own_temperatures = None if temperatures is None else temperatures[tile]
        stack = Stack([worlds[i] for i in tile])
        policy = expert_policy(stack, problem, horizon(problem), own_temperatures)
        clients = [members[i] for i in tile]
        most, dial = problem.demonstrations, dials.demonstrations
        data += demonstrate_all(
            stack.worlds,
            policy,
            [count_episodes(most, dial, config.seed, seed, i) for i in clients],
            [stream(config.seed, "seed", seed, "client", i, "demonstrations") for i in clients],
        )
    return [data[i] for i in untile(cut)]
