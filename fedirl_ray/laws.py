"""The laws that settings are held to; every refusal says what must hold, and what was got."""

import math
from collections.abc import Sequence

from fedirl_ray.errors import ConfigError

SHOWN = 200
"""Characters of a refused value that are shown."""
TINY, HUGE = 1e-100, 1e100
"""Between which squares and quotients of settings are numbers, too."""


def require(holds: bool, name: str, law: str, got: object) -> None:
    """Refuse a setting that breaks its law.

    Args:
        holds: Whether it keeps it.
        name: The setting as the user types it.
        law: What must hold, to follow "must be".
        got: The value.

    Raises:
        ConfigError: It does not hold.
    """
    if not holds:
        said = str(got)
        said = said if len(said) <= SHOWN else f"{said[:SHOWN]}..."
        raise ConfigError(f"{name} must be {law}, got {said}")


def require_once(name: str, items: Sequence[str]) -> None:
    """Require a list that names nothing twice."""
    repeated = sorted({item for item in items if items.count(item) > 1})
    require(not repeated, name, "named once each", ",".join(repeated))


def require_share(name: str, value: float) -> None:
    """Require a number in [0, 1]; minus zero, which a draw from U(0, share) refuses, is none."""
    require_level(name, value, 1.0)


def require_level(name: str, value: float, most: float = math.inf) -> None:
    """Require a finite number from zero, without its minus, to `most`."""
    holds = 0.0 <= value <= most and math.isfinite(value) and math.copysign(1.0, value) > 0.0
    law = ">= 0 and finite" if math.isinf(most) else f"in [0, {most:g}]"
    require(holds, name, law, value)
    usable = not math.isinf(most) or value == 0.0 or TINY <= value <= HUGE
    require(usable, name, f"0 or in [{TINY:g}, {HUGE:g}]", value)


def names_function(name: str) -> bool:
    """Whether a name is spelt `module:function`, as code of the user's own is."""
    module, colon, function = name.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), function))


def require_positive(name: str, value: float) -> None:
    """Require a finite number above zero with which can be calculated."""
    # `not x > 0` also refuses NaN.
    require(value > 0.0 and math.isfinite(value), name, "> 0 and finite", value)
    require(TINY <= value <= HUGE, name, f"in [{TINY:g}, {HUGE:g}]", value)


def require_discount(name: str, value: float) -> None:
    """Require a number in (0, 1)."""
    require(0.0 < value < 1.0, name, "in (0, 1)", value)


def require_discount_or_one(name: str, value: float) -> None:
    """Require a number in (0, 1], where episodes end by themselves."""
    require(0.0 < value <= 1.0, name, "in (0, 1]", value)
