"""Judging rewards by the policies they lead to, exactly.

Letters: `k` worlds, `c` rewards (columns), `p` policies, `d` features.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from fedirl_ray.config import RunConfig
from fedirl_ray.evaluate.metric import metrics_named
from fedirl_ray.problem.demonstrations import expert_policy
from fedirl_ray.problem.family import horizon
from fedirl_ray.problem.greedy import greedy_policy
from fedirl_ray.problem.mdp import Floats, Stack, TabularMDP, tiles, untile
from fedirl_ray.problem.planning import Outcome, roll_out, soft_policy, surest_policy

POLICY_BYTES = 64_000_000  # of time-dependent policies held at once


class Judgement(NamedTuple):
    """Exact outcome of every reward under every policy in every world."""

    success: Floats
    """Probability of reaching a goal within the horizon, `[k, c, p]`."""
    value: Floats
    """Expected discounted true reward, `[k, c, p]`."""
    others: Floats
    """What the user's own metrics say, `[k, c, m, p]`."""


def policies(config: RunConfig) -> tuple[str, ...]:
    """Names of the policies judged, the one behind the table first.

    `greedy-G`: optimal for the reward at discount G; blind to the reward's scale. `soft`: the
    learner's own soft policy, which sharpens as the reward grows. `soft-matched`: the same, of
    the reward brought to the spread of the parameter mean's (see `engine.columns`).
    """
    names = (f"greedy-{_shown(discount)}" for discount in _discounts(config))
    return (*names, "soft", "soft-matched")


def _discounts(config: RunConfig) -> tuple[float, ...]:
    """The greedy planners' discounts, each once, the one behind the table first."""
    return tuple(dict.fromkeys((config.evaluation.discount, *config.evaluation.discounts)))


def _shown(discount: float) -> str:
    """A discount in as many digits as tell it from all others."""
    short = f"{discount:g}"
    return short if float(short) == discount else repr(discount)


def judge(
    worlds: Sequence[TabularMDP], thetas: Floats, matched: Floats, config: RunConfig
) -> Judgement:
    """Plan with rewards and follow the plans.

    Args:
        worlds: `k` worlds.
        thetas: Rewards to judge in each world, `[k, c, d]`.
        matched: The same, brought to one spread, `[k, c, d]`.
        config: Planner's discounts, the learner's model, the expert's discount (for `value`).

    Returns:
        Success, value and the user's metrics by policy, in the order of `policies`.
    """
    cut = tiles(worlds, columns=thetas.shape[1])
    parts = [
        _judge_tile(Stack([worlds[i] for i in tile]), thetas[tile], matched[tile], config)
        for tile in cut
    ]
    place = untile(cut)
    return Judgement(*(np.concatenate(part)[place] for part in zip(*parts, strict=True)))


UNLEARNT: tuple[str, ...] = ("expert", "ceiling", "true")
"""Rows that plan with no learnt reward, in the order of `judge_references`' columns."""


def judge_references(
    worlds: Sequence[TabularMDP],
    config: RunConfig,
    *,
    temperatures: Floats | None = None,
    recorded: Outcome | None = None,
) -> Outcome:
    """What demonstrators earn, policies of the largest success there is, and the true reward's.

    Args:
        worlds: `k` worlds.
        config: The experts' temperature and discount.
        temperatures: Each world's expert's own instead, `[k]`.
        recorded: What came of demonstrations brought along instead of experts, `[k]`.

    Returns:
        `[k, 3]`: the demonstrator, the policy of the largest success, and the optimal one for the
        true reward, which is the demonstrator's where it acts optimally.
    """
    own = metrics_named(config.evaluation.metrics)
    steps, discount = horizon(config.problem), config.problem.expert_discount
    optimal = replace(config.problem, expert_temperature=0.0)

    def follow(stack: Stack, policy: Floats) -> Outcome:
        return roll_out(stack, policy[..., None], horizon=steps, discount=discount, metrics=own)

    parts = []
    cut = tiles(worlds)
    for tile in cut:
        stack = Stack([worlds[i] for i in tile])
        each = None if temperatures is None else temperatures[tile]
        surest = follow(stack, surest_policy(stack, steps))
        best = follow(stack, expert_policy(stack, optimal, steps))
        if recorded is not None:
            shown = Outcome(*(table[tile, None] for table in recorded))
        elif each is None and config.problem == optimal:
            shown = best
        else:
            shown = follow(stack, expert_policy(stack, config.problem, steps, each))
        parts.append(
            Outcome(*(np.concatenate(o, axis=1) for o in zip(shown, surest, best, strict=True)))
        )
    place = untile(cut)
    return Outcome(*(np.concatenate(part)[place] for part in zip(*parts, strict=True)))


def _judge_tile(stack: Stack, thetas: Floats, matched: Floats, config: RunConfig) -> Judgement:
    steps, discount = horizon(config.problem), config.problem.expert_discount
    own = metrics_named(config.evaluation.metrics)
    outcomes = []
    rewards = rewards_of(stack, thetas)
    for planned in _discounts(config):
        greedy = greedy_policy(stack, rewards, discount=planned)
        outcomes.append(roll_out(stack, greedy, horizon=steps, discount=discount, metrics=own))
    # A time-dependent policy is `steps` times as large: a few columns at a time.
    width = max(1, POLICY_BYTES // (8 * steps * stack.a * stack.k * stack.s))
    for scaled in (rewards, rewards_of(stack, matched)):
        ends = []
        for first in range(0, scaled.shape[2], width):
            soft = soft_policy(
                stack,
                scaled[:, :, first : first + width],
                horizon=steps,
                discount=config.irl.discount,
                temperature=config.irl.temperature,
            )
            ends.append(roll_out(stack, soft.policy, horizon=steps, discount=discount, metrics=own))
        outcomes.append(
            Outcome(*(np.concatenate(part, axis=1) for part in zip(*ends, strict=True)))
        )
    return Judgement(*(np.stack(part, axis=-1) for part in zip(*outcomes, strict=True)))


def rewards_of(stack: Stack, thetas: Floats) -> Floats:
    """Rewards on a stack of `[k, c, d]` thetas, `[feature actions, k s, c]`."""
    return np.stack([stack.rewards(thetas[:, c]) for c in range(thetas.shape[1])], axis=-1)
