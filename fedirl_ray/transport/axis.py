"""The ground cost of a product lattice, one matrix per axis.

The cost between two lattice points is the sum over axes of a cost between their coordinates, so the
`n x n` matrix is never formed: an axis of `m` coordinates holds its own `m x m` part.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedirl_ray.transport.memory import axes_bytes, demand

Floats = NDArray[np.float64]
CostScale = Literal["max", "none"] | Sequence[float]


def ground_costs(
    axes: Sequence[ArrayLike],
    *,
    cost_scale: CostScale = "max",
    periodic: Sequence[float | Literal[False]] | None = None,
) -> tuple[Floats, ...]:
    """Return the ground cost of each axis, scaled.

    Args:
        axes: One entry per lattice axis: strictly increasing coordinates `[m]`, or a symmetric
            non-negative matrix `[m, m]` that is itself the cost between the axis' `m` categories.
        cost_scale: `"max"` divides every axis by the largest cost over the lattice, which thereby
            becomes 1; `"none"` keeps squared coordinate units; a sequence multiplies axis by axis.
        periodic: Per axis `False`, or the period in the units of its coordinates.

    Returns:
        One matrix `[m, m]` per axis; their outer sum is the cost over the lattice.

    Raises:
        ValueError: If an axis, a period or the scale breaks its law.
        MemoryError: If the machine cannot hold the matrices.
    """
    if len(axes) == 0:
        raise ValueError("axes must hold at least one axis, got none")
    periods = [False] * len(axes) if periodic is None else list(periodic)
    if len(periods) != len(axes):
        raise ValueError(
            f"periodic must have one entry per axis ({len(axes)}), got {len(periods)} entries"
        )
    lengths = [math.prod(np.shape(axis)[:1]) for axis in axes]
    demand(axes_bytes(lengths), f"a lattice with axes of {lengths} points", "a coarser lattice")
    pairs = zip(axes, periods, strict=True)
    costs = [_axis_cost(i, axis, period) for i, (axis, period) in enumerate(pairs)]
    return tuple(
        factor * cost for factor, cost in zip(_factors(costs, cost_scale), costs, strict=True)
    )


def _axis_cost(i: int, axis: ArrayLike, period: float | Literal[False]) -> Floats:
    values = np.asarray(axis, dtype=np.float64)
    if values.size == 0 or values.ndim not in (1, 2):
        raise ValueError(
            f"axes[{i}] must be a non-empty 1-D array of coordinates or a square cost matrix, "
            f"got shape {values.shape}"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"axes[{i}] must be finite, got {_first(values, ~np.isfinite(values))}")
    if values.ndim == 2:
        return _checked_cost(i, values, period)
    steps = np.diff(values)
    if not (steps > 0).all():
        j = int(np.argmin(steps > 0))
        raise ValueError(
            f"axes[{i}] must be strictly increasing, got {values[j]} then {values[j + 1]} "
            f"at positions {j} and {j + 1}"
        )
    distance = np.abs(values[:, None] - values[None, :])
    if period is not False:
        if not (period > values[-1] - values[0] and np.isfinite(period)):
            raise ValueError(
                f"periodic[{i}] must be finite and exceed the span of its axis "
                f"({values[-1] - values[0]}), got {period}"
            )
        distance = np.minimum(distance, period - distance)
    return distance**2


def _checked_cost(i: int, cost: Floats, period: float | Literal[False]) -> Floats:
    if cost.shape[0] != cost.shape[1]:
        raise ValueError(f"axes[{i}] as a cost matrix must be square, got shape {cost.shape}")
    if (cost < 0).any():
        raise ValueError(
            f"axes[{i}] as a cost matrix must be non-negative, got {_first(cost, cost < 0)}"
        )
    if not np.array_equal(cost, cost.T):
        raise ValueError(f"axes[{i}] as a cost matrix must be symmetric")
    if period is not False:
        raise ValueError(f"periodic[{i}] must be False for a cost matrix, got {period}")
    return cost


def _factors(costs: Sequence[Floats], cost_scale: CostScale) -> list[float]:
    if isinstance(cost_scale, str):
        match cost_scale:
            case "none":
                return [1.0] * len(costs)
            case "max":
                largest = float(sum(cost.max() for cost in costs))
                return [1.0 / largest if largest > 0 else 1.0] * len(costs)
            case _:
                raise ValueError(
                    f"cost_scale must be 'max', 'none' or one factor per axis, got {cost_scale!r}"
                )
    factors = [float(factor) for factor in cost_scale]
    if len(factors) != len(costs):
        raise ValueError(
            f"cost_scale must have one factor per axis ({len(costs)}), got {len(factors)}"
        )
    for i, factor in enumerate(factors):
        if not (factor >= 0 and np.isfinite(factor)):
            raise ValueError(f"cost_scale[{i}] must be finite and >= 0, got {factor}")
    return factors


def _first(values: Floats, wrong: NDArray[np.bool_]) -> str:
    where = tuple(int(j) for j in np.argwhere(wrong)[0])
    return f"{values[where]} at {where[0] if len(where) == 1 else where}"
