"""Registration of maps: by how many cells each client's is moved, and their mean put back in place.

What an engineer would do with displaced maps: find all pairs' shifts by cross-correlation, settle
them by least squares, move every map back, and average.

Letters: `k` clients, `n` support points, `p` axes along which maps can be moved, `m` points of one.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import numpy as np

from fedirl_ray.errors import ConfigError
from fedirl_ray.fusion.maps import blurred, filled, in_cells, shape_of, unordered
from fedirl_ray.problem.mdp import Bools, Floats

SMOOTHING = 0.7
"""Width of the blur before correlation, in cells: peaks narrower than a cell have no sub-cell
place."""
PASSES = 10
"""Of least squares, all but the first reweighted towards least absolute residuals."""
STIFF = 1e-3
"""Residual in cells below which a pair's weight no longer grows."""
OVERLAP = 0.5
"""A correlation is divided by at least this share of the maps' energy: where less overlaps, a few
points would agree by chance."""
NEAREST = 1e-9
"""What a cell of shift costs in correlation, so that of equal ones the shortest is taken."""

AxisKind = Literal["line", "ring", "unordered"]


def kind_of(axis: Floats) -> AxisKind:
    """How maps can be moved along an axis: along a line, around a ring, not at all.

    Raises:
        ConfigError: Its distances are those of none of them.
    """
    if axis.ndim == 1:
        return "line"
    if unordered(axis):
        return "unordered"
    place = np.arange(len(axis))
    apart = np.abs(place[:, None] - place)
    cells = in_cells(axis)
    if np.allclose(cells, np.minimum(apart, len(axis) - apart) ** 2):
        return "ring"
    if np.allclose(cells, apart**2):
        return "line"
    raise ConfigError(
        "fusion.rules register needs a lattice, whose axes are coordinates, periodic, or categories"
        f" equally far apart; got {len(axis)} points with costs of their own"
    )


def require_lattice(axes: Sequence[Floats]) -> None:
    """Refuse axes along which maps cannot be moved.

    Raises:
        ConfigError: An axis is that of no lattice.
    """
    for axis in axes:
        kind_of(axis)


def registered(maps: Floats, axes: Sequence[Floats], weights: Floats) -> Floats:
    """The mean of maps that are first moved to where they agree.

    Args:
        maps: `[k, n]`.
        axes: Of the lattice (see `TabularMDP.axes`).
        weights: `[k]`, positive, sum to one.

    Returns:
        `[n]`. What was moved in from beyond a border is not known: the mean is over those who know.

    Raises:
        ConfigError: An axis is that of no lattice.
    """
    back = [moved(one, axes, -offset) for one, offset in
            zip(maps, offsets(maps, axes, weights), strict=True)]  # fmt: skip
    values = np.stack([one for one, _ in back])
    known = np.stack([one for _, one in back])
    # Where nobody knows anything, the borders' values.
    known |= ~known.any(axis=0)
    found: Floats = weights @ filled(values, known, weights)
    return found


def offsets(maps: Floats, axes: Sequence[Floats], weights: Floats) -> Floats:
    """By how many cells each map is moved from their common frame.

    Least squares of o_i - o_j = d_ij over all pairs, d_ij from `shifts`, each pair with the product
    of its clients' weights, then reweighted by 1 / |residual|; the weighted sum of offsets is zero.
    Around a ring, residuals are the shorter way round; offsets are taken to lie within half of it.

    Args:
        maps: `[k, n]`.
        axes: Of the lattice.
        weights: `[k]`, positive, sum to one.

    Returns:
        `[k, p]`; 0 along unordered axes, of which `p` counts too.

    Raises:
        ConfigError: An axis is that of no lattice.
    """
    kinds = [kind_of(axis) for axis in axes]
    apart = shifts(maps, axes)
    turn = np.array([len(axis) if kind == "ring" else np.inf
                     for axis, kind in zip(axes, kinds, strict=True)])  # fmt: skip
    pairs = weights[:, None] * weights
    found, wanted, share = np.zeros((len(maps), len(axes))), apart, pairs
    for _ in range(PASSES):
        laplacian = np.diag(share.sum(axis=1)) - share
        pull = np.einsum("ij,ijp->ip", share, wanted)
        found = np.linalg.lstsq(laplacian, pull, rcond=None)[0]
        between = found[:, None] - found
        off = between - apart
        with np.errstate(invalid="ignore"):
            off -= np.where(np.isfinite(turn), turn * np.round(off / turn), 0.0)
        wanted = between - off
        share = pairs / np.maximum(np.linalg.norm(off, axis=2), STIFF)
    return np.asarray(found - weights @ found, dtype=np.float64)


