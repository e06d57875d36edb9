"""The honest table: every rule, in both splits, against the parameter mean."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rich import box
from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from fedirl_ray.config import RunConfig
from fedirl_ray.domain.domain import SPLITS, Domain, Split
from fedirl_ray.engine.federation import federated
from fedirl_ray.engine.result import SeedResult, angle_between, judges, samples
from fedirl_ray.engine.upload import traffic
from fedirl_ray.evaluate.comparison import compare, split_gain
from fedirl_ray.evaluate.statistics import Interval
from fedirl_ray.fusion.rules import RULES
from fedirl_ray.fusion.selection import choices
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.report.choice import adapted_text, choices_text
from fedirl_ray.report.difference import legend, mark
from fedirl_ray.report.measure import measure_of
from fedirl_ray.report.promise import promise_lines
from fedirl_ray.report.standing import standings_text
from fedirl_ray.report.wording import counted, printable

REFERENCE_LABELS = {
    "local": "local (own reward)",
    "personal": "personal (fused and own)",
    "fine-tuned": "fine-tuned (on own data)",
    "pooled": "pooled data (not private)",
    "expert": "expert (demonstrator)",
    "ceiling": "ceiling (best policy)",
    "true": "true reward",
    "plus-one": "constant +1",
    "minus-one": "constant -1",
    "random-1": "random direction 1",
    "random-2": "random direction 2",
}
FACTS: dict[str, tuple[str, Callable[[Floats], Any], float]] = {
    "demonstrated": ("mean demonstrated return {:.4g}", np.nanmean, 1.0),
    "outside": ("{:.2g} % of demonstrated steps beyond the lattice", np.nanmean, 100.0),
    "extrapolated": (
        "{:.2g} % of the lattice guessed, beyond recorded steps",
        np.nanmean,
        100.0,
    ),
    "unlikeliest": ("least chance of a recorded step {:.2g} %", np.nanmin, 100.0),
}
"""How notes say facts about clients, what is said of all clients' numbers, and times what."""

PARTS = ("normalisation", "blur", "transport", "total")
"""Of the barycenter's gain, as tables show them."""
UNBOUNDED = Console(width=10_000, force_jupyter=False)
"""Tells how wide a table would be if it could."""


def label_of(rule: str) -> str:
    """What tables call a rule or a reference: one of the user's own by its name."""
    return RULES[rule].label if rule in RULES else REFERENCE_LABELS.get(rule, rule)


def main_table(
    domain: Domain, results: Sequence[SeedResult], *, timed: bool = True, width: int = 10_000
) -> RenderableType:
    """The one table of a run, with a note on how to read it.

    Args:
        domain: The run's kind of world, and settings.
        results: Its seeds.
        timed: With a column of seconds, the only numbers that differ between equal runs.
        width: Columns of the terminal. Where spreads, the in-distribution difference and theta's
            geometry do not fit, they are left out; nothing is ever cut.
    """
    whole = _main_table(domain, results, timed=timed, wide=True)
    table, _ = whole.renderables  # the notes under it are wrapped
    wide = Measurement.get(UNBOUNDED, UNBOUNDED.options, table).maximum <= width
    return whole if wide else _main_table(domain, results, timed=timed, wide=False)


def _main_table(domain: Domain, results: Sequence[SeedResult], *, timed: bool, wide: bool) -> Group:
    config, measure = domain.config, measure_of(domain.metric)
    rules = config.fusion.rules
    inside, outside = (compare(samples(domain, results, one)[:, :, 0], rules) for one in SPLITS)
    thetas = np.stack([result.theta for result in results])
    clients = np.stack([result.client_theta for result in results])
    seconds = np.mean([result.seconds for result in results], axis=0)
    gaps: dict[tuple[str, str], Interval] = {
        (split, rule): found[rule].difference
        for split, found in zip(SPLITS, (inside, outside), strict=True)
        for rule in rules
        if rule != "mean" and (wide or split == SPLITS[1])
    }
    said = mark(gaps, measure.difference)
    lines = []
    for c, rule in enumerate(rules):
        own = clients if rule == "local" else thetas[:, c, None]
        gap = said.get((SPLITS[1], rule), "")
        if wide:
            geometry = _geometry(own, thetas[:, rules.index("mean")])
            levels = (measure.with_spread(found[rule]) for found in (inside, outside))
            cells = [*levels, said.get((SPLITS[0], rule), ""), gap, *geometry]
        else:
            cells = [*(measure.level(found[rule]) for found in (inside, outside)), gap]
        if timed:
            cells.append("" if np.isnan(seconds[c]) else f"{seconds[c]:.3f}")
        lines.append([label_of(rule), *cells])
    title = (
        f"{config.problem.name}, {counted(config.clients, 'client')}, "
        f"{counted(len(results), 'seed')}: {measure.name}, {measure.by(next(iter(judges(domain))))}"
    )
    notes = [
        *legend(gaps.values(), len(results)),
        *_notes(domain, results, timed=timed, wide=wide),
    ]
    return _drawn(title, ["rule", *_headings(timed, wide)], [lines], notes)


