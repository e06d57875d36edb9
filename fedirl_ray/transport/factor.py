"""Non-negative factors of a Gaussian axis kernel, and when they pay.

A Gaussian is the convolution of two narrower ones: with `z` on the line,

    exp(-(x - y)**2) = 2 / sqrt(pi) * integral exp(-2 (x - z)**2) exp(-2 (z - y)**2) dz,

and the trapezoid rule converges faster than any power of its step, so a few tens of nodes give the
kernel of any axis as `factor @ factor.T`. Unlike an eigendecomposition nothing is subtracted: every
entry is right to the same relative error, however small, and products stay positive. On a lattice
all axes are first projected onto their nodes, then expanded: two passes instead of one per axis.
"""

import math
from collections.abc import Sequence

import numpy as np

from fedirl_ray.transport.axis import Floats
from fedirl_ray.transport.backend import Precision

SHORTEST = 40
"""Axes with fewer points are multiplied as they are: their matrix is cheap enough."""

WORTHWHILE = 0.75
"""Factors are used where they take at most this share of the arithmetic."""

ENTRY_ERROR: dict[Precision, float] = {"float64": 1e-12, "float32": 1e-6}
"""Relative error of a kernel entry for which the nodes are placed."""


def gaussian_factor(log: Floats, precision: Precision = "float64") -> Floats | None:
    """Return a non-negative `[m, r]` with `factor @ factor.T == exp(log)`, entry by entry.

    Args:
        log: Minus the squared distances `[m, m]` of points on a line, in units of epsilon.
        precision: Decides the number of nodes `r`.

    Returns:
        The factor, or `None` if the costs are not squared distances on a line or too few.
    """
    if len(log) < SHORTEST or not np.isfinite(log).all():
        return None
    x = np.sqrt(-log[0])
    allowed = 10 * ENTRY_ERROR[precision]
    if np.abs((x[:, None] - x[None, :]) ** 2 + log).max() > allowed:
        return None
    digits = math.log(2 / ENTRY_ERROR[precision])
    step, margin = math.pi / (2 * math.sqrt(digits)), math.sqrt(digits) / 2
    span = float(x[-1]) + 2 * margin
    nodes = (span - step * math.ceil(span / step)) / 2 - margin
    z = nodes + step * np.arange(math.ceil(span / step) + 1)
    return np.asarray(
        math.sqrt(2 * step / math.sqrt(math.pi)) * np.exp(-2 * (x[:, None] - z[None, :]) ** 2)
    )


def factors_pay(lengths: Sequence[int], ranks: Sequence[int | None]) -> bool:
    """Whether projecting the axes with ranks, and expanding them again, saves enough arithmetic."""
    n = math.prod(lengths)
    factored, size = 0.0, float(n)
    for m, rank in zip(lengths, ranks, strict=True):
        if rank is None:
            factored += size * m
        else:
            factored += 2 * size * rank
            size *= rank / m
    return factored <= WORTHWHILE * n * sum(lengths)
