"""The heterogeneity map as one picture: dial by rule, the difference to the mean as colour.

What stands out among all differences of the map is framed. A study whose rows the one before it has
too stands beside it and shares the rows' names.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fedirl_ray.evaluate.statistics import stand_out
from fedirl_ray.report.heterogeneity import Maps, differences, rows_of, rules_of
from fedirl_ray.report.measure import Measure
from fedirl_ray.report.svg import GREY, STYLE, Chart, Format, chart, encoded
from fedirl_ray.report.wording import counted, plain, printable, signed
from fedirl_ray.study.heterogeneity import BASE

COLOURS = colormaps["RdBu"]
"""Blue is better than the mean and red is worse, which hardly any eye confuses."""
CELL = (0.31, 0.23)
LABEL, LETTER, GAP, TITLE, FOOT = 1.75, 0.072, 0.14, 0.3, 0.72
"""Inches: a cell, its row's name, a letter of its column's, and what lies about a panel."""
WIDEST = 14.4
"""Inches; at 900 pixels a number is 8 pixels high."""
DENSITY = 125
MOST_LETTERS = 5
"""What fits into a cell."""


class _Panel(NamedTuple):
    """Some studies beside each other; the first has all rows."""

    rows: list[tuple[str, str]]
    studies: list[str]


def draw_map(maps: Maps, measure: Measure, form: Format = "png") -> bytes:
    """Draw the map of some studies as one figure.

    Args:
        maps: Points of each.
        measure: Of what, the same in all.
        form: Of the file.
    """
    with matplotlib.rc_context(STYLE):
        picture = _Picture(maps, measure)
        figure = Figure(figsize=picture.size)
        picture.paint(figure)
        return encoded(figure, form, dpi=DENSITY)


def map_chart(maps: Maps, measure: Measure, prefix: str, title: str) -> list[Chart]:
    """The same for a page, whose chart it is named after `prefix` in."""
    charts: list[Chart] = []
    picture = _Picture(maps, measure)
    with chart(f"{prefix}-map", *picture.size, charts, title) as figure:
        figure.set_layout_engine("none")
        picture.paint(figure)
    return charts


class _Picture:
    """Where everything goes, in inches from the upper left."""

    def __init__(self, maps: Maps, measure: Measure) -> None:
        self._measure = measure
        self._rules = rules_of(maps)
        self._rows = {
            study: {r.label: r for r in rows_of(points)} for study, points in maps.items()
        }
        gaps = differences(maps)
        stars = stand_out(list(gaps.values()))
        self._starred = {key for key, star in zip(gaps, stars, strict=True) if star}
        self._count = sum(not np.isnan(gap.p_value) for gap in gaps.values())
        sizes = [abs(gap.mean) for gap in gaps.values() if np.isfinite(gap.mean)]
        # The few that go beyond take the last colour, so that they do not pale all others.
        reach = measure.scale * float(np.quantile(sizes, 0.95)) if sizes else 0.0
        self._norm = Normalize(-(reach or 1.0), reach or 1.0)
        self._head = LETTER * max(len(_short(rule)) for rule in self._rules) + 0.1
        self._bands = self._packed()
        self._names = _dial_names([row for rows in self._rows.values() for row in rows])
        wide = max(sum(map(self._width, band)) for band in self._bands)
        high = sum(map(self._height, self._bands)) + FOOT
        self.size = (max(wide, 5.6), high)

    def _table(self) -> float:
        """Width of one study's cells, the mean's among them."""
        return CELL[0] * (len(self._rules) + 1)

    def _width(self, panel: _Panel) -> float:
        return LABEL + len(panel.studies) * (self._table() + GAP)

    def _height(self, band: Sequence[_Panel]) -> float:
        return TITLE + self._head + CELL[1] * max(len(panel.rows) for panel in band) + GAP

    def _packed(self) -> list[list[_Panel]]:
        """Panels, each in the first band that has room for it."""
        most = max(1, int((WIDEST - LABEL) / (self._table() + GAP)))
        panels: list[_Panel] = []
        for study, own in self._rows.items():
            last = panels[-1] if panels else None
            if last and own.keys() <= set(last.rows) and len(last.studies) < most:
                last.studies.append(study)
            else:
                panels.append(_Panel(list(own), [study]))
        bands: list[list[_Panel]] = []
        for panel in panels:
            fits = (b for b in bands if sum(map(self._width, [*b, panel])) <= WIDEST)
            band = next(fits, None)
            if band is None:
                bands.append([panel])
            else:
                band.append(panel)
        return bands

    def paint(self, figure: Figure) -> None:
        """Draw it all."""
        down = 0.0
        for band in self._bands:
            along = 0.0
            for panel in band:
                self._name_rows(figure, panel, along, down)
                for number, study in enumerate(panel.studies):
                    left = along + LABEL + number * (self._table() + GAP)
                    self._draw(self._axes(figure, panel, left, down), panel.rows, study)
                along += self._width(panel)
            down += self._height(band)
        self._explain(figure)

    def _axes(self, figure: Figure, panel: _Panel, left: float, down: float) -> Axes:
        (wide, high), rows = self.size, len(panel.rows)
        top = down + TITLE + self._head
        tall = CELL[1] * rows
        place = (left / wide, 1.0 - (top + tall) / high, self._table() / wide, tall / high)
        axes = figure.add_axes(place, xlim=(-1.0, len(self._rules)), ylim=(rows, 0.0))
        axes.tick_params(length=0, labeltop=True, labelbottom=False, pad=2)
        axes.spines[:].set_visible(False)
        return axes

    def _name_rows(self, figure: Figure, panel: _Panel, along: float, down: float) -> None:
        wide, high = self.size
        top, before = down + TITLE + self._head, ""
        for number, (dial, level) in enumerate(panel.rows):
            up = 1.0 - (top + CELL[1] * (number + 0.5)) / high
            name = "" if dial == before else self._names[dial]
            before = dial
            how: dict[str, Any] = {"va": "center", "ha": "right", "fontsize": 9.0}
            figure.text((along + LABEL - 0.42) / wide, up, name, **how)
            figure.text((along + LABEL - 0.06) / wide, up, printable(level), **how)

    def _draw(self, axes: Axes, labels: Sequence[tuple[str, str]], study: str) -> None:
        scale, own = self._measure.scale, self._rows[study]
        gaps = np.full((len(labels), len(self._rules)), np.nan)
        for i, label in enumerate(labels):
            if label in own:
                found = own[label].point.differences
                gaps[i] = [scale * found[rule].mean for rule in self._rules]
        edges = np.arange(len(self._rules) + 1), np.arange(len(labels) + 1)
        axes.pcolormesh(
            *edges, gaps, cmap=COLOURS, norm=self._norm, edgecolors="white", linewidth=0.6
        )
        for i, label in enumerate(labels):
            if label not in own:
                continue
            level = plain(scale * own[label].point.means[BASE].mean, 0 if scale > 1.0 else 1)
            _write(axes, -0.5, i, level, color=GREY)
            for j, rule in enumerate(self._rules):
                self._mark(axes, (j, i), float(gaps[i, j]), (study, label, rule))
        axes.set_xticks(
            np.arange(len(self._rules) + 1) - 0.5, [BASE, *map(_short, self._rules)],
            rotation=90, fontsize=9.0,
        )  # fmt: skip
        axes.set_yticks([])
        axes.text(
            -1.0, -self._head / CELL[1], printable(study),
            fontsize=10.0, fontweight="bold", va="bottom",
        )  # fmt: skip

    def _mark(self, axes: Axes, place: tuple[int, int], gap: float, key: Any) -> None:
        """A cell's number, and a frame where it stands out."""
        if not np.isfinite(gap):
            return
        star = key in self._starred
        red, green, blue, _ = COLOURS(self._norm(gap))
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
        ink = "white" if dark else "black" if star else "#303336"
        _write(axes, place[0] + 0.5, place[1], self._number(gap), star, color=ink)
        if star:
            inner = (place[0] + 0.05, place[1] + 0.06), 0.9, 0.88
            axes.add_patch(Rectangle(*inner, fill=False, edgecolor="black", linewidth=1.3))

    def _number(self, gap: float) -> str:
        if self._measure.apart or abs(gap) >= 10.0:
            return signed(gap, 0)
        return f"{gap:+.2g}"

    def _explain(self, figure: Figure) -> None:
        """What colours and frames mean, at the foot."""
        wide, high = self.size
        seeds = {row.point.seeds for rows in self._rows.values() for row in rows.values()}
        over = counted(seeds.pop(), "seed") if len(seeds) == 1 else "different numbers of seeds"
        what = f"{self._measure.difference_name}, rule minus parameter mean, over {over}"
        bar = figure.add_axes((0.1 / wide, 0.34 / high, 1.9 / wide, 0.13 / high))
        figure.colorbar(
            ScalarMappable(self._norm, COLOURS), cax=bar, orientation="horizontal", extend="both"
        ).outline.set_linewidth(0.4)
        bar.tick_params(labelsize=8.0, length=2)
        level = f"first column: the mean's own, in {self._measure.name}"
        for up, line in (
            (0.52, what),
            (0.34, f"framed: stands out among all {self._count} (Holm, 5 %)"),
            (0.16, level),
        ):
            figure.text(2.25 / wide, up / high, line, fontsize=8.5, va="center")


def _write(axes: Axes, x: float, row: int, text: str, bold: bool = False, **how: Any) -> None:
    """A cell's text, where it fits."""
    if len(text) <= MOST_LETTERS:
        how |= {"fontsize": 9.0 if len(text) < 4 else 7.5, "fontweight": "bold" if bold else None}
        axes.text(x, row + 0.53, text, ha="center", va="center", **how)


def _short(rule: str) -> str:
    """A rule's name; one of the user's own without its module."""
    return printable(rule.rpartition(":")[2])


def _dial_names(rows: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Settings by their last name, where no other has it."""
    dials = list(dict.fromkeys(dial for dial, _ in rows))
    last = [dial.rpartition(".")[2] for dial in dials]
    return {
        dial: printable(name if last.count(name) == 1 else dial)
        for dial, name in zip(dials, last, strict=True)
    }
