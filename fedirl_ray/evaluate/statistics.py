"""Means and paired differences over seeds, with their intervals."""

from typing import NamedTuple

import numpy as np
from scipy import special

from fedirl_ray.problem.mdp import Floats


class Interval(NamedTuple):
    """A mean with its 95 % confidence interval."""

    mean: float
    half_width: float
    """Half the interval's width; NaN where one seed leaves nothing to estimate it from."""

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies wholly on one side of zero."""
        return abs(self.mean) > self.half_width


def interval(samples: Floats) -> Interval:
    """Student's t interval of a mean.

    Args:
        samples: One value a seed, `[seeds]`; for a paired difference, the differences.

    Returns:
        Mean and half width at 95 %.
    """
    count = samples.size
    if count < 2:
        return Interval(float(samples.mean()), float("nan"))
    spread = samples.std(ddof=1) / np.sqrt(count)
    return Interval(float(samples.mean()), float(special.stdtrit(count - 1, 0.975) * spread))