def shifts(maps: Floats, axes: Sequence[Floats]) -> Floats:
    """By how many cells each map is moved against each other one.

    The peak of the cross-correlation of the maps, less their medians and smoothed by .7 cells, over
    what overlaps, divided by the overlap's energy; between cells by the parabola through the
    logarithms of three points, which is exact for Gaussian peaks. Along a line up to half its
    length, around a ring all of it.

    Args:
        maps: `[k, n]`.
        axes: Of the lattice.

    Returns:
        `[k, k, p]`, antisymmetric.

    Raises:
        ConfigError: An axis is that of no lattice.
    """
    kinds = [kind_of(axis) for axis in axes]
    moving = [j for j, kind in enumerate(kinds) if kind != "unordered"]
    found = np.zeros((len(maps), len(maps), len(axes)))
    if not moving:
        return found
    shape = shape_of(axes)
    smooth = blurred(maps - np.median(maps, axis=1, keepdims=True), axes, SMOOTHING)
    rest = [j + 1 for j in range(len(axes)) if j not in moving]
    smooth = smooth.reshape(-1, *shape).transpose(0, *rest, *(j + 1 for j in moving))
    inner = tuple(shape[j] for j in moving)
    smooth = smooth.reshape(len(maps), -1, *inner)
    padded = tuple(shape[j] if kinds[j] == "ring" else 2 * shape[j] for j in moving)
    over = tuple(range(-len(moving), 0))

    def forth(values: Floats) -> np.ndarray:
        return np.fft.rfftn(values, padded, axes=over)

    def back(values: np.ndarray) -> Floats:
        return np.fft.irfftn(values, padded, axes=over)

    energy = forth((smooth**2).sum(axis=1))
    here = forth(np.ones(inner))
    # Of a map within what overlaps when it is moved by a shift, and when the other one is.
    own, other = back(energy * here.conj()), back(here * energy.conj())
    least = OVERLAP * (smooth**2).sum(axis=tuple(range(1, smooth.ndim)))
    waves = forth(smooth)
    steps = np.meshgrid(*(np.fft.fftfreq(m, 1 / m) for m in padded), indexing="ij")
    reach = [np.inf if kinds[j] == "ring" else shape[j] // 2 for j in moving]
    allowed = np.all([np.abs(s) <= most for s, most in zip(steps, reach, strict=True)], axis=0)
    cost = NEAREST * np.linalg.norm(steps, axis=0)
    for i, j in combinations(range(len(maps)), 2):
        if least[i] == 0.0 or least[j] == 0.0:
            continue  # a flat map is nowhere
        crossed = back((waves[i] * waves[j].conj()).sum(axis=0))
        crossed /= np.sqrt(np.maximum(own[i], least[i]) * np.maximum(other[j], least[j]))
        place = _peak(crossed, np.where(allowed, crossed - cost, -np.inf))
        found[i, j, moving] = place
        found[j, i, moving] = -place
    return found


def _peak(values: Floats, ranked: Floats) -> Floats:
    """Where a correlation, with negative shifts behind the positive, peaks: `[p]`, in cells."""
    at = np.unravel_index(int(np.argmax(ranked)), values.shape)
    top = values[at]
    place = np.empty(values.ndim)
    for axis, (i, m) in enumerate(zip(at, values.shape, strict=True)):
        near = [values[(*at[:axis], (i + step) % m, *at[axis + 1 :])] for step in (-1, 0, 1)]
        low, mid, high = np.log(np.maximum(near, 1e-3 * top)) if top > 0.0 else (0.0, 0.0, 0.0)
        bend = low - 2.0 * mid + high
        between = np.clip(0.5 * (low - high) / bend, -0.5, 0.5) if bend < 0.0 else 0.0
        place[axis] = (i + m // 2) % m - m // 2 + between
    return place


def moved(one: Floats, axes: Sequence[Floats], by: Floats) -> tuple[Floats, Bools]:
    """A map moved along its axes, between cells by linear interpolation.

    Args:
        one: `[n]`.
        axes: Of the lattice.
        by: Cells along each axis, `[p]`; along unordered axes it is not read.

    Returns:
        The map `[n]`, at points moved in from beyond a border the border's value; and which points
        were not, `[n]`.
    """
    shape = shape_of(axes)
    values, known = one.reshape(shape), np.ones(shape, dtype=bool)
    for j, (axis, cells) in enumerate(zip(axes, by, strict=True)):
        kind, m = kind_of(axis), len(axis)
        if kind == "unordered":
            continue
        at = np.arange(m) - cells
        if kind == "line":
            inside = (at >= -0.5) & (at <= m - 0.5)
            known &= inside.reshape([m if i == j else 1 for i in range(len(shape))])
            at = np.clip(at, 0.0, m - 1.0)
        low = np.floor(at).astype(np.intp)
        share = (at - low).reshape([m if i == j else 1 for i in range(len(shape))])
        values = (1.0 - share) * np.take(values, low % m, axis=j) + share * np.take(
            values, (low + 1) % m, axis=j
        )
    return values.ravel(), known.ravel()
