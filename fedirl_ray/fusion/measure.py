"""Rewards as probability measures, and back (the paper, section 2, steps 3 and 5).

Letters: `k` clients, `n` support points.
"""

from dataclasses import dataclass

import numpy as np

from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.errors import ConfigError
from fedirl_ray.problem.mdp import Floats


@dataclass(frozen=True)
class Measures:
    """Clients' rewards as probability measures, with all that leads back."""

    density: Floats
    """Positive, rows sum to one, `[k, n]`."""
    shift: Floats
    """What was added before normalising, `[k]`: sigma, or 0 for gibbs."""
    mass: Floats
    """What it was divided by, `[k]`: Z_i, or log Z_i for gibbs."""


def to_measures(rewards: Floats, config: FusionConfig) -> Measures:
    """Turn rewards into probability measures.

    `shift`: p_i = (r_i + sigma) / sum(r_i + sigma). One sigma for all clients ("shared") is what
    theorem 1 assumes; it weighs a client's differences by 1 / Z_i. `gibbs`: p_i ~ exp(r_i / T).
    Sigma is set from the rewards' least entries, so adding a constant to every reward changes
    nothing; the least entry becomes `config.floor` times the (widest) range.

    Args:
        rewards: `[k, n]`.
        config: Which map, and its sigma or temperature.

    Returns:
        Measures.

    Raises:
        ConfigError: A sigma was given that leaves an entry at or below zero.
    """
    if config.measure == "gibbs":
        return gibbs_measures(rewards, config.gibbs_temperature)
    least = rewards.min(axis=1)
    span = np.ptp(rewards, axis=1)
    match config.sigma:
        case "client":
            sigma = config.floor * np.where(span > 0.0, span, 1.0) - least
        case "shared":
            widest = span.max() if span.max() > 0.0 else 1.0
            sigma = np.full(len(rewards), config.floor * widest - least.min())
        case float() | int() as given:
            if given + least.min() <= 0.0:
                raise ConfigError(
                    f"fusion.sigma must exceed {-least.min():.6g} to make every client's reward "
                    f"positive, got {given}"
                )
            sigma = np.full(len(rewards), float(given))
    shifted = rewards + sigma[:, None]
    mass = shifted.sum(axis=1)
    return Measures(shifted / mass[:, None], sigma, mass)


def gibbs_measures(rewards: Floats, temperature: float) -> Measures:
    """Rewards `[k, n]` as measures p_i ~ exp(r_i / T)."""
    scaled = rewards / temperature
    peak = scaled.max(axis=1)
    weight = np.exp(scaled - peak[:, None])
    total = weight.sum(axis=1)
    return Measures(weight / total[:, None], np.zeros(len(rewards)), peak + np.log(total))


def gibbs_reward(density: Floats, temperature: float, log_mass: float) -> Floats:
    """A measure `[n]` as the reward r = T (log p + log Z)."""
    # A fused measure may hold zeros (underflow of a distant entry): the least number instead.
    tiny = np.finfo(np.float64).tiny
    back: Floats = temperature * (np.log(np.maximum(density, tiny)) + log_mass)
    return back


def to_reward(density: Floats, measures: Measures, weights: Floats, config: FusionConfig) -> Floats:
    """Turn a fused measure back into a reward.

    `shift`: r = Z p - sigma; `gibbs`: r = T (log p + log Z). Z (log Z) and sigma are the clients'
    weighted means unless `config.mass` gives Z.

    Args:
        density: Fused measure, `[n]`.
        measures: The clients' measures it was fused from.
        weights: `[k]`, sum to one.
        config: The same as on the way there.

    Returns:
        Reward `[n]`.
    """
    mass = float(weights @ measures.mass)
    if config.measure == "gibbs":
        log_mass = mass if isinstance(config.mass, str) else np.log(config.mass)
        return gibbs_reward(density, config.gibbs_temperature, float(log_mass))
    total = mass if isinstance(config.mass, str) else config.mass
    return total * density - float(weights @ measures.shift)
