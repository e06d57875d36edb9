"""How well plans for rewards match demonstrations that nothing was fitted to.

Two overlaps, each in [0, 1], of what a plan does and what was shown:

    occupancy: 1 - total variation of the discounted occupancies of states
    ends:      sum over states of the lesser chance to be there when the episode ends

1 - TV(p, q) = sum min(p, q) for distributions p and q, so that both are sums of minima. A plan
begins where the episodes do, so that their first states say nothing of a reward.

Letters: `k` worlds or clients, `c` rewards, `s` states, `a` actions, `m` episodes, `h` steps, `d`
features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedirl_ray.evaluate.planner import rewards_of
from fedirl_ray.irl.shown import show
from fedirl_ray.problem.control.arena import Episodes
from fedirl_ray.problem.control.model import LatticeModel, occupied
from fedirl_ray.problem.control.planning import Chain, plan
from fedirl_ray.problem.control.task import Task
from fedirl_ray.problem.demonstrations import Demonstrations
from fedirl_ray.problem.greedy import greedy_policy
from fedirl_ray.problem.lattice import place
from fedirl_ray.problem.mdp import Floats, Stack, TabularMDP, tiles, untile

KINDS = ("occupancy", "ends")
"""Overlaps, in the order in which functions return them; their sum is a score, in [0, 2]."""


def overlaps(
    worlds: Sequence[TabularMDP],
    shown: Sequence[Demonstrations],
    thetas: Floats,
    *,
    discount: float,
) -> Floats:
    """Plan for rewards in tables, and compare with what was shown there.

    The plan is optimal for the reward at the discount, ties split evenly, and is followed exactly
    for as many steps as the episodes have; the last state is that of their last action.

    Args:
        worlds: `k` worlds, one a client.
        shown: Each client's episodes, `[m, h]`; `h` is the same for all.
        thetas: Rewards for each client, `[k, c, d]`.
        discount: Of the plans and of the occupancies, in (0, 1].

    Returns:
        Overlaps, `[k, c, 2]`. A reward's do not depend on what is asked beside it.
    """
    cut = tiles(worlds, columns=thetas.shape[1])
    parts = [
        _overlap_tile(
            Stack([worlds[i] for i in tile]), [shown[i] for i in tile], thetas[tile], discount
        )
        for tile in cut
    ]
    return np.concatenate(parts)[untile(cut)]


def _overlap_tile(
    stack: Stack, shown: Sequence[Demonstrations], thetas: Floats, discount: float
) -> Floats:
    k, s, c = stack.k, stack.s, thetas.shape[1]
    steps = shown[0].states.shape[1]
    ages = discount ** np.arange(steps, dtype=np.float64)
    weight: Floats = ages / ages.sum()
    begun, stayed, ended = (
        np.concatenate([_share(one.states[:, :stop], share, s) for one in shown])
        for stop, share in ((1, np.ones(1)), (steps, weight), (steps, np.eye(steps)[-1]))
    )
    policy = greedy_policy(stack, rewards_of(stack, thetas), discount=discount)
    mass = np.repeat(begun[:, None], c, axis=1)
    total = weight[0] * mass
    for share in weight[1:]:
        mass = stack.push @ (policy * mass).reshape(-1, c)
        total += share * mass
    common = np.stack(
        [np.minimum(total, stayed[:, None]), np.minimum(mass, ended[:, None])], axis=-1
    )
    # Along contiguous memory, whatever c: a column's bytes do not depend on those beside it.
    columns = np.ascontiguousarray(common.transpose(1, 2, 0)).reshape(c, 2, k, s)
    return _within(columns.sum(axis=3).transpose(2, 0, 1))


def _share(states: np.ndarray, weight: Floats, s: int) -> Floats:
    """Share of episodes `[m, h]` in each state, steps weighted by `[h]`: `[s]`."""
    each = np.broadcast_to(weight / len(states), states.shape)
    share: Floats = np.bincount(states.ravel(), each.ravel(), minlength=s).astype(np.float64)
    return share


def _within(found: Floats) -> Floats:
    """Overlaps that rounding cannot have carried beyond one."""
    return np.clip(found, 0.0, 1.0)


@dataclass(frozen=True)
class LatticeShown:
    """What a client's kept episodes come to on its lattice."""

    begun: Floats
    """Share of episodes that begin at each point, `[s]`."""
    stayed: Floats
    """Discounted occupancy, `[s + 1]`; last: of having ended."""
    ended: Floats
    """Share of episodes that end at each point, `[s + 1]`; last: by themselves."""
    steps: int
    """Of the longest."""


def shown_on_lattice(
    task: Task, model: LatticeModel, episodes: Episodes, discount: float
) -> LatticeShown:
    """Put kept episodes on a client's lattice, those beyond it at its limits.

    An episode that the time limit cut counts as if it had stayed where it was last seen to act
    (see `irl.shown.show`).

    Args:
        task: How observations are located.
        model: The client's lattice.
        episodes: `m` of them.
        discount: Of the occupancy, below 1.
    """
    state = model.state
    visits = show(task, episodes, state, model.action, discount).visits.sum(axis=0)

    def spread(observations: Floats) -> Floats:
        return occupied(state, place(state, task.locate(observations)).places)

    going, m = ~episodes.terminated, len(episodes.lengths)
    last = spread(episodes.last[going]) * (going.sum() / m) if going.any() else 0.0 * visits
    return LatticeShown(
        spread(episodes.observations[:, 0]),
        _with_rest((1.0 - discount) * visits),
        _with_rest(last),
        int(episodes.lengths.max()),
    )


def lattice_overlaps(
    model: LatticeModel, shown: LatticeShown, rewards: Floats, discount: float
) -> Floats:
    """Plan for rewards on a lattice, and compare with what was shown there.

    Args:
        model: The client's lattice.
        shown: Its kept episodes.
        rewards: `[c, a, s]`.
        discount: Of the plans and of the occupancies, below 1.

    Returns:
        Overlaps, `[c, 2]`.

    Raises:
        RunError: A plan did not settle.
    """
    policies = [plan(model, one, discount=discount, temperature=0.0).policy for one in rewards]
    begun = (1.0 - discount) * shown.begun
    visits = [Chain(model, policy, discount).visits(begun) for policy in policies]
    together, c = np.stack(policies, axis=-1), len(rewards)
    mass = np.repeat(shown.begun[:, None], c, axis=1)
    for _ in range(shown.steps):
        mass = model.push @ (together * mass).reshape(-1, c)
    found = [
        [np.minimum(_with_rest(mine), theirs).sum() for mine, theirs in pairs]
        for stay, end in zip(visits, mass.T, strict=True)
        for pairs in [((stay, shown.stayed), (np.ascontiguousarray(end), shown.ended))]
    ]
    return _within(np.array(found))


def _with_rest(mass: Floats) -> Floats:
    """Mass by state, and what is missing to one: that of episodes that have ended."""
    positive = np.maximum(mass, 0.0)  # a solver's residual may leave a hair below zero
    return np.append(positive, max(0.0, 1.0 - positive.sum()))
