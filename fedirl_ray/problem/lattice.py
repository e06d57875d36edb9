"""Product lattices over continuous states and actions, and multilinear interpolation on them.

Letters: `p` axes, `n` lattice points, `m` places anywhere in space, `v` = 2^p corners of a cell.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np

from fedirl_ray.errors import ConfigError, DataError
from fedirl_ray.problem.mdp import Bools, Floats, Ints


@dataclass(frozen=True)
class Axis:
    """Evenly spaced coordinates from `low` to `high`, both included; a wrapping axis' ends meet.

    The points of an axis without order, such as numbered actions, are all equally far apart; where
    they stand says nothing but which is which.
    """

    name: str
    low: float
    high: float
    points: int
    wraps: bool = False
    ordered: bool = True

    def __post_init__(self) -> None:
        """Check every limit."""
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise ConfigError(
                f"axis {self.name} needs finite limits, got {self.low} to {self.high}; "
                "give them where the environment leaves an axis unbounded"
            )
        if not self.low < self.high:
            raise ConfigError(f"axis {self.name} needs low < high, got {self.low} and {self.high}")
        if self.points < 2:
            raise ConfigError(f"axis {self.name} needs at least 2 points, got {self.points}")

    @property
    def spacing(self) -> float:
        """Distance between neighbouring points."""
        return (self.high - self.low) / (self.points if self.wraps else self.points - 1)

    @cached_property
    def coordinates(self) -> Floats:
        """Where the points lie, `[points]`."""
        return np.linspace(self.low, self.high, self.points, endpoint=not self.wraps)

    @property
    def ground(self) -> Floats:
        """The axis as the barycenter takes it, in units of its spacing.

        Coordinates `[points]`, compared by squared difference; on a wrapping axis the squared
        lengths of the shorter ways round, `[points, points]`; on one without order 1 between any
        two points, as between the actions of tabular worlds.
        """
        if not self.ordered:
            return 1.0 - np.eye(self.points)
        place = np.arange(self.points, dtype=np.float64)
        if not self.wraps:
            return place
        apart = np.abs(place[:, None] - place)
        shorter: Floats = np.minimum(apart, self.points - apart) ** 2
        return shorter


class Corners(NamedTuple):
    """Places as mixtures of lattice points."""

    points: Ints
    """The corners of each place's cell, `[m, v]`."""
    weight: Floats
    """Their shares, `[m, v]`, >= 0, rows sum to one."""


