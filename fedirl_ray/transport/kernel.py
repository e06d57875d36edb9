"""The Gibbs kernel of a product lattice, applied axis by axis.

`exp(-cost / epsilon)` of an additive cost is the tensor product of one small matrix per axis: a
product with a lattice vector costs `n * sum(m)` instead of `n**2` (Solomon et al. 2015,
"Convolutional Wasserstein distances", section 4).

Letters: `k` measures, `n` lattice points, `m` points of one axis, `r` the rank of a factor.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType

import numpy as np

from fedirl_ray.transport.axis import Floats
from fedirl_ray.transport.backend import (
    CHOICES,
    NUMPY,
    Array,
    Place,
    Precision,
    asnumpy,
    multiply,
    namespace_of,
)
from fedirl_ray.transport.factor import SHORTEST, factors_pay, gaussian_factor

LOST = {"float64": 1e-280, "float32": 1e-30}
"""A sum below this, of terms scaled to at most 1, may have lost some of them to underflow."""

DEFINITE = 1e-12
"""Share of the largest eigenvalue by which the least may fall below zero through rounding."""

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

    @cached_property
    def size(self) -> int:
        """Number of lattice points `n`."""
        return math.prod(self.lengths)

    @cached_property
    def factored(self) -> bool:
        """Whether any axis is held as a factor."""
        return any(group.factor is not None for group in self.groups)

    def apply(self, x: Array, spare: Array) -> tuple[Array, Array]:
        """Multiply each row of `x` `[k, n]` by the kernel; both buffers are overwritten.

        Every row has products of its own, so its bytes do not depend on the rows beside it.

        Returns:
            The buffer that holds the product, and the other one.
        """
        if self.factored:
            return self.expand(*self.reduce(x, spare))
        k, n = x.shape
        post = n
        for group in self.groups:
            m = len(group)
            post //= m
            if post > 1:
                lines = (k * (n // (m * post)), m, post)
                multiply(group.matrix, x.reshape(lines), spare.reshape(lines))
            else:
                # The matrix is symmetric, and read faster as it lies than transposed.
                lines = (k, n // m, m)
                multiply(x.reshape(lines), group.matrix, spare.reshape(lines))
            x, spare = spare, x
        return x, spare

    @cached_property
    def swaps(self) -> bool:
        """Whether `apply` returns its product in `spare` rather than in `x`."""
        products = sum(1 if group.factor is None else 2 for group in self.groups)
        return products % 2 == 1

    def reduce(self, x: Array, spare: Array, first: int = 0) -> tuple[Array, Array]:
        """Project from axis `first` on; the cores begin the buffer returned first."""
        lengths = self.ranks[:first] + self.lengths[first:]
        for axis in range(first, len(lengths)):
            group = self.groups[axis]
            matrix = group.matrix if group.factor is None else group.factor.T
            _multiply_along(x, lengths, axis, matrix, spare)
            lengths[axis] = len(matrix)
            x, spare = spare, x
        return x, spare

    def expand(self, x: Array, spare: Array, first: int = 0) -> tuple[Array, Array]:
        """Undo `reduce` from the last axis down to `first`, which completes the product."""
        lengths = self.ranks
        for axis in reversed(range(first, len(lengths))):
            factor = self.groups[axis].factor
            if factor is not None:
                _multiply_along(x, lengths, axis, factor, spare)
                lengths[axis] = len(factor)
                x, spare = spare, x
        return x, spare

    @property
    def lengths(self) -> list[int]:
        """Points of each group of axes."""
        return [len(group) for group in self.groups]

    @property
    def ranks(self) -> list[int]:
        """Nodes of each group: its rank, or its points where it has no factor."""
        return [len(g) if g.factor is None else g.factor.shape[1] for g in self.groups]

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
    place: Place = NUMPY,
    precision: Precision = "float64",
    low_rank: bool = True,
    weigh_axis: int | None = None,
) -> Kernel:
    """Return the kernel of the axes' `costs` `[m, m]` at `epsilon` (in units of the costs).

    Args:
        costs: One matrix per lattice axis.
        epsilon: Entropic regularisation.
        place: The array library of the matrices, and where they lie.
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
    parts = merged(logs, place.choices.merge_up_to)
    factors = [gaussian_factor(part, precision) if low_rank else None for part in parts]
    ranks = [None if factor is None else factor.shape[1] for factor in factors]
    if not factors_pay([len(part) for part in parts], ranks):
        factors = [None] * len(parts)
    groups = []
    for log, factor in zip(parts, factors, strict=True):
        # Subnormal numbers slow a product down a hundredfold and carry no digits.
        matrix = np.where(log > np.log(np.finfo(precision).tiny), np.exp(log), 0.0)
        groups.append(
            AxisKernel(
                place.asarray(matrix, precision),
                place.asarray(log, precision),
                None if factor is None else place.asarray(factor, precision),
                LOST[precision] if not matrix.min() > LOST[precision] else 0.0,
            )
        )
    return Kernel(tuple(groups), epsilon, reach, precision)


