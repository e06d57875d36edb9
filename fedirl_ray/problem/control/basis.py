"""Radial features of any number on a box of states and actions.

Letters: `d` features, `p` axes, `m` places.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from scipy.stats import qmc

from fedirl_ray.problem.lattice import Lattice
from fedirl_ray.problem.mdp import Floats

TILE = 16_384
"""Features worked on at once: few enough for the cache."""


class Basis(Protocol):
    """Features that can be read anywhere, the same for all clients: radial ones, or the user's."""

    @property
    def count(self) -> int:
        """Features d."""
        ...

    def at(self, places: Floats) -> Floats:
        """Features of places `[m, p]`, states and actions side by side, `[m, d]`."""
        ...


@dataclass(frozen=True)
class RadialBasis:
    """Gaussian bumps, the same for all clients, that can be read anywhere, not on a lattice only.

    Centres are the first points of Halton's sequence, which fill a box of any dimension evenly with
    any number of points. Every axis is measured as a share of its box; a wrapping one round the
    shorter way.
    """

    support: Lattice
    """State x action; only its limits matter."""
    count: int
    """Features d."""
    width: float = 1.0
    """Standard deviation of a bump, in units of d^(-1/p): what a cube of its own would measure."""

    @cached_property
    def centres(self) -> Floats:
        """`[d, p]`, in shares of the box."""
        points: Floats = qmc.Halton(len(self.support.axes), scramble=False).random(self.count)
        return points

    def at(self, places: Floats) -> Floats:
        """Features of places `[m, p]`, `[m, d]`."""
        low = np.array([axis.low for axis in self.support.axes])
        high = np.array([axis.high for axis in self.support.axes])
        wraps = np.array([axis.wraps for axis in self.support.axes])
        share = (places - low) / (high - low)
        share = np.where(wraps, np.mod(share, 1.0), np.clip(share, 0.0, 1.0))
        deviation = self.width * self.count ** (-1.0 / len(low))
        features = np.empty((len(places), self.count))
        size = max(1, TILE // self.count)
        for begin in range(0, len(places), size):
            part = share[begin : begin + size]
            squared = np.zeros((len(part), self.count))
            for column, centre, round_ in zip(part.T, self.centres.T, wraps, strict=True):
                apart = np.abs(column[:, None] - centre)
                squared += (np.minimum(apart, 1.0 - apart) if round_ else apart) ** 2
            np.exp(-0.5 * squared / deviation**2, out=features[begin : begin + size])
        return features


@dataclass(frozen=True)
class LinearReward:
    """theta . phi + offset, anywhere."""

    basis: Basis
    theta: Floats
    """`[d]`."""
    offset: float = 0.0

    def __call__(self, places: Floats, actions: Floats) -> Floats:
        """Reward of places `[m, p]` and actions `[m, q]`, `[m]`."""
        features = self.basis.at(np.concatenate([places, actions], axis=1))
        reward: Floats = features @ self.theta + self.offset
        return reward

    def on(self, features: Floats, actions: int) -> Floats:
        """Reward on a lattice whose features `[n, d]` are known, `[a, s]`."""
        return lattice_reward(features, self.theta, actions) + self.offset


def lattice_reward(features: Floats, theta: Floats, actions: int) -> Floats:
    """Reward theta . phi on a lattice of states x actions, `[a, s]`."""
    return np.ascontiguousarray((features @ theta).reshape(-1, actions).T)
