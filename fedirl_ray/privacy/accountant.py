"""What a run's releases come to in epsilon and delta, by dp-accounting.

Every mechanism here is a Gaussian one whose noise is z times the sensitivity, so that a release is
said by its z alone. Releases of the same data compose: Gaussian ones, chosen one after the other
too, to one whose 1 / z^2 is the sum of theirs (Dong, Roth and Su 2022, "Gaussian differential
privacy", corollary 3.3), so that no bound is lost. Of data that no two share, they do not.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from fedirl_ray.laws import require

WITHOUT = "without dp-accounting (pip install 'fedirl-ray[privacy]')"


@dataclass(frozen=True)
class Spent:
    """What some releases of the same data cost together."""

    epsilon: float
    delta: float
    rho: float
    """Of zero-concentrated differential privacy: sum of 1 / (2 z^2)."""
    releases: int


def require_accountant(asked: str, name: str = "privacy.unit", least: str = "none") -> None:
    """Refuse to protect anything where the cost could not be told.

    Args:
        asked: What a setting asks for.
        name: The setting.
        least: What it may ask for without an accountant.

    Raises:
        ConfigError: dp-accounting is not installed.
    """
    able = asked == least or find_spec("dp_accounting") is not None
    require(able, name, f"{least} {WITHOUT}", asked)


def multiplier_for(epsilon: float, delta: float, releases: int = 1) -> float:
    """The least z at which so many releases of the same data cost epsilon in all.

    So many Gaussian mechanisms are one whose z is smaller by the root of their number; that one is
    calibrated exactly (Balle and Wang 2018, "Improving the Gaussian mechanism for differential
    privacy").

    Args:
        epsilon: In all.
        delta: In all.
        releases: How many.
    """
    import dp_accounting  # an extra, and slow to load

    once = dp_accounting.get_sigma_gaussian(epsilon, delta)
    return float(once) * math.sqrt(releases)


def spent(multipliers: Sequence[float], delta: float) -> Spent:
    """What releases of the same data cost together.

    Args:
        multipliers: z of each release, at least one.
        delta: Chance that epsilon may fail to hold.
    """
    import dp_accounting

    rho = math.fsum(0.5 / z**2 for z in multipliers)
    epsilon = dp_accounting.get_epsilon_gaussian(math.sqrt(0.5 / rho), delta)
    return Spent(float(epsilon), delta, rho, len(multipliers))
