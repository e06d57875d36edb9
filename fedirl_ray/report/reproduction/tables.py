"""Our success beside the paper's tables 1 and 2."""

from collections.abc import Sequence

import numpy as np

from fedirl_ray.cli import PROG
from fedirl_ray.domain.domain import SPLITS
from fedirl_ray.evaluate.comparison import Comparison, Gain, compare, split_gain
from fedirl_ray.evaluate.statistics import Interval
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.report.difference import legend, mark
from fedirl_ray.report.measure import SUCCESS
from fedirl_ray.report.reproduction.markdown import table
from fedirl_ray.report.table import label_of
from fedirl_ray.report.wording import in_markdown
from fedirl_ray.study.reproduction.plan import Plan, Record
from fedirl_ray.study.reproduction.tables import (
    TABLE_1,
    TABLE_2,
    WEAK,
    Published,
    Setting,
    choices,
    table1,
    table2,
)

INSIDE, OUTSIDE = SPLITS
PARTS = ("normalisation", "blur", "transport")
HEAD = (
    "in-dist. local",
    "in-dist. mean",
    "in-dist. barycenter",
    "held-out mean",
    "held-out barycenter",
    "in-dist. difference",
    "held-out difference",
)
NOTE = (
    "Success in %, mean ± standard deviation over seeds. Differences are paired, barycenter minus "
    "parameter mean on the same seeds, in points. `greedy-G` plans at discount G."
)
Row = list[str | Interval]
"""A table's line before its differences are written, which takes all of the table."""


class Found:
    """One setting's success, by split and policy."""

    def __init__(self, rows: Sequence[Record], setting: Setting) -> None:
        own = [r for r in rows if r["setting"] == setting.name and r["metric"] == SUCCESS.metric]
        last = max(row["round"] for row in own)
        own = [row for row in own if row["round"] == last]
        self.rules = list(dict.fromkeys(row["rule"] for row in own))
        self.policies = list(dict.fromkeys(row["judge"] for row in own))
        self._value = {
            (row["split"], row["judge"], row["seed"], row["rule"]): row["value"] for row in own
        }
        self._seeds = sorted({row["seed"] for row in own})

    def samples(self, split: str, policy: str) -> Floats:
        """Success by seed and rule, `[seeds, c]`."""
        return np.array(
            [
                [self._value[split, policy, seed, rule] for rule in self.rules]
                for seed in self._seeds
            ]
        )

    def compare(self, split: str, policy: str) -> dict[str, Comparison]:
        """Every rule beside the parameter mean."""
        return compare(self.samples(split, policy), self.rules)

    def gain(self, policy: str) -> Gain:
        """The barycenter's held-out gain and its parts."""
        gain = split_gain(self.samples(OUTSIDE, policy), self.rules)
        if gain is None:
            raise ValueError("the gain's parts need mean, arithmetic, barycenter and self-control")
        return gain

    @property
    def seeds(self) -> int:
        """How many there are."""
        return len(self._seeds)

    def headline(self, policy: str) -> Row:
        """The paper's columns, then the paired differences."""
        inside, outside = (self.compare(split, policy) for split in SPLITS)
        return [
            *(SUCCESS.with_spread(inside[rule]) for rule in ("local", "mean", "barycenter")),
            *(SUCCESS.with_spread(outside[rule]) for rule in ("mean", "barycenter")),
            *(one["barycenter"].difference for one in (inside, outside)),
        ]


def marked(head: Sequence[str], rows: Sequence[Row], seeds: set[int]) -> list[str]:
    """A table, a star on what stands out of all its differences, and what the marks mean."""
    places = [(i, j) for i, row in enumerate(rows) for j in range(len(row))]
    gaps = {(i, j): cell for i, j in places if isinstance(cell := rows[i][j], Interval)}
    said = mark(gaps, SUCCESS.difference)
    lines = [[said.get((i, j), str(cell)) for j, cell in enumerate(row)]
             for i, row in enumerate(rows)]  # fmt: skip
    count = next(iter(seeds)) if len(seeds) == 1 else None
    return [*table(head, lines), "", in_markdown(" ".join(legend(gaps.values(), count)))]


def published(row: Published) -> list[str]:
    """The paper's columns; it gives no paired difference."""
    pairs = (
        row.inside_local,
        row.inside_mean,
        row.inside_barycenter,
        row.outside_mean,
        row.outside_barycenter,
    )
    cells = ("" if pair is None else f"{pair[0]:.1f} ± {pair[1]:.1f}" for pair in pairs)
    return [*cells, "", ""]


