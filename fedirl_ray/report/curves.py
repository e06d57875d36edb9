"""Learning curves: what judges that learn come to along their training, in either split."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from fedirl_ray.config_fusion import BLIND
from fedirl_ray.domain.domain import Channel, Split
from fedirl_ray.evaluate.statistics import interval
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.report.difference import bar
from fedirl_ray.report.measure import Measure
from fedirl_ray.report.svg import BLUE, GREEN, GREY, ORANGE, STYLE, Format, encoded

COLOURS = {
    "mean": BLUE,
    "barycenter": ORANGE,
    "arithmetic": GREEN,
    "debiased": "#b8476f",
    "local": "#8a6bbf",
    "pooled": "#8f7d22",
    "true": "#2aa3b5",
}
OTHERS = ("#6f8f2f", "#c25bb0", "#4f6d8a", "#a0522d")
"""Of the rules that have no colour of their own."""
BANDED = ("mean", "barycenter", "true")
"""Whose interval is drawn."""
MARKS = {"plus-one": "+", "minus-one": "_"}
MATCHED = "-matched"
"""Ending of judges that see rewards at one scale."""


class Curve(NamedTuple):
    """One judge that learns, in one split."""

    judge: str
    steps: Floats
    """Of training, `[t]`."""
    values: Floats
    """Mean over the split's worlds, `[seeds, c, t]`."""


def curves_of(channels: Sequence[Channel], metric: str, scores: Floats) -> list[Curve]:
    """The learning curves among some scores, a judge each.

    Args:
        channels: What the scores are, `x` of them.
        metric: Of what.
        scores: Mean over a split's worlds, `[seeds, c, x]`.

    Returns:
        Those that are judged at more than one step, without those that nothing is known of here.
    """
    found = []
    for judge in dict.fromkeys(one.judge for one in channels if one.metric == metric):
        own = [x for x, one in enumerate(channels) if (one.judge, one.metric) == (judge, metric)]
        own.sort(key=lambda x: channels[x].step)
        values = scores[:, :, own]
        if len(own) > 1 and not np.isnan(values).all():
            steps = np.array([channels[x].step for x in own], dtype=np.float64)
            found.append(Curve(judge, steps, values))
    return found


def draw_curves(
    panel: Axes, curves: Sequence[Curve], rules: Sequence[str], measure: Measure
) -> None:
    """Draw a split's learning curves: blind controls dotted, rewards at one scale dashed.

    Args:
        panel: Where.
        curves: One a judge.
        rules: Names of the columns.
        measure: Of what.
    """
    colours = _colours(rules)
    for curve in curves:
        matched = curve.judge.endswith(MATCHED)
        for c, rule in enumerate(rules):
            values = measure.scale * curve.values[:, c]
            if np.isnan(values).all() or (matched and rule in BLIND):
                continue
            middle = values.mean(axis=0)
            style: dict[str, Any] = {"linestyle": "-", "linewidth": 1.3}
            if rule in BLIND:
                style = {"linestyle": ":", "linewidth": 1.1, "marker": MARKS.get(rule, "")}
            elif matched:
                style = {"linestyle": "--", "linewidth": 0.9}
            panel.plot(curve.steps, middle, color=colours[rule], markersize=4.0, **style)
            if rule in BANDED and not matched and len(values) > 1:
                half = np.nan_to_num([bar(interval(one)) for one in values.T])
                low, high = middle - half, middle + half
                panel.fill_between(curve.steps, low, high, color=colours[rule], alpha=0.15, lw=0)
    panel.set_xlabel("steps of training")
    panel.set_ylabel(measure.name)
    panel.margins(x=0.02)
    panel.xaxis.set_major_locator(MaxNLocator(5))


def legend_of(curves: Sequence[Curve], rules: Sequence[str]) -> list[Line2D]:
    """What the lines of some curves are: a colour a rule, a stroke a judge."""
    lines: dict[str, Line2D] = {}
    for c, (rule, colour) in enumerate(_colours(rules).items()):
        if all(np.isnan(curve.values[:, c]).all() for curve in curves):
            continue
        blind = rule in BLIND
        name = "random" if blind and rule.startswith("random-") else rule
        stroke: dict[str, Any] = {"linestyle": ":" if blind else "-", "marker": MARKS.get(rule, "")}
        lines[name] = Line2D([], [], color=colour, markersize=4.0, label=name, **stroke)
    for curve in curves:
        if curve.judge.endswith(MATCHED):
            name = f"by {curve.judge}"
            lines[name] = Line2D([], [], color=GREY, linestyle="--", linewidth=0.9, label=name)
    return list(lines.values())


def _colours(rules: Sequence[str]) -> dict[str, str]:
    others = cycle(OTHERS)
    return {rule: GREY if rule in BLIND else COLOURS.get(rule) or next(others) for rule in rules}


def curves_figure(
    by_split: Mapping[Split, Sequence[Curve]],
    rules: Sequence[str],
    measure: Measure,
    title: str,
    form: Format = "png",
) -> bytes:
    """Draw learning curves as one figure, a panel a split.

    Args:
        by_split: At least one split with curves.
        rules: Names of the columns.
        measure: Of what.
        title: What is shown.
        form: Of the file.
    """
    shown = {split: curves for split, curves in by_split.items() if curves}
    with rc_context(STYLE):
        figure = Figure(figsize=(4.6 * len(shown), 3.8), layout="constrained")
        panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        for panel, (split, curves) in zip(panels, shown.items(), strict=True):
            draw_curves(panel, curves, rules, measure)
            panel.set_title(split, loc="left")
            panel.label_outer()
        lines = legend_of([one for curves in shown.values() for one in curves], rules)
        figure.legend(handles=lines, loc="outside lower center", ncols=6)
        figure.suptitle(title, fontsize=9)
        return encoded(figure, form)
