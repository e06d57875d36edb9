"""Budgets of training for the paper's control tasks.

The paper's (its tables 3 and 4: learning rate .003, batches of 64, one environment) are kept under
`PAPER`. `LAPTOP` reaches the same or more in a fraction of the time: more environments side by
side, larger batches, a smaller step. They were chosen on the tasks' own rewards, clients 0 and 5.
"""

from dataclasses import replace
from typing import NamedTuple

from fedirl_ray.config_control import USUAL, PPOConfig


class Budgets(NamedTuple):
    """How experts are trained, and agents on rewards to be judged."""

    expert: PPOConfig
    agent: PPOConfig


_PAPER = PPOConfig(rows=1)
_FLIGHT = replace(USUAL, rows=16, rollout=4_096, epochs=6, gae=0.98, steps=300_000, episodes=10)

PAPER = {
    "Pendulum-v1": Budgets(replace(_PAPER, steps=50_000), replace(_PAPER, steps=500_000)),
    "CartPole-v1": Budgets(replace(_PAPER, steps=200_000), replace(_PAPER, steps=30_000)),
    "LunarLanderContinuous-v3": Budgets(
        replace(_PAPER, steps=300_000), replace(_PAPER, steps=2_000_000)
    ),
    "Acrobot-v1": Budgets(replace(_PAPER, steps=5_000), replace(_PAPER, steps=25_000)),
}
"""As published. Not all of these experts are experts; what they reach is reported."""

LAPTOP = {
    "Pendulum-v1": Budgets(USUAL, replace(USUAL, steps=60_000)),
    "CartPole-v1": Budgets(replace(USUAL, steps=60_000), replace(USUAL, steps=30_000)),
    "LunarLanderContinuous-v3": Budgets(_FLIGHT, replace(_FLIGHT, steps=150_000)),
    "Acrobot-v1": Budgets(USUAL, replace(USUAL, steps=50_000)),
}
"""Seconds to a minute an agent on one core."""

SMOKE = replace(USUAL, steps=4_096, evaluations=2, episodes=5)
"""To see that everything runs; experts are none."""


def budgets_for(name: str) -> Budgets:
    """Laptop budgets of a task; one not known gets an expert's for both."""
    return LAPTOP.get(name, Budgets(USUAL, USUAL))
