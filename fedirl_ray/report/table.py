"""The honest table: every rule, in both splits, against the parameter mean."""

import io
from collections.abc import Sequence

import numpy as np
from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from fedirl_ray.config import Rule, RunConfig
from fedirl_ray.engine.result import SPLITS, SeedResult, angle_between
from fedirl_ray.engine.upload import traffic
from fedirl_ray.evaluate.comparison import Comparison, compare, split_gain
from fedirl_ray.evaluate.planner import policies
from fedirl_ray.evaluate.statistics import Interval
from fedirl_ray.problem.family import varies

LABELS: dict[Rule, str] = {
    "local": "local (own reward)",
    "mean": "parameter mean",
    "median": "coordinate median",
    "trimmed": "trimmed mean",
    "precision": "precision-weighted mean",
    "arithmetic": "arithmetic mean of measures",
    "barycenter": "entropic barycenter",
    "debiased": "debiased barycenter",
    "self-control": "self control (blur alone)",
    "pooled": "pooled data (not private)",
    "expert": "expert (demonstrator)",
    "ceiling": "ceiling (best policy)",
}


def main_table(
    config: RunConfig, results: Sequence[SeedResult], *, timed: bool = True, wide: bool = True
) -> RenderableType:
    """The one table of a run, with a note on how to read it.

    Args:
        config: The run.
        results: Its seeds.
        timed: With a column of seconds, the only numbers that differ between equal runs.
        wide: With spreads, the in-distribution difference and theta's geometry; otherwise the
            table fits 80 columns.
    """
    rules = config.fusion.rules
    policy = policies(config)[0]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    table.title = (
        f"{config.problem.name}, {config.clients} clients, {config.seeds} seeds: "
        f"success in %, {policy} policy"
    )
    inside, outside = (compare(_success(results, split)[:, :, 0], rules) for split in SPLITS)
    thetas = np.stack([result.theta for result in results])
    clients = np.stack([result.client_theta for result in results])
    seconds = np.mean([result.seconds for result in results], axis=0)
    table.add_column("rule", no_wrap=True)
    for name in _headings(timed, wide):
        table.add_column(name, justify="right", no_wrap=True)
    for c, rule in enumerate(rules):
        own = clients if rule == "local" else thetas[:, c, None]
        gap = "" if rule == "mean" else signed_percent(outside[rule].difference)
        if wide:
            inner_gap = "" if rule == "mean" else signed_percent(inside[rule].difference)
            geometry = _geometry(own, thetas[:, rules.index("mean")])
            levels = (with_spread(inside[rule]), with_spread(outside[rule]))
            cells = [*levels, inner_gap, gap, *geometry]
        else:
            cells = [f"{100 * found[rule].mean:.1f}" for found in (inside, outside)] + [gap]
        if timed:
            cells.append("" if np.isnan(seconds[c]) else f"{seconds[c]:.3f}")
        table.add_row(LABELS[rule], *cells)
    return Group(table, Text(_notes(config, results, timed=timed, wide=wide)))


def _headings(timed: bool, wide: bool) -> list[str]:
    names = ["in-dist.", "held-out", "held-out - mean"]
    if wide:
        names = ["in-dist.", "held-out", "in-dist. - mean", "held-out - mean", "|theta|", "turned"]
    return [*names, "seconds"] if timed else names


def policy_table(config: RunConfig, results: Sequence[SeedResult], split: str) -> RenderableType:
    """Success of every rule under every policy, with paired differences to the mean."""
    rules, names = config.fusion.rules, policies(config)
    samples = _success(results, split)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    table.title = f"{split}: success in % (and difference to the parameter mean), by policy"
    table.add_column("rule", no_wrap=True)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    by_policy = [compare(samples[:, :, p], rules) for p in range(len(names))]
    for rule in rules:
        cells = [
            f"{100 * found[rule].mean:.1f}"
            + ("" if rule == "mean" else f" ({signed_percent(found[rule].difference)})")
            for found in by_policy
        ]
        table.add_row(LABELS[rule], *cells)
    gains = [split_gain(samples[:, :, p], rules) for p in range(len(names))]
    if gains[0] is not None:
        table.add_section()
        for part in ("normalisation", "blur", "transport", "total"):
            cells = [signed_percent(getattr(gain, part)) for gain in gains]
            table.add_row(f"barycenter's gain: {part}", *cells)
    return table


