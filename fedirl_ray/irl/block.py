"""A block of clients: their worlds, what their experts showed them, and how far they learn.

Everything is drawn from streams named after the client, so a block holds the same numbers
wherever, and beside whichever other clients, it is prepared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedirl_ray.config import RunConfig
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.privacy.mechanism import Ball, counts_ball
from fedirl_ray.privacy.protection import Guard
from fedirl_ray.problem.aside import kept_aside
from fedirl_ray.problem.demonstrations import (
    ARRAYS,
    Demonstrations,
    demonstrate_all,
    expert_policy,
    feature_counts,
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
from fedirl_ray.problem.features import require_alike
from fedirl_ray.problem.mdp import Floats, Stack, TabularMDP, tiles, untile
from fedirl_ray.problem.npz import read_arrays
from fedirl_ray.problem.planning import Metric, Outcome, told
from fedirl_ray.seeds import stream


@dataclass(frozen=True)
class Block:
    """Some clients of one seed."""

    members: tuple[int, ...]
    """Client numbers."""
    worlds: tuple[TabularMDP, ...]
    """Their worlds as demonstrated, in the members' order (`coverage` moves first states)."""
    counts: Floats
    """Their demonstrations' discounted feature counts, `[k, d]`, with noise where it is asked."""
    episodes: tuple[int, ...]
    """How many they are."""
    aside: tuple[Demonstrations | None, ...]
    """Further ones that nothing is fitted to; None where none are kept aside."""
    iterations: NDArray[np.int64]
    """Largest number of IRL iterations of each, `[k]`."""


def prepare(
    config: RunConfig,
    seed: int,
    members: Sequence[int],
    laid: Mapping[int, Mapping[str, NDArray[Any]]] | None = None,
    *,
    aside: float = 0.0,
) -> Block:
    """Draw the worlds and demonstrations of some clients.

    Args:
        config: The run.
        seed: Which repetition.
        members: Client numbers.
        laid: What the run has given each member, by which demonstrations are protected as
            `privacy` asks; None: they are not.
        aside: Share of the demonstrations that is kept aside.

    Returns:
        The block.

    Raises:
        ConfigError: There are too few demonstrations to keep some aside.
        DataError: Recorded demonstrations cannot be read, or have not happened in these worlds.
    """
    problem, dials = config.problem, config.heterogeneity
    worlds = _worlds(config, seed, members)
    require_alike(worlds, worlds[0].shape[2], problem)
    if problem.demonstrations_file is not None:
        data = _load(config, members, worlds)
        for i, world, episodes in zip(members, worlds, data, strict=True):
            file = f"problem.demonstrations-file {problem.demonstrations_file}"
            require_possible(world, episodes, f"{file}: client {i}")
    else:
        data = _demonstrate(config, seed, members, worlds)
    kept: list[Demonstrations | None] = [None] * len(data)
    if aside > 0.0:
        for place, (i, shown) in enumerate(zip(members, data, strict=True)):
            away = kept_aside(len(shown.states), aside, config.seed, seed, i)
            data[place], kept[place] = (
                Demonstrations(shown.states[part], shown.actions[part]) for part in (~away, away)
            )
    if laid is not None and config.privacy.unit == "trajectory":
        counts = [
            _protected(config, Guard(config, laid[i], i, seed), world, episodes)
            for i, world, episodes in zip(members, worlds, data, strict=True)
        ]
    else:
        counts = [
            feature_expectation(world, episodes, config.irl.discount)
            for world, episodes in zip(worlds, data, strict=True)
        ]
    limits = iteration_limits(config.irl.iterations, dials, config.clients, config.seed, seed)
    held = tuple(len(shown.states) for shown in data)
    own_limits = limits[list(members)]
    return Block(tuple(members), tuple(worlds), np.stack(counts), held, tuple(kept), own_limits)


def counts_ball_of(config: RunConfig, world: TabularMDP) -> Ball:
    """Where a client's feature counts are clipped to: nothing that was demonstrated decides it."""
    privacy, steps = config.privacy, np.arange(horizon(config.problem))
    mass = float((config.irl.discount**steps).sum())
    clip = None if isinstance(privacy.clip, str) else privacy.clip
    return counts_ball(world.features.reshape(-1, world.shape[2]), mass, clip)