def positive_definite(costs: Sequence[Floats], epsilon: float) -> bool:
    """Whether the Gibbs kernel has no negative eigenvalue, up to rounding.

    It has none for squared distances on lines, whose kernel is Gaussian (only their costs are
    looked at); squared distances on circles, or a cost of one's own, can have some where epsilon is
    large against the cost. A tensor product of such matrices, all of positive diagonal, has none if
    and only if no axis has.
    """
    for cost in costs:
        x = np.sqrt(cost[0])
        if np.allclose((x[:, None] - x[None, :]) ** 2, cost, rtol=1e-12, atol=0.0):
            continue
        values = np.linalg.eigvalsh(np.exp(-cost / epsilon))
        if values[0] < -DEFINITE * values[-1]:
            return False
    return True


def axis_order(
    lengths: Sequence[int], merge_up_to: int = CHOICES["numpy"].merge_up_to
) -> tuple[int, ...]:
    """Return the order of the axes in which products along them are quickest.

    Every axis is multiplied along where it lies, as matrices times what follows it: long axes that
    may be held as factors come first, then the others from the shortest to the longest, so that the
    many small products have wide right-hand sides. Short axes worth merging become neighbours.
    """
    long: list[tuple[int, ...]] = [(i,) for i, m in enumerate(lengths) if m >= SHORTEST]
    short: list[tuple[int, ...]] = [(i,) for i, m in enumerate(lengths) if m < SHORTEST]

    def points(group: tuple[int, ...]) -> int:
        return math.prod(lengths[i] for i in group)

    short.sort(key=points)
    while len(short) > 1 and points(short[0]) * points(short[1]) <= merge_up_to:
        short = sorted([short[0] + short[1], *short[2:]], key=points)
    return tuple(i for group in [*long, *short] for i in group)


def merged(costs: Sequence[Floats], merge_up_to: int) -> list[Floats]:
    """Return the outer sums of neighbouring `costs` that are small enough to share a matrix."""
    groups: list[Floats] = []
    for cost in costs:
        if groups and len(groups[-1]) * len(cost) <= merge_up_to:
            last, m = groups[-1], len(groups[-1]) * len(cost)
            groups[-1] = (last[:, None, :, None] + cost[None, :, None, :]).reshape(m, m)
        else:
            groups.append(cost)
    return groups


def _multiply_along(x: Array, lengths: Sequence[int], axis: int, matrix: Array, out: Array) -> None:
    """Write to the front of `out` the rows at the front of `x` times `matrix` along one axis.

    Args:
        x: `[k, n]`; begins with `k` lattices of `lengths`, one after the other.
        lengths: Of the lattice's axes, that of `axis` being `m`.
        axis: The axis to multiply along.
        matrix: `[r, m]`.
        out: `[k, n]`; will begin with `k` lattices whose `axis` has length `r`.
    """
    k, (r, m) = len(x), matrix.shape
    pre, post = math.prod(lengths[:axis]), math.prod(lengths[axis + 1 :])
    source, target = x.reshape(-1)[: k * pre * m * post], out.reshape(-1)[: k * pre * r * post]
    if post == 1:
        multiply(source.reshape(k, pre, m), matrix.T, target.reshape(k, pre, r))
    else:
        multiply(matrix, source.reshape(k * pre, m, post), target.reshape(k * pre, r, post))


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
    multiply(work.swapaxes(1, 2), group.matrix, out)
    weak = out < group.lost_below if group.lost_below > 0 else None
    xp.log(out, out=out)
    out += peak.swapaxes(1, 2)
    if weak is not None and bool(weak.any()):
        sum_in_logarithms(xp, lines.swapaxes(1, 2), group.log, weak, out)


def sum_in_logarithms(xp: ModuleType, lines: Array, log: Array, weak: Array, out: Array) -> None:
    """Write `log(sum(exp(line + log)))` to `out` `[k, l, m]` where it is `weak`.

    Args:
        xp: The array library.
        lines: `[k, l, n]`.
        log: `[m, n]`.
        weak: `[k, l, m]`.
        out: `[k, l, m]`.
    """
    row, line, target = (asnumpy(index) for index in np.nonzero(asnumpy(weak)))
    step = max(1, CHUNK // len(log))
    for start in range(0, len(row), step):
        r, c, t = (index[start : start + step] for index in (row, line, target))
        terms = lines[r, c] + log[t]
        peak = xp.amax(terms, axis=1, keepdims=True)
        peak[peak == -np.inf] = 0.0
        out[r, c, t] = xp.log(xp.exp(terms - peak).sum(axis=1)) + peak[:, 0]
