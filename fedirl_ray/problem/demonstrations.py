"""Experts, and the episodes each client holds.

Episodes run to the horizon: one that ends early stays in its absorbing state, which is how an
end enters the feature counts (see `problem.mdp`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.errors import DataError
from fedirl_ray.laws import require
from fedirl_ray.problem.greedy import greedy_policy
from fedirl_ray.problem.mdp import Floats, Ints, Stack, TabularMDP
from fedirl_ray.problem.npz import read_arrays, write_arrays
from fedirl_ray.problem.planning import soft_policy

ARRAYS = ("client", "states", "actions")
"""What a demonstrations file holds."""


@dataclass(frozen=True)
class Demonstrations:
    """Episodes of one client: `m` of them, `h` steps each."""

    states: Ints
    """State before each action, `[m, h]`."""
    actions: Ints
    """Action taken, `[m, h]`."""


def expert_policy(
    stack: Stack, config: ProblemConfig, horizon: int, temperatures: Floats | None = None
) -> Floats:
    """The experts' policies under the true reward.

    Args:
        stack: Worlds.
        config: Temperature and discount of the expert.
        horizon: Steps.
        temperatures: Each world's own, `[k]`, all > 0, instead of the configured one.

    Returns:
        `[h, a, k s]`; the same at every step for an expert of temperature 0.
    """
    reward = stack.true_rewards()
    if temperatures is not None:
        # A soft policy depends on reward / temperature alone.
        return soft_policy(
            stack,
            reward / np.repeat(temperatures, stack.s),
            horizon=horizon,
            discount=config.expert_discount,
            temperature=1.0,
        ).policy
    if config.expert_temperature == 0.0:
        greedy = greedy_policy(stack, reward[:, :, None], discount=config.expert_discount)
        return np.broadcast_to(greedy[:, :, 0], (horizon, *greedy.shape[:2]))
    return soft_policy(
        stack,
        reward,
        horizon=horizon,
        discount=config.expert_discount,
        temperature=config.expert_temperature,
    ).policy


def demonstrate(
    world: TabularMDP, policy: Floats, episodes: int, rng: np.random.Generator
) -> Demonstrations:
    """Roll a policy out in one world.

    Args:
        world: The world.
        policy: `[h, a, s]`.
        episodes: Number of episodes `m`.
        rng: Consumed: `[m]` draws for the first states, then `[2, m]` a step.

    Returns:
        Episodes of `h` steps.
    """
    return demonstrate_all([world], policy, [episodes], [rng])[0]


def demonstrate_all(
    worlds: Sequence[TabularMDP],
    policy: Floats,
    episodes: Sequence[int],
    streams: Sequence[np.random.Generator],
) -> list[Demonstrations]:
    """Roll policies out, each in its own world, all side by side.

    Args:
        worlds: `k` worlds of equal shape.
        policy: `[h, a, k s]`.
        episodes: Number of episodes `m` in each, `[k]`.
        streams: One a world, consumed as by `demonstrate`.

    Returns:
        Episodes of `h` steps for each world. The same numbers as world by world.
    """
    horizon, s = policy.shape[0], worlds[0].shape[0]
    k, width = len(worlds), max(world.successors.shape[2] for world in worlds)
    to = np.concatenate(
        [_widened(world.successors, width) + s * i for i, world in enumerate(worlds)]
    )
    chance = np.concatenate([_widened(world.probabilities, width) for world in worlds])
    # [1 + 2 h, all episodes]: each world's own draws side by side.
    uniform = np.concatenate(
        [rng.random((1 + 2 * horizon, m)) for m, rng in zip(episodes, streams, strict=True)], axis=1
    )
    initial = np.repeat(np.stack([world.initial for world in worlds]), episodes, axis=0)
    first = np.repeat(s * np.arange(k, dtype=np.int32), episodes)
    states = np.empty((first.size, horizon), dtype=np.int32)
    actions = np.empty_like(states)
    now = _draw(initial, uniform[0]) + first
    for t in range(horizon):
        states[:, t] = now - first
        actions[:, t] = _draw(policy[t][:, now].T, uniform[1 + 2 * t])
        branch = _draw(chance[now, actions[:, t]], uniform[2 + 2 * t])
        now = to[now, actions[:, t], branch]
    cuts = np.cumsum(episodes)[:-1]
    return [
        Demonstrations(*pair)
        for pair in zip(np.split(states, cuts), np.split(actions, cuts), strict=True)
    ]


def _widened(branches: NDArray[Any], width: int) -> NDArray[Any]:
    """Pad `[s, a, b]` with zeros to `[s, a, width]`."""
    return np.pad(branches, ((0, 0), (0, 0), (0, width - branches.shape[2])))


def _draw(chances: Floats, uniform: Floats) -> Ints:
    """Invert each row's cumulative distribution at a uniform number."""
    edges = np.cumsum(chances, axis=1)
    # Rounding can leave the last edge just below a draw: the last possible outcome takes it.
    last = chances.shape[1] - 1 - np.argmax(chances[:, ::-1] > 0.0, axis=1)
    drawn = (edges <= uniform[:, None]).sum(axis=1)
    outcome: Ints = np.minimum(drawn, last).astype(np.int32)
    return outcome


def feature_expectation(world: TabularMDP, data: Demonstrations, discount: float) -> Floats:
    """Discounted feature counts of demonstrations, sum_t discount^t phi(s_t, a_t), their mean.

    Args:
        world: Whose features count.
        data: Episodes `[m, h]`.
        discount: In (0, 1].

    Returns:
        `[d]`.
    """
    counts: Floats = np.einsum("t,mtd->d", *_features_of(world, data, discount))
    return counts / len(data.states)


