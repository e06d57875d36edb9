"""Numbers and tables in markdown."""

from collections.abc import Iterable, Sequence

from fedirl_ray.evaluate.statistics import Interval
from fedirl_ray.report.difference import with_marks


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table; the first column is flushed left, the others right."""
    rule = "|---" + "|---:" * (len(head) - 1) + "|"
    return [_line(head), rule, *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.strip() for cell in cells)} |"


def number(found: Interval, digits: int = 2, star: bool = False) -> str:
    """A number with its interval and marks."""
    text = f"{found.mean:.{digits}f}"
    return with_marks(found, text if float(text) else text.lstrip("-"), 1.0, digits, star).strip()