def _headings(timed: bool, wide: bool) -> list[str]:
    names = ["in-dist.", "held-out", "held-out - mean"]
    if wide:
        names = ["in-dist.", "held-out", "in-dist. - mean", "held-out - mean", "|theta|", "turned"]
    return [*names, "seconds"] if timed else names


def judges_table(domain: Domain, results: Sequence[SeedResult], split: Split) -> RenderableType:
    """The metric of every rule by every judge, with paired differences to the mean."""
    rules, names = domain.config.fusion.rules, list(judges(domain))
    measure = measure_of(domain.metric)
    each = samples(domain, results, split)
    by_judge = [compare(each[:, :, p], rules) for p in range(len(names))]
    gains = [split_gain(each[:, :, p], rules) for p in range(len(names))]
    gaps: dict[tuple[str, int], Interval] = {
        (rule, p): found[rule].difference
        for rule in rules
        if rule != "mean"
        for p, found in enumerate(by_judge)
    }
    # The total is the barycenter's difference once more.
    gaps |= {
        (part, p): getattr(gain, part)
        for part in PARTS[:-1]
        for p, gain in enumerate(gains)
        if gain is not None
    }
    said = mark(gaps, measure.difference)
    lines = [
        [
            label_of(rule),
            *(
                measure.level(found[rule])
                + (f" ({gap.strip()})" if (gap := said.get((rule, p))) else "")
                for p, found in enumerate(by_judge)
            ),
        ]
        for rule in rules
    ]
    parts = []
    if gains[0] is not None:
        parts = [
            [f"barycenter's gain: {part}"]
            + [said["barycenter" if part == "total" else part, p] for p in range(len(names))]
            for part in PARTS
        ]
    title = f"{split}: {measure.name} (and difference to the parameter mean), by {measure.judge}"
    notes = legend(gaps.values(), len(results))
    return _drawn(title, ["rule", *names], [lines, parts], notes)


