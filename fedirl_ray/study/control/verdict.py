"""What a study of a control task comes to: per column means, paired differences, a plain answer.

The unit is a seed: its worlds of one split are averaged first.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fedirl_ray.evaluate.statistics import Interval, paired
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.study.control.columns import MATCHED, TRUE

Record = Mapping[str, Any]

BLIND = ("+1", "-1")
"""Controls by name, beside those called random."""


class Curve(NamedTuple):
    """True return along training."""

    at: Floats
    """Environment steps, `[k]`."""
    returns: Floats
    """Mean over a split's worlds, `[e, k]`."""


def is_control(column: str) -> bool:
    """Whether a column knows nothing of any demonstration."""
    return column in BLIND or column.startswith("random")


def is_rule(column: str) -> bool:
    """Whether a column is a fused reward as its rule gives it."""
    others = column in ("local", "pooled", TRUE)
    return not (others or is_control(column) or column.endswith(MATCHED))


def columns_of(rows: Sequence[Record]) -> list[str]:
    """Columns that were judged, in their order."""
    return list(dict.fromkeys(row["column"] for row in rows if row["kind"] in ("planner", "agent")))


def by_seed(
    rows: Sequence[Record], kind: str, column: str, held_out: bool, name: str = "return"
) -> Floats:
    """Last value of every world, mean over a split's worlds, `[e]` by seed."""
    last: dict[tuple[int, float], tuple[int, float]] = {}
    for row in rows:
        wanted = row["kind"] == kind and row["column"] == column and row["name"] == name
        if not wanted or row["held_out"] != held_out:
            continue
        key = (row["seed"], row["client"])
        if key not in last or row["step"] >= last[key][0]:
            last[key] = (row["step"], row["value"])
    seeds = sorted({seed for seed, _ in last})
    means = [np.mean([value for (own, _), (_, value) in last.items() if own == s]) for s in seeds]
    return np.array(means)


def curve(rows: Sequence[Record], column: str, held_out: bool) -> Curve:
    """A column's learning curve in one split."""
    values: dict[tuple[int, int], list[float]] = {}
    for row in rows:
        if row["kind"] == "agent" and row["column"] == column and row["held_out"] == held_out:
            values.setdefault((row["seed"], row["step"]), []).append(row["value"])
    seeds = sorted({seed for seed, _ in values})
    at = sorted({step for _, step in values})
    means = np.array([[np.mean(values[seed, step]) for step in at] for seed in seeds])
    return Curve(np.array(at, dtype=np.float64), means)


class Standing(NamedTuple):
    """One fused rule against the parameter mean and against every blind control."""

    rule: str
    over_mean: Interval
    over_controls: Mapping[str, Interval]
    """By the control's name; at least one."""

    @property
    def closest(self) -> str:
        """The control with the smallest margin: the one whose interval reaches lowest."""
        return min(self.over_controls, key=lambda name: _lower_end(self.over_controls[name]))

    @property
    def better(self) -> bool:
        """Whether the rule is above the mean and above every control, each by its own interval.

        All of them have to be (an intersection-union test), so that none of the intervals needs a
        correction for their number: a rule that is not above one of them in truth passes that one
        in 2.5 % of studies at most.
        """
        return all(map(is_above, (self.over_mean, *self.over_controls.values())))

    @property
    def worse(self) -> bool:
        """Whether the rule is below the parameter mean by its 95 % interval."""
        return self.over_mean.mean < 0.0 and self.over_mean.excludes_zero


def is_above(found: Interval) -> bool:
    """Whether a difference is above zero by its 95 % interval."""
    return found.mean > 0.0 and found.excludes_zero


def _lower_end(found: Interval) -> tuple[float, float]:
    """Where an interval begins; the mean decides where there is none, or among equals."""
    return found.mean - np.nan_to_num(found.half_width), found.mean


def standings(rows: Sequence[Record], kind: str, held_out: bool) -> list[Standing]:
    """Every fused rule but the mean itself, by the returns of one judge."""
    names = columns_of(rows)
    blind = {name: by_seed(rows, kind, name, held_out) for name in names if is_control(name)}
    base = by_seed(rows, kind, "mean", held_out)
    if not base.size or not blind:
        return []
    found = []
    for rule in names:
        if is_rule(rule) and rule != "mean":
            own = by_seed(rows, kind, rule, held_out)
            over = {name: paired(own, returns) for name, returns in blind.items()}
            found.append(Standing(rule, paired(own, base), over))
    return found
