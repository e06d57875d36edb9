"""Transition tables of Gymnasium environments as arrays.

Letters: `s` states, `a` actions, `b` branches.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from fedirl_ray.errors import DataError, in_short
from fedirl_ray.problem.mdp import Bools, Floats, Ints

_PASSED_BY = (
    gymnasium.wrappers.HumanRendering,
    gymnasium.wrappers.OrderEnforcing,
    gymnasium.wrappers.PassiveEnvChecker,
    gymnasium.wrappers.RecordEpisodeStatistics,
    gymnasium.wrappers.RecordVideo,
    gymnasium.wrappers.TimeLimit,  # `problem.horizon` is ours
)
"""Wrappers that leave dynamics and rewards alone."""
_NEUTRAL = (gymnasium.Wrapper, gymnasium.ObservationWrapper)
"""Bases whose own methods do: states are the table's, whatever is seen of them."""


class Table(NamedTuple):
    """A transition table as arrays."""

    successors: Ints
    """`[s, a, b]`."""
    probabilities: Floats
    """`[s, a, b]`, zero where a row has fewer branches."""
    reward: Floats
    """Expected reward, `[s, a]`."""
    done: Bools
    """States in which an episode has ended, `[s]`."""
    won: Bools
    """Those of them entered with a positive reward, `[s]`."""
    initial: Floats
    """Distribution of the first state, `[s]`."""


def read_table(env: Any) -> Table:
    """Read `env.unwrapped.P` and `env.unwrapped.initial_state_distrib`.

    Args:
        env: Gymnasium environment. `P[state][action]`, mappings numbered from 0 or sequences, lists
            branches (probability, next state, reward, terminated); a fifth entry, truncated, must
            be false, as a table knows no time. Wrappers around it that change the reward alone are
            heeded, those that change nothing are passed by.

    Raises:
        DataError: No such table, one with gaps or with something else in it, a wrapper whose effect
            on a table is unknown, or a state in which an episode ends on one way there and goes on
            from another.
    """
    bare = env.unwrapped
    rows = getattr(bare, "P", None)
    first = getattr(bare, "initial_state_distrib", None)
    if rows is None or first is None:
        raise DataError(
            "a tabular environment must have unwrapped.P and unwrapped.initial_state_distrib, "
            f"got {type(bare).__name__} without"
        )
    pays = _paid_through(env)
    branches = {
        (state, action): [_branch(one, state, action) for one in _listed(cell)]
        for state, row in enumerate(_numbered(rows))
        for action, cell in enumerate(_numbered(row))
    }
    s, a = (1 + max(key[axis] for key in branches) if branches else 0 for axis in (0, 1))
    targets = {to for some in branches.values() for _, to, _, _ in some}
    if not (len(branches) == s * a > 0 and targets <= set(range(s))):
        raise DataError(_UNNUMBERED)
    b = max(len(some) for some in branches.values())
    to, chance = np.zeros((s, a, max(1, b)), dtype=np.int32), np.zeros((s, a, max(1, b)))
    paid, ends = np.zeros(to.shape), np.zeros(to.shape, dtype=bool)
    for (state, action), some in branches.items():
        for branch, (p, successor, reward, terminated) in enumerate(some):
            at = state, action, branch
            to[at], chance[at] = successor, p
            paid[at], ends[at] = pays(reward), terminated and p > 0.0
    done, won = np.zeros(s, dtype=bool), np.zeros(s, dtype=bool)
    done[to[ends]] = True
    won[to[ends & (paid > 0.0)]] = True
    initial = _first_states(first, s)
    live = _reachable(to, chance, initial > 0.0, done) & ~done
    passed = done[to[live]] & (chance[live] > 0.0) & ~ends[live]
    if passed.any():
        raise DataError(
            "a state must end the episode however it is entered, got state "
            f"{to[live][passed][0]}, which ends it on some ways only"
        )
    return Table(to, chance, (chance * paid).sum(axis=-1), done, won, initial)


_UNNUMBERED = "a transition table must number states and actions from 0, each action in each state"
_BRANCH = "branches (probability, next state, reward, terminated)"