def table1_text(rows: Sequence[Record], plan: Plan) -> list[str]:
    """Ours beside table 1, then every rule of every setting."""
    settings = table1(plan)
    lines: list[Row] = []
    seeds = set()
    for size in TABLE_1:
        here = [setting for setting in settings if setting.size == size]
        if not here:
            continue
        grid = f"{size}x{size}, {here[0].clients}"
        lines.append([f"{grid}: **the paper**", *published(TABLE_1[size])])
        for setting in here:
            found = Found(rows, setting)
            seeds.add(found.seeds)
            lines += [
                [f"{grid}: {setting.title}, {policy}", *found.headline(policy)]
                for policy in found.policies
            ]
    text = [NOTE, "", *marked(("grid, clients: fit, policy", *HEAD), lines, seeds)]
    for setting in settings:
        text += ["", *_details(setting, rows, plan)]
    return text


def table2_text(rows: Sequence[Record], plan: Plan) -> list[str]:
    """Ours beside table 2, under each policy, and where the gain comes from."""
    lines: list[Row] = []
    gains: list[Row] = []
    seeds = set()
    for share, setting in zip(WEAK, table2(plan), strict=True):
        found = Found(rows, setting)
        seeds.add(found.seeds)
        lines.append([f"p = {share:g}: **the paper**", *published(TABLE_2[share])])
        for policy in found.policies:
            lines.append([f"p = {share:g}: {policy}", *found.headline(policy)])
            gains.append([f"p = {share:g}: {policy}", *_parts(found, policy)])
    text = [NOTE, "", *marked(("weak clients, policy", *HEAD), lines, seeds)]
    text += ["", "The barycenter's held-out gain, split:", ""]
    text += marked(("weak clients, policy", "total", *PARTS), gains, seeds)
    return [*text, "", *(f"- {command_of(setting, plan)}" for setting in table2(plan))]


def choices_text(rows: Sequence[Record], plan: Plan) -> list[str]:
    """One line a choice and policy: levels, difference and its parts, held-out."""
    lines: list[Row] = []
    seeds = set()
    for setting in choices(plan):
        found = Found(rows, setting)
        seeds.add(found.seeds)
        for policy in found.policies:
            outside = found.compare(OUTSIDE, policy)
            lines.append(
                [
                    f"{setting.title}, {setting.size}x{setting.size}: {policy}",
                    SUCCESS.with_spread(outside["mean"]),
                    SUCCESS.with_spread(outside["barycenter"]),
                    *_parts(found, policy),
                ]
            )
    head = ("choice, grid: policy", "held-out mean", "held-out barycenter", "difference", *PARTS)
    commands = [f"- {setting.title}: {command_of(setting, plan)}" for setting in choices(plan)]
    return [NOTE, "", *marked(head, lines, seeds), "", *commands]


def _details(setting: Setting, rows: Sequence[Record], plan: Plan) -> list[str]:
    """Every rule of one setting, held-out, under every policy."""
    found = Found(rows, setting)
    by_policy = [found.compare(OUTSIDE, policy) for policy in found.policies]
    inside = found.compare(INSIDE, found.policies[0])
    lines: list[Row] = [
        [
            label_of(rule),
            SUCCESS.with_spread(inside[rule]),
            SUCCESS.with_spread(by_policy[0][rule]),
            *("" if rule == "mean" else one[rule].difference for one in by_policy),
        ]
        for rule in found.rules
    ]
    gains = [found.gain(policy) for policy in found.policies]
    lines += [
        [f"*gain by {part}*", "", "", *(getattr(gain, part) for gain in gains)] for part in PARTS
    ]
    names = [f"held-out - mean, {policy}" for policy in found.policies]
    return [
        f"### {setting.name[0].upper()}{setting.name[1:]}",
        "",
        command_of(setting, plan),
        "",
        *marked(("rule", "in-dist.", "held-out", *names), lines, {found.seeds}),
    ]


def _parts(found: Found, policy: str) -> Row:
    gain = found.gain(policy)
    return [getattr(gain, part) for part in ("total", *PARTS)]


def command_of(setting: Setting, plan: Plan) -> str:
    """The command that runs a setting by itself."""
    return f"`{PROG} {setting.arguments(plan)}`"
