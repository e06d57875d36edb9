"""What every rule comes to by the level of a dial: a line a rule, a panel a dial."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.report.difference import bar
from fedirl_ray.report.measure import Measure
from fedirl_ray.report.svg import GREY, STYLE, Chart, Format, chart, encoded
from fedirl_ray.report.wording import printable
from fedirl_ray.study.archive import Archive, varied
from fedirl_ray.study.heterogeneity import BASE, Point

PALETTE = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8f7d22")
"""Of Okabe and Ito, whom colour-blind readers owe it."""
MARKS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
DISPLACING = ("problem.frame-shift", "problem.site-shift")
"""Dials whose levels are lengths."""
RADIUS = "problem.site-radius"
WIDE = 10.0
"""Levels whose ends are so many times apart are spaced by their ratios."""
MOST_ACROSS = 4
SPREAD = 0.03
"""How far from a level its rules are drawn at most, as a share of the axis."""
BEYOND = 0.4
"""How much of the means' range is left above and below for intervals; wider ones are cut."""


class Unit(NamedTuple):
    """What a dial's levels are divided by, and what that is."""

    size: float
    name: str


def units_of(archive: Archive) -> dict[str, Unit]:
    """Displacements in widths of what is displaced, where that is the same in all trials."""
    radius = archive.fixed.get(RADIUS, ProblemConfig().site_radius)
    if RADIUS in varied(archive) or not isinstance(radius, int | float):
        return {}
    return dict.fromkeys(DISPLACING, Unit(2.0 * radius, "widths of a site"))


def by_dial(points: Sequence[Point]) -> dict[str, list[Point]]:
    """Points grouped by dial, in their order."""
    return {
        dial: [point for point in points if point.dial == dial]
        for dial in dict.fromkeys(point.dial for point in points)
    }


def draw_levels(
    by_split: Mapping[str, Sequence[Point]],
    measure: Measure,
    units: Mapping[str, Unit],
    form: Format = "png",
) -> bytes:
    """Draw a study as one figure: a column a dial, a row a split.

    Args:
        by_split: At least one point of each split, of the same dials.
        measure: Of what.
        units: Of dials that are not shown in their own.
        form: Of the file.
    """
    grouped = {split: by_dial(points) for split, points in by_split.items()}
    dials = list(next(iter(grouped.values())))
    rules = list(next(iter(by_split.values()))[0].means)
    blocks = [dials[i : i + MOST_ACROSS] for i in range(0, len(dials), MOST_ACROSS)]
    across = min(len(dials), MOST_ACROSS)
    down = len(blocks) * len(grouped)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(max(2.6 * across, 5.2), 2.5 * down + 0.6), layout="constrained")
        panels = figure.subplots(down, across, squeeze=False, sharey=True)
        places = iter(panels)
        for block in blocks:
            for split, own in grouped.items():
                line = list(next(places))
                for panel, dial in zip(line, block, strict=False):
                    _draw(panel, own[dial], rules, measure, units.get(dial))
                    panel.set_title(f"{split} worlds", loc="left")
                line[0].set_ylabel(measure.name)
                for panel in line[len(block) :]:
                    panel.set_axis_off()
        _frame(panels[0, 0], [p for points in by_split.values() for p in points], measure)
        _legend(figure, panels[0, 0], columns=2 * across)
        return encoded(figure, form)


def level_charts(
    points: Sequence[Point], measure: Measure, units: Mapping[str, Unit], prefix: str
) -> list[Chart]:
    """The same panels one by one, for a page.

    Args:
        points: Of one split.
        measure: Of what.
        units: Of dials that are not shown in their own.
        prefix: Starts the charts' names, which are unique in a page.
    """
    charts: list[Chart] = []
    for i, (dial, own) in enumerate(by_dial(points).items()):
        with chart(f"{prefix}-level{i}", 4.6, 3.4, charts, f"{measure.name} by {dial}") as figure:
            panel = figure.subplots()
            _draw(panel, own, list(own[0].means), measure, units.get(dial))
            panel.set_ylabel(measure.name)
            _frame(panel, points, measure)
            _legend(figure, panel, columns=4)
    return charts


def _draw(
    panel: Axes, points: Sequence[Point], rules: Sequence[str], measure: Measure, unit: Unit | None
) -> None:
    """Draw every rule of one dial over its levels, with 95 % intervals."""
    places = _axis(panel, points, unit)
    for rule, aside in zip(rules, np.linspace(-SPREAD, SPREAD, len(rules)), strict=True):
        found = [point.means[rule] for point in points]
        panel.errorbar(
            _moved(panel, places, float(aside)),
            [measure.scale * one.mean for one in found],
            [bar(one, measure.scale) for one in found],
            label=printable(rule.rpartition(":")[2]), markersize=3.0, capsize=1.5, elinewidth=0.6,
            **_strokes(rules)[rule],
        )  # fmt: skip


def _axis(panel: Axes, points: Sequence[Point], unit: Unit | None) -> list[float]:
    """Where the levels stand: by their size where all are numbers, else one after the other."""
    dial = points[0].dial
    numbers = [point.number for point in points if point.number is not None]
    if len(numbers) < len(points):
        names = [printable(point.level) for point in points]
        crowded = sum(map(len, names)) > 24
        panel.set_xticks(range(len(points)), names, rotation=20 if crowded else 0)
        panel.set_xlabel(printable(dial))
        return [float(i) for i in range(len(points))]
    if unit is not None:
        numbers = [number / unit.size for number in numbers]
    if numbers[0] > 0.0 and numbers[-1] >= WIDE * numbers[0]:
        panel.set_xscale("log")
        panel.set_xticks(numbers, [point.level for point in points])
        panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xlabel(printable(dial) + (f", in {unit.name}" if unit else ""))
    return numbers


def _frame(panel: Axes, points: Sequence[Point], measure: Measure) -> None:
    """Let the means, not the widest of their intervals, decide what is shown."""
    means = [measure.scale * one.mean for point in points for one in point.means.values()]
    low, high = np.nanmin(means), np.nanmax(means)
    room = BEYOND * (high - low) or 1.0
    panel.set_ylim(low - room, high + room)


def _moved(panel: Axes, places: Sequence[float], aside: float) -> list[float]:
    """Places beside each other, by a share of the axis, so that intervals do not cover others."""
    if panel.get_xscale() == "log":
        return [place * (places[-1] / places[0]) ** aside for place in places]
    return [place + aside * (places[-1] - places[0]) for place in places]


def _strokes(rules: Sequence[str]) -> dict[str, dict[str, Any]]:
    """How each rule's line is drawn: the mean in grey dashes, and no two others alike."""
    others = zip(cycle(PALETTE), cycle(MARKS), strict=False)
    found: dict[str, dict[str, Any]] = {}
    for rule in rules:
        if rule == BASE:
            found[rule] = {"color": GREY, "marker": "o", "linestyle": "--", "linewidth": 1.4}
            continue
        colour, sign = next(others)
        found[rule] = {"color": colour, "marker": sign, "linestyle": "-", "linewidth": 1.1}
    return found


def _legend(figure: Figure, panel: Axes, columns: int) -> None:
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)