def _numbered(rows: Any) -> Sequence[Any]:
    """A mapping's values by their numbers from 0, or a sequence as it is."""
    if isinstance(rows, Mapping):
        if set(rows) != set(range(len(rows))):
            raise DataError(_UNNUMBERED)
        return [rows[number] for number in range(len(rows))]
    return _listed(rows)


def _listed(rows: Any) -> Sequence[Any]:
    if isinstance(rows, list | tuple) or (isinstance(rows, np.ndarray) and rows.ndim):
        return list(rows)
    raise DataError(f"a transition table must list {_BRANCH}, got {_shown(rows)}")


def _branch(entry: Any, state: int, action: int) -> tuple[float, int, float, bool]:
    """One branch, each entry of the kind it must be."""
    where = f"a transition table must list {_BRANCH}; state {state}, action {action}"
    if not isinstance(entry, list | tuple | np.ndarray) or len(entry) not in (4, 5):
        raise DataError(f"{where} holds {_shown(entry)}")
    try:
        p, to, reward, terminated = float(entry[0]), int(entry[1]), float(entry[2]), entry[3]
        flags = [bool(flag) for flag in (terminated, *entry[4:])]
        whole = to == entry[1] and all(
            flag == wanted for flag, wanted in zip(flags, entry[3:], strict=True)
        )
    except (TypeError, ValueError, OverflowError) as err:
        raise DataError(f"{where} holds {_shown(entry)}") from err
    if not (whole and 0.0 <= p <= 1.0 and math.isfinite(reward)):
        raise DataError(f"{where} holds {_shown(entry)}")
    if any(flags[1:]):
        raise DataError(f"{where} truncates the episode, which a table without time cannot")
    return p, to, reward, flags[0]


def _first_states(given: Any, s: int) -> Floats:
    """The distribution of the first state, `[s]`; that it sums to one is checked elsewhere."""
    law = f"initial_state_distrib must be {s} chances, one a state"
    try:
        initial = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as err:
        raise DataError(f"{law}, got {_shown(given)}") from err
    if initial.shape != (s,):
        raise DataError(f"{law}, got shape {initial.shape}")
    return initial


def _shown(value: Any) -> str:
    """A value in a few words of one line."""
    if isinstance(value, np.ndarray) and value.ndim:
        return f"an array of shape {value.shape}"
    return in_short(repr(value), 60)


def _paid_through(env: Any) -> Callable[[float], float]:
    """What is left of a reward once it has come through all wrappers around a table.

    Raises:
        DataError: A wrapper is none that is known to leave all but the reward alone.
    """
    layers: list[gymnasium.RewardWrapper[Any, Any]] = []
    while isinstance(env, gymnasium.Wrapper):
        kind = type(env)
        if isinstance(env, gymnasium.RewardWrapper) and _inherits(kind, gymnasium.RewardWrapper):
            layers.append(env)
        elif kind not in _PASSED_BY and not any(_inherits(kind, base) for base in _NEUTRAL):
            raise DataError(
                f"wrapper {kind.__name__} may change what the table below it says; only reward "
                "wrappers are heeded, so build the table as it should be"
            )
        env = env.env

    def pays(reward: float) -> float:
        for layer in reversed(layers):
            given = reward
            reward = float(layer.reward(given))
            if not (math.isfinite(reward) and reward == float(layer.reward(given))):
                raise DataError(
                    f"wrapper {type(layer).__name__} must make finite rewards of rewards alone, "
                    f"the same each time, got {reward} for {given}"
                )
        return reward

    return pays


def _inherits(kind: type[Any], base: type[Any]) -> bool:
    """Whether a wrapper steps and resets as its base does."""
    return issubclass(kind, base) and kind.step is base.step and kind.reset is base.reset


def _reachable(to: Ints, chance: Floats, first: Bools, done: Bools) -> Bools:
    """States that some episode visits, `[s]`."""
    seen, front = first.copy(), np.flatnonzero(first & ~done)
    while front.size:
        found = np.zeros_like(seen)
        found[to[front][chance[front] > 0.0]] = True
        front = np.flatnonzero(found & ~seen & ~done)
        seen |= found
    return seen
