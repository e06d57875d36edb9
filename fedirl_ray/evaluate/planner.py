"""Judging rewards by the policies they lead to, exactly.

Letters: `k` worlds, `c` rewards (columns), `p` policies, `d` features.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fedirl_ray.config import RunConfig
from fedirl_ray.irl.maxent import learner_policy
from fedirl_ray.problem.demonstrations import expert_policy
from fedirl_ray.problem.family import horizon
from fedirl_ray.problem.mdp import Floats, Stack, TabularMDP, tiles
from fedirl_ray.problem.planning import Outcome, greedy_policy, roll_out


class Judgement(NamedTuple):
    """Exact outcome of every reward under every policy in every world."""

    success: Floats
    """Probability of reaching a goal within the horizon, `[k, c, p]`."""
    value: Floats
    """Expected discounted true reward, `[k, c, p]`."""


def policies(config: RunConfig) -> tuple[str, ...]:
    """Names of the policies judged, the one behind the table first.

    `greedy-G`: optimal for the reward at discount G; blind to the reward's scale. `soft`: the
    learner's own soft policy, which sharpens as the reward grows. `soft-matched`: the same, with
    theta rescaled to the norm of the parameter mean's.
    """
    planned = (config.evaluation.discount, *config.evaluation.discounts)
    return (*(f"greedy-{discount:g}" for discount in planned), "soft", "soft-matched")


def judge(
    worlds: Sequence[TabularMDP], thetas: Floats, matched: Floats, config: RunConfig
) -> Judgement:
    """Plan with rewards and follow the plans.

    Args:
        worlds: `k` worlds.
        thetas: Rewards to judge in each world, `[k, c, d]`.
        matched: The same, brought to one norm, `[k, c, d]`.
        config: Planner's discounts, the learner's model, the expert's discount (for `value`).

    Returns:
        Success and value by policy, in the order of `policies`.
    """
    parts = [
        _judge_tile(Stack(worlds[tile]), thetas[tile], matched[tile], config)
        for tile in tiles(worlds, columns=thetas.shape[1])
    ]
    return Judgement(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def judge_expert(worlds: Sequence[TabularMDP], config: RunConfig) -> Outcome:
    """What the experts themselves earn: the ceiling. `[k, 1]` each."""
    steps, discount = horizon(config.problem), config.problem.expert_discount
    parts = []
    for tile in tiles(worlds):
        stack = Stack(worlds[tile])
        policy = expert_policy(stack, config.problem, steps)[..., None]
        parts.append(roll_out(stack, policy, horizon=steps, discount=discount))
    return Outcome(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _judge_tile(stack: Stack, thetas: Floats, matched: Floats, config: RunConfig) -> Judgement:
    steps, discount = horizon(config.problem), config.problem.expert_discount
    columns = range(thetas.shape[1])
    rewards = np.stack([stack.rewards(thetas[:, c]) for c in columns], axis=-1)
    outcomes = []
    for planned in (config.evaluation.discount, *config.evaluation.discounts):
        greedy = greedy_policy(stack, rewards, discount=planned)
        outcomes.append(roll_out(stack, greedy, horizon=steps, discount=discount))
    for scaled in (thetas, matched):
        ends = []
        for c in columns:
            soft = learner_policy(stack, scaled[:, c], config.irl, steps).policy[..., None]
            ends.append(roll_out(stack, soft, horizon=steps, discount=discount))
        outcomes.append(
            Outcome(*(np.concatenate(part, axis=1) for part in zip(*ends, strict=True)))
        )
    return Judgement(*(np.stack(part, axis=-1) for part in zip(*outcomes, strict=True)))
