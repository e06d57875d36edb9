"""Planning in stacked worlds: soft and surest policies, and where policies lead.

Shapes as in `problem.mdp`: `k` worlds of `s` states give vectors `[k s]`; `a` actions, `h` steps,
`c` columns (rewards planned side by side). Rewards come as `[a, k s]` or `[1, k s]`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from fedirl_ray.problem.mdp import Bools, Floats, Stack, TabularMDP, read_only

Metric = Callable[[TabularMDP, Floats], float]
"""A number that a policy comes to in a world, of its expected visits `[s, a]`: how often each
action is taken in each state until the horizon, whatever the discount. Steps after an episode's
end count where it ended, so that all visits sum to the horizon."""

TIE = 1e-12  # share of its chance within which another action is as sure


class SoftPolicy(NamedTuple):
    """A time-dependent soft-optimal policy and its value at the first step."""

    policy: Floats
    """pi_t(a | s), `[h, a, k s]`, with a trailing `[c]` if the reward has one."""
    value: Floats
    """Soft value of each state with all `h` steps to go, `[k s]` or `[k s, c]`."""


def soft_policy(
    stack: Stack, reward: Floats, *, horizon: int, discount: float, temperature: float
) -> SoftPolicy:
    """Finite-horizon maximum causal entropy policy (Ziebart 2010, soft value iteration).

    Q_t = r + discount E[V_t+1] with V_h = 0, V_t = temperature log sum_a exp(Q_t / temperature).

    Args:
        stack: Worlds.
        reward: `[a, k s]` or `[1, k s]`, or with a trailing `[c]` for several rewards.
        horizon: Steps `h`; exactly `h` rewards are earned, at t = 0 .. h - 1.
        discount: In (0, 1].
        temperature: Entropy temperature, > 0.

    Returns:
        Policy and first value.
    """
    states = reward.shape[1:]
    policy = np.empty((horizon, stack.a, *states))
    # Everything is held in units of the temperature, which saves two passes over Q a step.
    reward = reward / temperature
    # A reward that ignores the action raises a state's Qs alike: the policy does not see it.
    choosy = len(reward) > 1
    value, total = np.zeros(states), np.empty(states)
    for t in reversed(range(horizon)):
        q = _look_ahead(stack, value, reward if choosy else None, discount)
        peak = _best_action(q)
        q -= peak
        np.exp(q, out=q)
        np.add.reduce(q, axis=0, out=total)
        np.divide(q, total, out=policy[t])
        value = np.log(total)
        value += peak
        if not choosy:
            value += reward[0]
    return SoftPolicy(policy, value * temperature)


def occupancy(stack: Stack, policy: Floats, *, discount: float) -> Floats:
    """Discounted occupancy of a time-dependent policy, from the worlds' first states.

    Args:
        stack: Worlds.
        policy: `[h, a, k s]`.
        discount: In (0, 1]; visits at step t weigh discount^t.

    Returns:
        `[a, k s]`, or `[1, k s]` (summed over actions) where features ignore the action. Each
        world's entries sum to 1 + discount + ... + discount^(h-1).
    """
    mass = stack.initial
    total = np.zeros((stack.feature_actions, mass.size))
    flow = np.empty(policy.shape[1:])
    weight = 1.0
    for step in policy:
        np.multiply(step, mass, out=flow)
        total += weight * (mass if stack.feature_actions == 1 else flow)
        mass = stack.push @ flow.ravel()
        weight *= discount
    return total


def feature_covariance(
    stack: Stack, policy: Floats, *, discount: float, temperature: float
) -> Floats:
    """Hessian of the soft value of the first state with respect to theta.

    With G_t(s, a) the expected discounted features from (s, a) on, the Hessian is
    sum_t discount^t E[Cov_{a ~ pi_t}(G_t(s_t, a))] / temperature. Because actions are chosen
    causally, only the spread that the *choice* leaves counts, not that of the dynamics.

    Args:
        stack: Worlds.
        policy: Soft-optimal, `[h, a, k s]`.
        discount: In (0, 1].
        temperature: Entropy temperature, > 0.

    Returns:
        `[k, d, d]`, symmetric, positive semi-definite.
    """
    h, a, points = policy.shape
    visits = np.empty((h, points))
    mass, weight = stack.initial, 1.0
    for t, step in enumerate(policy):
        visits[t] = weight * mass
        mass = stack.push @ (step * mass).ravel()
        weight *= discount
    features = stack.features.reshape(points, stack.feature_actions, stack.d).transpose(1, 0, 2)
    ahead = np.zeros((points, stack.d))
    hessian = np.zeros((stack.k, stack.d, stack.d))
    for t in reversed(range(h)):
        gain = (stack.ahead @ ahead).reshape(a, points, stack.d)
        gain *= discount
        gain += features
        chance = policy[t][:, :, None]
        ahead = (chance * gain).sum(axis=0)
        gain -= ahead
        spread = (np.sqrt(chance * visits[t][:, None]) * gain).reshape(a, stack.k, stack.s, stack.d)
        for choice in spread:  # [k, s, d] of one action
            hessian += choice.transpose(0, 2, 1) @ choice
    return hessian / temperature


def _look_ahead(stack: Stack, value: Floats, rewards: Floats | None, discount: float) -> Floats:
    """Q of values `[k s]` or `[k s, c]`: the same behind a leading `[a]`; None: no reward."""
    # The discount goes to the values, of which there are fewer than Qs.
    q: Floats = (stack.ahead @ (discount * value)).reshape(stack.a, *value.shape)
    if rewards is not None:
        q += rewards
    return q


def _best_action(q: Floats) -> Floats:
    """Largest entry over the leading axis, without the method's overhead."""
    best: Floats = np.maximum.reduce(q, axis=0)
    return best