@dataclass(frozen=True)
class Lattice:
    """All combinations of the axes' points, in C order."""

    axes: tuple[Axis, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Points along each axis."""
        return tuple(axis.points for axis in self.axes)

    @property
    def size(self) -> int:
        """All points."""
        return math.prod(self.shape)

    @cached_property
    def points(self) -> Floats:
        """Coordinates, `[n, p]`."""
        grid = np.meshgrid(*(axis.coordinates for axis in self.axes), indexing="ij")
        return np.stack([part.ravel() for part in grid], axis=1)

    def outside(self, places: Floats) -> Bools:
        """Which places lie beyond a limit of an axis that does not wrap, `[m]`."""
        beyond = np.zeros(len(places), dtype=bool)
        for column, axis in zip(places.T, self.axes, strict=True):
            if not axis.wraps:
                slack = 1e-9 * (axis.high - axis.low)
                beyond |= (column < axis.low - slack) | (column > axis.high + slack)
        return beyond

    def within(self, places: Floats) -> Floats:
        """Places `[m, p]` within the limits: moved to them, or turned round on wrapping axes."""
        low = np.array([axis.low for axis in self.axes])
        high = np.array([axis.high for axis in self.axes])
        wraps = np.array([axis.wraps for axis in self.axes])
        turned = low + np.mod(places - low, high - low)
        beyond = (places < low) | (places > high)
        return np.clip(np.where(wraps & beyond, turned, places), low, high)

    def corners(self, places: Floats) -> Corners:
        """Multilinear interpolation: each place between the 2^p points around it.

        Places beyond a limit are moved to it; wrapping axes take any number.

        Args:
            places: `[m, p]`.

        Returns:
            Corners and weights, of which the weighted coordinates give the place back (on axes
            that do not wrap).

        Raises:
            DataError: A place is not finite.
        """
        if not np.isfinite(places).all():
            raise DataError("places on a lattice must be finite")
        index = np.zeros((len(places), 1), dtype=np.int32)
        weight = np.ones((len(places), 1))
        for column, axis in zip(places.T, self.axes, strict=True):
            at = (column - axis.low) / axis.spacing
            if axis.wraps:
                at = np.mod(at, axis.points)
                low = np.minimum(np.floor(at), axis.points - 1)
                high = np.mod(low + 1, axis.points)
            else:
                at = np.clip(at, 0.0, axis.points - 1.0)
                low = np.minimum(np.floor(at), axis.points - 2)
                high = low + 1
            share = (at - low)[:, None, None]
            pair = np.stack([low, high], axis=1).astype(np.int32)
            index = (index[:, :, None] * axis.points + pair[:, None]).reshape(len(places), -1)
            split = np.concatenate([1.0 - share, share], axis=2)
            weight = (weight[:, :, None] * split).reshape(len(places), -1)
        return Corners(index, weight)

    def read(self, table: Floats, places: Floats) -> Floats:
        """Interpolate a table on the lattice, `[n]` or `[n, c]`, at `[m, p]` places."""
        points, weight = self.corners(places)
        if table.ndim == 1:
            values: Floats = (table[points] * weight).sum(axis=1)
            return values
        rows: Floats = np.einsum("mvc,mv->mc", table[points], weight)
        return rows

    def shortest(self, difference: Floats) -> Floats:
        """Differences of places `[..., p]`, on wrapping axes the shorter way round."""
        shorter = difference.copy()
        for j, axis in enumerate(self.axes):
            if axis.wraps:
                period = axis.high - axis.low
                shorter[..., j] -= period * np.rint(shorter[..., j] / period)
        return shorter

    def resized(self, shape: Sequence[int]) -> "Lattice":
        """The same box with other numbers of points.

        Raises:
            ConfigError: Not one number an axis, or fewer than two.
        """
        if len(shape) != len(self.axes):
            names = ", ".join(axis.name for axis in self.axes)
            raise ConfigError(
                f"a lattice of {len(self.axes)} axes ({names}) needs as many numbers of points, "
                f"got {len(shape)}"
            )
        pairs = zip(self.axes, shape, strict=True)
        return Lattice(tuple(replace(axis, points=int(points)) for axis, points in pairs))


def product(*lattices: Lattice) -> Lattice:
    """Lattices side by side: state x action."""
    return Lattice(tuple(itertools.chain.from_iterable(one.axes for one in lattices)))


def ground_of(support: Lattice, base: Lattice | None = None) -> tuple[Floats, ...]:
    """A lattice's axes as the barycenter takes them.

    Args:
        support: State x action.
        base: Whose spacings are the unit of length; None: its own, so that epsilon blurs the same
            number of cells whatever the resolution.
    """
    if base is None:
        return tuple(axis.ground for axis in support.axes)
    scaled = []
    for axis, unit in zip(support.axes, base.axes, strict=True):
        ratio = axis.spacing / unit.spacing
        ground = axis.ground
        scaled.append(ground * (ratio if ground.ndim == 1 else ratio**2))
    return tuple(scaled)


class Placed(NamedTuple):
    """Places on a lattice, all within its limits."""

    places: Floats
    """`[m, p]`."""
    outside: float
    """Share of them that had to be moved to a limit."""


def place(lattice: Lattice, places: Floats, outside: Literal["clip", "refuse"] = "clip") -> Placed:
    """Bring recorded places within a lattice's limits, and say how many were beyond.

    Args:
        lattice: `p` axes.
        places: `[m, p]`; wrapping axes take any number.
        outside: clip: move them to the nearest limit; refuse: raise.

    Raises:
        DataError: Not one number an axis, a number is not finite, or some place lies outside and
            none may.
    """
    if places.ndim != 2 or places.shape[1] != len(lattice.axes):
        raise DataError(
            f"demonstrations must give {len(lattice.axes)} numbers a step, one for each axis of "
            f"the lattice, got an array of shape {places.shape}"
        )
    if not np.isfinite(places).all():
        raise DataError("demonstrations must be finite")
    beyond = lattice.outside(places)
    share = float(beyond.mean()) if len(places) else 0.0
    if outside == "refuse" and share > 0.0:
        first = places[beyond.argmax()]
        column, axis = next(
            (value, axis)
            for value, axis in zip(first, lattice.axes, strict=True)
            if Lattice((axis,)).outside(np.array([[value]]))[0]
        )
        raise DataError(
            f"demonstrations must lie on the lattice, but {share:.1%} of {len(places)} steps do "
            f"not: axis {axis.name} reaches from {axis.low:g} to {axis.high:g}, got {column:g}; "
            "widen its limits, or clip"
        )
    within = places.copy()
    for j, axis in enumerate(lattice.axes):
        if not axis.wraps:
            within[:, j] = np.clip(within[:, j], axis.low, axis.high)
    return Placed(within, share)
