"""What an attacker finds: who took part, and what was held. For measuring, by `reproduce privacy`.

Letters: `n` points, `r` runs.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from fedirl_ray.problem.mdp import Floats


@dataclass(frozen=True)
class Membership:
    """How well a score tells runs with a demonstration from runs without."""

    auc: float
    """Chance that a run with it scores higher than one without; 1/2: nothing is told."""
    low: float
    """Lower end of a 95 % interval, by DeLong's variance on the logit scale."""
    high: float


def likelihood_ratio(seen: Floats, with_it: Floats, without: Floats) -> float:
    """How much likelier something seen is with a demonstration than without, in logarithms.

    Shadow fits show how what is seen is spread in either world; both are taken for normal, with one
    covariance that is shrunk towards a multiple of the identity (Carlini et al. 2022, "Membership
    inference attacks from first principles", for one number; linear discriminants for several).

    Args:
        seen: `[n]`.
        with_it: Shadow fits, `[r, n]`.
        without: `[r, n]`.
    """
    one, other = with_it.mean(axis=0), without.mean(axis=0)
    apart = np.concatenate([with_it - one, without - other])
    covariance = apart.T @ apart / max(1, len(apart) - 2)
    n = len(seen)
    level = np.trace(covariance) / n
    share = n / (n + len(apart))
    spread = (1.0 - share) * covariance + (share * level + np.finfo(float).tiny) * np.eye(n)
    return float((seen - 0.5 * (one + other)) @ np.linalg.solve(spread, one - other))


def membership(with_it: Floats, without: Floats) -> Membership:
    """How well scores tell two worlds apart.

    Args:
        with_it: Scores of runs in which the demonstration took part, `[r]`.
        without: Of runs in which it did not.
    """
    greater = (with_it[:, None] > without).astype(float) + 0.5 * (with_it[:, None] == without)
    auc = float(greater.mean())
    variance = greater.mean(axis=1).var(ddof=1) / len(with_it)
    variance += greater.mean(axis=0).var(ddof=1) / len(without)
    # At 0 or 1 nothing is left of DeLong's variance: as if one pair in two runs had gone wrong.
    inside = min(max(auc, 0.5 / len(with_it)), 1.0 - 0.5 / len(with_it))
    width = inside * (1.0 - inside)
    error = max(float(np.sqrt(variance)), 0.5 / len(with_it)) / width
    logit, reach = np.log(inside / (1.0 - inside)), stats.norm.ppf(0.975) * error
    low, high = 1.0 / (1.0 + np.exp(-(logit + np.array([-reach, reach]))))
    return Membership(auc, float(min(low, auc)), float(max(high, auc)))


def visits_of(theta: Floats, counts_of: Floats, features: Floats, mass: float) -> Floats:
    """State visits that explain a reward: where its demonstrations went, as far as it tells.

    At the optimum theta = (mu - E) / lambda, with E what the learner's own policy comes to, so that
    mu = E + lambda theta is known to who has theta and the client's world. Of all visits of those
    counts the non-negative ones nearest to them, in least squares, are given.

    Args:
        theta: lambda theta, `[d]`.
        counts_of: Feature counts of the soft policy under theta, E, `[d]`.
        features: Phi, `[n, d]`.
        mass: Sum of all visits.

    Returns:
        `[n]`, non-negative.
    """
    from scipy.optimize import nnls

    scale = mass * np.abs(features).max()
    system = np.vstack([features.T / scale, np.full((1, len(features)), 1.0 / mass)])
    wanted = np.append((counts_of + theta) / scale, 1.0)
    found, _ = nnls(system, wanted)
    visits: Floats = found
    return visits


def other_measure(
    total: Floats, own: Floats, share: float, kernel: Floats, scaling: Floats
) -> Floats:
    """The measure of the only other client, from one step's sum and one's own part of it.

    total - own = share log K'u, and p = u K v: whoever knows all parts of a sum but one knows that
    one too, and a step's scaling v is known to all.

    Args:
        total: `sum_k alpha_k log K'u_k`, `[n]`.
        own: What all others added, `[n]`.
        share: alpha of the client that is left.
        kernel: K, `[n, n]`.
        scaling: v that it started from, `[n]`.
    """
    u = np.linalg.solve(kernel.T, np.exp((total - own) / share))
    found: Floats = u * (kernel @ scaling)
    return found
