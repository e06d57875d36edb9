"""The heterogeneity map as a picture and as a table, for a page or for a document."""

import io
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, zip_longest
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from fedirl_ray.evaluate.statistics import Interval, stand_out
from fedirl_ray.report.difference import bar, legend, mark
from fedirl_ray.report.measure import Measure
from fedirl_ray.report.svg import BLUE, GREEN, GREY, ORANGE, STYLE, Chart, chart
from fedirl_ray.report.table import label_of
from fedirl_ray.report.wording import in_markdown, printable
from fedirl_ray.study.heterogeneity import Point

HEAD = (
    "dial", "level", "trials", "seeds", "- mean", "- best simple rule", "best simple rule",
    "normalisation", "blur", "transport",
)  # fmt: skip
"""Columns of the map as a table."""
Series = tuple[str, str, Callable[[Point], Interval]]
Line = tuple[str, str, Callable[[Point], Interval], Sequence[Point]]
"""Label, colour, what is read, and where from."""
Panel = tuple[str, list[Line]]
"""A title, and what is drawn under it."""
DIFFERENCES: tuple[Series, ...] = (
    ("parameter mean", BLUE, lambda point: point.against_mean),
    ("best simple rule", ORANGE, lambda point: point.against_best),
)
PARTS: tuple[Series, ...] = (
    ("normalisation", GREY, lambda point: _part(point, "normalisation")),
    ("blur", ORANGE, lambda point: _part(point, "blur")),
    ("transport", GREEN, lambda point: _part(point, "transport")),
)


def _part(point: Point, name: str) -> Interval:
    assert point.gain is not None  # panels of parts are drawn only where there are parts
    found: Interval = getattr(point.gain, name)
    return found


def by_dial(points: Sequence[Point]) -> dict[str, list[Point]]:
    """Points grouped by dial, in their order."""
    return {
        dial: [point for point in points if point.dial == dial]
        for dial in dict.fromkeys(point.dial for point in points)
    }


def draw_maps(maps: Mapping[str, Sequence[Point]], measure: Measure) -> bytes:
    """Draw the maps of some studies as one PNG, over each other where there are several.

    Args:
        maps: At least one point of each study, by its name.
        measure: Of what, the same in all.
    """
    if len(maps) == 1:
        (points,) = maps.values()
        return draw_map(points, measure)
    return _figure([(dial, _compare(maps, dial)) for dial in _dials(maps)], measure)


def draw_map(points: Sequence[Point], measure: Measure) -> bytes:
    """Draw a map as one PNG: a row for each dial, its differences beside its parts.

    Args:
        points: At least one.
        measure: Of what.
    """
    rows = [(dial, _panels(dial, own)) for dial, own in by_dial(points).items()]
    return _figure(rows, measure)


def _dials(maps: Mapping[str, Sequence[Point]]) -> list[str]:
    return list(dict.fromkeys(point.dial for points in maps.values() for point in points))


def _compare(maps: Mapping[str, Sequence[Point]], dial: str) -> list[Panel]:
    """One difference a panel, one line a study."""
    own = {name: by_dial(points).get(dial, []) for name, points in maps.items()}
    split = {
        name: points
        for name, points in own.items()
        if all(point.gain is not None for point in points)
    }
    colours = dict(zip(maps, cycle((BLUE, ORANGE, GREEN, GREY)), strict=False))
    shown = (
        (f"{dial}: barycenter minus mean", own, DIFFERENCES[0][2]),
        ("of which transport", split, PARTS[-1][2]),
    )
    return [
        (title, [(name, colours[name], read, points) for name, points in of.items() if points])
        for title, of, read in shown
    ]


def _panels(dial: str, points: Sequence[Point]) -> list[Panel]:
    """The differences of one study, and their parts where it has them."""
    panels = [(f"{dial}: barycenter minus", [(*series, points) for series in DIFFERENCES])]
    if all(point.gain is not None for point in points):
        title = f"{dial}: its gain over the mean is made of"
        panels.append((title, [(*series, points) for series in PARTS]))
    return panels


