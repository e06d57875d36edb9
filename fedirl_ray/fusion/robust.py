"""Robust means of thetas: coordinate by coordinate, or as points of space.

Letters: `k` clients, `d` features.
"""

import numpy as np

from fedirl_ray.problem.mdp import Floats

SLACK = 1e-12
"""So that weights which sum to one half in exact arithmetic count so."""
PASSES = 1_000
STILL = 1e-13
"""Step, in units of the thetas' spread, at which the geometric median stands."""


def trimmed_mean(thetas: Floats, weights: Floats, *, trim: float) -> Floats:
    """Mean of each coordinate without the outer `trim` of the weight at either end.

    At trim = 1/2 nothing but the weighted median is left: the midpoint of all values at which
    the cumulated weight passes one half.

    Args:
        thetas: `[k, d]`.
        weights: `[k]`, non-negative, sum to one.
        trim: Share, in [0, 1/2].

    Returns:
        `[d]`.
    """
    order = np.argsort(thetas, axis=0, kind="stable")
    ranked = np.take_along_axis(thetas, order, axis=0)
    upper = np.cumsum(weights[order], axis=0)
    lower = upper - weights[order]
    if trim >= 0.5:
        kept = ((lower <= 0.5 + SLACK) & (upper >= 0.5 - SLACK)).astype(np.float64)
        kept *= weights[order] > 0.0
    else:
        kept = np.clip(np.minimum(upper, 1.0 - trim) - np.maximum(lower, trim), 0.0, None)
    mean: Floats = (kept * ranked).sum(axis=0) / kept.sum(axis=0)
    return mean


def geometric_median(thetas: Floats, weights: Floats) -> Floats:
    """The point with the least weighted sum of distances to the clients' thetas.

    A theta is it where the pull of the others, sum_j w_j (t_j - t_i) / |t_j - t_i|, is no longer
    than its own weight; that is looked at first, since Weiszfeld's iteration crawls there. Where
    several are (on a line), the middle of them, as for the coordinate median. Else it lies at none,
    and Weiszfeld's iteration (1937; Vardi and Zhang 2000) finds it.

    Args:
        thetas: `[k, d]`.
        weights: `[k]`, positive, sum to one.

    Returns:
        `[d]`.
    """
    spread = float(np.abs(thetas - thetas[0]).max())
    if spread == 0.0:
        return np.array(thetas[0])
    # In the middle and in units of the spread: what is added or multiplied leaves no trace.
    middle = weights @ thetas
    points = (thetas - middle) / spread
    held = [i for i in range(len(points)) if _holds(i, points, weights)]
    if held:
        best = np.unique(points[held], axis=0).mean(axis=0)
        return np.asarray(middle + spread * best, dtype=np.float64)
    found = np.zeros(points.shape[1])
    for _ in range(PASSES):
        pull = weights / np.maximum(np.linalg.norm(points - found, axis=1), STILL)
        step = pull @ points / pull.sum() - found
        found = found + step
        if np.abs(step).max() <= STILL:
            break
    return np.asarray(middle + spread * found, dtype=np.float64)


def _holds(i: int, points: Floats, weights: Floats) -> bool:
    """Whether the others cannot pull the median away from a client's point."""
    away = points - points[i]
    apart = np.linalg.norm(away, axis=1)
    there = apart <= STILL
    pull = (weights / np.where(there, np.inf, apart)) @ away
    return bool(np.linalg.norm(pull) <= weights[there].sum() + SLACK)
