"""The Gibbs kernel of a point cloud: all `n x n` entries, stored, or made again for every product.

It has no structure that a product could use: low-rank factors of it (random positive features,
pivoted Cholesky) are wrong by percents to multiples (docs/clouds.md). So a product costs `n**2`,
and what can be saved is memory, and passes: blocks of rows are made, or read, while they fit the
cache, and serve all clients before the next. Stored or not, blocks are the same, and so are the
bytes of every product.

Letters: `k` clients, `n` points, `d` dimensions, `r` rows of a block.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np

from fedirl_ray.transport.axis import Floats
from fedirl_ray.transport.backend import NUMPY, Array, Place, Precision, like
from fedirl_ray.transport.kernel import LOST, sum_in_logarithms
from fedirl_ray.transport.memory import item_size

WIDTH = 16
"""Clients are multiplied by so many at a time, zeros filling up the last. A column of a product of
this shape has the same bytes wherever it stands (a row has not, in float32), and so has a client
whatever the others."""


@dataclass(frozen=True)
class CloudKernel:
    """`exp(-|x - y|**2 / epsilon)` of all pairs of points."""

    left: Array
    """`[n, d + 2]`; `left @ right` is minus the cost over epsilon, in one product."""
    right: Array
    """`[d + 2, n]`."""
    epsilon: float
    reach: float
    """Largest cost over epsilon."""
    place: Place
    precision: Precision
    weighed: bool
    """Whether entries are multiplied by their cost."""
    matrix: Array | None = None
    """All entries `[n, n]`, if they are stored."""

    @property
    def size(self) -> int:
        """Number of points `n`."""
        return len(self.left)

    @property
    def xp(self) -> ModuleType:
        """The array library."""
        return self.place.xp

    @property
    def swaps(self) -> bool:
        """`apply` returns its product in `spare`."""
        return True

    def apply(self, x: Array, spare: Array) -> tuple[Array, Array]:
        """Multiply each row of `x` `[k, n]` by the kernel, into `spare`; return it, and `x`."""
        self._multiply(x, spare)
        return spare, x

    def apply_log(self, x: Array, buffers: Sequence[Array] | None = None) -> Array:
        """Return `log(kernel @ exp(row))` for each row of `x` `[k, n]`.

        Each row is divided by its largest entry, then a product does the sum. Where all that
        reaches a point may have underflowed, that point alone is summed in logarithms.

        Args:
            x: Logarithms; left as they are unless named as the last buffer too.
            buffers: Arrays like `x` to work in; the product is in the second.
        """
        xp = self.xp
        work, out = (xp.empty_like(x), xp.empty_like(x)) if buffers is None else buffers[:2]
        peak = xp.amax(x, axis=1, keepdims=True)
        # A row without mass has peak -inf, and -inf - -inf is not a number.
        peak[peak == -np.inf] = 0.0
        xp.subtract(x, peak, out=work)
        xp.exp(work, out=work)
        self._multiply(work, out)
        weak = out < LOST[self.precision] if self._loses else None
        xp.log(out, out=out)
        out += peak
        if weak is not None and bool(weak.any()):
            for rows in self.blocks():
                if bool(weak[:, rows].any()):
                    sum_in_logarithms(
                        xp, x[:, None], self._logs(rows), weak[:, None, rows], out[:, None, rows]
                    )
        return out

    @property
    def _loses(self) -> bool:
        """Whether a sum of terms scaled to at most 1 may lose some of them to underflow."""
        return self.weighed or bool(self.reach > -np.log(LOST[self.precision]))

    def _multiply(self, x: Array, out: Array) -> None:
        """Write the product of each row of `x` `[k, n]` to `out`."""
        xp, k = self.xp, len(x)
        width = WIDTH if xp is np else k
        groups = -(-k // width)
        columns = xp.zeros((groups, self.size, width), dtype=x.dtype, **like(x))
        for start in range(0, k, width):
            group = x[start : start + width]
            columns[start // width, :, : len(group)] = group.T
        for rows in self.blocks():
            entries = self.entries(rows)
            for start in range(0, k, width):
                found = entries @ columns[start // width]
                out[start : start + width, rows] = found[:, : k - start].T

    def entries(self, rows: slice) -> Array:
        """Return a block of the kernel `[r, n]`."""
        if self.matrix is not None:
            return self.matrix[rows]
        xp = self.xp
        logs = self._logs(rows)
        if self.reach > -np.log(np.finfo(self.precision).tiny):
            # Subnormal numbers slow a product down a hundredfold and carry no digits.
            logs[logs < float(np.log(np.finfo(self.precision).tiny))] = -np.inf
        return xp.exp(logs, out=logs)

    def _logs(self, rows: slice) -> Array:
        """Return their logarithms."""
        xp = self.xp
        logs = self.left[rows] @ self.right
        xp.clip(logs, None, 0.0, out=logs)
        if self.weighed:
            with np.errstate(divide="ignore"):
                logs += xp.log(-self.epsilon * logs)
        return logs

    def blocks(self) -> Iterator[slice]:
        """Return the rows of every block."""
        n = self.size
        step = max(1, self.place.choices.block // (n * item_size(self.precision)))
        return (slice(start, min(n, start + step)) for start in range(0, n, step))


def cloud_kernel(
    points: Floats,
    epsilon: float,
    reach: float,
    *,
    place: Place = NUMPY,
    precision: Precision = "float64",
    weighed: bool = False,
) -> CloudKernel:
    """Return the kernel of points `[n, d]`, whose squared distances are the cost.

    Args:
        points: Around zero, for the sake of their distances' digits.
        epsilon: Entropic regularisation.
        reach: Largest cost.
        place: Where to compute.
        precision: Of the entries.
        weighed: Multiply entries by their cost: summed, the transport cost of a plan.
    """
    scaled = points / np.sqrt(epsilon)
    squares, ones = np.einsum("nd,nd->n", scaled, scaled)[:, None], np.ones((len(points), 1))
    left = np.concatenate([2.0 * scaled, -squares, ones], axis=1)
    right = np.concatenate([scaled, ones, -squares], axis=1).T
    kernel = CloudKernel(
        place.asarray(left, precision),
        place.asarray(np.ascontiguousarray(right), precision),
        epsilon,
        reach / epsilon,
        place,
        precision,
        weighed,
    )
    if weighed or stored_bytes(len(points), precision) > place.choices.stored:
        return kernel
    n, first = len(points), kernel.left
    matrix = place.xp.empty((n, n), dtype=first.dtype, **like(first))
    for rows in kernel.blocks():
        matrix[rows] = kernel.entries(rows)
    return replace(kernel, matrix=matrix)


def stored_bytes(n: int, precision: Precision) -> int:
    """Return the bytes of all entries."""
    return item_size(precision) * n * n


def kernel_bytes(n: int, d: int, precision: Precision, place: Place) -> int:
    """Return the bytes that a kernel takes, and products with it."""
    whole = stored_bytes(n, precision)
    held = whole if whole <= place.choices.stored else 0
    # In float64 first, then as it is asked for; two blocks; the rows that are filled up.
    factors = (24 + 2 * item_size(precision)) * n * (d + 2)
    block = max(place.choices.block, item_size(precision) * n)
    return held + factors + 2 * block + item_size(precision) * n * WIDTH
