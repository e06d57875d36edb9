"""Point clouds: no lattice, and a ground cost that is a squared distance between any two points.

What a cloud is worth for transport is told by `geometry_of`; `thin` spreads one out.

Letters: `n` points, `d` their dimensions, `r` rows of pairs that are looked at together.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.spatial import cKDTree

from fedirl_ray.transport.axis import Floats
from fedirl_ray.transport.backend import NUMPY, Place, Precision
from fedirl_ray.transport.cloud_kernel import CloudKernel, cloud_kernel, kernel_bytes
from fedirl_ray.transport.memory import demand

CloudScale = Literal["median", "neighbours", "max", "none"]

NEIGHBOURS = 5.0
"""Points, itself among them, that a kernel as narrow as `Cloud.epsilon` sees around the median
point."""

PAIRS = 2**20
LEAST_ROWS = 128
"""Pairs of points looked at for medians, but at least so many points' with all others."""

BLOCK = 2**18
"""Costs held at once where all pairs are gone through."""

TOGETHER = 64
"""Clients stepped together: all are served by one pass over the kernel."""

SPREAD_OVER = 10
"""Neighbours that the intrinsic dimension is estimated from."""

FEWER = "fewer points (fedirl_ray.thin), dtype='float32', or anderson=0"

_MAKING = Lock()


