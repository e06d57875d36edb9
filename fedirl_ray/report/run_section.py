"""What the page says of a run."""

import base64
import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fedirl_ray.cli import PROG, leaves, settings, spell
from fedirl_ray.config import RunConfig
from fedirl_ray.engine.record import CONFIG
from fedirl_ray.engine.result import SPLITS
from fedirl_ray.evaluate.comparison import Comparison
from fedirl_ray.evaluate.statistics import Interval
from fedirl_ray.report.cells import Cell, Table
from fedirl_ray.report.folder import Run
from fedirl_ray.report.plots import convergence_charts, round_charts, success_charts
from fedirl_ray.report.table import LABELS, signed_percent, with_spread

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
    said = signed_percent(gap).strip(" *")
    if math.isnan(gap.half_width):
        return (
            f"Barycenter minus parameter mean in held-out worlds: {said} points, "
            "from one seed: no interval, no verdict."
        )
    way = "better" if gap.mean > 0 else "worse"
    verdict = (
        f"the barycenter is {way} than the parameter mean"
        if gap.excludes_zero
        else "no difference shown"
    )
    return (
        f"Barycenter minus parameter mean in held-out worlds: {said} points "
        f"(95 % over {run.config.seeds} seeds): {verdict}.{_transport(run, policy)}"
    )


def _transport(run: Run, policy: str) -> str:
    """What is left of the gain for transport, where the run can tell."""
    gains = run.summary["gain_of_barycenter"].get("held-out")
    if gains is None:
        return ""
    part = signed_percent(_part(gains[policy]["transport"])).strip(" *")
    return f" Transport's part of that: {part}."


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


def _number(value: float | None) -> float:
    """A number of summary.json, where null stands for NaN."""
    return math.nan if value is None else value


def _comparison(entry: Mapping[str, float | None]) -> Comparison:
    """One rule's entry of summary.json."""
    gap = Interval(_number(entry["difference"]), _number(entry["half_width_95"]))
    return Comparison(_number(entry["mean"]), _number(entry["std"]), gap)


def _part(entry: Mapping[str, float | None]) -> Interval:
    """One part of the barycenter's gain in summary.json."""
    return Interval(_number(entry["mean"]), _number(entry["half_width_95"]))


def _difference(found: Interval) -> Cell:
    return Cell(signed_percent(found).strip(), found.mean, found.excludes_zero)


def _success_table(run: Run, policy: str) -> Table:
    """Success and paired difference of every rule in both splits."""
    by_split = run.summary["success"]
    head = ["rule"]
    for split in by_split:
        head += [SHORT.get(split, split), "- mean"]
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
            row.append(_difference(_part(gains[policy][part])))
        rows.append(row)
    return Table(["part", *policies], rows)


def _cost_table(run: Run) -> Table:
    """Milliseconds and bytes of every rule."""
    head = ["rule", "ms a seed", "bytes down", "bytes up", "bytes in all"]
    rows = []
    for rule in run.config.fusion.rules:
        seconds = run.timings.get(rule)
        sent = run.summary["communication"]["rules"][rule]
        taken = Cell("") if seconds is None else Cell(f"{1000 * np.mean(seconds):,.2f}")
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
