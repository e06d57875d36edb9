"""Displaced maps: every rule beside the mean, in value and in success, and the maps themselves."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fedirl_ray.domain.domain import SPLITS, Split
from fedirl_ray.evaluate.statistics import Interval, interval, paired
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.report.measure import SUCCESS, Measure
from fedirl_ray.report.reproduction.plots import finish, panels_of
from fedirl_ray.report.reproduction.tables import Row, command_of, marked
from fedirl_ray.report.table import label_of
from fedirl_ray.study.reproduction.displaced import MAP, TRUTH, settings
from fedirl_ray.study.reproduction.plan import Plan, Record
from fedirl_ray.study.reproduction.tables import Setting

INSIDE, OUTSIDE = SPLITS
JUDGE = "greedy-0.95"
VALUE = Measure("value", 100.0, "%", "points", "policy", 1)
BASE, EXPERT, RANDOM = "mean", "expert", "plus-one"
REFERENCES = ("local", EXPERT, RANDOM)
NOTE = (
    "Value: discounted true reward of the greedy policy, 0 what a random policy earns in the same "
    "worlds and 100 what the expert does. Differences are paired, rule minus parameter mean on the "
    "same seeds, in points; lengths are the largest, in cells."
)


class Judged:
    """What one setting's rewards come to, by seed."""

    def __init__(self, rows: Sequence[Record], setting: Setting) -> None:
        own = [r for r in rows if r["setting"] == setting.name and r["judge"] == JUDGE]
        self.rules = [
            rule for rule in dict.fromkeys(row["rule"] for row in own) if rule not in REFERENCES
        ]
        self._found = {
            (row["split"], row["metric"], row["rule"], row["seed"]): row["value"] for row in own
        }
        self._seeds = sorted({row["seed"] for row in own})

    def of(self, rule: str, split: Split, metric: str) -> Floats:
        """`[seeds]`."""
        return np.array([self._found[split, metric, rule, seed] for seed in self._seeds])

    def value(self, rule: str, split: Split) -> Floats:
        """Return as a share of what lies between a random policy's and the expert's, `[seeds]`."""
        least = self.of(RANDOM, split, "return")
        share: Floats = (self.of(rule, split, "return") - least) / (
            self.of(EXPERT, split, "return") - least
        )
        return share

    @property
    def seeds(self) -> int:
        """How many there are."""
        return len(self._seeds)


def displaced_text(rows: Sequence[Record], plan: Plan) -> list[str]:
    """Value held out, success held out, and value in the clients' own worlds."""
    asked = settings(plan)
    found = [Judged(rows, setting) for setting in asked]
    text = [NOTE]
    for title, split, metric in (
        ("Held out, where nothing is displaced: value", OUTSIDE, VALUE),
        ("Held out: success in %", OUTSIDE, SUCCESS),
        ("The clients' own, displaced worlds: value", INSIDE, VALUE),
    ):
        lines = [
            _line(setting, one, split, metric) for setting, one in zip(asked, found, strict=True)
        ]
        others = [rule for rule in found[0].rules if rule != BASE]
        head = ("what is displaced", label_of(BASE), *(label_of(rule) for rule in others))
        text += ["", f"### {title}", "", *marked(head, lines, {one.seeds for one in found})]
    text += ["", "### Signed beside the others, held out: value", ""]
    rivals = [rule for rule in found[0].rules if rule not in (BASE, "signed")]
    lines = [
        [
            _name(setting),
            *(paired(one.value("signed", OUTSIDE), one.value(rival, OUTSIDE)) for rival in rivals),
        ]
        for setting, one in zip(asked, found, strict=True)
    ]
    head = ("what is displaced", *(f"signed - {label_of(rival)}" for rival in rivals))
    text += marked(head, lines, {one.seeds for one in found})
    return [*text, "", *(f"- {_name(one)}: {command_of(one, plan)}" for one in asked)]


def _line(setting: Setting, one: Judged, split: Split, metric: Measure) -> Row:
    def samples(rule: str) -> Floats:
        if metric is VALUE:
            return one.value(rule, split)
        return one.of(rule, split, metric.metric)

    base = samples(BASE)
    differences: list[Interval] = [
        paired(samples(rule), base) for rule in one.rules if rule != BASE
    ]
    return [_name(setting), metric.with_half(interval(base).mean), *differences]


def _name(setting: Setting) -> str:
    grid = f"{setting.size}x{setting.size}, {setting.clients} clients, {setting.seeds} seeds"
    return f"{setting.title} ({grid})"


def displaced_figure(rows: Sequence[Record]) -> bytes | None:
    """The true map, some clients', and what rules make of them, each at its own scale."""
    maps: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        if row["metric"] == MAP:
            maps.setdefault(row["rule"], []).append((row["step"], row["value"]))
    if not maps:
        return None
    clients = [name for name in maps if name.startswith("client ")][:3]
    shown = [
        TRUTH,
        *clients,
        *(r for r in ("mean", "barycenter", "register", "signed") if r in maps),
    ]
    figure, panels = panels_of(2, 4, (2.0, 2.0))
    for panel, name in zip(panels.flat, shown, strict=False):
        reward = np.array([value for _, value in sorted(maps[name])])
        _draw(panel, reward, "true reward" if name == TRUTH else label_of(name))
    for panel in list(panels.flat)[len(shown) :]:
        panel.axis("off")
    return finish(
        figure, panels, "One map, seen displaced by each client: rewards, and what fuses them"
    )


def _draw(panel: Any, reward: Floats, title: str) -> None:
    side = round(len(reward) ** 0.5)
    middle = float(np.median(reward))
    reach = float(np.abs(reward - middle).max()) or 1.0
    panel.imshow(
        reward.reshape(side, side), cmap="RdBu_r", vmin=middle - reach, vmax=middle + reach
    )
    panel.set_title(title, fontsize=8)
    panel.set_xticks([])
    panel.set_yticks([])
