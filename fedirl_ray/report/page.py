"""One page about some runs and studies: everything in one HTML file, nothing from the network."""

import base64
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
from markupsafe import Markup

from fedirl_ray.cli import PROG, leaves, settings, spell
from fedirl_ray.config import RunConfig
from fedirl_ray.engine.record import CONFIG
from fedirl_ray.errors import DataError
from fedirl_ray.evaluate.comparison import Comparison
from fedirl_ray.evaluate.statistics import Interval
from fedirl_ray.report.folder import Run, read_run
from fedirl_ray.report.plots import convergence_charts, round_charts, success_charts
from fedirl_ray.report.table import LABELS, signed_percent, with_spread

if TYPE_CHECKING:
    from fedirl_ray.study.archive import Archive

STUDY = "study.yaml"
MOST_EVENTS = 200
MOST_TRIALS = 12


@dataclass(frozen=True)
class Cell:
    """One cell of a table."""

    text: str
    """What is read; a number already rounded."""
    value: float | None = None
    """The number itself, before rounding."""
    strong: bool = False
    """Whether it stands out: an interval that excludes zero."""


@dataclass(frozen=True)
class Table:
    """A table as the template draws it: the first column names the row."""

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def write_page(folders: Sequence[Path]) -> str:
    """Write one page about runs and studies.

    Args:
        folders: Theirs, at least one.

    Returns:
        The page: HTML that loads nothing.

    Raises:
        ConfigError: A run's settings are not of this version.
        DataError: A folder is neither a run nor a study, or cannot be read.
    """
    sections, titles = [], []
    plotted = False
    for i, path in enumerate(folders):
        if (path / CONFIG).is_file():
            found = _run_section(read_run(path), f"r{i}")
        elif (path / STUDY).is_file():
            from fedirl_ray.study.archive import read_study

            found = _study_section(read_study(path), f"r{i}")
            plotted = plotted or bool(found["pictures"])
        else:
            raise DataError(
                f"{path} must be the folder of a run (with {CONFIG}) or of a study (with {STUDY})"
            )
        sections.append(found)
        titles.append(found["title"])
    return _templates().get_template("page.html").render(
        title=titles[0] if len(titles) == 1 else f"{len(titles)} folders",
        sections=sections,
        plotly=_plotly() if plotted else None,
    )  # fmt: skip