def surest_policy(stack: Stack, horizon: int) -> Floats:
    """Time-dependent policy that most probably stands on a goal when the horizon ends.

    Args:
        stack: Worlds.
        horizon: Steps `h`.

    Returns:
        `[h, a, k s]`; no policy has a larger success.
    """
    policy = np.empty((horizon, stack.a, stack.k * stack.s))
    chance = stack.goal.astype(np.float64)
    for t in reversed(range(horizon)):
        q = (stack.ahead @ chance).reshape(policy.shape[1:])
        chance = _best_action(q)
        # A chance is a sum of what is never negative: it is rounded by a share of itself.
        ties = q >= chance * (1.0 - TIE)
        np.divide(ties, ties.sum(axis=0), out=policy[t])
    return policy


class Outcome(NamedTuple):
    """What a policy earns in each world."""

    success: Floats
    """Probability of standing on a goal when the horizon ends, `[k, c]`."""
    value: Floats
    """Expected discounted true reward over the horizon, `[k, c]`."""
    others: Floats
    """What further metrics say, `m` of them, `[k, c, m]`."""


def roll_out(
    stack: Stack,
    policy: Floats,
    *,
    horizon: int,
    discount: float,
    metrics: Sequence[Metric] = (),
) -> Outcome:
    """Exact outcome of policies by forward propagation; no sampling.

    Args:
        stack: Worlds.
        policy: Stationary `[a, k s, c]`, or time-dependent `[h, a, k s, c]`.
        horizon: Steps.
        discount: Of the true reward.
        metrics: What else to say of each policy.

    Returns:
        Success, value, and what the metrics say.
    """
    rows, c = stack.a * stack.k * stack.s, policy.shape[-1]
    reward = stack.true_rewards()[:, :, None]
    mass = np.repeat(stack.initial[:, None], c, axis=1)
    earned = np.zeros_like(mass)
    weight, visits = 1.0, np.zeros((stack.a, *mass.shape) if metrics else 0)
    for t in range(horizon):
        flow = (policy if policy.ndim == 3 else policy[t]) * mass
        if metrics:
            visits += flow
        earned += weight * (flow * reward).sum(axis=0)
        mass = stack.push @ flow.reshape(rows, c)
        weight *= discount
    goal: Bools = stack.goal[:, None]
    others = np.empty((stack.k, c, len(metrics)))
    if metrics:
        parts = visits.reshape(stack.a, stack.k, stack.s, c)
        for i, column in np.ndindex(stack.k, c):
            others[i, column] = told(metrics, stack.worlds[i], parts[:, i, :, column].T)
    success = _sum_states(stack, np.where(goal, mass, 0.0))
    return Outcome(success, _sum_states(stack, earned), others)


def told(metrics: Sequence[Metric], world: TabularMDP, visits: Floats) -> list[float]:
    """What metrics say of visits `[s, a]`; none can change what the next one sees."""
    return [metric(read_only(world), np.array(visits)) for metric in metrics]


def _sum_states(stack: Stack, table: Floats) -> Floats:
    """Sum `[k s, c]` over each world's states, `[k, c]`."""
    # Along contiguous memory, whatever c: a column's bytes do not depend on those beside it.
    columns = np.ascontiguousarray(table.T).reshape(-1, stack.k, stack.s)
    sums: Floats = columns.sum(axis=2).T
    return sums
