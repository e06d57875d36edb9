"""Numbers and tables in markdown."""

import math
from collections.abc import Iterable, Sequence

from fedirl_ray.evaluate.comparison import Comparison
from fedirl_ray.evaluate.statistics import Interval


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table; the first column is flushed left, the others right."""
    rule = "|---" + "|---:" * (len(head) - 1) + "|"
    return [_line(head), rule, *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def spread(mean: float, deviation: float) -> str:
    """A mean and a standard deviation, both in %."""
    return f"{mean:.1f}" if math.isnan(deviation) else f"{mean:.1f} ± {deviation:.1f}"


def level(found: Comparison) -> str:
    """A success in %, with its spread over seeds."""
    return spread(100.0 * found.mean, 100.0 * found.spread)


def difference(found: Interval) -> str:
    """A difference in percentage points with its interval; a star where that excludes zero."""
    if math.isnan(found.half_width):
        return f"{100.0 * found.mean:+.1f}"
    star = "*" if found.excludes_zero else ""
    return f"{100.0 * found.mean:+.1f} ± {100.0 * found.half_width:.1f}{star}"


def number(found: Interval) -> str:
    """A number with its interval."""
    half = "" if math.isnan(found.half_width) else f" ± {found.half_width:.2f}"
    return f"{found.mean:.2f}{half}"
