"""Charts of a run: seeds, differences, learning, rounds, and the barycenter's convergence."""

from collections.abc import Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from fedirl_ray.domain.domain import SPLITS
from fedirl_ray.evaluate.statistics import Interval, interval, paired
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.report.curves import curves_of, draw_curves, legend_of
from fedirl_ray.report.difference import bar
from fedirl_ray.report.folder import Run
from fedirl_ray.report.svg import BLUE, GREEN, GREY, ORANGE, Chart, chart

MOST_SEEDS = 60
"""Seeds drawn as dots; intervals are over all."""
CURVES: dict[str, str] = {
    "local": GREY, "mean": BLUE, "arithmetic": GREEN, "barycenter": ORANGE
}  # fmt: skip
"""Rules whose curves over rounds are drawn, beside the user's own; all are in results.parquet."""
OTHERS = ("#8a6bbf", "#8f7d22", "#b8476f")
_WIDTH = 4.7  # inches; two beside each other in the page, one on a phone


def score_charts(run: Run, judge: str, prefix: str) -> list[Chart]:
    """Every seed's score by rule, and its paired difference to the mean, in both splits."""
    charts: list[Chart] = []
    rules, measure = run.config.fusion.rules, run.measure
    unit = f" in {measure.unit}" if measure.unit else ""
    for i, split in enumerate(SPLITS):
        each = run.samples(split, judge).T
        if np.isnan(each).all():
            continue  # nobody has judged there
        samples = measure.scale * each
        height = 0.26 * len(rules) + 1.0
        title = f"{split}: {measure.metric} of each seed{unit}"
        with chart(f"{prefix}-seeds{i}", _WIDTH, height, charts, title) as figure:
            panel = figure.subplots()
            place = np.arange(len(rules))
            panel.plot(samples[:, :MOST_SEEDS], place, color=GREY, linewidth=0.5, alpha=0.5)
            panel.plot(samples[:, :MOST_SEEDS], place, "o", color=BLUE, markersize=2.6, alpha=0.7)
            panel.plot(samples.mean(axis=1), place, "D", color=ORANGE, markersize=4.5)
            if np.ptp(samples) < 1e-6:  # nothing differs but the last digits
                panel.set_xlim(samples.mean() - 1.0, samples.mean() + 1.0)
            _name_rows(panel, rules)
        others = [rule for rule in rules if rule != "mean"]
        own, base = each[[rules.index(rule) for rule in others]], each[rules.index("mean")]
        found = [paired(row, base) for row in own]
        title = f"{split}: each seed's difference to the parameter mean{measure.in_apart}"
        with chart(f"{prefix}-gaps{i}", _WIDTH, height, charts, title) as figure:
            panel = figure.subplots()
            _draw_gaps(panel, measure.scale * (own - base), found, measure.scale)
            _name_rows(panel, others)
    return charts


def _draw_gaps(panel: Axes, gaps: Floats, found: Sequence[Interval], scale: float) -> None:
    place = np.arange(len(gaps))
    panel.axvline(0.0, color=GREY, linewidth=0.8)
    panel.plot(gaps[:, :MOST_SEEDS], place, "o", color=BLUE, markersize=2.6, alpha=0.55)
    panel.errorbar(
        [scale * each.mean for each in found], place,
        xerr=[bar(each, scale) for each in found],
        fmt="D", color=ORANGE, markersize=4.5, linewidth=1.4, capsize=2.5,
    )  # fmt: skip


def _name_rows(panel: Axes, rules: Sequence[str]) -> None:
    panel.set_yticks(range(len(rules)), rules)
    panel.set_ylim(len(rules) - 0.5, -0.5)


def learning_charts(run: Run, prefix: str) -> list[Chart]:
    """Learning curves by split; nothing where no judge learns."""
    charts: list[Chart] = []
    rules = run.config.fusion.rules
    for i, split in enumerate(SPLITS):
        curves = curves_of(run.channels, run.metric, run.by_world(split))
        if curves:
            title = f"{split}: {run.metric} along training"
            with chart(f"{prefix}-learning{i}", _WIDTH, 4.0, charts, title) as figure:
                draw_curves(figure.subplots(), curves, rules, run.measure)
                lines = legend_of(curves, rules)
                figure.legend(handles=lines, loc="outside lower center", ncols=3)
    return charts


