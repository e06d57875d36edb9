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
from fedirl_ray.evaluate.comparison import compare, split_gain
from fedirl_ray.evaluate.planner import policies
from fedirl_ray.evaluate.statistics import Interval

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
    "expert": "expert (ceiling)",
}


def main_table(
    config: RunConfig, results: Sequence[SeedResult], *, timed: bool = True
) -> RenderableType:
    """The one table of a run, with a note on how to read it.

    Args:
        config: The run.
        results: Its seeds.
        timed: With a column of seconds, the only numbers that differ between equal runs.
    """
    rules = config.fusion.rules
    policy = policies(config)[0]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    table.title = (
        f"{config.problem.name}, {config.clients} clients, {config.seeds} seeds: "
        f"success in %, {policy} policy"
    )
    for name in ("rule", "in-dist.", "held-out", "in-dist. - mean", "held-out - mean"):
        table.add_column(name, justify="left" if name == "rule" else "right", no_wrap=True)
    table.add_column("|theta|", justify="right", no_wrap=True)
    table.add_column("turned", justify="right", no_wrap=True)
    if timed:
        table.add_column("seconds", justify="right", no_wrap=True)
    found = [compare(_success(results, split)[:, :, 0], rules) for split in SPLITS]
    thetas = np.stack([result.theta for result in results])
    clients = np.stack([result.client_theta for result in results])
    seconds = np.mean([result.seconds for result in results], axis=0)
    for c, rule in enumerate(rules):
        inside, outside = (by_rule[rule] for by_rule in found)
        own = clients if rule == "local" else thetas[:, c, None]
        cells = [
            LABELS[rule],
            _with_spread(inside.mean, inside.spread),
            _with_spread(outside.mean, outside.spread),
            "" if rule == "mean" else _percent(inside.difference),
            "" if rule == "mean" else _percent(outside.difference),
            *_geometry(own, thetas[:, rules.index("mean")]),
        ]
        if timed:
            cells.append("" if np.isnan(seconds[c]) else f"{seconds[c]:.3f}")
        table.add_row(*cells)
    return Group(table, Text(_notes(config, results, timed)))


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
            + ("" if rule == "mean" else f" ({_percent(found[rule].difference)})")
            for found in by_policy
        ]
        table.add_row(LABELS[rule], *cells)
    gains = [split_gain(samples[:, :, p], rules) for p in range(len(names))]
    if gains[0] is not None:
        table.add_section()
        for part in ("normalisation", "blur", "transport", "total"):
            cells = [_percent(getattr(gain, part)) for gain in gains]
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


def _percent(found: Interval) -> str:
    if np.isnan(found.half_width):
        return f"{100 * found.mean:+.1f}"
    mark = "*" if found.excludes_zero else " "
    return f"{100 * found.mean:+.1f} ± {100 * found.half_width:.1f}{mark}"


def _with_spread(mean: float, spread: float) -> str:
    return f"{100 * mean:.1f}" + ("" if np.isnan(spread) else f" ± {100 * spread:.1f}")


def _geometry(own: np.ndarray, mean: np.ndarray) -> tuple[str, str]:
    """Median norm, and median angle to the mean's theta, of thetas `[seeds, any, d]`."""
    if np.isnan(own).any():
        return "", ""
    angles = [
        angle_between(theta, base)
        for thetas, base in zip(own, mean, strict=True)
        for theta in thetas
    ]
    return f"{np.median(np.linalg.norm(own, axis=2)):.2f}", f"{np.nanmedian(angles):.1f}°"


def _notes(config: RunConfig, results: Sequence[SeedResult], timed: bool) -> str:
    lines = [
        "± beside a success: standard deviation over seeds; beside a difference: 95 % interval of "
        "the paired",
        "difference (Student's t), * where it excludes zero. |theta|, turned: median norm, and "
        "angle to the mean's theta.",
    ]
    if timed:
        lines.append("seconds a seed: local: all clients' learning; the others: what comes on top.")
    gain = split_gain(_success(results, SPLITS[1])[:, :, 0], config.fusion.rules)
    if gain is not None:
        parts = ", ".join(
            f"{name} {_percent(getattr(gain, name)).strip()}"
            for name in ("normalisation", "blur", "transport")
        )
        total = _percent(gain.total).strip()
        lines.append(f"The barycenter's held-out gain of {total} splits into {parts}.")
    asked, admitted = (
        sum(int(getattr(result, name).sum()) for result in results)
        for name in ("asked", "admitted")
    )
    if admitted < asked:
        lines.append(
            f"{asked - admitted} of {asked} uploads were refused or never came; events.jsonl says why."
        )
    d = results[0].theta.shape[1]
    bytes_of = {
        rule: traffic(rule, d) for rule in ("mean", "precision") if rule in config.fusion.rules
    }
    lines.append(
        "Bytes down and up, each client and round: "
        + "; ".join(
            f"{'any rule' if rule == 'mean' else rule} {each.down} + {each.up}"
            for rule, each in bytes_of.items()
        )
        + ("." if "pooled" not in config.fusion.rules else "; pooled sends the demonstrations.")
    )
    impossible = sum(int((result.negative_log_likelihood < 0.0).sum()) for result in results)
    fits = config.clients * config.seeds
    if impossible:
        lines.append(
            f"{impossible} of {fits} clients hold demonstrations no policy of their model can "
            "match exactly (negative likelihood); the L2 term alone bounds their theta."
        )
    stopped = sum(int((~result.fit_converged).sum()) for result in results)
    if stopped and config.irl.optimizer == "lbfgs":
        lines.append(f"{stopped} of {fits} fits stopped at irl.iterations before their tolerance.")
    unsettled = sum(int((~result.barycenter_converged).sum()) for result in results)
    if unsettled:
        lines.append(
            f"{unsettled} barycenters stopped at fusion.iterations before fusion.tolerance."
        )
    return "\n".join(lines)
