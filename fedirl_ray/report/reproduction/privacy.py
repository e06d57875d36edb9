"""What privacy costs and hides: success and attacks against epsilon, as tables and a picture."""

from collections.abc import Sequence
from math import inf

import numpy as np

from fedirl_ray.evaluate.statistics import interval, paired, stand_out
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.report.difference import bar, legend
from fedirl_ray.report.reproduction.markdown import number, table
from fedirl_ray.report.reproduction.plots import finish, panels_of
from fedirl_ray.report.table import label_of
from fedirl_ray.study.reproduction.plan import Plan, Record
from fedirl_ray.study.reproduction.privacy import (
    CEILING,
    CLIP,
    DELTA,
    FEATURES,
    KNOWN,
    SHOWN,
    UPLOAD,
    seeds_of,
)

UNITS = {
    "trajectory": "one demonstration of a client, noise on its feature counts",
    "client": f"all a client holds, noise on the theta it sends (clipped to {CLIP:g})",
    "central": f"all a client holds, noise by a trusted server (thetas clipped to {CLIP:g})",
}
COLOURS = (*(f"tab:{name}" for name in (
    "gray", "red", "olive", "brown", "orange", "blue", "cyan", "green", "purple", "pink"
)), "black", "gold")  # fmt: skip
"""Of rules and of what is seen, the same in all panels."""


def privacy_text(rows: Sequence[Record], plan: Plan) -> list[str]:
    """Tables of success by what is protected, of attacks, and of what visits show."""
    seeds = len(seeds_of(rows))
    lines = [
        f"delta {DELTA:g}, seeded noise: simulation, not private. Every epsilon has the same "
        f"worlds and demonstrations; {seeds} seeds; ± is a 95 % interval over them.",
        "",
    ]
    for features in [name for name in FEATURES if any(row["what"] == name for row in rows)]:
        for unit, words in UNITS.items():
            lines += [
                f"**Held-out success in %, {features} features. Protected: {words}.**",
                "",
                *_success(rows, features, unit),
                "",
            ]
        for unit in ("trajectory", "client"):
            lines += _differences(rows, features, unit)
    lines += [
        f"**Membership: AUC for the most unusual of a client's {SHOWN} demonstrations** "
        "(trajectory; one-hot features, 0.5 is a coin's). Shadow fits tell the attacker how the "
        "upload or the fused reward is spread with it and without; "
        f"*{KNOWN}* asks which of two it was.",
        "",
        *_against(rows, "auc"),
        "",
        "**Reconstruction: total variation between a client's state visits and those worked out** "
        "from theta, its world and lambda (0: exactly; *nothing*: from a constant reward).",
        "",
        *_against(rows, "visits"),
    ]
    return lines


def _values(rows: Sequence[Record], what: str, unit: str, epsilon: float, rule: str) -> Floats:
    """One number a seed; nothing where there is none."""
    unit = "none" if epsilon == inf else unit
    wanted = (what, unit, epsilon, rule)
    found = {
        row["seed"]: row["value"]
        for row in rows
        if (row["what"], row["unit"], row["epsilon"], row["rule"]) == wanted
    }
    return np.array([found[seed] for seed in sorted(found)])


def _levels(rows: Sequence[Record]) -> list[float]:
    return sorted({row["epsilon"] for row in rows})


def _names(rows: Sequence[Record], what: str, unit: str) -> list[str]:
    """Rules or attacks of a table, in their order."""
    kept = (row["rule"] for row in rows if (row["what"], row["unit"]) == (what, unit))
    return list(dict.fromkeys(kept))


def _head(levels: Sequence[float]) -> list[str]:
    return ["none" if level == inf else f"epsilon {level:g}" for level in levels]


def _success(rows: Sequence[Record], features: str, unit: str) -> list[str]:
    """Success of every rule by epsilon."""
    levels, body, shown = _levels(rows), [], []
    for rule in _names(rows, features, unit):
        each = [interval(100.0 * _values(rows, features, unit, e, rule)) for e in levels]
        shown += each
        body.append([label_of(rule), *(number(one, 1) for one in each)])
    said = legend([], len(seeds_of(rows)), shown)
    return [*table(["rule", *_head(levels)], body), "", *said]


def _differences(rows: Sequence[Record], features: str, unit: str) -> list[str]:
    """Every rule beside the mean under the same noise."""
    levels, gaps = _levels(rows), {}
    rules = [rule for rule in _names(rows, features, unit) if rule not in ("mean", "local")]
    for rule in rules:
        for level in levels:
            own, mean = (100.0 * _values(rows, features, unit, level, r) for r in (rule, "mean"))
            gaps[rule, level] = paired(own, mean)
    stars = dict(zip(gaps, stand_out(list(gaps.values())), strict=True))
    body = [
        [label_of(rule), *(number(gaps[rule, e], 1, stars[rule, e]) for e in levels)]
        for rule in rules
    ]
    return [
        f"**Minus the parameter mean on the same seeds and noise, {features} features. "
        f"Protected: {UNITS[unit]}.**",
        "",
        *table(["rule", *_head(levels)], body),
        "",
        *legend(gaps.values(), len(seeds_of(rows))),
        "",
    ]


def _against(rows: Sequence[Record], what: str) -> list[str]:
    """Attacks by epsilon."""
    levels = _levels(rows)
    body = []
    for name in _names(rows, what, "trajectory"):
        each = [interval(_values(rows, what, "trajectory", level, name)) for level in levels]
        # What is worked out by hand is the same for every seed.
        said = [f"{one.mean:.2f}" if name == CEILING else number(one) for one in each]
        body.append([_seen(name), *said])
    return table(["what is seen", *_head(levels)], body)


def _seen(name: str) -> str:
    return name if name in (UPLOAD, KNOWN, CEILING, "nothing") else f"fused: {label_of(name)}"


def privacy_figure(rows: Sequence[Record]) -> bytes:
    """Success by rule for either kind of features, and attacks by what is seen, by epsilon."""
    kinds = [name for name in FEATURES if any(row["what"] == name for row in rows)]
    titles: dict[str, str] = {name: f"held-out success in %, {name}" for name in kinds}
    titles |= {"auc": "membership, AUC", "visits": "visits worked out, total variation"}
    names = {what: _names(rows, what, "trajectory") for what in titles}
    every = dict.fromkeys(name for each in names.values() for name in each)
    colours = dict(zip(every, COLOURS, strict=False))
    levels = _levels(rows)
    at = np.arange(len(levels))
    figure, panels = panels_of(1, len(titles), (3.1, 2.9))
    for panel, (what, title) in zip(panels[0], titles.items(), strict=True):
        unit = 100.0 if what in kinds else 1.0
        for name in names[what]:
            each = [interval(unit * _values(rows, what, "trajectory", e, name)) for e in levels]
            panel.errorbar(
                at,
                [one.mean for one in each],
                [bar(one) for one in each],
                fmt="--" if name == CEILING else "o-",
                color=colours[name],
                markersize=3,
                linewidth=0.8,
                label=label_of(name),
            )
        panel.set_xticks(at, ["none" if e == inf else f"{e:g}" for e in levels])
        panel.set_xlabel("epsilon", fontsize=8)
        panel.set_title(title, fontsize=8)
    panels[0][-2].axhline(0.5, color="grey", linewidth=0.8)
    return finish(figure, panels, "One demonstration protected: what it costs, and what it hides")