def feature_counts(world: TabularMDP, data: Demonstrations, discount: float) -> Floats:
    """The discounted feature counts of each episode, `[m, d]`; see `feature_expectation`."""
    counts: Floats = np.einsum("t,mtd->md", *_features_of(world, data, discount))
    return counts


def _features_of(world: TabularMDP, data: Demonstrations, discount: float) -> tuple[Floats, Floats]:
    """Weights of steps `[h]`, and the features met in them, `[m, h, d]`."""
    weight: NDArray[Any] = discount ** np.arange(data.states.shape[1])
    actions = data.actions if world.features.shape[1] > 1 else np.zeros_like(data.actions)
    return weight, world.features[data.states, actions]


def require_new(target: str, names: Sequence[str]) -> None:
    """Refuse, before any work, files that cannot be written, or would be written over.

    Args:
        target: `record.demonstrations`, as the user typed it.
        names: The files it stands for.

    Raises:
        ConfigError: Says why.
    """
    field, paths = "record.demonstrations", [Path(name) for name in names]
    require(all(path.suffix == ".npz" for path in paths), field, "a name that ends in .npz", target)
    require(all(path.parent.is_dir() for path in paths), field, "in a folder that exists", target)
    taken = next((path for path in paths if path.exists()), None)
    require(taken is None, field, "what does not exist yet", taken)


def save_demonstrations(path: Path, data: Sequence[Demonstrations]) -> None:
    """Write all clients' episodes as `load_demonstrations` reads them.

    Raises:
        ConfigError: The file cannot be written.
    """
    who = [np.full(len(shown.states), i, dtype=np.int32) for i, shown in enumerate(data)]
    both = [np.concatenate([getattr(d, name) for d in data]) for name in ("states", "actions")]
    write_arrays(path, dict(zip(ARRAYS, (np.concatenate(who), *both), strict=True)))


def load_demonstrations(
    path: Path, clients: int, states: int, actions: int, horizon: int
) -> list[Demonstrations]:
    """Read every client's episodes from an .npz; nothing in it is unpickled.

    The file holds three integer arrays: `client` `[m]` (0 .. clients - 1), `states` and `actions`
    `[m, h]`. An episode that ended early repeats its absorbing state to the end. Whether they can
    have happened in the clients' worlds is for `require_possible`.

    Args:
        path: The file.
        clients: Number of clients; each must have an episode.
        states: Number of states of the worlds.
        actions: Number of actions of the worlds.
        horizon: Steps an episode must have.

    Returns:
        One entry a client.

    Raises:
        DataError: The file cannot be read, or does not fit the worlds.
    """
    field = f"problem.demonstrations-file {path}"
    arrays = read_arrays(path, ARRAYS, field)
    client, visited, taken = (arrays[name] for name in ARRAYS)
    episodes = client.size
    for name, array, shape, axes in (
        ("client", client, (episodes,), "episodes"),
        ("states", visited, (episodes, horizon), "episodes, horizon"),
        ("actions", taken, (episodes, horizon), "episodes, horizon"),
    ):
        if array.dtype.kind not in "iu":
            raise DataError(f"{field}: {name} must be integers, got {array.dtype}")
        if array.shape != shape:
            raise DataError(f"{field}: {name} must have shape {shape} ({axes}), got {array.shape}")
    for name, array, count in (
        ("client", client, clients),
        ("states", visited, states),
        ("actions", taken, actions),
    ):
        if array.size and (array.min() < 0 or array.max() >= count):
            raise DataError(
                f"{field}: {name} must lie in 0..{count - 1}, got {array.min()}..{array.max()}"
            )
    without = sorted(set(range(clients)) - set(client.tolist()))
    if without:
        raise DataError(
            f"{field} must hold an episode of every client; none of client {without[0]}"
        )
    return [
        Demonstrations(visited[client == i].astype(np.int32), taken[client == i].astype(np.int32))
        for i in range(clients)
    ]


def require_possible(world: TabularMDP, data: Demonstrations, what: str) -> None:
    """Refuse episodes that cannot have happened in a world.

    Args:
        world: Whose dynamics and first states.
        data: Episodes of the world's states and actions.
        what: Whose episodes they are, for the message.

    Raises:
        DataError: A world never starts where an episode does, or a step has probability zero; the
            first such episode and step are named, counted from 0.
    """
    begun = world.initial[data.states[:, 0]] > 0.0
    now, then, taken = data.states[:, :-1], data.states[:, 1:], data.actions[:, :-1]
    leads = (world.successors[now, taken] == then[..., None]) & (
        world.probabilities[now, taken] > 0.0
    )
    possible = np.concatenate([begun[:, None], leads.any(axis=-1)], axis=1)
    if possible.all():
        return
    episode, t = divmod(int(possible.argmin()), possible.shape[1])
    reached = data.states[episode, t]
    if t == 0:
        raise DataError(
            f"{what}, episode {episode}: its world never starts in state {reached}, only in "
            f"{_few(np.flatnonzero(world.initial))}"
        )
    state, action = data.states[episode, t - 1], data.actions[episode, t - 1]
    able = world.successors[state, action][world.probabilities[state, action] > 0.0]
    ended = "; where an episode has ended, it stays" if world.terminal[state] else ""
    raise DataError(
        f"{what}, episode {episode}, step {t - 1}: in its world action {action} leads from state "
        f"{state} to {_few(np.unique(able))}, never to {reached}{ended}"
    )


def _few(states: NDArray[Any]) -> str:
    """Some states in words."""
    shown = ", ".join(map(str, states[:5].tolist()))
    return f"{shown} or {len(states) - 5} others" if len(states) > 5 else shown
