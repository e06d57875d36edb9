"""The Gaussian mechanism on what a client's demonstrations come to.

In maximum causal entropy IRL with a linear reward, demonstrations enter the fit through their mean
discounted feature counts alone. Every episode's counts are clipped to a ball that no data decide,
so that replacing one of m episodes moves the mean by at most 2 B / m; noise of z times that is
added once, and whatever is computed from the result, however often, is post-processing.

Noise is added to whole multiples of a step: counts are rounded to it first, which is what the
sensitivity allows for, and rounded noise plus a whole number is the rounding of noise plus that
number. So no low bit of a float64 tells one data set from another (Mironov 2012, "On significance
of the least significant bits for differential privacy").

Letters: `m` episodes, `n` points, `d` features.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from fedirl_ray.problem.mdp import Floats

Words = NDArray[np.uint64]
Source = Callable[[int], Words]
"""So many uniform 64-bit words."""

FINENESS = 2.0**14
"""Steps in a standard deviation of the noise. Finer ones cost less noise, and let float64 tell more
of the quantile function: at this, some 1e-11 a coordinate of delta."""


@dataclass(frozen=True)
class Ball:
    """Where rows are clipped to."""

    centre: Floats
    """`[d]`."""
    radius: float
    """B."""

    def clip(self, rows: Floats) -> Floats:
        """Rows `[m, d]` moved towards the centre, as far as they lie outside."""
        away = rows - self.centre
        length = np.linalg.norm(away, axis=1, keepdims=True)
        clipped: Floats = self.centre + away * np.minimum(
            1.0, self.radius / np.maximum(length, np.finfo(np.float64).tiny)
        )
        return clipped


def counts_ball(features: Floats, mass: float, clip: float | None = None) -> Ball:
    """A ball for the feature counts of an episode, from what is public.

    Counts that weigh all steps by `mass` together are mass times a mean of features, so they lie
    no farther from mass times the features' middle than the farthest feature does.

    Args:
        features: Phi of all states and actions, `[n, d]`.
        mass: Sum of the weights of an episode's steps.
        clip: Radius; None: the least that no episode of these features leaves.
    """
    middle = 0.5 * (features.min(axis=0) + features.max(axis=0))
    centre = min((features.mean(axis=0), middle), key=lambda at: _reach(features, at))
    radius = mass * _reach(features, centre) if clip is None else clip
    return Ball(mass * centre, radius)


def _reach(features: Floats, centre: Floats) -> float:
    """Distance of the farthest of `[n, d]`."""
    return float(np.linalg.norm(features - centre, axis=1).max())


def sensitivity(ball: Ball, count: int) -> float:
    """Farthest that the mean of so many clipped rows moves when one is replaced: 2 B / m."""
    return 2.0 * ball.radius / count


def private_mean(rows: Floats, ball: Ball, multiplier: float, source: Source) -> Floats:
    """The mean of clipped rows, with noise; call it once for the same rows.

    Args:
        rows: `[m, d]`.
        ball: Where to clip them to.
        multiplier: Standard deviation of the noise in sensitivities, z.
        source: Of the noise.

    Returns:
        `[d]`.
    """
    mean = ball.clip(rows).mean(axis=0)
    return add_noise(mean, sensitivity(ball, len(rows)), multiplier, source)


def add_noise(value: Floats, moves: float, multiplier: float, source: Source) -> Floats:
    """A value with Gaussian noise, on a grid that does not depend on it.

    Args:
        value: `[d]`.
        moves: Its sensitivity, in L2.
        multiplier: Standard deviation in sensitivities, z.
        source: Of the noise.
    """
    if moves == 0.0:
        return value.copy()
    d = value.size
    # Rounding moves either of two neighbours by half a step a coordinate.
    rounding = multiplier * math.sqrt(d) / FINENESS
    if rounding >= 0.5:
        raise ValueError(f"noise of {multiplier:g} sensitivities in {d} dimensions is too wide")
    deviation = multiplier * moves / (1.0 - rounding)
    step = deviation / FINENESS
    noise = np.rint(normal(source(d)) * FINENESS)
    noisy: Floats = (np.rint(value / step) + noise) * step
    return noisy


def normal(words: Words) -> Floats:
    """Standard normal numbers from uniform words, by the quantile function.

    The sign is a bit, and the other 63 say how far out: a tail keeps all of float64's digits.
    """
    tail = ((words >> np.uint64(1)).astype(np.float64) + 0.5) * 2.0**-64
    far: Floats = -ndtri(tail)
    return np.where(words & np.uint64(1), far, -far)


def keyed(key: bytes, *name: str | int) -> Source:
    """A source that only the key's holder can repeat: SHAKE-256 of the key and a name."""
    said = repr(name).encode()

    def source(count: int) -> Words:
        drawn = hashlib.shake_256(len(key).to_bytes(8, "little") + key + said).digest(8 * count)
        return np.frombuffer(drawn, dtype="<u8").astype(np.uint64)

    return source


def seeded(generator: np.random.Generator) -> Source:
    """A source that anybody can repeat who knows the seed: for simulations."""
    return lambda count: generator.integers(0, 2**64, size=count, dtype=np.uint64)
