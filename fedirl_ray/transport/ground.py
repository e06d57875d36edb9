"""Where measures live and what moving mass there costs: a product lattice, or a cloud of points.

The loop, its shards and distances ask both the same.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedirl_ray.transport.axis import CostScale, Floats, ground_costs
from fedirl_ray.transport.backend import NUMPY, Place, Precision
from fedirl_ray.transport.cloud import Cloud
from fedirl_ray.transport.cloud_kernel import CloudKernel
from fedirl_ray.transport.kernel import Kernel, gibbs_kernel, positive_definite
from fedirl_ray.transport.memory import axes_bytes, batch_of

Where = Sequence[ArrayLike] | Cloud
"""The axes of a lattice, or a cloud."""


@dataclass(frozen=True)
class Lattice:
    """A product lattice whose cost is a sum over its axes."""

    costs: tuple[Floats, ...]
    """One matrix `[m, m]` per axis, scaled."""

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Points of each axis."""
        return tuple(len(cost) for cost in self.costs)

    @cached_property
    def size(self) -> int:
        """Number of points `n`."""
        return math.prod(self.shape)

    @cached_property
    def reach(self) -> float:
        """Largest cost."""
        return sum(float(cost.max()) for cost in self.costs)

    def together(self, k: int, place: Place) -> int:
        """Return how many of `k` clients are stepped together."""
        return batch_of(k, self.size, place)

    @property
    def name(self) -> str:
        """What errors call it."""
        return f"{self.size} points"

    def kernel(
        self, epsilon: float, *, place: Place = NUMPY, precision: Precision = "float64"
    ) -> Kernel:
        """Return the Gibbs kernel at `epsilon`."""
        return gibbs_kernel(self.costs, epsilon, place=place, precision=precision)

    def kernel_bytes(
        self, precision: Precision, *, second_kernel: bool, place: Place = NUMPY
    ) -> int:
        """Return the bytes of the axes' matrices, which are made in float64 whatever is asked."""
        del precision, place
        return axes_bytes(self.shape, second_kernel=second_kernel)

    def plan_cost(self, epsilon: float, log_u: Floats, log_v: Floats) -> float:
        """Return `<C, plan>`: per axis, one product with that axis' kernel times its cost."""
        total = 0.0
        for i in range(len(self.costs)):
            kernel = gibbs_kernel(self.costs, epsilon, weigh_axis=i)
            total += float(np.exp(log_u + kernel.apply_log(log_v[None])[0]).sum())
        return total

    def between(self, here: NDArray[np.intp], there: NDArray[np.intp]) -> Floats:
        """Return the costs between some points and others."""
        rows, columns = (np.unravel_index(places, self.shape) for places in (here, there))
        total = np.zeros((len(here), len(there)))
        for cost, row, column in zip(self.costs, rows, columns, strict=True):
            total += cost[np.ix_(row, column)]
        return total

    def positive_definite(self, epsilon: float) -> bool:
        """Whether the Gibbs kernel is."""
        return positive_definite(self.costs, epsilon)


Ground = Lattice | Cloud
GibbsKernel = Kernel | CloudKernel


def ground_of(
    where: Where,
    *,
    cost_scale: CostScale = "max",
    periodic: Sequence[float | Literal[False]] | None = None,
) -> Ground:
    """Return the ground of a lattice's axes; a cloud, which has its scale already, as it is.

    Args:
        where: Axes, see `ground_costs`, or a cloud.
        cost_scale: Of a lattice, see `ground_costs`.
        periodic: See `ground_costs`.

    Raises:
        ValueError: If an axis, a period or the scale breaks its law.
        MemoryError: If the machine cannot hold the axes' costs.
    """
    if isinstance(where, Cloud):
        return where
    return Lattice(ground_costs(where, cost_scale=cost_scale, periodic=periodic))


def in_order(ground: Ground, order: Sequence[int]) -> Ground:
    """Return a lattice with its axes in another order; a cloud as it is."""
    if isinstance(ground, Cloud):
        return ground
    return Lattice(tuple(ground.costs[i] for i in order))