def _drawn(
    title: str,
    head: Sequence[str],
    sections: Sequence[Sequence[Sequence[str]]],
    notes: Sequence[str],
) -> Group:
    """A table as wide as it has to be, with notes under it.

    Every text is shown as it is: what looks like markup in a name is a name.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    table.title = Text(printable(title), style="table.title")
    for i, name in enumerate(head):
        table.add_column(Text(name), justify="right" if i else "left", no_wrap=True)
    for rows in sections:
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        table.add_section()
    table.width = Measurement.get(UNBOUNDED, UNBOUNDED.options, table).maximum
    return Group(table, Text("\n".join(notes)))


def full_text(domain: Domain, results: Sequence[SeedResult]) -> str:
    """Everything as plain text: what table.txt holds."""
    text = io.StringIO()
    # In a notebook rich would show the tables there, and leave the text without them.
    console = Console(file=text, width=150, color_system=None, force_jupyter=False)
    console.print(main_table(domain, results, timed=False), crop=False)
    for split in SPLITS:
        console.print()
        console.print(judges_table(domain, results, split), crop=False)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


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


def _notes(domain: Domain, results: Sequence[SeedResult], *, timed: bool, wide: bool) -> list[str]:
    lines, measure, config = [], measure_of(domain.metric), domain.config
    if config.problem.demonstrations_file is not None and config.seeds > 1:
        lines.append(f"Seeds differ in {domain.varies}:\n± says nothing of other demonstrations.")
    if config.federation.weights != "equal":
        lines.append(f"Clients count by {printable(str(config.federation.weights))}, not equally.")
    lines += promise_lines(config)
    if "expert" in config.fusion.rules:
        lines += _demonstrator(config)
    if wide:
        lines.append(
            f"± of a {measure.metric}: standard deviation over seeds. |theta|, turned: median "
            "norm, and angle to the mean's theta."
        )
    if timed:
        lines.append("seconds a seed: local: all clients' learning; others: what comes on top.")
    by_split = {split: samples(domain, results, split)[:, :, 0] for split in SPLITS}
    gain = split_gain(by_split[SPLITS[1]], config.fusion.rules)
    if gain is not None and not np.isnan(gain.total.mean):
        parts = ", ".join(
            f"{name} {measure.difference(getattr(gain, name)).strip()}" for name in PARTS[:-1]
        )
        total = measure.difference(gain.total).strip()
        lines.append(f"Barycenter's held-out gain {total}: {parts}.")
    lines += standings_text(by_split, config.fusion.rules, measure)
    fusion = config.fusion
    chosen, displacement, share = (
        np.stack([getattr(result, name) for result in results])
        for name in ("chosen", "displacement", "own_share")
    )
    lines += choices_text(fusion.rules, choices(fusion), chosen, displacement)
    lines += adapted_text(fusion.rules, share)
    lines += facts_text(domain.facts, np.stack([result.facts for result in results]))
    lines.append(_traffic_note(config, results[0].theta.shape[1]))
    asked, admitted = (
        sum(int(getattr(result, name).sum()) for result in results) for name in ("asked", "heard")
    )
    if admitted < asked:
        lines.append(
            f"{asked - admitted} of {counted(asked, 'upload')} were refused or never came; "
            "events.jsonl says why."
        )
    fits = config.clients * config.seeds
    impossible = sum(int((result.negative_log_likelihood < 0.0).sum()) for result in results)
    if impossible:
        lines.append(
            f"{impossible} of {counted(fits, 'client')} hold demonstrations that no policy of "
            "their model can match (negative likelihood);\nonly the L2 term bounds their theta."
        )
    stopped = sum(int((~result.fit_converged).sum()) for result in results)
    if stopped and config.irl.optimizer == "lbfgs":
        lines.append(
            f"{stopped} of {counted(fits, 'fit')} stopped at irl.iterations before irl.tolerance."
        )
    unsettled = sum(int((~result.barycenter_converged).sum()) for result in results)
    if unsettled:
        lines.append(
            f"{counted(unsettled, 'barycenter')} stopped at fusion.iterations before "
            "fusion.tolerance."
        )
    return lines


def facts_text(names: Sequence[str], facts: Floats) -> list[str]:
    """What is to be known of the clients' data and models, `[seeds, k, f]`, in a line; or none."""
    said = []
    for name, each in zip(names, np.moveaxis(facts, -1, 0), strict=True):
        words, over, scale = FACTS.get(name, (f"mean {name} {{:.4g}}", np.nanmean, 1.0))
        if not np.isnan(each).all():
            said.append(words.format(scale * over(each)))
    return [f"Clients: {'; '.join(said)}."] if said else []


def _demonstrator(config: RunConfig) -> list[str]:
    """What the expert's row shows where that is not one expert for all worlds."""
    if config.problem.demonstrations_file is not None:
        return ["expert: the recorded episodes, in their clients' worlds; none in held-out ones."]
    if config.heterogeneity.expert_temperature > 0.0:
        return ["expert: each client's own; in held-out worlds they take turns."]
    return []


def _traffic_note(config: RunConfig, d: int) -> str:
    """What the rules would send, each run alone."""
    said = {"any rule": traffic("mean", d, config.fusion)}
    each = {rule: traffic(rule, d, config.fusion) for rule in federated(config)}
    said |= {rule: own for rule, own in each.items() if own != said["any rule"]}
    parts = [
        f"{name}{' at most' * (name == 'auto')} {own.down} + {own.up}" for name, own in said.items()
    ]
    if "pooled" in config.fusion.rules:
        parts.append("pooled: all demonstrations")
    return f"Bytes down + up, each client and round: {'; '.join(parts)}."
