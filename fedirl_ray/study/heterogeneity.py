"""The heterogeneity map: which rule helps where, by the dials a study turns.

For each dial and each of its levels, every fusing rule is compared with the parameter mean on the
same seeds.

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

from fedirl_ray.config_fusion import REFERENCES
from fedirl_ray.domain.domain import SPLITS
from fedirl_ray.errors import DataError
from fedirl_ray.evaluate.comparison import value_of
from fedirl_ray.evaluate.statistics import Interval, interval, paired
from fedirl_ray.problem.mdp import Floats

Level = float | str
Trials = Mapping[int, Mapping[str, Level | None]]
"""Settings tried, by trial and field; None: the field played no part."""
Samples = dict[int, dict[int, dict[str, float]]]
"""A metric by trial, seed and rule."""

BASE = "mean"
"""What rules are compared with."""
VALUE, RETURN, RANDOM, BEST = "value", "return", "plus-one", "true"
"""The metric that worlds of all kinds have in common, what it is of, and the columns that are its 0
and its 1: a constant reward, of whose plans none is better than another, and the true reward."""
MOST_LEVELS = 8
"""Numbers with more levels than this are put into bins of equal counts."""


@dataclass(frozen=True)
class Point:
    """One dial at one level, in the unit of the metric."""

    dial: str
    """The setting, as the user types it."""
    level: str
    """Its value, or the range of a bin."""
    number: float | None
    """Its value where it is a number, and one for all trials here."""
    trials: tuple[int, ...]
    """Which trials stand behind it."""
    seeds: int
    """Seeds that all of them ran."""
    balanced: bool
    """Whether every level of the dial was tried under the same settings of the others."""
    means: Mapping[str, Interval]
    """What the parameter mean comes to, then every other rule, in the study's order."""
    differences: Mapping[str, Interval]
    """Every other rule minus the parameter mean, paired by seed."""


def heterogeneity_map(
    trials: Trials,
    table: Mapping[str, Sequence[Any]],
    *,
    metric: str | None = None,
    split: str = SPLITS[1],
    judge: str | None = None,
) -> list[Point]:
    """Compare every rule with the parameter mean at every level of every dial.

    Args:
        trials: What was tried in the trials that ended.
        table: Long table with columns trial, seed, rule, split, judge, metric, step, value and
            round.
        metric: Of what; None: the first of `mapped_metrics`.
        split: Whose worlds the metric is read from.
        judge: By whom; None: the table's first of the metric, the one tables lead with.

    Returns:
        Points, dial by dial in the order of the trials' fields, levels ascending. Empty where
        nothing varies.

    Raises:
        DataError: Not all trials ran the parameter mean and some other rule, there is no such
            split or judge, or in some world the true reward's plan earns no more than chance.
    """
    found = _metric_samples(table, metric or mapped_metrics(table)[0], split, judge)
    rules = _compared(found)
    known = {number: fields for number, fields in trials.items() if number in found}
    points = []
    for dial in dict.fromkeys(name for fields in known.values() for name in fields):
        groups = _levels(dial, known)
        if len(groups) < 2:
            continue
        blocks = _complete_blocks(dial, known, groups)
        for level, members in groups.items():
            kept = [number for number in members if number in blocks] if blocks else members
            each = {number: found[number] for number in kept}
            said = {value for n in kept if (value := known[n][dial]) is not None}
            point = _point(dial, level, _number_of(said), each, rules, bool(blocks))
            if point is not None:
                points.append(point)
    return points


def mapped_metrics(table: Mapping[str, Sequence[Any]]) -> tuple[str, ...]:
    """What a study's map can be of: its value where it ran what that takes, and its metric."""
    told = metric_of(table["metric"])
    measured = {RANDOM, BEST} <= set(table["rule"]) and RETURN in set(table["metric"])
    return (VALUE, told) if measured else (told,)


def gain_of_trial(
    number: int, table: Mapping[str, Sequence[Any]], *, split: str = SPLITS[1]
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
    found = _samples(table, metric_of(table["metric"]), split, None)
    if number not in found:
        raise DataError(f"nothing of trial {number} in the study's results")
    seeds = found[number].values()
    for rule in (BASE, "barycenter"):
        if not all(rule in seed for seed in seeds):
            raise DataError(f"nothing of {rule} in trial {number}")
    fused, mean = (np.array([seed[rule] for seed in seeds]) for rule in ("barycenter", BASE))
    return paired(fused, mean), len(seeds)


def metric_of(metrics: Iterable[str]) -> str:
    """The metric that the tables of some results are of."""
    return "success" if "success" in set(metrics) else RETURN


def _metric_samples(
    table: Mapping[str, Sequence[Any]], metric: str, split: str, judge: str | None
) -> Samples:
    if metric != VALUE:
        return _samples(table, metric, split, judge)
    found = _samples(table, RETURN, split, judge)
    for trial, by_seed in found.items():
        for seed, earned in by_seed.items():
            if not {RANDOM, BEST} <= earned.keys():
                raise DataError(
                    f"value needs {RANDOM} and {BEST} in every trial, got none in {trial}"
                )
            values = np.array(list(earned.values()))
            try:
                share = value_of(values, earned[RANDOM], earned[BEST])
            except DataError as err:
                raise DataError(f"trial {trial}, seed {seed}: {err}") from None
            by_seed[seed] = dict(zip(earned, share.tolist(), strict=True))
    return found


def _samples(
    table: Mapping[str, Sequence[Any]], metric: str, split: str, judge: str | None
) -> Samples:
    """A metric of the table by trial, seed and rule, after the last round."""
    names = ("trial", "seed", "rule", "split", "judge", "metric", "round", "step", "value")
    found: Samples = defaultdict(lambda: defaultdict(dict))
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
    return found


def _compared(found: Samples) -> tuple[str, ...]:
    """Rules to compare, the mean first: all that fuse something, and that every trial ran."""
    each = [by_rule for by_seed in found.values() for by_rule in by_seed.values()]
    rules = [rule for rule in each[0] if all(rule in other for other in each)]
    fusing = [rule for rule in rules if rule not in REFERENCES and rule != BASE]
    if BASE not in rules or not fusing:
        raise DataError(
            f"the map needs a study whose trials all ran {BASE} and another rule, got "
            f"{', '.join(rules) or 'none that all ran'}"
        )
    return (BASE, *fusing)


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


def _number_of(values: Iterable[Level]) -> float | None:
    """The one number that trials share, if they do."""
    said = list(values)
    one = said[0] if len(said) == 1 else None
    return float(one) if isinstance(one, int | float) and not isinstance(one, bool) else None


def _point(
    dial: str,
    level: str,
    number: float | None,
    trials: Mapping[int, Mapping[int, Mapping[str, float]]],
    rules: tuple[str, ...],
    balanced: bool,
) -> Point | None:
    """Compare at one level; None where its trials have no seed in common."""
    seeds = sorted(set.intersection(*(set(by_seed) for by_seed in trials.values())))
    if not seeds:
        return None
    samples: dict[str, Floats] = {
        rule: np.array([np.mean([one[s][rule] for one in trials.values()]) for s in seeds])
        for rule in rules
    }
    return Point(
        dial=dial,
        level=level,
        number=number,
        trials=tuple(sorted(trials)),
        seeds=len(seeds),
        balanced=balanced,
        means={rule: interval(own) for rule, own in samples.items()},
        differences={rule: paired(samples[rule], samples[BASE]) for rule in rules if rule != BASE},
    )
