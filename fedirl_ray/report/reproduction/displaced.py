"""Displaced maps: every rule beside the mean, in value and in success, and the maps themselves."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fedirl_ray.domain.domain import SPLITS, Split
from fedirl_ray.evaluate.comparison import value_of
from fedirl_ray.evaluate.statistics import Interval, interval, paired
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.report.measure import SUCCESS, VALUE, Measure
from fedirl_ray.report.reproduction.plots import finish, panels_of
from fedirl_ray.report.reproduction.tables import Row, command_of, marked
from fedirl_ray.report.table import label_of
from fedirl_ray.study.reproduction.displaced import MAP, TRUTH, settings
from fedirl_ray.study.reproduction.plan import Plan, Record
from fedirl_ray.study.reproduction.tables import Setting

INSIDE, OUTSIDE = SPLITS
BASE, EXPERT, RANDOM = "mean", "expert", "plus-one"
REFERENCES = ("local", "personal", EXPERT, RANDOM)
NOTE = (
    "Value: discounted true reward of the greedy policy, 0 what a random policy earns in the same "
    "worlds and 100 what the expert does. Differences are paired, rule minus parameter mean on the "
    "same seeds, in points; lengths are the largest, in cells."
)


class Judged:
    """What one setting's rewards come to under the main judge, by seed."""

    def __init__(self, rows: Sequence[Record], setting: Setting) -> None:
        own = [row for row in rows if row["setting"] == setting.name and row["judge"]]
        own = [row for row in own if row["judge"] == own[0]["judge"]]
        self.setting = setting
        self.rules = [
            rule for rule in dict.fromkeys(row["rule"] for row in own) if rule not in REFERENCES
        ]
        self._found = {
            (row["split"], row["metric"], row["rule"], row["seed"]): row["value"] for row in own
        }
        self._seeds = sorted({row["seed"] for row in own})

    def of(self, rule: str, split: Split, metric: Measure) -> Floats:
        """What a rule comes to, `[seeds]`."""
        if metric is VALUE:
            return self.value(rule, split)
        return self._read(rule, split, metric.metric)

    def value(self, rule: str, split: Split) -> Floats:
        """Return as a share of what lies between a random policy's and the expert's, `[seeds]`."""
        own, most, least = (self._read(name, split, "return") for name in (rule, EXPERT, RANDOM))
        return value_of(own, least, most)

    def over(self, rule: str, other: str, split: Split, metric: Measure) -> Interval:
        """Paired difference of two rules."""
        return paired(self.of(rule, split, metric), self.of(other, split, metric))

    def _read(self, rule: str, split: Split, metric: str) -> Floats:
        return np.array([self._found[split, metric, rule, seed] for seed in self._seeds])

    @property
    def name(self) -> str:
        """The setting, in a table's first column."""
        one = self.setting
        size = "" if one.size is None else f"{one.size}x{one.size}, "
        return f"{one.title} ({size}{one.clients} clients, {one.seeds} seeds)"


def displaced_text(rows: Sequence[Record], plan: Plan) -> list[str]:
    """Value held out, success held out, and value in the clients' own worlds."""
    found = [Judged(rows, setting) for setting in settings(plan)]
    text = [NOTE]
    for title, split, metric in (
        ("Held out, where nothing is displaced: value", OUTSIDE, VALUE),
        ("Held out: success in %", OUTSIDE, SUCCESS),
        ("The clients' own, displaced worlds: value", INSIDE, VALUE),
    ):
        text += ["", f"### {title}", "", *beside_the_mean(found, split, metric)]
    rivals = [rule for rule in found[0].rules if rule not in (BASE, "signed")]
    lines: list[Row] = [
        [one.name, *(one.over("signed", rival, OUTSIDE, VALUE) for rival in rivals)]
        for one in found
    ]
    head = ("what is displaced", *(f"signed - {label_of(rival)}" for rival in rivals))
    text += ["", "### Signed beside the others, held out: value", ""]
    text += marked(head, lines, {one.setting.seeds for one in found})
    return [*text, "", *commands(found, plan)]


def beside_the_mean(
    found: Sequence[Judged], split: Split, metric: Measure, first: str = "what is displaced"
) -> list[str]:
    """A table: the mean's level, and every rule's paired difference to it; a line a setting."""
    others = [rule for rule in found[0].rules if rule != BASE]
    lines: list[Row] = [
        [
            one.name,
            metric.with_half(interval(one.of(BASE, split, metric)).mean),
            *(one.over(rule, BASE, split, metric) for rule in others),
        ]
        for one in found
    ]
    head = (first, label_of(BASE), *(label_of(rule) for rule in others))
    return marked(head, lines, {one.setting.seeds for one in found})


def commands(found: Sequence[Judged], plan: Plan) -> list[str]:
    """What runs each setting by itself."""
    return [f"- {one.name}: {command_of(one.setting, plan)}" for one in found]


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
