"""Checks on the measures and weights handed in; what passes is a fresh, normalised copy."""

import numpy as np
from numpy.typing import ArrayLike

from fedirl_ray.transport.axis import Floats


def checked_measures(measures: ArrayLike, shape: tuple[int, ...], name: str = "measures") -> Floats:
    """Return the rows of `measures` `[k, *shape]` or `[k, n]` as `[k, n]`, each of sum 1.

    Raises:
        ValueError: If a measure does not fit `shape`, or is negative, not finite or zero.
    """
    values = np.array(measures, dtype=np.float64)
    n = int(np.prod(shape))
    if values.ndim < 2 or (values.shape[1:] != shape and values.shape[1:] != (n,)):
        raise ValueError(
            f"{name} must have shape [k, *{list(shape)}] or [k, {n}] to match the axes, "
            f"got {list(values.shape)}"
        )
    if len(values) == 0:
        raise ValueError(f"{name} must hold at least one measure, got none")
    rows = values.reshape(len(values), n)
    # Extremes are finite only if every entry is.
    peaks, lows = rows.max(axis=1), rows.min(axis=1)
    bad = ~(np.isfinite(peaks) & np.isfinite(lows) & (lows >= 0) & (peaks > 0))
    if bad.any():
        i = int(bad.argmax())
        raise ValueError(f"{name}[{i}] {_flaw(rows[i])}")
    # The largest entry is divided out first, so that entries near the limits of float64 do not
    # overflow or vanish in the sum.
    rows /= peaks[:, None]
    rows /= rows.sum(axis=1, keepdims=True)
    return rows


def _flaw(row: Floats) -> str:
    """What is wrong with a row that is no measure."""
    strange = ~np.isfinite(row)
    if strange.any():
        return f"must be finite, got {row[strange][0]}"
    if (row < 0).any():
        return f"must be non-negative, got {row.min()}"
    return "must have positive mass, got all zeros"


def checked_weights(weights: ArrayLike | None, k: int) -> Floats:
    """Return `weights` `[k]` with sum 1; equal ones for `None`.

    Raises:
        ValueError: If the length is not `k`, or an entry is negative or not finite, or all are 0.
    """
    if weights is None:
        return np.full(k, 1.0 / k)
    values = np.array(weights, dtype=np.float64)
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


def reordered(rows: Floats, shape: tuple[int, ...], order: tuple[int, ...]) -> Floats:
    """Return `rows` `[k, n]` over a lattice of `shape` with its axes in `order`."""
    if order == tuple(range(len(shape))):
        return rows
    lattice = rows.reshape(len(rows), *shape)
    return lattice.transpose(0, *(1 + i for i in order)).reshape(rows.shape)
