"""Are the clients' maps one map displaced? Told from the uploads alone, by two numbers.

With R_i the client's reward on the support, s a width of Gaussian blur in cells, and u_i the map
blurred by s, less its mean, at unit length:

    C_s = mean Pearson correlation over pairs of clients = mean of u_i . u_j over i != j
    J   = 1 - (1 - C_2) / max(1 - C_0, .05)
    rho = max over points of the clients' mean of (R_i - median R_i) / max(R_i - median R_i)

J is the share of the clients' disagreement that a blur of two cells takes away: displaced maps
agree at a coarse scale and not at a fine one; noise disagrees at any. rho is what survives of the
peaks in the mean: peaks in one place do, displaced ones smear out. Both are read on the core, too:
clients whose median coarse correlation with the others is not negative, so that a few who upload
the opposite cannot look like a displacement, nor hide one.

Maps are displaced where J >= .10, with all clients and on the core, and rho <= .70 on the core.
Width and thresholds were chosen on seeds that no reported figure stands on (docs/selection.md).

A constant added to a client's reward, or a positive factor, changes neither number, unless points
are hidden from others, whose maps it fills. Clients count by their weights: a pair by the product
of its two. A map whose median is its highest entry has no peaks to lose, and no say in rho.

Letters: `k` clients, `n` support points.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedirl_ray.fusion.maps import blurred
from fedirl_ray.problem.mdp import Bools, Floats

WIDTH = 2.0
"""Of the blur, in cells."""
LEAST_DISAGREEMENT = 0.05
"""What 1 - C_0 counts as at least: maps that agree leave nothing for a blur to take away."""
BLUR_TAKES = 0.10
"""J from which on maps count as displaced."""
PEAKS_KEEP = 0.70
"""rho up to which they do."""
FLAT = 1e-12
"""Deviation, as a share of a map's largest entry, that is rounding: the map is a constant, or has
no peaks."""


@dataclass(frozen=True)
class Evidence:
    """What maps say of displacement; NaN where fewer than two of them are maps at all."""

    blur_takes: float
    """J of all clients."""
    blur_takes_core: float
    """J of the core."""
    peaks_keep: float
    """rho of the core; NaN where none of it has peaks."""

    @property
    def looked(self) -> bool:
        """Whether there were maps to look at."""
        return not np.isnan(self.blur_takes)

    @property
    def found(self) -> bool:
        """Whether the maps count as displaced."""
        return bool(
            self.blur_takes >= BLUR_TAKES
            and self.blur_takes_core >= BLUR_TAKES
            and self.peaks_keep <= PEAKS_KEEP
        )


def displacement(maps: Floats, axes: Sequence[Floats], weights: Floats) -> Evidence:
    """Look for displacement.

    Args:
        maps: The clients' rewards on the support, `[k, n]`; of any scale and level.
        axes: Of the support's lattice.
        weights: `[k]`; clients of weight zero are not looked at.
    """
    off = maps - maps.mean(axis=1, keepdims=True)
    uneven = np.abs(off).max(axis=1) > FLAT * np.abs(maps).max(axis=1)
    maps, weights = off[uneven & (weights > 0.0)], weights[uneven & (weights > 0.0)]
    if len(maps) < 2:
        return Evidence(np.nan, np.nan, np.nan)
    fine, coarse = _unit(maps), _unit(blurred(maps, axes, WIDTH))
    core = _core(coarse)
    if core.sum() < 2:
        return Evidence(_taken(fine, coarse, weights), np.nan, np.nan)
    return Evidence(
        _taken(fine, coarse, weights),
        _taken(fine[core], coarse[core], weights[core]),
        _kept(maps[core], weights[core]),
    )


def _unit(maps: Floats) -> Floats:
    """Maps without their means, at unit length; zero where nothing is left."""
    off = maps - maps.mean(axis=1, keepdims=True)
    length = np.linalg.norm(off, axis=1, keepdims=True)
    units: Floats = np.divide(off, length, out=np.zeros_like(off), where=length > 0.0)
    return units


def _core(units: Floats) -> Bools:
    """Clients whose median correlation with the others is not negative, `[k]`."""
    pairs = units @ units.T
    others = pairs[~np.eye(len(units), dtype=bool)].reshape(len(units), -1)
    return np.asarray(np.median(others, axis=1) >= 0.0)


def _taken(fine: Floats, coarse: Floats, weights: Floats) -> float:
    """J."""
    apart, near = (1.0 - _correlation(units, weights) for units in (fine, coarse))
    return float(1.0 - near / max(apart, LEAST_DISAGREEMENT))


def _correlation(units: Floats, weights: Floats) -> float:
    """C: mean correlation over pairs, from the sum of all maps."""
    total = weights @ units
    alone = weights**2 @ (units**2).sum(axis=1)
    pairs = weights.sum() ** 2 - weights @ weights
    return float((total @ total - alone) / pairs)


def _kept(maps: Floats, weights: Floats) -> float:
    """Rho."""
    above = maps - np.median(maps, axis=1, keepdims=True)
    peak = above.max(axis=1)
    held = peak > FLAT * np.abs(maps).max(axis=1)
    if not held.any():
        return np.nan
    share = above[held] / peak[held, None]
    return float((weights[held] @ share).max() / weights[held].sum())
