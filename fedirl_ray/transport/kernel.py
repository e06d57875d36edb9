"""The Gibbs kernel of a product lattice, applied axis by axis.

`exp(-cost / epsilon)` of an additive cost is the tensor product of one small matrix per axis: a
product with a lattice vector costs `n * sum(m)` instead of `n**2` (Solomon et al. 2015,
"Convolutional Wasserstein distances", section 4).

Letters: `k` measures, `n` lattice points, `m` points of one axis.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from fedirl_ray.transport.axis import Floats

MERGE_UP_TO = 32
"""Neighbouring axes are merged while their product has at most so many points: below that one
matrix product is quicker than two."""

LOST = 1e-280
"""A sum below this, of terms scaled to at most 1, may have lost some of them to underflow."""


@dataclass(frozen=True)
class Kernel:
    """One symmetric matrix `[m, m]` per group of neighbouring axes, and its logarithm."""

    matrices: tuple[Floats, ...]
    logs: tuple[Floats, ...]
    epsilon: float

    @property
    def size(self) -> int:
        """Number of lattice points `n`."""
        return int(np.prod([len(matrix) for matrix in self.matrices]))

    def apply(self, x: Floats, spare: Floats) -> tuple[Floats, Floats]:
        """Multiply each row of `x` `[k, n]` by the kernel; both buffers are overwritten.

        Returns:
            The buffer that holds the product, and the other one.
        """
        k, n = x.shape
        for matrix in self.matrices:
            # The leading axis goes to the back at each product, so no transposed copy is ever
            # made, and after the last axis the layout is the first one again. One product per
            # row: the bytes of a row do not depend on how many rows travel together.
            m = len(matrix)
            leading_last = x.reshape(k, m, n // m).transpose(0, 2, 1)
            np.matmul(leading_last, matrix, out=spare.reshape(k, n // m, m))
            x, spare = spare, x
        return x, spare

    def apply_log(self, x: Floats) -> Floats:
        """Return `log(kernel @ exp(row))` for each row of `x` `[k, n]`."""
        k, n = x.shape
        for matrix, log in zip(self.matrices, self.logs, strict=True):
            m = len(matrix)
            lines = np.ascontiguousarray(x.reshape(k, m, n // m).transpose(0, 2, 1))
            x = _log_lines(lines, matrix, log).reshape(k, n)
        return x


def _log_lines(lines: Floats, matrix: Floats, log: Floats) -> Floats:
    """Log of `matrix` times `exp` of each line `[k, l, m]`, by GEMM where nothing underflows."""
    peak = lines.max(axis=2, keepdims=True)
    # A line without mass has peak -inf, and -inf - -inf is not a number.
    peak[peak == -np.inf] = 0.0
    sums = np.matmul(np.exp(lines - peak), matrix)
    lost = sums < LOST
    with np.errstate(divide="ignore"):
        out: Floats = np.log(sums)
    out += peak
    if lost.any():
        row, line, target = np.nonzero(lost)
        for chunk in np.array_split(np.arange(len(row)), 1 + len(row) * len(log) // 2**22):
            r, c, t = row[chunk], line[chunk], target[chunk]
            out[r, c, t] = logsumexp(lines[r, c] + log[t], axis=1)
    return out


def gibbs_kernel(
    costs: Sequence[Floats], epsilon: float, *, weigh_axis: int | None = None
) -> Kernel:
    """Return the kernel of the axes' `costs` `[m, m]` at `epsilon` (in units of the costs).

    With `weigh_axis` the kernel's entries are multiplied by that axis' cost: summed over the axes,
    the transport cost of a plan.
    """
    logs = [-cost / epsilon for cost in costs]
    if weigh_axis is not None:
        with np.errstate(divide="ignore"):
            logs[weigh_axis] = logs[weigh_axis] + np.log(costs[weigh_axis])
    merged = tuple(_merged(logs))
    return Kernel(tuple(np.exp(log) for log in merged), merged, epsilon)


def _merged(parts: Sequence[Floats]) -> list[Floats]:
    groups: list[Floats] = []
    for part in parts:
        if groups and len(groups[-1]) * len(part) <= MERGE_UP_TO:
            last, m = groups[-1], len(groups[-1]) * len(part)
            groups[-1] = (last[:, None, :, None] + part[None, :, None, :]).reshape(m, m)
        else:
            groups.append(part)
    return groups
