"""The theorems and the Gaussians as pictures."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from fedirl_ray.problem.mdp import Floats
from fedirl_ray.report.reproduction.theory import KINDS, column, having
from fedirl_ray.study.reproduction.plan import Record
from fedirl_ray.study.reproduction.theorems import EXACT, happened

STYLES = dict(zip(KINDS, ("black", "tab:red", "tab:blue", "tab:orange"), strict=True))
GROWING = {"error": "local error", "clients": "clients", "rounds": "round"}


def theorem1_figure(rows: Sequence[Record]) -> bytes:
    """Equations x sources: both sides against the local error, all series together."""
    sources = list(dict.fromkeys(row["source"] for row in rows))
    equations = ("13", "14", "15")
    figure, panels = panels_of(len(equations), len(sources))
    for line, equation in zip(panels, equations, strict=True):
        for panel, source in zip(line, sources, strict=True):
            here = having(rows, equation=equation, source=source, series="error")
            _scatter(panel, here, "local_error")
            panel.set_title(f"({equation}), {source}", fontsize=8)
    for panel in panels[-1]:
        panel.set_xlabel("mean local error $\\sum_i \\alpha_i \\epsilon_i$", fontsize=8)
    return finish(figure, panels, "Theorem 1: what happened (dots) and what is allowed (grey)")


def ratio_figure(rows: Sequence[Record], title: str) -> bytes | None:
    """Series x sources: bound / measured as error, clients or rounds grow, median over seeds.

    Returns:
        A PNG; None where every measured side is zero.
    """
    rows = happened(rows)
    if not rows:
        return None
    sources = list(dict.fromkeys(row["source"] for row in rows))
    equations = [name for name in dict.fromkeys(r["equation"] for r in rows) if name.isdigit()]
    series = list(dict.fromkeys(row["series"] for row in rows))
    figure, panels = panels_of(len(series), len(sources))
    marks = dict(zip(equations, ("o-", "s--", "^:"), strict=False))
    for line, name in zip(panels, series, strict=True):
        for panel, source in zip(line, sources, strict=True):
            for equation in equations:
                for kind in KINDS:
                    own = having(
                        rows, equation=equation, source=source, series=name, barycenter=kind
                    )
                    if not own:
                        continue
                    levels, ratios = _medians(own, name)
                    panel.plot(
                        levels,
                        ratios,
                        marks[equation],
                        color=STYLES[kind],
                        markersize=3,
                        linewidth=0.8,
                        label=f"({equation}) {kind}",
                    )
            if not panel.lines:
                panel.set_axis_off()
                continue
            panel.axhline(1.0, color="grey", linewidth=0.8)
            panel.set_yscale("log")
            if name == "error":
                panel.set_xscale("log")
            else:
                panel.xaxis.get_major_locator().set_params(integer=True)
            panel.set_title(source, fontsize=8)
            panel.set_xlabel(GROWING[name], fontsize=8)
        line[0].set_ylabel("bound / measured", fontsize=8)
    return finish(figure, panels, title)


def gaussians_figure(rows: Sequence[Record]) -> bytes:
    """Spread, L1 distance and iterations against epsilon, with the range over draws."""
    figure, panels = panels_of(1, 3)
    names = {"std_ratio": "std / exact std", "l1": "L1 distance", "iterations": "iterations"}
    for panel, (name, label) in zip(panels[0], names.items(), strict=True):
        for debiased, color in ((False, "tab:red"), (True, "tab:blue")):
            own = having(rows, debiased=debiased)
            epsilons = np.unique(column(own, "epsilon"))
            each = [column(having(own, epsilon=epsilon), name) for epsilon in epsilons]
            panel.plot(
                epsilons,
                [np.median(values) for values in each],
                "o-",
                color=color,
                markersize=3,
                label="debiased" if debiased else "plain",
            )
            low, high = zip(*((values.min(), values.max()) for values in each), strict=True)
            panel.fill_between(epsilons, low, high, color=color, alpha=0.15, linewidth=0)
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xlabel("epsilon (squared length)", fontsize=8)
        panel.set_title(label, fontsize=8)
    panels[0][0].axhline(1.0, color="grey", linewidth=0.8)
    return finish(figure, panels, "Barycenters of three Gaussians: median and range over draws")


def panels_of(rows: int, columns: int, size: tuple[float, float] = (2.9, 2.3)) -> tuple[Any, Any]:
    """A figure, and its panels `[rows, columns]` of a size in inches."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    whole = (size[0] * columns, size[1] * rows + 0.9)
    return plt.subplots(rows, columns, figsize=whole, squeeze=False, layout="constrained")


def _scatter(panel: Any, rows: Sequence[Record], across: str) -> None:
    """Measured sides by barycenter, and the bounds, which they share."""
    exact = having(rows, barycenter=EXACT)
    panel.plot(column(exact, across), column(exact, "bound"), ".", color="silver", markersize=3)
    for kind in KINDS:
        own = happened(having(rows, barycenter=kind))
        panel.plot(
            column(own, across),
            column(own, "measured"),
            ".",
            color=STYLES[kind],
            markersize=3,
            alpha=0.6,
            label=kind,
        )
    panel.set_xscale("log")
    panel.set_yscale("log")


def _medians(rows: Sequence[Record], series: str) -> tuple[Floats, Floats]:
    """Median of bound / measured at each level; errors are placed at their median too."""
    levels = np.unique(column(rows, "level"))
    groups = [having(rows, level=level) for level in levels]
    across = "local_error" if series == "error" else "level"
    places = np.array([np.median(column(group, across)) for group in groups])
    ratios = [np.median(column(group, "bound") / column(group, "measured")) for group in groups]
    order = np.argsort(places)
    return places[order], np.array(ratios)[order]


def finish(figure: Any, panels: Any, title: str, lines: Sequence[Any] = ()) -> bytes:
    """Add legend and title; returns a PNG.

    Args:
        figure: Whole.
        panels: Its panels; what is labelled in them is in the legend.
        title: Above all.
        lines: Further ones in the legend.
    """
    import matplotlib.pyplot as plt

    for panel in panels.flat:
        panel.tick_params(which="both", labelsize=6)
        if panel.get_xscale() == "log":
            panel.xaxis.set_minor_formatter("")  # on a decade or less they would run together
    handles = dict(
        pair[::-1]
        for panel in panels.flat
        for pair in zip(*panel.get_legend_handles_labels(), strict=True)
    )
    handles |= {line.get_label(): line for line in lines}
    if handles:
        figure.legend(
            handles=list(handles.values()),
            labels=list(handles),
            loc="outside lower center",
            ncols=4,
            fontsize=7,
        )
    figure.suptitle(title, fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, format="png")
    plt.close(figure)
    return buffer.getvalue()
