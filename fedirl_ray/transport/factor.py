"""Low-rank factors of an axis kernel, and when they may stand in for it.

A Gaussian kernel on a fine axis is smooth, so few eigenvectors carry it. They are signed, though:
an entry far below the largest is a difference of larger ones and keeps fewer digits. What counts
is therefore the error of every single entry, rounding included, against that entry.
"""

import numpy as np

from fedirl_ray.transport.axis import Floats
from fedirl_ray.transport.backend import Precision

SHORTEST = 40
"""Axes with fewer points are multiplied as they are: their matrix is cheap enough."""

GAIN = 0.35
"""A factor is used up to this share of the axis' points; at one half it saves no arithmetic."""

ENTRY_ERROR: dict[Precision, float] = {"float64": 1e-10, "float32": 1e-3}
"""Largest relative error of a kernel entry."""


def low_rank_factor(matrix: Floats, precision: Precision = "float64") -> Floats | None:
    """Return `[m, r]` with `factor @ factor.T == matrix` `[m, m]`, or `None` where it cannot pay.

    The rank is the least at which no entry is wrong by more than `ENTRY_ERROR` of itself.
    """
    m, allowed = len(matrix), ENTRY_ERROR[precision]
    if m < SHORTEST or not matrix.min() > 0:
        return None
    values, vectors = np.linalg.eigh(matrix)
    order = np.argsort(values)[::-1]
    factor = vectors[:, order] * np.sqrt(np.maximum(values[order], 0.0))
    unit = float(np.finfo(precision).eps)
    for rank in range(4, int(GAIN * m) + 1):
        part = factor[:, :rank]
        rounding = unit * np.abs(part) @ np.abs(part).T
        if float(((np.abs(part @ part.T - matrix) + rounding) / matrix).max()) <= allowed:
            return np.ascontiguousarray(part)
    return None