def _protected(config: RunConfig, guard: Guard, world: TabularMDP, data: Demonstrations) -> Floats:
    """Feature counts `[d]` that any one episode could have been another of."""
    rows = feature_counts(world, data, config.irl.discount)
    return guard.counts(rows, counts_ball_of(config, world))


def _worlds(config: RunConfig, seed: int, members: Sequence[int]) -> list[TabularMDP]:
    """The members' worlds, with first states as they are demonstrated from."""
    problem, root, share = config.problem, config.seed, config.heterogeneity.coverage
    return [
        spread_start(draw_world(problem, root, seed, "client", i), share, root, seed, i)
        for i in members
    ]


def demonstrations_of(config: RunConfig, seed: int) -> list[Demonstrations]:
    """What every client is shown, in the clients' order."""
    everyone = range(config.clients)
    worlds = _worlds(config, seed, everyone)
    if config.problem.demonstrations_file is not None:
        return _load(config, everyone, worlds)
    return _demonstrate(config, seed, everyone, worlds)


def most_episodes(config: ProblemConfig) -> int:
    """The most demonstrations a client can hold: of recorded ones, all that there are.

    Raises:
        DataError: Recorded demonstrations cannot be read.
    """
    file = config.demonstrations_file
    if file is None:
        return config.demonstrations
    return int(read_arrays(file, ARRAYS, f"problem.demonstrations-file {file}")["client"].size)


def _demonstrate(
    config: RunConfig, seed: int, members: Sequence[int], worlds: Sequence[TabularMDP]
) -> list[Demonstrations]:
    """Let each member's expert show its episodes."""
    problem, dials = config.problem, config.heterogeneity
    temperatures = demonstrators(config, seed, members)
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


def _load(
    config: RunConfig, members: Sequence[int], worlds: Sequence[TabularMDP]
) -> list[Demonstrations]:
    """The members' recorded episodes."""
    assert config.problem.demonstrations_file is not None
    s, a = (max(world.shape[axis] for world in worlds) for axis in (0, 1))
    steps = horizon(config.problem)
    loaded = load_demonstrations(config.problem.demonstrations_file, config.clients, s, a, steps)
    return [loaded[i] for i in members]


def demonstrators(config: RunConfig, seed: int, members: Sequence[int]) -> Floats | None:
    """Temperatures of some clients' experts, `[k]`; None: all have `problem.expert_temperature`."""
    dial = config.heterogeneity.expert_temperature
    if dial == 0.0:
        return None
    return expert_temperatures(config.problem.expert_temperature, dial, config.seed, seed, members)


def recorded_outcome(
    config: RunConfig,
    members: Sequence[int],
    worlds: Sequence[TabularMDP],
    metrics: Sequence[Metric] = (),
) -> Outcome:
    """What came of the members' recorded episodes, `[k]` each.

    Success is the share that stood on a goal when the horizon ended: the state after the last
    step is not on record, so its chance counts. The value is the discounted true reward.
    """
    success, value = np.empty(len(members)), np.empty(len(members))
    others = np.empty((len(members), len(metrics)))
    weight = config.problem.expert_discount ** np.arange(horizon(config.problem))
    for i, (world, shown) in enumerate(zip(worlds, _load(config, members, worlds), strict=True)):
        last = shown.states[:, -1], shown.actions[:, -1]
        chance = world.probabilities[last] * world.goal[world.successors[last]]
        success[i] = chance.sum(axis=1).mean()
        actions = shown.actions if world.reward.shape[1] > 1 else np.zeros_like(shown.actions)
        value[i] = (world.reward[shown.states, actions] @ weight).mean()
        if metrics:
            visits = np.zeros(world.shape[:2])
            np.add.at(visits, (shown.states, shown.actions), 1.0 / len(shown.states))
            others[i] = told(metrics, world, visits)
    return Outcome(success, value, others)
