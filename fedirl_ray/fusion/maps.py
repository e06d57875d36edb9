"""Rewards as maps on a lattice: its axes in cells, blur, and the mean where some see only a part.

Letters: `k` clients, `n` support points, `m` points of an axis.
"""

from collections.abc import Sequence

import numpy as np

from fedirl_ray.problem.mdp import Bools, Floats
from fedirl_ray.transport.cloud import Cloud


def shape_of(axes: Sequence[Floats]) -> tuple[int, ...]:
    """Points along each axis; their product is n."""
    return tuple(len(axis) for axis in axes)


def unordered(axis: Floats) -> bool:
    """Whether all points of an axis are equally far apart, so that none lies between two others.

    Such are actions and other categories. A periodic axis of two or three points is no different.
    """
    if axis.ndim == 1:
        return False
    apart = axis[~np.eye(len(axis), dtype=bool)]
    return apart.size == 0 or bool(np.ptp(apart) == 0.0)


def in_cells(axis: Floats) -> Floats:
    """Squared distances between the points of an axis, `[m, m]`, in units of its cell.

    The cell is the mean distance of neighbours where the axis is given by coordinates, the least
    distance where it is given by costs.
    """
    if axis.ndim == 1:
        place = (axis - axis[0]) * ((len(axis) - 1) / max(axis[-1] - axis[0], 1e-300))
        apart: Floats = (place[:, None] - place) ** 2
        return apart
    return axis / axis[axis > 0.0].min() if axis.any() else axis


def blurred(maps: Floats, where: Sequence[Floats] | Cloud, width: float) -> Floats:
    """Gaussian blur of maps on a lattice or a cloud.

    Every point becomes the mean of those around it, weighed by exp(-d^2 / (2 width^2)); at a
    border the weights are those of the points that are there, so that a constant stays one. Axes
    without order are not blurred along.

    Args:
        maps: `[k, n]`.
        where: The lattice's axes (see `TabularMDP.axes`), or a cloud.
        width: Standard deviation, in cells; a cloud's cell is its unit of distance.

    Returns:
        `[k, n]`.
    """
    if isinstance(where, Cloud):
        kernel = where.kernel(2.0 * width**2)
        both = np.concatenate([maps, np.ones((1, where.size))])
        near, _ = kernel.apply(both, np.empty_like(both))
        mean: Floats = near[:-1] / near[-1]
        return mean
    shape = shape_of(where)
    found = maps.reshape(len(maps), *shape)
    for j, axis in enumerate(where, start=1):
        if unordered(axis):
            continue
        weight = np.exp(-in_cells(axis) / (2.0 * width**2))
        weight /= weight.sum(axis=1, keepdims=True)
        found = np.moveaxis(np.tensordot(found, weight, axes=(j, 1)), -1, j)
    return np.ascontiguousarray(found).reshape(maps.shape)


def filled(maps: Floats, known: Bools, weights: Floats) -> Floats:
    """Maps with points that a client does not know filled in.

    Args:
        maps: `[k, n]`; what is at points not known is not read.
        known: Which points each client knows, at least one each, `[k, n]`.
        weights: `[k]`, positive.

    Returns:
        `[k, n]`: at points not known, the weighted mean of the clients that know the point; where
        nobody does, the client's own mean over the points it knows.
    """
    share = weights[:, None] * known
    total = share.sum(axis=0)
    seen = np.where(known, maps, 0.0)
    # Divided first: a point that one client alone knows is filled with that client's very number.
    others = (share / np.where(total > 0.0, total, 1.0) * seen).sum(axis=0)
    own = seen.sum(axis=1) / known.sum(axis=1)
    return np.where(known, maps, np.where(total > 0.0, others, own[:, None]))
