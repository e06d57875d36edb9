"""What the page says of a run."""

import base64
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fedirl_ray.cli import leaves, settings, spell, typed
from fedirl_ray.config import RunConfig
from fedirl_ray.domain.domain import SPLITS, Split
from fedirl_ray.engine.record import CONFIG
from fedirl_ray.evaluate.comparison import Gain, compare, split_gain
from fedirl_ray.evaluate.statistics import Interval
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.report.cells import Cell, Table
from fedirl_ray.report.choice import adapted_text, choices_text
from fedirl_ray.report.difference import STAR, legend, mark
from fedirl_ray.report.folder import Run
from fedirl_ray.report.plots import (
    convergence_charts,
    learning_charts,
    round_charts,
    score_charts,
)
from fedirl_ray.report.standing import standings_text
from fedirl_ray.report.table import PARTS, facts_text, label_of
from fedirl_ray.report.wording import counted

MOST_EVENTS = 200
SHORT = {SPLITS[0]: "in-dist."}
"""Splits whose name is too long for a phone."""


def run_section(run: Run, prefix: str) -> dict[str, Any]:
    """What the template of a run is filled with.

    Args:
        run: The run.
        prefix: Starts every id of the section, which are unique in a page.
    """
    config, name = run.config, f"{run.config.problem.name}, {run.path.name}"
    first, *others = run.judges
    measure, (changed, kept) = run.measure, _settings(config)
    learning = learning_charts(run, prefix)
    # Where judges learn, the run's picture shows the same curves once more.
    figure = run.figure and not learning and base64.b64encode(run.figure).decode()
    return {
        "template": "run.html",
        "id": prefix,
        "title": name,
        "facts": _facts(run),
        "verdict": _verdict(run, first),
        "standings": standings_text(_by_split(run, first), config.fusion.rules, measure),
        "changed": changed,
        "kept": kept,
        "measure": measure,
        "judged": measure.by(first),
        "table": _score_table(run, first),
        "others": [(measure.by(judge), _score_table(run, judge)) for judge in others],
        "clients": facts_text(run.arrays["fact_names"].tolist(), run.arrays["facts"]),
        "promise": run.summary.get("privacy", {}).get("in_words", []),
        "choices": _choices(run),
        "gains": _gain_table(run),
        "charts": score_charts(run, first, prefix),
        "learning": learning,
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
        ("seeds", f"{run.seeds}, root {config.seed}"),
        ("rounds", str(config.federation.rounds)),
        ("epsilon", f"{config.fusion.epsilon:g}"),
    ]


def _by_split(run: Run, judge: str) -> dict[Split, Floats]:
    return {split: run.samples(split, judge) for split in SPLITS}


def _verdict(run: Run, judge: str) -> str:
    """What the run says of the barycenter, in one sentence."""
    rules, measure = run.config.fusion.rules, run.measure
    if "barycenter" not in rules:
        return "The barycenter was not among the rules."
    gap = compare(run.samples(SPLITS[1], judge), rules)["barycenter"].difference
    if math.isnan(gap.mean):
        return "The barycenter was not judged in held-out worlds."
    said = measure.told(gap)
    if math.isnan(gap.half_width):
        return (
            f"Barycenter minus parameter mean in held-out worlds: {said}, "
            "from one seed: no interval, no verdict."
        )
    way = "better" if gap.mean > 0 else "worse"
    verdict = (
        f"the barycenter is {way} than the parameter mean"
        if gap.excludes_zero
        else "no difference shown"
    )
    return (
        f"Barycenter minus parameter mean in held-out worlds: {said} "
        f"(95 % over {counted(run.seeds, 'seed')}): {verdict}.{_transport(run, judge)}"
    )


def _transport(run: Run, judge: str) -> str:
    """What is left of the gain for transport, where the run can tell."""
    gain = _gain(run, judge)
    if gain is None:
        return ""
    return f" Transport's part of that: {run.measure.difference(gain.transport).strip()}."


def _gain(run: Run, judge: str) -> Gain | None:
    gain = split_gain(run.samples(SPLITS[1], judge), run.config.fusion.rules)
    return None if gain is None or math.isnan(gain.total.mean) else gain


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


def _difference(found: Interval, said: str) -> Cell:
    return Cell(said.strip(), found.mean, STAR in said)


def _score_table(run: Run, judge: str) -> Table:
    """Score and paired difference of every rule in both splits."""
    rules, measure = run.config.fusion.rules, run.measure
    by_split = {split: compare(each, rules) for split, each in _by_split(run, judge).items()}
    gaps: dict[tuple[str, str], Interval] = {
        (split, rule): by_split[split][rule].difference
        for split in SPLITS
        for rule in rules
        if rule != "mean"
    }
    said = mark(gaps, measure.difference)
    head = ["rule"]
    for split in SPLITS:
        head += [SHORT.get(split, split), "- mean"]
    rows = []
    for rule in rules:
        row = [Cell(label_of(rule))]
        for split in SPLITS:
            found = by_split[split][rule]
            row.append(Cell(measure.with_spread(found), found.mean))
            mean = rule == "mean"
            row.append(Cell("") if mean else _difference(found.difference, said[split, rule]))
        rows.append(row)
    return Table(head, rows, legend(gaps.values(), run.seeds))


def _choices(run: Run) -> list[str]:
    """What rules that choose have chosen, and why."""
    names, rules = run.arrays["choices"].tolist(), run.config.fusion.rules
    found = choices_text(rules, names, run.arrays["chosen"], run.arrays["displacement"])
    return [*found, *adapted_text(rules, run.arrays["own_share"])]


def _gain_table(run: Run) -> Table | None:
    """The barycenter's held-out gain in parts, by judge; None if a rule it needs is missing."""
    gains = {judge: gain for judge in run.judges if (gain := _gain(run, judge)) is not None}
    parts: dict[tuple[str, str], Interval] = {
        (part, judge): getattr(gain, part) for part in PARTS for judge, gain in gains.items()
    }
    if not parts:
        return None
    said = mark(parts, run.measure.difference)
    rows = [
        [Cell(part), *(_difference(parts[part, name], said[part, name]) for name in gains)]
        for part in PARTS
    ]
    return Table(["part", *gains], rows, legend(parts.values(), run.seeds))


def _cost_table(run: Run) -> Table:
    """Milliseconds and bytes of every rule."""
    head = ["rule", "ms a seed", "bytes down", "bytes up", "bytes in all"]
    rows = []
    for rule in run.config.fusion.rules:
        seconds = run.timings.get(rule)
        sent = run.summary["communication"]["rules"][rule]
        taken = Cell("") if seconds is None else Cell(f"{1000 * np.mean(seconds):,.2f}")
        row = [
            Cell(label_of(rule)),
            taken,
            *(Cell(f"{sent[f'bytes_{way}_per_client_and_round']:,}") for way in ("down", "up")),
            Cell(f"{sent['bytes_down'] + sent['bytes_up']:,}"),
        ]
        rows.append(row)
    return Table(head, rows)


def _run_commands(run: Run) -> list[tuple[str, str]]:
    usual = settings(RunConfig())
    said = spell(_changes(settings(run.config), usual))
    return [
        ("From its own settings file", typed(run.path / CONFIG)),
        ("From the defaults", typed(*said)),
        ("This page", typed("report", run.path)),
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