@dataclass(frozen=True, eq=False)
class Cloud:
    """Points, and the cost of moving mass between them."""

    points: Floats
    """`[n, d]`, centred and scaled: the ground cost is their squared distance."""
    median: float
    """Median squared distance of two of them, in the units they were given in."""
    factor: float
    """What squared distances were multiplied by."""
    _kept: list[CloudKernel] = field(default_factory=list, repr=False)
    """The kernel made last, which the loop and all shards of a process share."""

    @classmethod
    def of(cls, points: ArrayLike, scale: CloudScale = "median") -> "Cloud":
        """Check points `[n, d]` and scale the cost between them.

        Args:
            points: All different.
            scale: The cost that becomes 1: the `"median"` of all pairs; `"neighbours"`, the
                epsilon whose kernel sees five points around the median one; `"max"`, the largest;
                `"none"` keeps squared units.

        Raises:
            ValueError: If the points are no cloud, or the scale is unknown.
            MemoryError: If the machine cannot hold the cloud.
        """
        values = checked_points(points)
        if scale not in ("median", "neighbours", "max", "none"):
            raise ValueError(
                f"cost_scale must be 'median', 'neighbours', 'max' or 'none' with points, "
                f"got {scale!r}"
            )
        values = values - values.mean(axis=0)
        rows = _looked_at(values)
        costs = np.concatenate([_costs(values, rows[part]) for part in _parts(rows, len(values))])
        others = rows[:, None] != np.arange(len(values))
        median = float(np.median(costs[others]))
        if not median > 0.0:
            raise ValueError(
                "points must be apart by more than rounding, got half of them at one place"
            )
        match scale:
            case "median":
                unit = median
            case "neighbours":
                unit = median * _epsilon(costs / median)
            case "max":
                unit = _largest(values)
            case "none":
                unit = 1.0
        return cls(values / np.sqrt(unit), median, 1.0 / unit)

    def __reduce__(self) -> tuple[type["Cloud"], tuple[Floats, float, float]]:
        """Leave the kernel behind: it is made again where it is needed."""
        return Cloud, (self.points, self.median, self.factor)

    @property
    def size(self) -> int:
        """Number of points `n`."""
        return len(self.points)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a measure."""
        return (len(self.points),)

    @cached_property
    def reach(self) -> float:
        """Largest cost."""
        return _largest(self.points)

    @cached_property
    def epsilon(self) -> float:
        """The regularisation whose kernel sees five points: its median row sum is 5.

        It follows the cloud's density. The largest cost, which one far point sets, tells nothing
        of it; nor does the median cost where the cloud has many dimensions.

        Raises:
            ValueError: The cloud has no more than five points.
        """
        rows = _looked_at(self.points)
        parts = _parts(rows, self.size)
        return _epsilon(np.concatenate([_costs(self.points, rows[part]) for part in parts]))

    def together(self, k: int, place: Place) -> int:
        """Return how many of `k` clients are stepped together."""
        del place
        return min(k, TOGETHER)

    @property
    def name(self) -> str:
        """What errors call it."""
        return f"a cloud of {self.size} points"

    def kernel(
        self, epsilon: float, *, place: Place = NUMPY, precision: Precision = "float64"
    ) -> CloudKernel:
        """Return the Gibbs kernel at `epsilon`."""
        with _MAKING:
            for kernel in self._kept:
                if (kernel.epsilon, kernel.precision, kernel.place) == (epsilon, precision, place):
                    return kernel
            self._kept.clear()
            self._kept.append(
                cloud_kernel(self.points, epsilon, self.reach, place=place, precision=precision)
            )
            return self._kept[0]

    def kernel_bytes(
        self, precision: Precision, *, second_kernel: bool, place: Place = NUMPY
    ) -> int:
        """Return the bytes of what products with the kernel take; one serves everybody."""
        del second_kernel
        n, d = self.points.shape
        return kernel_bytes(n, d, precision, place)

    def plan_cost(self, epsilon: float, log_u: Floats, log_v: Floats) -> float:
        """Return `<C, plan>` of the plan with these scalings."""
        weighed = cloud_kernel(self.points, epsilon, self.reach, weighed=True)
        return float(np.exp(log_u + weighed.apply_log(log_v[None])[0]).sum())

    def between(self, here: NDArray[np.intp], there: NDArray[np.intp]) -> Floats:
        """Return the costs between some points and others."""
        return _costs(self.points[there], np.arange(len(there)), self.points[here]).T

    def positive_definite(self, epsilon: float) -> bool:
        """Whether the Gibbs kernel is: a Gaussian always is."""
        del epsilon
        return True


def checked_points(points: ArrayLike) -> Floats:
    """Return points as floats `[n, d]`.

    Raises:
        ValueError: If they have another shape, are not finite, or one is there twice.
        MemoryError: If the machine cannot hold what looking at them takes.
    """
    try:
        values = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"points must be numbers [n, d], got {points!r:.80}") from None
    if values.ndim != 2 or len(values) < 2 or values.shape[1] < 1:
        raise ValueError(
            f"points must have shape [n, d], at least two points, got {list(values.shape)}"
        )
    n, d = values.shape
    rows = min(n, max(LEAST_ROWS, PAIRS // n))
    demand(8 * (4 * n * d + 4 * rows * n), f"a cloud of {n} points in {d} dimensions", FEWER)
    strange = ~np.isfinite(values)
    if strange.any():
        i, j = (int(place) for place in np.argwhere(strange)[0])
        raise ValueError(f"points[{i}] must be finite, got {values[i, j]}")
    order = np.lexsort(values.T)
    twice = (np.diff(values[order], axis=0) == 0.0).all(axis=1)
    if twice.any():
        one, two = sorted(order[int(twice.argmax()) :][:2].tolist())
        raise ValueError(f"points must all be different, got points[{two}] equal to points[{one}]")
    return values


def thin(points: ArrayLike, count: int) -> NDArray[np.intp]:
    """Select points that are spread over a cloud as evenly as a greedy choice can.

    Farthest-point selection (Gonzalez 1985, "Clustering to minimize the maximum intercluster
    distance"): from the point nearest the mean on, always the point farthest from all selected
    ones. Every point is then within twice the least possible radius of a selected one. The order of
    the points changes nothing but which of equally far ones is selected.

    Args:
        points: `[n, d]`, all different.
        count: Points to select, 1 to n.

    Returns:
        Their places `[count]`, in the order of selection: the first few are a selection, too.

    Raises:
        ValueError: If the points are no cloud, or there are fewer than `count`.
    """
    values = checked_points(points)
    if not 1 <= count <= len(values):
        raise ValueError(f"count must be in 1..{len(values)}, the number of points, got {count}")
    apart = values - values.mean(axis=0)
    found = np.empty(count, dtype=np.intp)
    found[0] = np.argmin(np.einsum("nd,nd->n", apart, apart))
    nearest = np.full(len(values), np.inf)
    for i in range(1, count):
        np.subtract(values, values[found[i - 1]], out=apart)
        np.minimum(nearest, np.einsum("nd,nd->n", apart, apart), out=nearest)
        found[i] = np.argmax(nearest)
    return found


@dataclass(frozen=True)
class CloudGeometry:
    """How much geometry a cloud has left for transport to use."""

    points: int
    """Their number n."""
    dimensions: int
    """Coordinates of a point."""
    intrinsic_dimension: float
    """Of what the points lie on, by their nearest neighbours' distances. Of a cloud as it was
    gathered: spreading points out (`thin`) makes neighbours equally far, which reads as more."""
    median_cost: float
    """Median squared distance of two points, in the units they were given in."""
    nearest_over_median: float
    """Squared distance to the nearest neighbour, of the median point, over `median_cost`. Near 1
    all points are equally far apart, and a barycenter is near the entrywise median."""
    epsilon: float
    """What `barycenter` takes by default, in units of `median_cost`."""


def geometry_of(points: ArrayLike) -> CloudGeometry:
    """Measure what transport on a cloud can use.

    The intrinsic dimension is Levina and Bickel's (2004, "Maximum likelihood estimation of
    intrinsic dimension", equation 8), from each point's ten nearest neighbours, the points'
    inverses averaged.

    Args:
        points: `[n, d]`, all different, more than ten.

    Returns:
        The record.

    Raises:
        ValueError: If the points are no cloud, or too few.
    """
    cloud = Cloud.of(points)
    n, d = cloud.points.shape
    if n <= SPREAD_OVER:
        raise ValueError(f"points must be more than {SPREAD_OVER}, got {n}")
    apart = np.asarray(cKDTree(cloud.points).query(cloud.points, SPREAD_OVER + 1)[0])[:, 1:]
    inverse = float(np.log(apart[:, -1:] / apart[:, :-1]).mean())
    return CloudGeometry(
        points=n,
        dimensions=d,
        intrinsic_dimension=1.0 / inverse,
        median_cost=cloud.median,
        nearest_over_median=float(np.median(apart[:, 0] ** 2)),
        epsilon=cloud.epsilon,
    )


def _looked_at(points: Floats) -> NDArray[np.intp]:
    """Places of the points whose costs stand for all: every so many in the points' own order.

    Not in the order they are given in, which is to change nothing.
    """
    n = len(points)
    rows = min(n, max(LEAST_ROWS, PAIRS // n))
    order = np.lexsort(points.T)
    places: NDArray[np.intp] = order[np.arange(rows) * n // rows]
    return places


def _parts(rows: NDArray[np.intp], n: int) -> Iterator[slice]:
    step = max(1, BLOCK // n)
    return (slice(start, start + step) for start in range(0, len(rows), step))


def _costs(points: Floats, rows: NDArray[np.intp], others: Floats | None = None) -> Floats:
    """Squared distances of the points at `rows` from all, or from others, `[r, n]`."""
    some, others = points[rows], points if others is None else others
    costs = some @ others.T
    costs *= -2.0
    costs += np.einsum("nd,nd->n", some, some)[:, None]
    costs += np.einsum("nd,nd->n", others, others)
    return np.maximum(costs, 0.0, out=costs)


def _largest(points: Floats) -> float:
    every = np.arange(len(points))
    parts = _parts(every, len(points))
    return max(float(_costs(points, every[part]).max()) for part in parts)


def _epsilon(costs: Floats) -> float:
    """The epsilon at which the median row of the kernel of costs `[r, n]` sums to five."""
    n = costs.shape[1]
    if n <= NEIGHBOURS:
        raise ValueError(f"epsilon must be given for a cloud of so few points, got None for {n}")

    def beyond(log_epsilon: float) -> float:
        sums = np.exp(-costs / np.exp(log_epsilon)).sum(axis=1)
        return float(np.median(sums)) - NEIGHBOURS

    least, most = np.log(costs[costs > 0.0].min()), np.log(costs.max())
    # Far below the least cost every row sums to one; far above the largest, to n.
    low, high = least - np.log(n) - 1.0, most + np.log(n) + 1.0
    with np.errstate(under="ignore"):
        return float(np.exp(brentq(beyond, low, high, xtol=1e-12, rtol=1e-14)))
