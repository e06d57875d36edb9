"""The Gibbs kernel of a product lattice, applied axis by axis.

`exp(-cost / epsilon)` of an additive cost is the tensor product of one small matrix per axis: a
product with a lattice vector costs `n * sum(m)` instead of `n**2` (Solomon et al. 2015,
"Convolutional Wasserstein distances", section 4).

Letters: `k` measures, `n` lattice points, `m` points of one axis, `r` the rank of a factor.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from fedirl_ray.transport.axis import Floats
from fedirl_ray.transport.backend import Array, Precision, asarray, asnumpy, namespace_of
from fedirl_ray.transport.factor import low_rank_factor

MERGE_UP_TO = 32
"""Neighbouring axes are merged while their product has at most so many points: below that one
matrix product is quicker than two."""

LOST = {"float64": 1e-280, "float32": 1e-30}
"""A sum below this, of terms scaled to at most 1, may have lost some of them to underflow."""

CHUNK = 2**21
"""Numbers handled at once where a temporary would otherwise be several lattices large."""


@dataclass(frozen=True)
class AxisKernel:
    """One group of neighbouring axes: a symmetric matrix `[m, m]`, its logarithm, its factor."""

    matrix: Array
    log: Array
    factor: Array | None
    """`[m, r]` with `factor @ factor.T == matrix` to rounding, where that is cheaper."""
    lost_below: float
    """A sum below this, of terms scaled to at most 1, may have lost some of them to underflow; 0
    where even the least entry of the matrix is far above it."""

    def __len__(self) -> int:
        return len(self.matrix)


@dataclass(frozen=True)
class Kernel:
    """The tensor product of its axis kernels."""

    groups: tuple[AxisKernel, ...]
    epsilon: float
    reach: float
    """Largest cost over epsilon: the logarithm of the largest entry over the smallest."""
    precision: Precision = "float64"

    @property
    def size(self) -> int:
        """Number of lattice points `n`."""
        return int(np.prod([len(group) for group in self.groups]))

    def apply(self, x: Array, spare: Array) -> tuple[Array, Array]:
        """Multiply each row of `x` `[k, n]` by the kernel; both buffers are overwritten.

        Returns:
            The buffer that holds the product, and the other one.
        """
        xp = namespace_of(x)
        k, n = x.shape
        for group in self.groups:
            # The leading axis goes to the back at each product, so no transposed copy is ever
            # made, and after the last axis the layout is the first one again. One product per
            # row: the bytes of a row do not depend on how many rows travel together.
            m = len(group)
            lines, out = x.reshape(k, m, n // m).swapaxes(1, 2), spare.reshape(k, n // m, m)
            if group.factor is None:
                xp.matmul(lines, group.matrix, out=out)
            else:
                _multiply_low_rank(xp, lines, group.factor, out)
            x, spare = spare, x
        return x, spare

    def apply_log(self, x: Array, buffers: Sequence[Array] | None = None) -> Array:
        """Return `log(kernel @ exp(row))` for each row of `x` `[k, n]`.

        Args:
            x: Logarithms; left as they are unless named as the last buffer too.
            buffers: Three arrays like `x` to work in; the product is in the second or third.
        """
        xp = namespace_of(x)
        k, n = x.shape
        if buffers is None:
            buffers = [xp.empty_like(x) for _ in range(3)]
        work, out, spare = buffers
        for group in self.groups:
            m = len(group)
            lines = x.reshape(k, m, n // m)
            _log_lines(lines, group, work.reshape(k, m, n // m), out.reshape(k, n // m, m))
            x, out, spare = out, spare, out
        return x


def gibbs_kernel(
    costs: Sequence[Floats],
    epsilon: float,
    *,
    xp: ModuleType = np,
    precision: Precision = "float64",
    low_rank: bool = True,
    weigh_axis: int | None = None,
) -> Kernel:
    """Return the kernel of the axes' `costs` `[m, m]` at `epsilon` (in units of the costs).

    Args:
        costs: One matrix per lattice axis.
        epsilon: Entropic regularisation.
        xp: The array library of the matrices.
        precision: Of the matrices.
        low_rank: Whether axes may be held as factors where that is quicker and as accurate.
        weigh_axis: Multiply the kernel's entries by this axis' cost: summed over the axes, the
            transport cost of a plan.
    """
    logs = [-cost / epsilon for cost in costs]
    reach = sum(float(-log.min()) for log in logs)
    if weigh_axis is not None:
        with np.errstate(divide="ignore"):
            logs[weigh_axis] = logs[weigh_axis] + np.log(costs[weigh_axis])
    groups = []
    for log in merged(logs):
        # Subnormal numbers slow a product down a hundredfold and carry no digits.
        matrix = np.where(log > np.log(np.finfo(precision).tiny), np.exp(log), 0.0)
        factor = low_rank_factor(matrix, precision) if low_rank and weigh_axis is None else None
        groups.append(
            AxisKernel(
                asarray(xp, matrix, precision),
                asarray(xp, log, precision),
                None if factor is None else asarray(xp, factor, precision),
                LOST[precision] if not matrix.min() > LOST[precision] else 0.0,
            )
        )
    return Kernel(tuple(groups), epsilon, reach, precision)


def merged(costs: Sequence[Floats]) -> list[Floats]:
    """Return the outer sums of neighbouring `costs` that are small enough to share a matrix."""
    groups: list[Floats] = []
    for cost in costs:
        if groups and len(groups[-1]) * len(cost) <= MERGE_UP_TO:
            last, m = groups[-1], len(groups[-1]) * len(cost)
            groups[-1] = (last[:, None, :, None] + cost[None, :, None, :]).reshape(m, m)
        else:
            groups.append(cost)
    return groups


def _multiply_low_rank(xp: ModuleType, lines: Array, factor: Array, out: Array) -> None:
    """Write `lines @ factor @ factor.T` to `out` `[k, l, m]`, in pieces that stay in cache."""
    piece = max(1, 2**15 // factor.shape[1])
    for row in range(len(lines)):
        for start in range(0, lines.shape[1], piece):
            part = slice(start, start + piece)
            xp.matmul(xp.matmul(lines[row, part], factor), factor.T, out=out[row, part])


def _log_lines(lines: Array, group: AxisKernel, work: Array, out: Array) -> None:
    """Write `log(exp(line) @ matrix)` for each line of `lines` `[k, m, l]` to `out` `[k, l, m]`.

    Each line is divided by its largest entry, then a matrix product does the sum. Where all that
    reaches a target may have underflowed, that entry alone is summed in logarithms.
    """
    xp = namespace_of(lines)
    peak = xp.amax(lines, axis=1, keepdims=True)
    # A line without mass has peak -inf, and -inf - -inf is not a number.
    peak[peak == -np.inf] = 0.0
    xp.subtract(lines, peak, out=work)
    xp.exp(work, out=work)
    xp.matmul(work.swapaxes(1, 2), group.matrix, out=out)
    weak = out < group.lost_below if group.lost_below > 0 else None
    xp.log(out, out=out)
    out += peak.swapaxes(1, 2)
    if weak is not None and bool(weak.any()):
        _sum_in_logarithms(xp, lines.swapaxes(1, 2), group.log, weak, out)


def _sum_in_logarithms(xp: ModuleType, lines: Array, log: Array, weak: Array, out: Array) -> None:
    row, line, target = (asnumpy(index) for index in np.nonzero(asnumpy(weak)))
    step = max(1, CHUNK // len(log))
    for start in range(0, len(row), step):
        r, c, t = (index[start : start + step] for index in (row, line, target))
        terms = lines[r, c] + log[t]
        peak = xp.amax(terms, axis=1, keepdims=True)
        peak[peak == -np.inf] = 0.0
        out[r, c, t] = xp.log(xp.exp(terms - peak).sum(axis=1)) + peak[:, 0]
