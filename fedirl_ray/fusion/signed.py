"""Barycenters of signed measures: what stands out of a map, up or down, is transported.

A measure must be positive, so that a reward is shifted before it is one, and most of its mass is
then the shift's: a nearly flat measure, whose barycenter is the arithmetic mean
(docs/why-transport.md). Here each map is split into its level, its peaks, its pits and the rest,
peaks and pits are fused as measures of their own, and level and rest are averaged.

Letters: `k` clients, `n` support points.
"""

from dataclasses import dataclass

import numpy as np

from fedirl_ray.fusion.robust import trimmed_mean
from fedirl_ray.fusion.spec import Fused, Given
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.transport.distance import divergences_to

EMPTY = 1e-12
"""A part whose highest entry is at most this share of the map's is rounding, and empty."""


MEDIAN_PASSES = 3
"""Reweightings of a Wasserstein median."""
MEDIAN_TOL = 1e-4
"""Tolerance of the barycenters between them, which only weigh clients."""
MEDIAN_NEAR = 1e-2
"""Share of the mean squared distance below which a client's weight no longer grows."""


@dataclass(frozen=True)
class Parts:
    """Clients' maps R = level + peaks - pits + rest."""

    level: Floats
    """Median over the support, `[k]`."""
    peaks: Floats
    """max(R - level - t, 0), `[k, n]`, where t = tau max |R - level|."""
    pits: Floats
    """max(level - R - t, 0), `[k, n]`."""
    rest: Floats
    """R - level, clipped to [-t, t], `[k, n]`."""


def split(maps: Floats, tau: float) -> Parts:
    """Split maps `[k, n]` into parts, of which what lies within tau of the highest stays behind."""
    level = np.median(maps, axis=1)
    apart = maps - level[:, None]
    cut = tau * np.abs(apart).max(axis=1, keepdims=True)
    noise = EMPTY * np.abs(maps).max(axis=1, keepdims=True)
    peaks, pits = (
        np.where(part.max(axis=1, keepdims=True) > noise, part, 0.0)
        for part in (np.maximum(apart - cut, 0.0), np.maximum(-apart - cut, 0.0))
    )
    return Parts(level, peaks, pits, np.clip(apart, -cut, cut))


def signed(given: Given) -> Fused:
    """Fuse peaks by a barycenter, pits by another, level and rest by their means.

    r = mean level + mean |peaks| B(peaks / |peaks|) - mean |pits| B(pits / |pits|) + mean rest,
    with |.| the sum over the support and B the entropic barycenter at `fusion.epsilon`, which costs
    what two barycenters of measures do. A client without peaks has no part in their B, and counts
    with zero in their mean mass; so with pits.
    """
    given = given.counted()
    parts = split(given.maps, given.config.tau)
    weights = given.weights
    up, down = (_transported(given, part) for part in (parts.peaks, parts.pits))
    reward = weights @ parts.level + weights @ parts.rest + up.reward - down.reward
    return Fused(
        given.theta_of(reward),
        iterations=up.iterations + down.iterations,
        converged=up.converged and down.converged,
    )


def signed_median(given: Given) -> Fused:
    """As `signed`, with a median for every mean.

    Level, rest and masses are weighted medians over clients; peaks, and pits, are Wasserstein
    medians: the barycenter is taken again with weights alpha_i / W2(p_i, b), W2 from the Sinkhorn
    divergence, three times (Weiszfeld's iteration; a displaced map is near, one of something else
    far). It costs up to ten times as much as `signed`.
    """
    given = given.counted()
    parts, weights = split(given.maps, given.config.tau), given.weights
    up, down = (_median_transported(given, part) for part in (parts.peaks, parts.pits))
    level = trimmed_mean(parts.level[:, None], weights, trim=0.5)
    rest = trimmed_mean(parts.rest, weights, trim=0.5)
    return Fused(
        given.theta_of(level + rest + up.reward - down.reward),
        iterations=up.iterations + down.iterations,
        converged=up.converged and down.converged,
    )


@dataclass(frozen=True)
class _Part:
    reward: Floats
    iterations: int = 0
    converged: bool = True


def _transported(given: Given, part: Floats) -> _Part:
    """Clients' peaks (or pits) `[k, n]` as one: the barycenter of their shapes, of mean mass."""
    mass = part.sum(axis=1)
    held = mass > 0.0
    if not held.any():
        return _Part(np.zeros(part.shape[1]))
    weights = given.weights[held]
    found = given.transported(part[held] / mass[held, None], weights / weights.sum())
    reward = float(given.weights @ mass) * found.measure.ravel()
    return _Part(reward, found.iterations, found.converged)


def _median_transported(given: Given, part: Floats) -> _Part:
    """Clients' peaks (or pits) `[k, n]` as one: the Wasserstein median of their shapes."""
    mass = part.sum(axis=1)
    held = mass > 0.0
    usual = float(trimmed_mean(mass[:, None], given.weights, trim=0.5)[0])
    if usual == 0.0:
        return _Part(np.zeros(part.shape[1]))
    config, shapes = given.config, part[held] / mass[held, None]
    alpha = given.weights[held] / given.weights[held].sum()
    weights, iterations = alpha, 0
    for passed in range(MEDIAN_PASSES + 1):
        last = passed == MEDIAN_PASSES
        tol = config.tolerance if last else max(config.tolerance, MEDIAN_TOL)
        found = given.transported(shapes, weights, tol=tol)
        iterations += found.iterations
        if not last:
            apart = divergences_to(
                shapes,
                found.measure.ravel(),
                given.support.where,
                epsilon=config.epsilon,
                cost_scale=config.cost_scale,
            )
            near = MEDIAN_NEAR * float(alpha @ apart) + np.finfo(float).tiny
            weights = alpha / np.sqrt(apart + near)
            weights /= weights.sum()
    return _Part(usual * found.measure.ravel(), iterations, found.converged)
