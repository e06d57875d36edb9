"""The heterogeneity map: where transport helps, where it hurts, and what a gain is made of.

For each dial of a study and each of its levels, the barycenter is compared with the parameter mean
and with the best rule that transports nothing, on the same seeds.

Seeds are the independent unit, since trials of a study share their worlds: what several trials say
of one seed at one level is averaged first, and intervals are over seeds. A dial's levels must not
be compared on different settings of the other dials either. So a setting of the others counts for a
dial only if it was tried at each of its levels: all of a full grid, the centre of a star. Where no
setting was (a random search), all trials count, and `Point.balanced` says so.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from fedirl_ray.errors import DataError
from fedirl_ray.evaluate.comparison import Gain, split_gain
from fedirl_ray.evaluate.statistics import Interval, paired
from fedirl_ray.fusion.rules import RULES
from fedirl_ray.problem.mdp import Floats

Level = float | str
Trials = Mapping[int, Mapping[str, Level | None]]
"""Settings tried, by trial and field; None: the field played no part."""

SIMPLE = tuple(name for name, spec in RULES.items() if not spec.transports)
"""Rules that fuse without transport."""
MOST_LEVELS = 8
"""Numbers with more levels than this are put into bins of equal counts."""


@dataclass(frozen=True)
class Point:
    """One dial at one level; differences in the unit of the metric."""

    dial: str
    """The setting, as the user types it."""
    level: str
    """Its value, or the range of a bin."""
    trials: int
    """How many trials stand behind it."""
    seeds: int
    """Seeds that all of them ran."""
    balanced: bool
    """Whether every level of the dial was tried under the same settings of the others."""
    against_mean: Interval
    """Barycenter minus parameter mean."""
    best: str
    """The simple rule with the largest mean success here. It is chosen on the same seeds, which
    favours it a little."""
    against_best: Interval
    """Barycenter minus that rule."""
    gain: Gain | None
    """The first difference in its parts; None unless every rule it needs was run."""


def heterogeneity_map(
    trials: Trials,
    table: Mapping[str, Sequence[Any]],
    *,
    split: str = "held-out",
    judge: str | None = None,
) -> list[Point]:
    """Compare the barycenter with simpler rules at every level of every dial.

    Args:
        trials: What was tried in the trials that ended.
        table: Long table with columns trial, seed, rule, split, judge, metric, step, value and
            round.
        split: Whose worlds the metric is read from.
        judge: By whom; None: the table's first, the one tables lead with.

    Returns:
        Points, dial by dial in the order of the trials' fields, levels ascending. Empty where
        nothing varies.

    Raises:
        DataError: The barycenter or the parameter mean was not run, or no such split or judge.
    """
    success, rules = _samples(table, split, judge)
    known = {number: fields for number, fields in trials.items() if number in success}
    points = []
    for dial in dict.fromkeys(name for fields in known.values() for name in fields):
        groups = _levels(dial, known)
        if len(groups) < 2:
            continue
        blocks = _complete_blocks(dial, known, groups)
        for level, members in groups.items():
            kept = [number for number in members if number in blocks] if blocks else members
            point = _point(dial, level, [success[n] for n in kept], rules, bool(blocks))
            if point is not None:
                points.append(point)
    return points


def gain_of_trial(
    number: int, table: Mapping[str, Sequence[Any]], *, split: str = "held-out"
) -> tuple[Interval, int]:
    """Barycenter minus parameter mean in one trial, by the table's first judge.

    Args:
        number: The trial's.
        table: As for `heterogeneity_map`.
        split: Whose worlds the metric is read from.

    Returns:
        The difference in the unit of the metric, and how many seeds it is over.

    Raises:
        DataError: There is no such trial, or the barycenter or the parameter mean was not run.
    """
    success, _ = _samples(table, split, None)
    if number not in success:
        raise DataError(f"nothing of trial {number} in the study's results")
    seeds = success[number].values()
    fused, mean = (np.array([s[rule] for s in seeds]) for rule in ("barycenter", "mean"))
    return paired(fused, mean), len(seeds)


def metric_of(metrics: Iterable[str]) -> str:
    """The metric that the tables of some results are of."""
    return "success" if "success" in set(metrics) else "return"


def _samples(
    table: Mapping[str, Sequence[Any]], split: str, judge: str | None
) -> tuple[dict[int, dict[int, dict[str, float]]], tuple[str, ...]]:
    """The metric by trial, seed and rule, after the last round, and the rules all trials ran."""
    names = ("trial", "seed", "rule", "split", "judge", "metric", "round", "step", "value")
    metric = metric_of(table["metric"])
    found: dict[int, dict[int, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    latest: dict[tuple[int, int, str], tuple[int, int]] = {}
    for trial, seed, rule, where, who, what, number, step, value in zip(
        *(table[name] for name in names), strict=True
    ):
        if what != metric or where != split:
            continue
        judge = judge or who
        key, when = (int(trial), int(seed), rule), (number, step)
        if who == judge and when >= latest.get(key, when):
            latest[key] = when
            found[int(trial)][int(seed)][str(rule)] = float(value)
    if not found:
        raise DataError(f"no {metric} of split {split} and judge {judge} in the study's results")
    each = [set(by_rule) for by_seed in found.values() for by_rule in by_seed.values()]
    rules = tuple(sorted(set.intersection(*each)))
    for rule in ("mean", "barycenter"):
        if rule not in rules:
            raise DataError(f"the map needs a study whose trials all ran {rule}, got {rules}")
    return found, rules


def _levels(dial: str, trials: Trials) -> dict[str, list[int]]:
    """Trials by level of one dial, ascending; many levels are put into bins."""
    tried = {n: v for n, fields in trials.items() if (v := fields.get(dial)) is not None}
    values = set(tried.values())
    numbers = all(isinstance(value, int | float) for value in values)
    if numbers and len(values) > MOST_LEVELS:
        return _bins({n: float(cast(float, value)) for n, value in tried.items()})
    ordered = sorted(values, key=(lambda v: (float(v), "")) if numbers else (lambda v: (0, str(v))))
    return {_spell(level): [n for n, value in tried.items() if value == level] for level in ordered}


def _bins(tried: Mapping[int, float], count: int = 5) -> dict[str, list[int]]:
    """Bins of about equal counts, named after the smallest and largest value in each.

    Equal values share a bin, the first that would hold one of them.
    """
    ranked = sorted(tried, key=lambda n: (tried[n], n))
    home: dict[float, int] = {}
    for i, part in enumerate(np.array_split(np.array(ranked), count)):
        for n in part.tolist():
            home.setdefault(tried[n], i)
    parts = [[n for n in ranked if home[tried[n]] == i] for i in range(count)]
    return {_range(tried[part[0]], tried[part[-1]]): part for part in parts if part}


def _range(low: float, high: float) -> str:
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"


def _spell(level: Level) -> str:
    return f"{level:g}" if isinstance(level, float) else str(level)


def _complete_blocks(dial: str, trials: Trials, groups: Mapping[str, list[int]]) -> set[int]:
    """Trials whose settings of the other dials were tried at every level of this one."""
    blocks: dict[tuple[tuple[str, Level | None], ...], dict[str, list[int]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for level, members in groups.items():
        for number in members:
            others = tuple(sorted((k, v) for k, v in trials[number].items() if k != dial))
            blocks[others][level].append(number)
    whole = [block for block in blocks.values() if len(block) == len(groups)]
    return {number for block in whole for members in block.values() for number in members}


def _point(
    dial: str,
    level: str,
    trials: Sequence[Mapping[int, Mapping[str, float]]],
    rules: tuple[str, ...],
    balanced: bool,
) -> Point | None:
    """Compare at one level; None where its trials have no seed in common."""
    seeds = sorted(set.intersection(*(set(by_seed) for by_seed in trials)))
    if not seeds:
        return None
    samples: Floats = np.array(
        [[np.mean([t[s][rule] for t in trials]) for rule in rules] for s in seeds]
    )
    fused, mean = (samples[:, rules.index(rule)] for rule in ("barycenter", "mean"))
    level_of = dict(zip(rules, samples.mean(axis=0), strict=True))
    best = max((rule for rule in SIMPLE if rule in rules), key=lambda rule: level_of[rule])
    return Point(
        dial=dial,
        level=level,
        trials=len(trials),
        seeds=len(seeds),
        balanced=balanced,
        against_mean=paired(fused, mean),
        best=best,
        against_best=paired(fused, samples[:, rules.index(best)]),
        gain=split_gain(samples, rules),
    )
