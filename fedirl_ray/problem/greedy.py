"""Optimal policies of stacked worlds: policy iteration with exact evaluation.

Sweeps of value iteration find a first policy of every pair of a world and a column; then each pair
goes through Howard's (1960) policy iteration: the linear equations of its policy's value are solved
(see `problem.chains`), until no action is better by more than rounding. A pair's numbers never
depend on what is planned beside it.

Shapes as in `problem.planning`; besides, `n` pairs.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from fedirl_ray.errors import DataError, RunError
from fedirl_ray.problem.chains import Chains
from fedirl_ray.problem.mdp import Bools, Floats, Places, Stack
from fedirl_ray.problem.ties import as_good
from fedirl_ray.problem.undiscounted import undiscounted_policy

ROUNDING = 1e-12
"""Share of what an action's value is summed from, within which another counts as equally good."""
GIVEN = 1e-2
"""Share of a reward that counts in that sum though the part that all states share is left out."""
SWEEPS = 16
"""Of value iteration between two looks at its policy."""
LOOKS = 30
"""Most of them; a first policy need not be the best."""
NEAR = 1e-6
"""Share of its value by which an action must be beaten to be given up in a first policy."""
ROUNDS = 200
"""Most steps of policy iteration; a plan takes 1 to 10."""
PATIENCE = 40
"""Steps after which rounding is suspected to be larger: it doubles with each further one."""
LONG = 1e3
"""Effective horizon from which what all states are worth alike is tried without."""


class Ahead(NamedTuple):
    """What every action promises."""

    q: Floats
    """`[a, k s, c]`."""
    room: Floats
    """By how much rounding may have moved it, in units of `ROUNDING`, `[a, k s, c]`."""


def greedy_policy(stack: Stack, rewards: Floats, *, discount: float) -> Floats:
    """Optimal stationary policies of the infinite-horizon problem, ties split evenly.

    Two actions tie if their values differ by rounding alone: by `ROUNDING` times what these values
    are summed from, under the optimal policy. What is earned elsewhere plays no part.

    Args:
        stack: Worlds.
        rewards: `[a, k s, c]` or `[1, k s, c]`.
        discount: In (0, 1]; what 1 means, and when it can be, says `undiscounted_policy`.

    Returns:
        `[a, k s, c]`, rows over `a` sum to one.

    Raises:
        DataError: A reward is not finite.
        RunError: Without a discount, not ending pays; or rounding keeps a plan from settling.
    """
    own = _of_one_size(stack, rewards)
    if discount == 1.0:
        return undiscounted_policy(stack, own)
    k, s, c = stack.k, stack.s, own.shape[2]
    ahead: sp.csr_array = discount * stack.expect
    actions = _first_actions(ahead, own, discount, k)
    policy = np.empty((stack.a, k * s, c))
    moving = np.ones((k, c), dtype=bool)
    slack = ROUNDING
    for step in range(ROUNDS):
        columns = np.flatnonzero(moving.any(axis=0))
        held, narrow = actions[:, columns], np.ascontiguousarray(own[:, :, columns])
        q, room = _look_ahead(stack, ahead, narrow, held, moving[:, columns], discount)
        good = as_good(q, slack * room)
        better = ~np.take_along_axis(good, held[None], axis=0)[0]
        actions[:, columns] = np.where(better, q.argmax(axis=0), held)
        ended = moving[:, columns] & ~_any(better, k)
        even = good / good.sum(axis=0)
        policy[:, :, columns] = np.where(np.repeat(ended, s, axis=0), even, policy[:, :, columns])
        moving[:, columns] &= ~ended
        if not moving.any():
            return policy
        if step >= PATIENCE:
            slack = min(2.0 * slack, NEAR)
    raise RunError(f"a plan at discount {discount} did not settle in {ROUNDS} steps")


def _of_one_size(stack: Stack, rewards: Floats) -> Floats:
    """Rewards brought to a size near one in every pair, which changes no policy.

    Powers of two round nothing, and values of huge rewards do not overflow.

    Raises:
        DataError: A reward is not finite.
    """
    if not np.isfinite(rewards).all():
        got = rewards[~np.isfinite(rewards)][0]
        raise DataError(f"rewards to plan for must be finite, got {got}")
    by_pair = rewards.reshape(len(rewards), stack.k, stack.s, -1)
    _, exponent = np.frexp(np.abs(by_pair).max(axis=(0, 2), keepdims=True))
    scaled: Floats = np.ldexp(by_pair, -exponent).reshape(rewards.shape)
    return scaled


