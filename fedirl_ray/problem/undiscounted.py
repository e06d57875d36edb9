"""Optimal policies without a discount, where episodes end.

As the discount tends to one, what is earned for ever after an end (see `problem.mdp`) outweighs the
way there, and the way decides between ends that pay alike. So a policy is first judged by its gain,
the mean reward a step in the end, then by its bias, the sum of what its steps earn beyond that
(Howard 1960; Puterman 1994, chapter 9). Only policies that end are looked at; where never ending
pays more than any of them, there is no optimum of this kind, and that is said.

Shapes as in `problem.planning`; besides, `l` states on the way.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu

from fedirl_ray.errors import RunError
from fedirl_ray.problem.mdp import Bools, Floats, Places, Stack
from fedirl_ray.problem.ties import as_good

ROUNDING = 1e-12
"""Share of what an action's gain or bias is summed from, within which another is as good."""
ROUNDS = 500
"""Most steps of policy iteration."""
SETTING = "evaluation.discount, evaluation.discounts or problem.expert-discount 1"


class World(NamedTuple):
    """One world as the planner without a discount sees it."""

    moves: list[sp.csr_array]
    """Chance of the next state, `[s, s]` for each action."""
    terminal: Bools
    """`[s]`."""
    way: Places
    """States that can be reached and are not terminal, `[l]`."""
    first: Places
    """Actions of a policy that ends, `[s]`."""


def undiscounted_policy(stack: Stack, rewards: Floats) -> Floats:
    """Policies that are optimal as the discount tends to one, ties split evenly.

    Args:
        stack: Worlds.
        rewards: `[a, k s, c]` or `[1, k s, c]`, finite.

    Returns:
        `[a, k s, c]`; even in states that no policy reaches.

    Raises:
        RunError: An episode cannot end, or not ending pays more than any end.
    """
    policy = np.empty((stack.a, *rewards.shape[1:]))
    for i in range(stack.k):
        own = slice(i * stack.s, (i + 1) * stack.s)
        world = _look_at(stack, i)
        for c in range(rewards.shape[2]):
            table = np.broadcast_to(rewards[:, own, c], (stack.a, stack.s))
            policy[:, own, c] = _plan(world, table)
    return policy


def _look_at(stack: Stack, i: int) -> World:
    """Find a world's states and a policy that ends.

    Raises:
        RunError: An episode can come to where it cannot end.
    """
    s, own = stack.s, slice(i * stack.s, (i + 1) * stack.s)
    rows = [(action * stack.k + i) * s for action in range(stack.a)]
    moves = [sp.csr_array(stack.expect[first : first + s, own]) for first in rows]
    terminal = stack.terminal[own]
    reached = stack.initial[own] > 0.0
    while True:
        further = reached | (sum(move.T @ reached for move in moves) > 0.0)
        if (further == reached).all():
            break
        reached = further
    # From the ends backwards: a state's first action that may lead to one nearer to an end.
    able, first = terminal.copy(), np.zeros(s, dtype=np.intp)
    while True:
        leads = np.stack([move @ able > 0.0 for move in moves])
        fresh = leads.any(axis=0) & ~able
        if not fresh.any():
            break
        first[fresh] = leads.argmax(axis=0)[fresh]
        able |= fresh
    if (reached & ~able).any():
        raise RunError(
            f"{SETTING} needs episodes that end, but a world has states from which no end can be "
            "reached; set a discount below 1"
        )
    return World(moves, terminal, np.flatnonzero(reached & ~terminal), first)


def _plan(world: World, table: Floats) -> Floats:
    """The optimal policy for rewards `[a, s]`, `[a, s]`.

    Raises:
        RunError: Not ending pays more than any end.
    """
    actions = world.first.copy()
    for _ in range(ROUNDS):
        gain, bias = _look_ahead(world, table, actions)
        ties = gain.ties
        step = gain
        if not gain.better(actions)[world.way].any():
            # Among ends that pay alike, the way there decides.
            step = Ahead(np.where(ties, bias.q, -np.inf), bias.room)
            ties = ties & step.ties
        better = step.better(actions)
        better[world.terminal] = False
        if not better[world.way].any():
            policy = np.full(table.shape, 1.0 / len(table))
            policy[:, world.way] = (ties / ties.sum(axis=0))[:, world.way]
            paid = table == table.max(axis=0)
            policy[:, world.terminal] = (paid / paid.sum(axis=0))[:, world.terminal]
            return policy
        actions[better] = step.q.argmax(axis=0)[better]
        if not _ends(world, actions):
            raise RunError(
                f"{SETTING} needs rewards for which ending pays, but in some world not ending pays "
                "more than any end; set a discount below 1"
            )
    raise RunError(f"a plan at discount 1 did not settle in {ROUNDS} steps")


class Ahead(NamedTuple):
    """What actions promise."""

    q: Floats
    """`[a, s]`."""
    room: Floats
    """By how much rounding may have moved each, `[a, s]`."""

    @property
    def ties(self) -> Bools:
        """Whether an action is as good as the best, `[a, s]`."""
        return as_good(self.q, self.room)

    def better(self, actions: Places) -> Bools:
        """Whether some action is better than the one held, `[s]`."""
        held: Bools = np.take_along_axis(self.ties, actions[None], axis=0)[0]
        return ~held


def _look_ahead(world: World, table: Floats, actions: Places) -> tuple[Ahead, Ahead]:
    """Gain and bias of every action when a policy that ends is followed afterwards."""
    way, s = world.way, len(world.terminal)
    chain = _chain(world, actions)
    factor = splu(sp.csc_array(sp.eye_array(way.size) - chain[:, way])) if way.size else None

    def spread(paid: Floats, ended: Floats) -> Floats:
        """Sum what is paid on the way `[l]` and at the end `[s]`, `[s]`."""
        total = np.where(world.terminal, ended, 0.0)
        if factor is not None:
            total[way] = factor.solve(paid + chain @ total)
        return total

    def ahead(now: Floats | float, size: Floats | float, value: Floats, scale: Floats) -> Ahead:
        q = np.stack([move @ value for move in world.moves]) + now
        room = np.stack([move @ scale for move in world.moves]) + size
        return Ahead(q, ROUNDING * room)

    paid, ended = table[actions, np.arange(s)][way], table.max(axis=0)
    nothing = np.zeros(s)
    gain, gain_scale = spread(0.0 * paid, ended), spread(0.0 * paid, np.abs(ended))
    bias = spread(paid - gain[way], nothing)
    bias_scale = spread(np.abs(paid) + gain_scale[way], nothing)
    return (
        ahead(0.0, 0.0, gain, gain_scale),
        ahead(table, np.abs(table), bias, bias_scale),
    )


def _chain(world: World, actions: Places) -> sp.csr_array:
    """Chance of the next state under a policy, `[l, s]`."""
    rows = actions[world.way] * len(world.terminal) + world.way
    return sp.csr_array(sp.vstack(world.moves).tocsr()[rows])


def _ends(world: World, actions: Places) -> bool:
    """Whether a policy comes to an end from every state on the way."""
    chain, able = _chain(world, actions), world.terminal.copy()
    while True:
        fresh = (chain @ able > 0.0) & ~able[world.way]
        if not fresh.any():
            return bool(able[world.way].all())
        able[world.way[fresh]] = True
