"""The heterogeneity map of some studies in words and tables: dial by rule, beside the mean.

All differences of a map are judged together (Holm), whatever the number of its studies.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedirl_ray.evaluate.statistics import Interval, stand_out
from fedirl_ray.report.difference import legend, mark
from fedirl_ray.report.measure import Measure
from fedirl_ray.report.table import label_of
from fedirl_ray.report.wording import in_markdown
from fedirl_ray.study.heterogeneity import BASE, Point

HEAD = ("dial", "level", "trials", "seeds")
"""First columns of the map as a table; the mean's level and the rules' differences follow."""
CENTRE = "centre"
"""What the one row is called where the axes of a star meet."""
Maps = Mapping[str, Sequence[Point]]
"""At least one point of each study, by its name; the same rules in all."""


@dataclass(frozen=True)
class Row:
    """One row of a map."""

    dial: str
    level: str
    point: Point

    @property
    def label(self) -> tuple[str, str]:
        """What tells it from the other rows."""
        return self.dial, self.level


def rows_of(points: Sequence[Point]) -> list[Row]:
    """Rows of one study: what all its dials share once, then dial by dial.

    A star's centre is a level of each of its dials, from the same trials: one row, one comparison.
    """
    shared = [trials for trials, count in Counter(p.trials for p in points).items() if count > 1]
    (centre,) = shared if len(shared) == 1 else (None,)
    first = [Row(CENTRE, "", point) for point in points if point.trials == centre][:1]
    return first + [Row(p.dial, p.level, p) for p in points if p.trials != centre]


def rules_of(maps: Maps) -> tuple[str, ...]:
    """The rules that are compared with the mean."""
    points = next(iter(maps.values()))
    return tuple(points[0].differences)


def differences(maps: Maps) -> dict[tuple[str, tuple[str, str], str], Interval]:
    """All differences of a map, by study, row and rule, each comparison once."""
    return {
        (study, row.label, rule): gap
        for study, points in maps.items()
        for row in rows_of(points)
        for rule, gap in row.point.differences.items()
    }


def map_markdown(maps: Maps, measure: Measure) -> str:
    """The map as Markdown: a table a study, and what its marks mean."""
    text = ""
    for study, rows in map_rows(maps, measure).items():
        head = map_head(maps, measure)
        lines = [head, ["---"] * len(head), *rows]
        text += f"### {in_markdown(study)}\n\n" if len(maps) > 1 else ""
        for number, row in enumerate(lines):
            cells = row if number == 1 else [in_markdown(cell) for cell in row]
            text += f"| {' | '.join(cells)} |\n"
        text += "\n"
    return f"{text}{in_markdown(' '.join(map_legend(maps, measure)))}\n"


def map_head(maps: Maps, measure: Measure) -> list[str]:
    """Names of a table's columns."""
    unit = f" ({measure.unit})" if measure.unit else ""
    return [*HEAD, f"{label_of(BASE)}{unit}", *map(label_of, rules_of(maps))]


def map_rows(maps: Maps, measure: Measure) -> dict[str, list[list[str]]]:
    """Every row's cells, in the order of a table's columns, by study."""
    said = mark(differences(maps), measure.difference)
    return {
        study: [
            [
                row.dial if row.point.balanced else f"{row.dial} (all trials)",
                row.level,
                str(len(row.point.trials)),
                str(row.point.seeds),
                measure.with_half(row.point.means[BASE].mean),
                *(said[study, row.label, rule].strip() for rule in rules_of(maps)),
            ]
            for row in rows_of(points)
        ]
        for study, points in maps.items()
    }


def map_legend(maps: Maps, measure: Measure) -> list[str]:
    """What is shown, what the centre is, and what the marks mean; a sentence each."""
    said = [f"Rules minus {label_of(BASE)}, {measure.difference_name}."]
    for study, points in maps.items():
        of = f" of {study}" if len(maps) > 1 else ""
        for row in rows_of(points):
            if row.dial == CENTRE:
                levels = [f"{p.dial} {p.level}" for p in points if p.trials == row.point.trials]
                said.append(f"The {CENTRE}{of}: {', '.join(levels)}.")
    seeds = {point.seeds for points in maps.values() for point in points}
    return said + legend(differences(maps).values(), seeds.pop() if len(seeds) == 1 else None)


def map_text(maps: Maps) -> list[str]:
    """Where each rule is better than the mean, worse, or neither, one sentence a rule."""
    gaps = differences(maps)
    starred = {key for key, star in zip(gaps, stand_out(list(gaps.values())), strict=True) if star}
    lines = []
    for rule in rules_of(maps):
        own = {key: gap.mean for key, gap in gaps.items() if key[2] == rule}
        above, below = (
            [_place(maps, study, row) for (study, row, _), mean in own.items()
             if sign * mean > 0.0 and (study, row, rule) in starred]
            for sign in (1.0, -1.0)
        )  # fmt: skip
        level = len(own) - len(above) - len(below)
        lines.append(
            f"{label_of(rule)} minus {label_of(BASE)}: above zero at {_places(above)}, below at "
            f"{_places(below)}, no difference shown at {level} of {len(own)}."
        )
    return [*lines, "Counted is what has a star; by chance alone 5 % of maps have any (Holm)."]


def _place(maps: Maps, study: str, row: tuple[str, str]) -> str:
    name = " ".join(row).strip()
    return f"{study} {name}" if len(maps) > 1 else name


def _places(named: Sequence[str]) -> str:
    return f"{len(named)} ({', '.join(named)})" if named else "none"