def round_charts(run: Run, prefix: str) -> list[Chart]:
    """Scores by round, and who was asked and let in; nothing for a single round."""
    charts: list[Chart] = []
    if run.config.federation.rounds < 2:
        return charts
    measure, first = run.measure, next(iter(run.judges.values()))  # whom tables lead with
    unit = f" in {measure.unit}" if measure.unit else ""
    curves = measure.scale * run.arrays["round_scores"][..., first]
    if not np.isnan(curves[:, :-1]).all():  # rounds were judged one by one
        for s, split in enumerate(SPLITS):
            if np.isnan(curves[:, :, s]).all():
                continue
            title = f"{split}: {measure.metric} by round{unit}, mean and 95 % interval over seeds"
            with chart(f"{prefix}-curve{s}", _WIDTH, 3.0, charts, title) as figure:
                _draw_curves(figure.subplots(), curves[:, :, s], run.config.fusion.rules)
    title = "Clients by round, mean over seeds"
    with chart(f"{prefix}-rounds", _WIDTH, 2.6, charts, title) as figure:
        panel = figure.subplots()
        asked, heard = run.arrays["asked"], run.arrays["admitted"].any(axis=2)
        for name, each, colour, width in (
            ("asked", asked, GREY, 4.0),
            ("admitted", heard, GREEN, 1.2),
        ):
            counts = each.sum(axis=2).mean(axis=0)
            panel.plot(np.arange(1, len(counts) + 1), counts, "o-", color=colour, label=name,
                       markersize=3.5, linewidth=width)  # fmt: skip
        panel.set_ylim(0.0, run.config.clients * 1.08)
        panel.set_xlabel("round")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.legend(loc="lower right")
    return charts


def _draw_curves(panel: Axes, curves: Floats, rules: Sequence[str]) -> None:
    """Draw scores against the round, `[seeds, r, c]`."""
    shown = [rule for rule in CURVES if rule in rules]
    shown += [rule for rule in rules if ":" in rule]
    others = cycle(OTHERS)
    rounds = np.arange(1, curves.shape[1] + 1)
    for i, rule in enumerate(shown):
        found = [interval(one) for one in curves[:, :, rules.index(rule)].T]
        panel.errorbar(
            rounds + 0.05 * (i - (len(shown) - 1) / 2),
            [each.mean for each in found],
            [bar(each) for each in found],
            color=CURVES.get(rule) or next(others), label=rule,
            fmt="o-", markersize=3.5, linewidth=1.1, capsize=2.0,
        )  # fmt: skip
    panel.set_xlabel("round")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(4, len(shown)))


def convergence_charts(run: Run, prefix: str) -> list[Chart]:
    """Iterations each transporting rule took in every seed; crosses stopped before tolerance."""
    charts: list[Chart] = []
    rules = run.config.fusion.rules
    iterations = run.arrays["barycenter_iterations"]
    shown = [rule for c, rule in enumerate(rules) if iterations[:, c].any()]
    if not shown:
        return charts
    title = "Barycenter iterations by seed (last round)"
    with chart(f"{prefix}-converged", _WIDTH, 2.8, charts, title) as figure:
        panel = figure.subplots()
        for rule, colour in zip(shown, cycle((BLUE, ORANGE, GREEN)), strict=False):
            c = rules.index(rule)
            counts = iterations[:, c]
            done = run.arrays["barycenter_converged"][:, c]
            seeds = np.arange(len(counts))
            panel.plot(seeds[done], counts[done], "o", color=colour, markersize=4.0,
                       label=f"{rule}: {done.sum()} of {done.size} converged")  # fmt: skip
            panel.plot(seeds[~done], counts[~done], "x", color=colour, markersize=6.0)
        top = int(iterations.max())
        panel.set_ylim(0.0, 1.6 * max(top, 1))  # room for the legend
        panel.set_xlabel("seed")
        panel.legend(loc="upper left")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    return charts