def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("fedirl_ray.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _plotly() -> Markup:
    """The library that draws a study's pictures, word by word."""
    from plotly.offline import get_plotlyjs

    # Plotly's own file, shipped with its package to be put into pages.
    return Markup(get_plotlyjs())


def _run_section(run: Run, prefix: str) -> dict[str, Any]:
    config, name = run.config, f"{run.config.problem.name}, {run.path.name}"
    policies = list(next(iter(run.summary["success"].values())))
    changed, kept = _settings(config)
    figure = run.figure and base64.b64encode(run.figure).decode()
    return {
        "template": "run.html",
        "id": prefix,
        "title": name,
        "facts": _facts(run),
        "verdict": _verdict(run, policies[0]),
        "changed": changed,
        "kept": kept,
        "policy": policies[0],
        "table": _success_table(run, policies[0]),
        "others": [(policy, _success_table(run, policy)) for policy in policies[1:]],
        "gains": _gain_table(run, policies),
        "charts": success_charts(run, policies[0], prefix),
        "rounds": round_charts(run, prefix),
        "figure": figure,
        "convergence": convergence_charts(run, prefix),
        "cost": _cost_table(run),
        "events": run.events[:MOST_EVENTS],
        "events_left": max(0, len(run.events) - MOST_EVENTS),
        "commands": _run_commands(run),
        "environment": list(leaves(run.environment)),
    }


def _facts(run: Run) -> list[tuple[str, str]]:
    config = run.config
    return [
        ("problem", config.problem.name),
        ("clients", str(config.clients)),
        ("seeds", f"{config.seeds}, root {config.seed}"),
        ("rounds", str(config.federation.rounds)),
        ("features", config.problem.features),
        ("epsilon", f"{config.fusion.epsilon:g}"),
    ]


def _verdict(run: Run, policy: str) -> str:
    """What the run says of the barycenter, in one sentence."""
    entry = run.summary["success"]["held-out"][policy].get("barycenter")
    if entry is None:
        return "The barycenter was not among the rules."
    gap = _comparison(entry).difference
    if math.isnan(gap.half_width):
        return (
            f"Barycenter minus parameter mean in held-out worlds: {100 * gap.mean:+.1f} points, "
            "from one seed: no interval, no verdict."
        )
    way = "better" if gap.mean > 0 else "worse"
    verdict = (
        f"the barycenter is {way} than the parameter mean"
        if gap.excludes_zero
        else "no difference shown"
    )
    return (
        f"Barycenter minus parameter mean in held-out worlds: {100 * gap.mean:+.1f} ± "
        f"{100 * gap.half_width:.1f} points (95 % over {run.config.seeds} seeds): {verdict}."
    )


def _settings(config: RunConfig) -> tuple[list[tuple[str, Any, Any]], list[tuple[str, Any]]]:
    """Settings that differ from the defaults (with those), and those that do not."""
    usual = dict(leaves(settings(RunConfig())))
    changed, kept = [], []
    for name, value in leaves(settings(config)):
        if value == usual[name]:
            kept.append((name, _spell(value)))
        else:
            changed.append((name, _spell(value), _spell(usual[name])))
    return changed, kept


def _spell(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _comparison(entry: Mapping[str, float | None]) -> Comparison:
    """One rule's entry of summary.json, where null stands for NaN."""
    mean, std, gap, half = (
        float("nan") if entry[key] is None else float(entry[key] or 0.0)
        for key in ("mean", "std", "difference", "half_width_95")
    )
    return Comparison(mean, std, Interval(gap, half))


def _difference(found: Interval) -> Cell:
    return Cell(signed_percent(found).strip(), found.mean, found.excludes_zero)


def _success_table(run: Run, policy: str) -> Table:
    """Success and paired difference of every rule in both splits."""
    by_split = run.summary["success"]
    head = ["rule"]
    for split in by_split:
        head += [split, f"{split} - mean"]
    rows = []
    for rule in run.config.fusion.rules:
        row = [Cell(LABELS[rule])]
        for split in by_split:
            found = _comparison(by_split[split][policy][rule])
            row.append(Cell(with_spread(found), found.mean))
            row.append(Cell("") if rule == "mean" else _difference(found.difference))
        rows.append(row)
    return Table(head, rows)


def _gain_table(run: Run, policies: Sequence[str]) -> Table | None:
    """The barycenter's held-out gain in parts, by policy; None if a rule it needs is missing."""
    gains = run.summary["gain_of_barycenter"].get("held-out")
    if gains is None:
        return None
    rows = []
    for part in ("normalisation", "blur", "transport", "total"):
        row = [Cell(part)]
        for policy in policies:
            entry = gains[policy][part]
            half = entry["half_width_95"]
            row.append(_difference(Interval(entry["mean"], math.nan if half is None else half)))
        rows.append(row)
    return Table(["part", *policies], rows)


def _cost_table(run: Run) -> Table:
    """Seconds and bytes of every rule."""
    head = ["rule", "seconds a seed", "bytes down", "bytes up", "bytes in all"]
    rows = []
    for rule in run.config.fusion.rules:
        seconds = run.timings.get(rule)
        sent = run.summary["communication"]["rules"][rule]
        taken = Cell("") if seconds is None else Cell(f"{np.mean(seconds):.4f}")
        row = [
            Cell(LABELS[rule]),
            taken,
            *(Cell(f"{sent[f'bytes_{way}_per_client_and_round']:,}") for way in ("down", "up")),
            Cell(f"{sent['bytes_down'] + sent['bytes_up']:,}"),
        ]
        rows.append(row)
    return Table(head, rows)


def _run_commands(run: Run) -> list[tuple[str, str]]:
    usual = settings(RunConfig())
    said = shlex.join(spell(_changes(settings(run.config), usual)))
    return [
        ("From its own settings file", f"{PROG} {shlex.quote(str(run.path / CONFIG))}"),
        ("From the defaults", f"{PROG} {said}".rstrip()),
        ("This page", f"{PROG} report {shlex.quote(str(run.path))}"),
    ]


def _changes(tree: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a nested mapping that differs from another."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            inner = _changes(value, usual[key])
            if inner:
                found[key] = inner
        elif value != usual[key]:
            found[key] = value
    return found


def _study_section(archive: "Archive", prefix: str) -> dict[str, Any]:
    from fedirl_ray.report.heterogeneity import map_charts
    from fedirl_ray.study.archive import pictures

    states = [str(trial["state"]) for trial in archive.trials]
    seconds = [trial["seconds"] for trial in archive.trials if trial["seconds"] is not None]
    points, why = _map(archive)
    goals = zip(archive.directions, archive.objectives, strict=True)
    return {
        "template": "study.html",
        "id": prefix,
        "title": f"Study {archive.study.study_name}",
        "facts": [
            ("trials", str(len(states))),
            *((state.lower(), str(states.count(state))) for state in dict.fromkeys(states)),
            ("seconds a trial", f"{np.median(seconds):.1f}" if seconds else "-"),
            *(("objective", f"{way} {name}") for way, name in goals),
        ],
        "plan": archive.plan,
        "best": _trial_table(archive),
        "several": len(archive.objectives) > 1,
        "pictures": [
            # Inside a script element only "<" could end it.
            (title, Markup(figure.replace("<", "\\u003c")))
            for title, figure in pictures(archive)
        ],
        "map": map_charts(points, prefix) if points else [],
        "map_table": _map_table(points) if points else None,
        "map_note": why,
        "failures": [
            (trial["number"], trial["error"]) for trial in archive.trials if trial["error"]
        ][:MOST_TRIALS],
        "commands": [
            ("The study again", f"{PROG} sweep {shlex.quote(str(archive.path / STUDY))}"),
            ("Go on with it", f"{PROG} sweep --resume {shlex.quote(str(archive.path))}"),
            ("This page", f"{PROG} report {shlex.quote(str(archive.path))}"),
        ],
        "environment": list(leaves(archive.environment)),
    }


def _trial_table(archive: "Archive") -> Table | None:
    """The best trials: by the objective, or the Pareto front."""
    from fedirl_ray.study.archive import COMPLETE, params_of, varied

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
        row += [Cell(f"{value:.5g}", value) for value in values]
        row += [Cell("" if params[f] is None else _short(params[f])) for f in fields]
        rows.append(row)
    return Table(["trial", *names, *fields], rows)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _map(archive: "Archive") -> tuple[list[Any], str]:
    """The heterogeneity map, or why there is none."""
    from fedirl_ray.study.heterogeneity import heterogeneity_map

    try:
        points = heterogeneity_map(archive.tried(), archive.results)
    except DataError as err:
        return [], str(err)
    return points, "" if points else "No setting took two values among the trials that ended well."


def _map_table(points: Sequence[Any]) -> Table:
    from fedirl_ray.report.heterogeneity import HEAD, row_of

    return Table(HEAD, [[Cell(text, strong=text.endswith("*")) for text in row_of(p)]
                        for p in points])  # fmt: skip
