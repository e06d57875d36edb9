"""Numbers and tables in markdown."""

from collections.abc import Iterable, Sequence

from fedirl_ray.evaluate.statistics import Interval
from fedirl_ray.report.difference import with_marks
from fedirl_ray.report.wording import plain, signed


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table; the first column is flushed left, the others right."""
    rule = "|---" + "|---:" * (len(head) - 1) + "|"
    return [_line(head), rule, *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.strip() for cell in cells)} |"


def number(found: Interval, digits: int = 2, star: bool = False) -> str:
    """A number with its interval and marks."""
    return with_marks(found, plain(found.mean, digits), 1.0, digits, star).strip()


def rounded(found: Interval) -> str:
    """A return with its interval, as many digits as that bears."""
    return number(found, _digits(found))


def difference(found: Interval, star: bool = False) -> str:
    """A difference of returns with its interval and marks."""
    digits = _digits(found)
    return with_marks(found, signed(found.mean, digits), 1.0, digits, star).strip()


def _digits(found: Interval) -> int:
    return 0 if abs(found.mean) >= 100.0 or found.half_width >= 10.0 else 1
