"""Whether a rule beats what knows nothing: against the parameter mean and all blind controls."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fedirl_ray.config_fusion import BLIND, REFERENCES
from fedirl_ray.domain.domain import Split
from fedirl_ray.evaluate.statistics import Interval, paired
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.report.measure import Measure


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


def standings(samples: Floats, rules: Sequence[str]) -> list[Standing]:
    """Every fused rule but the mean itself, by one judge in one split.

    Args:
        samples: `[seeds, c]`, NaN of what was not judged.
        rules: Names of the columns.

    Returns:
        None of them where no blind control was judged.
    """
    known = {
        rule: column
        for rule, column in zip(rules, samples.T, strict=True)
        if not np.isnan(column).any()
    }
    blind = [rule for rule in BLIND if rule in known]
    if not blind or "mean" not in known:
        return []
    return [
        Standing(
            rule,
            paired(own, known["mean"]),
            {name: paired(own, known[name]) for name in blind},
        )
        for rule, own in known.items()
        if rule != "mean" and rule not in REFERENCES
    ]


SUBJECTS = ("barycenter", "debiased")
"""Rules that tables say it of, beside the user's own."""


def standings_text(
    by_split: Mapping[Split, Floats], rules: Sequence[str], measure: Measure
) -> list[str]:
    """The plain answer, one sentence a split and rule, where there are blind controls.

    Args:
        by_split: `[seeds, c]` of one judge.
        rules: Names of the columns.
        measure: Of what.
    """
    return [
        f"{split}, {one.rule}: {_said(one, measure)}"
        for split, samples in by_split.items()
        for one in standings(samples, rules)
        if one.rule in SUBJECTS or ":" in one.rule
    ]


def _said(one: Standing, measure: Measure) -> str:
    mean, control = (measure.told(gap) for gap in (one.over_mean, one.over_controls[one.closest]))
    facts = (
        f"{mean} over the mean, {control} over the blind control with the smallest margin "
        f"({one.closest}, of {len(one.over_controls)})."
    )
    if one.better:
        return f"better than the mean and every control: {facts}"
    if one.worse:
        return f"worse than the mean: {facts}"
    if is_above(one.over_mean):
        return f"above the mean, yet not above all that knows nothing: {facts}"
    if np.isnan(one.over_mean.half_width):
        return f"one seed, which gives no interval and so no answer: {facts}"
    return f"no difference shown: {facts}"
