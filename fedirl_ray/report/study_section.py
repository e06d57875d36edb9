"""What the page says of a study."""

from typing import Any

import numpy as np
from markupsafe import Markup

from fedirl_ray.cli import leaves, typed
from fedirl_ray.errors import DataError
from fedirl_ray.report.cells import Cell, Table
from fedirl_ray.report.difference import STAR
from fedirl_ray.report.heterogeneity import Maps, map_head, map_legend, map_rows, map_text
from fedirl_ray.report.levels import level_charts, units_of
from fedirl_ray.report.map_picture import map_chart
from fedirl_ray.report.measure import Measure, measure_of
from fedirl_ray.report.wording import counted
from fedirl_ray.study.archive import (
    COMPLETE,
    STUDY,
    Archive,
    params_of,
    pictures,
    unit_of,
    varied,
)
from fedirl_ray.study.cost import read_words
from fedirl_ray.study.heterogeneity import (
    Point,
    gain_of_trial,
    heterogeneity_map,
    mapped_metrics,
    metric_of,
)

MOST_TRIALS = 12


def study_section(archive: Archive, prefix: str) -> dict[str, Any]:
    """What the template of a study is filled with.

    Args:
        archive: The study.
        prefix: Starts every id of the section, which are unique in a page.
    """
    states = [str(trial["state"]) for trial in archive.trials]
    seconds = [trial["seconds"] for trial in archive.trials if trial["seconds"] is not None]
    measure = measure_of(metric_of(archive.results["metric"]))
    points, why = _map(archive)
    told = measure_of(mapped_metrics(archive.results)[0])
    maps = {archive.path.resolve().name: points}
    goals = zip(archive.directions, archive.objectives, strict=True)
    return {
        "template": "study.html",
        "id": prefix,
        "title": f"Study {archive.path.resolve().name}",
        "facts": [
            ("trials", str(len(states))),
            *((state.lower(), str(states.count(state))) for state in dict.fromkeys(states)),
            ("seconds a trial", f"{np.median(seconds):.1f}" if seconds else "-"),
            *(("objective", f"{way} {name}") for way, name in goals),
        ],
        "plan": archive.plan,
        "promise": read_words(archive.path),
        "verdict": _verdict(archive, measure),
        "best": _trial_table(archive),
        "several": len(archive.objectives) > 1,
        "pictures": [
            # Inside a script element only "<" could end it.
            (title, Markup(figure.replace("<", "\\u003c")))
            for title, figure in pictures(archive)
        ],
        "measure": told,
        "map": map_chart(maps, told, prefix, f"Minus the mean: {told.difference_name}")
        if points
        else [],
        "levels": level_charts(points, told, units_of(archive), prefix),
        "map_table": _map_table(maps, told) if points else None,
        "map_text": map_text(maps) if points else [],
        "map_note": why,
        "failures": [
            (trial["number"], trial["error"]) for trial in archive.trials if trial["error"]
        ][:MOST_TRIALS],
        "commands": [
            ("The study again", typed("sweep", archive.path / STUDY)),
            ("Go on with it", typed("sweep", "--resume", archive.path)),
            ("This page", typed("report", archive.path)),
        ],
        "environment": list(leaves(archive.environment)),
    }


def _verdict(archive: Archive, measure: Measure) -> str:
    """Which trials were best, and what a single best one says of the barycenter."""
    best, ended = archive.best, len(archive.tried())
    if not best:
        return "No trial has ended well."
    if len(archive.objectives) > 1:
        return f"{len(best)} of {ended} trials are on the Pareto front."
    (trial,) = (trial for trial in archive.trials if trial["number"] == best[0])
    name = archive.objectives[0]
    unit, word = unit_of(archive, name)
    score = f"{name} {unit * trial[f'values.{name}']:.3g}{word and f' {word}'}"
    said = f"Trial {best[0]} is the best of {ended}: {score}."
    try:
        gap, seeds = gain_of_trial(best[0], archive.results)
    except DataError:
        return said
    if not np.isfinite(gap.half_width):
        return said
    shown = "" if gap.excludes_zero else ", no difference shown"
    return (
        f"{said} There the barycenter minus the parameter mean in held-out worlds is "
        f"{measure.told(gap)} (95 % over {counted(seeds, 'seed')}){shown}; the trial "
        "was chosen on the seeds that judge it, which favours it."
    )


def _trial_table(archive: Archive) -> Table | None:
    """The best trials: by the objective, or the Pareto front."""
    names, fields = archive.objectives, varied(archive)
    done = [trial for trial in archive.trials if trial["state"] == COMPLETE]
    if not done:
        return None
    if len(names) > 1:
        front = set(archive.best)
        done = [trial for trial in done if trial["number"] in front]
    first, sign = f"values.{names[0]}", -1.0 if archive.directions[0] == "maximize" else 1.0
    done.sort(key=lambda trial: sign * trial[first])
    rows = []
    for trial in done[:MOST_TRIALS]:
        params = params_of(trial)
        values = [trial[f"values.{name}"] for name in names]
        row = [Cell(str(trial["number"]))]
        row += [
            Cell(f"{unit_of(archive, name)[0] * value:.5g}", value)
            for name, value in zip(names, values, strict=True)
        ]
        row += [Cell("" if params[f] is None else _short(params[f])) for f in fields]
        rows.append(row)
    heads = [f"{name} ({word})" if (word := unit_of(archive, name)[1]) else name for name in names]
    return Table(["trial", *heads, *fields], rows)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _map(archive: Archive) -> tuple[list[Point], str]:
    """The heterogeneity map, or why there is none."""
    try:
        points = heterogeneity_map(archive.tried(), archive.results)
    except DataError as err:
        return [], str(err)
    return points, "" if points else "No setting took two values among the trials that ended well."


def _map_table(maps: Maps, measure: Measure) -> Table:
    (cells,) = map_rows(maps, measure).values()
    rows = [[Cell(text, strong="±" in text and STAR in text) for text in row] for row in cells]
    return Table(map_head(maps, measure), rows, map_legend(maps, measure))