def full_text(config: RunConfig, results: Sequence[SeedResult]) -> str:
    """Everything as plain text: what table.txt holds."""
    text = io.StringIO()
    console = Console(file=text, width=150, color_system=None)
    console.print(main_table(config, results, timed=False))
    for split in SPLITS:
        console.print()
        console.print(policy_table(config, results, split))
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def _success(results: Sequence[SeedResult], split: str) -> np.ndarray:
    return np.stack([result.success(split) for result in results])


def signed_percent(found: Interval) -> str:
    """A difference of shares in points, with its interval; a star where that excludes zero."""
    if np.isnan(found.half_width):
        return f"{100 * found.mean:+.1f}"
    mark = "*" if found.excludes_zero else " "
    # A tenth of a point is plenty, unless the interval is narrower than that.
    digits = 1 if found.half_width >= 0.0005 or found.half_width == 0.0 else 2
    return f"{100 * found.mean:+.{digits}f} ± {100 * found.half_width:.{digits}f}{mark}"


def with_spread(found: Comparison) -> str:
    """A share in percent, with its standard deviation over seeds."""
    spread = "" if np.isnan(found.spread) else f" ± {100 * found.spread:.1f}"
    return f"{100 * found.mean:.1f}{spread}"


def _geometry(own: np.ndarray, mean: np.ndarray) -> tuple[str, str]:
    """Median norm, and median angle to the mean's theta, of thetas `[seeds, any, d]`."""
    if np.isnan(own).any():
        return "", ""
    angles = [
        angle_between(theta, base)
        for thetas, base in zip(own, mean, strict=True)
        for theta in thetas
    ]
    turned = "" if np.isnan(angles).all() else f"{np.nanmedian(angles):.1f}°"
    return f"{np.median(np.linalg.norm(own, axis=2)):.2f}", turned


def _notes(config: RunConfig, results: Sequence[SeedResult], *, timed: bool, wide: bool) -> str:
    lines = [
        "± of a difference: 95 % interval of the paired difference over seeds; * excludes zero."
    ]
    if config.problem.demonstrations_file is not None and config.seeds > 1:
        lines.append(
            f"Seeds differ in {varies(config.problem)}:\n± says nothing of other demonstrations."
        )
    if wide:
        lines.append(
            "± of a success: standard deviation over seeds. |theta|, turned: median norm, and "
            "angle to the mean's theta."
        )
    if timed:
        lines.append("seconds a seed: local: all clients' learning; others: what comes on top.")
    gain = split_gain(_success(results, SPLITS[1])[:, :, 0], config.fusion.rules)
    if gain is not None:
        parts = ", ".join(
            f"{name} {signed_percent(getattr(gain, name)).strip()}"
            for name in ("normalisation", "blur", "transport")
        )
        lines.append(f"Barycenter's held-out gain {signed_percent(gain.total).strip()}: {parts}.")
    lines.append(_traffic_note(config, results[0].theta.shape[1]))
    asked, admitted = (
        sum(int(getattr(result, name).sum()) for result in results) for name in ("asked", "heard")
    )
    if admitted < asked:
        lines.append(
            f"{asked - admitted} of {asked} uploads were refused or never came; "
            "events.jsonl says why."
        )
    fits = config.clients * config.seeds
    impossible = sum(int((result.negative_log_likelihood < 0.0).sum()) for result in results)
    if impossible:
        lines.append(
            f"{impossible} of {fits} clients hold demonstrations that no policy of their model can "
            "match (negative likelihood);\nonly the L2 term bounds their theta."
        )
    stopped = sum(int((~result.fit_converged).sum()) for result in results)
    if stopped and config.irl.optimizer == "lbfgs":
        lines.append(f"{stopped} of {fits} fits stopped at irl.iterations before irl.tolerance.")
    unsettled = sum(int((~result.barycenter_converged).sum()) for result in results)
    if unsettled:
        lines.append(
            f"{unsettled} barycenters stopped at fusion.iterations before fusion.tolerance."
        )
    return "\n".join(lines)


def _traffic_note(config: RunConfig, d: int) -> str:
    """What the rules would send, each run alone."""
    said = {"any rule": traffic("mean", d)}
    if "precision" in config.fusion.rules:
        said["precision"] = traffic("precision", d)
    parts = [f"{name} {each.down} + {each.up}" for name, each in said.items()]
    if "pooled" in config.fusion.rules:
        parts.append("pooled: all demonstrations")
    return f"Bytes down + up, each client and round: {'; '.join(parts)}."
