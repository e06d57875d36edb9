"""How far apart two rewards are, blind to shaping and scale (STARC: Skalse et al. 2024).

A reward is first made canonical: levelled by the value it has under a fixed policy, which takes
away potential shaping, then divided by its norm, which takes away scale. What is left differs only
where the rewards order policies differently.

Letters: `s` lattice states, `a` lattice actions.
"""

import numpy as np

from fedirl_ray.problem.control.model import LatticeModel
from fedirl_ray.problem.control.planning import Chain
from fedirl_ray.problem.mdp import Floats

NOTHING = 1e-9
"""Norm, as a share of the reward's own, below which a canonical reward is only rounding."""


def canonical(model: LatticeModel, reward: Floats, *, discount: float) -> Floats:
    """A reward without potential shaping and scale.

    C(r)(s, a) = r(s, a) + discount E[V(s')] - V(s), with V the value of r under the uniform policy
    in the model's dynamics (value-adjusted levelling), over its norm. Nothing is earned after an
    episode's end, so V is zero there and shaping must be as well. A constant is shaping where no
    episode ends, so that 3 r + 5 is r; where they do it pays for living on, and counts.

    Args:
        model: The client's dynamics.
        reward: `[a, s]`.
        discount: In (0, 1).

    Returns:
        `[a, s]`, of root mean square 1; zero for a reward that orders no policies.
    """
    levelled = _levelled(model, reward, discount)
    if _vanishes(levelled, reward, discount):
        return np.zeros_like(levelled)
    canonised: Floats = levelled / _norm(levelled)
    return canonised


def reward_distance(model: LatticeModel, one: Floats, other: Floats, *, discount: float) -> float:
    """Half the root mean square difference of two canonical rewards.

    Args:
        model: The client's dynamics.
        one: `[a, s]`.
        other: `[a, s]`.
        discount: In (0, 1).

    Returns:
        0 for rewards that order all policies alike, 1 for opposite ones; 1/2 to a reward that
        orders none.
    """
    first = canonical(model, one, discount=discount)
    second = canonical(model, other, discount=discount)
    return 0.5 * _norm(first - second)


def _levelled(model: LatticeModel, reward: Floats, discount: float) -> Floats:
    """The advantage of every step under the uniform policy, `[a, s]`."""
    uniform = np.full(reward.shape, 1.0 / len(reward))
    value = Chain(model, uniform, discount).value(reward.mean(axis=0))
    ahead = (model.expect @ value).reshape(reward.shape)
    levelled: Floats = reward + discount * ahead - value
    return levelled


def _vanishes(levelled: Floats, reward: Floats, discount: float) -> bool:
    """Whether what is left of a reward is only rounding."""
    size = max(float(np.abs(reward).max()), 1e-300)
    return _norm(levelled) <= NOTHING * size / (1.0 - discount)


def _norm(reward: Floats) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(reward**2)))
