"""The registered test of `auto`: its verdicts, its gains, and whether the claim held."""

from collections.abc import Sequence

import numpy as np

from fedirl_ray.evaluate.statistics import interval
from fedirl_ray.report.measure import SUCCESS, VALUE
from fedirl_ray.report.reproduction.displaced import (
    BASE,
    NOTE,
    OUTSIDE,
    Judged,
    beside_the_mean,
    commands,
)
from fedirl_ray.report.reproduction.markdown import table
from fedirl_ray.report.wording import plain
from fedirl_ray.study.reproduction.plan import Plan, Record
from fedirl_ray.study.reproduction.unseen import AUTO, CHOSE, FOUND, ROOT, WORLDS, settings


def unseen_text(rows: Sequence[Record], plan: Plan) -> list[str]:
    """The claim and what came of it, every rule's value, and what `auto` saw."""
    found = [Judged(rows, setting) for setting in settings(plan)]
    registered = plan.seed == ROOT and plan.scale != "smoke"
    text = ["This is the registered run." if registered
            else f"A rehearsal: the registered run has --seed {ROOT}."]  # fmt: skip
    text += ["", NOTE, "", *_answer(found), "", "### Held out: value", ""]
    text += beside_the_mean(found, OUTSIDE, VALUE, "world")
    text += ["", "### What auto saw and took", "", *_verdicts(rows, found)]
    return [*text, "", *commands(found, plan)]


def _answer(found: Sequence[Judged]) -> list[str]:
    """Whether it lost anywhere, and what it gained on average over worlds."""
    gains = {one.name: one.over(AUTO, BASE, OUTSIDE, VALUE) for one in found}
    lost = [name for name, gain in gains.items() if gain.mean < 0.0 and gain.excludes_zero]
    each = np.array([gain.mean for gain in gains.values()])
    average = interval(each)
    said = (
        f"In {len(lost)} of {len(gains)} worlds auto's value is significantly below the mean's "
        f"(each world by its own 95 % interval){': ' if lost else ''}{'; '.join(lost)}. On average "
        f"over the worlds it gains {VALUE.told(average)}; the worst world, "
        f"{VALUE.told(gains[min(gains, key=lambda name: gains[name].mean)])}."
    )
    return [said]


def _verdicts(rows: Sequence[Record], found: Sequence[Judged]) -> list[str]:
    moved = {one.title: one.moved for one in WORLDS}
    lines = []
    for one in found:
        own = [row for row in rows if row["setting"] == one.setting.name and row["rule"] == AUTO]
        told = {
            name: np.array([row["value"] for row in own if row["metric"] == name])
            for name in (FOUND, "J", "rho")
        }
        took = sorted({row["metric"] for row in own if row["metric"].startswith(f"{CHOSE} ")})
        counts = {name: sum(row["metric"] == name for row in own) for name in took}
        lines.append(
            [
                one.name,
                "yes" if moved[one.setting.title] else "no",
                SUCCESS.with_half(float(told[FOUND].mean())),
                *(plain(float(np.nanmedian(told[name])), 2) for name in ("J", "rho")),
                ", ".join(
                    f"{name.removeprefix(f'{CHOSE} ')} {counts[name]}"
                    for name in sorted(took, key=lambda name: -counts[name])
                ),
            ]
        )
    head = ("world", "displaced", "found so, % of seeds", "J", "rho", "took, in seeds")
    return [*table(head, lines), "", "J, rho: medians."]
