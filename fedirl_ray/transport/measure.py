"""Checks on the measures and weights handed in; what passes is a fresh, normalised copy."""

import math

import numpy as np
from numpy.typing import ArrayLike

from fedirl_ray.transport.axis import Floats
from fedirl_ray.transport.backend import NUMPY, Array, Place, asnumpy, namespace_of


def checked_measures(
    measures: ArrayLike | Array,
    shape: tuple[int, ...],
    name: str = "measures",
    place: Place = NUMPY,
) -> Array:
    """Return the rows of `measures` `[k, *shape]` or `[k, n]` as `[k, n]`, each of sum 1.

    Raises:
        ValueError: If a measure does not fit `shape`, or is negative, not finite or zero.
    """
    values = _copied(measures, place)
    xp, n = place.xp, math.prod(shape)
    if values.ndim < 2 or (values.shape[1:] != shape and values.shape[1:] != (n,)):
        raise ValueError(
            f"{name} must have shape [k, *{list(shape)}] or [k, {n}] to match the axes, "
            f"got {list(values.shape)}"
        )
    if len(values) == 0:
        raise ValueError(f"{name} must hold at least one measure, got none")
    rows = values.reshape(len(values), n)
    # Extremes are finite only if every entry is.
    peaks, lows = xp.amax(rows, axis=1), xp.amin(rows, axis=1)
    bad = asnumpy(~(xp.isfinite(peaks) & xp.isfinite(lows) & (lows >= 0) & (peaks > 0)))
    if bad.any():
        i = int(bad.argmax())
        raise ValueError(f"{name}[{i}] {_flaw(rows[i])}")
    # The largest entry is divided out first, so that entries near the limits of float64 do not
    # overflow or vanish in the sum.
    rows /= peaks[:, None]
    rows /= rows.sum(axis=1, keepdims=True)
    return rows


def _copied(measures: ArrayLike | Array, place: Place) -> Array:
    """A copy in float64 of an array, of a tensor, or of a sequence of either."""
    xp = place.xp
    if xp is np:
        return np.array(measures, dtype=np.float64)
    if isinstance(measures, list | tuple) and any(isinstance(one, xp.Tensor) for one in measures):
        measures = xp.stack([place.asarray(one) for one in measures])
    if not isinstance(measures, xp.Tensor):
        measures = np.array(measures, dtype=np.float64)
    return place.asarray(measures.detach() if isinstance(measures, xp.Tensor) else measures).clone()


def _flaw(row: Array) -> str:
    """What is wrong with a row that is no measure."""
    strange = ~namespace_of(row).isfinite(row)
    if strange.any():
        return f"must be finite, got {row[strange][0]}"
    if (row < 0).any():
        return f"must be non-negative, got {row.min()}"
    return "must have positive mass, got all zeros"


def checked_weights(weights: ArrayLike | Array | None, k: int) -> Floats:
    """Return `weights` `[k]` with sum 1; equal ones for `None`.

    Raises:
        ValueError: If the length is not `k`, or an entry is negative or not finite, or all are 0.
    """
    if weights is None:
        return np.full(k, 1.0 / k)
    given: Array = weights
    values = np.array(asnumpy(given) if hasattr(given, "cpu") else given, dtype=np.float64)
    if values.shape != (k,):
        raise ValueError(f"weights must have shape [{k}], got {list(values.shape)}")
    bad = ~((values >= 0) & np.isfinite(values))
    if bad.any():
        i = int(bad.argmax())
        raise ValueError(f"weights[{i}] must be finite and >= 0, got {values[i]}")
    if not values.max() > 0:
        raise ValueError(f"weights must not all be zero, got {values.tolist()}")
    values /= values.max()
    return np.asarray(values / values.sum())


def reordered(rows: Array, shape: tuple[int, ...], order: tuple[int, ...]) -> Array:
    """Return `rows` `[k, n]` over a lattice of `shape` with its axes in `order`."""
    if order == tuple(range(len(shape))):
        return rows
    lattice = rows.reshape(len(rows), *shape)
    source, there = tuple(1 + i for i in order), tuple(range(1, 1 + len(order)))
    return namespace_of(rows).moveaxis(lattice, source, there).reshape(rows.shape)