def _first_actions(ahead: sp.csr_array, own: Floats, discount: float, k: int) -> Places:
    """Actions `[k s, c]` that value iteration comes to long before its values settle."""
    _, points, c = own.shape
    # Staying put for ever: exact where absorbed, and near the end of every plan that waits
    # somewhere, which is what would otherwise take 1 / (1 - discount) sweeps to build up.
    value = own.max(axis=0) / (1.0 - discount)
    actions = np.zeros((points, c), dtype=np.intp)
    moving = np.ones((k, c), dtype=bool)
    columns = np.arange(c)
    for look in range(LOOKS):
        narrow = np.ascontiguousarray(own[:, :, columns])
        for _ in range(SWEEPS):
            q = np.reshape(ahead @ value, (-1, points, columns.size))
            q += narrow
            value = np.maximum.reduce(q, axis=0)
        held = actions[:, columns]
        beaten = value - _of(q, held) > NEAR * np.abs(value)
        still = moving[:, columns]
        fresh = np.repeat(still, points // k, axis=0)
        actions[:, columns] = np.where(fresh & (beaten | (look == 0)), q.argmax(axis=0), held)
        moving[:, columns] = still & (_any(beaten, k) | (look == 0))
        going = moving[:, columns].any(axis=0)
        columns, value = columns[going], np.ascontiguousarray(value[:, going])
        if not columns.size:
            break
    return actions


def _look_ahead(
    stack: Stack, ahead: sp.csr_array, own: Floats, held: Places, moving: Bools, discount: float
) -> Ahead:
    """What actions promise when those held are taken ever after; other pairs' numbers are void."""
    world, column = np.nonzero(moving)
    at = world[:, None] * stack.s + np.arange(stack.s), column[:, None]
    taken = held[at]
    paid = own[taken if len(own) > 1 else np.zeros_like(taken), *at]  # [n, s]
    chains = Chains(stack, taken, world, discount)

    def promise(right: Floats) -> Ahead:
        """Actions by the values of rewards and of their magnitudes, `[n, s, 2]`."""
        value, scale = np.zeros(held.shape), np.zeros(held.shape)
        found = chains.solve(right)
        value[at], scale[at] = found[:, :, 0], found[:, :, 1]
        shape = (stack.a, *held.shape)
        q, room = (np.reshape(ahead @ table, shape) for table in (value, scale))
        q += own
        room += np.abs(own)
        return Ahead(q, room)

    plain = promise(np.stack([paid, np.abs(paid)], axis=2))
    if 1.0 / (1.0 - discount) < LONG:
        return plain
    # What states share drowns in the long run what tells them apart. Where all come to the same,
    # it can be left out.
    left, start = paid, stack.initial.reshape(stack.k, stack.s).argmax(axis=1)[world]
    for _ in range(2):  # the second time for what rounding left
        found = chains.solve(np.stack([left, np.ones_like(paid)], axis=2))
        shared = found[np.arange(len(world)), start]  # [n, 2]
        left = left - (shared[:, 0] / shared[:, 1])[:, None]
    level = promise(np.stack([left, np.abs(left) + GIVEN * np.abs(paid)], axis=2))
    finer = level.room.max(axis=0) < plain.room.max(axis=0)
    return Ahead(*(np.where(finer, a, b) for a, b in zip(level, plain, strict=True)))


def _of(table: Floats, actions: Places) -> Floats:
    """Entries `[k s, c]` of a table `[a, k s, c]`."""
    entries: Floats = np.take_along_axis(table, actions[None], axis=0)[0]
    return entries


def _any(states: Bools, k: int) -> Bools:
    """Whether it holds in any state of each world: `[k s, c]` to `[k, c]`."""
    worlds: Bools = np.logical_or.reduce(states.reshape(k, -1, states.shape[1]), axis=1)
    return worlds
