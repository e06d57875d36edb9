"""Numbers and tables in markdown."""

import math
from collections.abc import Iterable, Sequence

from fedirl_ray.evaluate.statistics import Interval


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table; the first column is flushed left, the others right."""
    rule = "|---" + "|---:" * (len(head) - 1) + "|"
    return [_line(head), rule, *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.strip() for cell in cells)} |"


def number(found: Interval, digits: int = 2) -> str:
    """A number with its interval."""
    half = "" if math.isnan(found.half_width) else f" ± {found.half_width:.{digits}f}"
    return f"{found.mean:.{digits}f}{half}"