def _figure(rows: Sequence[tuple[str, Sequence[Panel]]], measure: Measure) -> bytes:
    """Draw panels as one PNG, a row for each dial."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.0, 2.3 * len(rows) + 0.5), layout="constrained")
        axes = figure.subplots(len(rows), 2, squeeze=False)
        for places, (dial, panels) in zip(axes, rows, strict=True):
            for place, panel in zip_longest(places, panels):
                if panel is None or not panel[1]:
                    place.set_axis_off()
                    continue
                _draw(place, panel[1], measure)
                first = place is places[0]
                place.set_title(
                    panel[0] if first else panel[0].removeprefix(f"{dial}: "), loc="left"
                )
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()


def map_charts(points: Sequence[Point], measure: Measure, prefix: str) -> list[Chart]:
    """The same panels one by one, for a page.

    Args:
        points: The map.
        measure: Of what.
        prefix: Starts the charts' names, which are unique in a page.
    """
    charts: list[Chart] = []
    for i, (dial, own) in enumerate(by_dial(points).items()):
        for j, (title, lines) in enumerate(_panels(dial, own)):
            with chart(f"{prefix}-map{i}{j}", 4.6, 2.8, charts, title) as figure:
                _draw(figure.subplots(), lines, measure)
    return charts


def map_markdown(points: Sequence[Point], measure: Measure) -> str:
    """The map as a Markdown table of differences, and what its marks mean."""
    rows = [[in_markdown(cell) for cell in row] for row in map_rows(points, measure)]
    lines = [HEAD, tuple("---" for _ in HEAD), *rows]
    text = "".join(f"| {' | '.join(row)} |\n" for row in lines)
    return f"{text}\n{in_markdown(' '.join(map_legend(points)))}\n"


def map_rows(points: Sequence[Point], measure: Measure) -> list[list[str]]:
    """Every point's cells, in the order of the table's columns."""
    said = mark(_differences(points), measure.difference)
    return [
        [
            point.dial if point.balanced else f"{point.dial} (all trials)",
            point.level,
            str(point.trials),
            str(point.seeds),
            *(said.get((i, name), "").strip() for name in ("mean", "best")),
            label_of(point.best),
            *(said.get((i, name), "").strip() for name, _, _ in PARTS),
        ]
        for i, point in enumerate(points)
    ]


def map_legend(points: Sequence[Point]) -> list[str]:
    """What the marks of the map mean."""
    seeds = {point.seeds for point in points}
    return legend(_differences(points).values(), seeds.pop() if len(seeds) == 1 else None)


def map_text(points: Sequence[Point]) -> list[str]:
    """Where the barycenter is better, worse, or neither, one sentence a comparison."""
    gaps = _differences(points)
    starred = {key for key, star in zip(gaps, stand_out(list(gaps.values())), strict=True) if star}
    about = {"mean": "Barycenter minus parameter mean", "best": "Barycenter minus best simple rule"}
    about |= {name: f"Of which {name}" for name, _, _ in PARTS}
    lines = []
    for name, words in about.items():
        here = {i: gap for (i, own), gap in gaps.items() if own == name}
        if here:
            found = {i: gap.mean for i, gap in here.items() if (i, name) in starred}
            above = [points[i] for i, mean in found.items() if mean > 0.0]
            below = [points[i] for i, mean in found.items() if mean < 0.0]
            level = len(here) - len(above) - len(below)
            lines.append(
                f"{words}: above zero at {_places(above)}, below at {_places(below)}, no "
                f"difference shown at {level} of {len(here)}."
            )
    return [*lines, "Counted is what has a star; by chance alone 5 % of maps have any (Holm)."]


def _differences(points: Sequence[Point]) -> dict[tuple[int, str], Interval]:
    """All differences of a map, by point and what they are to."""
    found = {}
    for i, point in enumerate(points):
        found[i, "mean"] = point.against_mean
        found[i, "best"] = point.against_best
        if point.gain is not None:
            for name, _, read in PARTS:
                found[i, name] = read(point)
    return found


def _places(points: Sequence[Point]) -> str:
    named = ", ".join(f"{point.dial} {point.level}" for point in points)
    return f"{len(points)} ({named})" if points else "none"


def _draw(panel: Any, lines: Sequence[Line], measure: Measure) -> None:
    """Draw some differences of one dial over its levels, with 95 % intervals."""
    levels = list(dict.fromkeys(point.level for *_, points in lines for point in points))
    panel.axhline(0.0, color=GREY, linewidth=0.8)
    for k, (label, colour, read, points) in enumerate(lines):
        found = [read(point) for point in points]
        place = np.array([levels.index(point.level) for point in points])
        panel.errorbar(
            place + 0.09 * (k - (len(lines) - 1) / 2),
            [measure.scale * each.mean for each in found],
            [bar(each, measure.scale) for each in found],
            color=colour, label=label, fmt="o-", markersize=3.5, linewidth=1.0, capsize=2.0,
        )  # fmt: skip
    crowded = sum(map(len, levels)) > 40
    panel.set_xticks(range(len(levels)), map(printable, levels), rotation=20 if crowded else 0)
    panel.set_xlim(-0.4, len(levels) - 0.6)
    panel.set_ylabel(measure.difference_name)
    panel.legend(loc="best")
