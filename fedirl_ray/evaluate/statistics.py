"""Means and paired differences over seeds: intervals, p-values, and which of a table stand out."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from scipy import special

from fedirl_ray.problem.mdp import Floats
from fedirl_ray.seeds import stream

LEVEL = 0.05
"""Chance of a false claim: of one interval, and of any star in a table."""
ROUNDING = 1e-9
"""What is smaller, as a share of the values compared, is rounding."""
FEW = 5
"""With fewer seeds an interval stands on the normal distribution alone."""
FEWEST_APART = 3
"""With fewer seeds apart from the commonest value no interval can be estimated."""
LEAST_SPREAD = 0.25
"""A resample's spread counts as at least this share of the sample's. One that happens to leave out
the few seeds that differ would else have next to none, and blow the interval up past all sense."""
SKEWED = 0.5
"""Above this skewness Student's t covers too little; see docs/decisions/010."""

Method = Literal["t", "bootstrap", "none"]
Doubt = Literal["", "few", "tied"]


class Interval(NamedTuple):
    """A mean with its 95 % confidence interval, symmetric about it."""

    mean: float
    half_width: float
    """Half the interval's width; NaN where one seed leaves nothing to estimate it from."""
    method: Method = "t"
    """Student's t; or the bootstrap, where samples are skewed or mostly equal; none: one seed, or a
    value that is no number."""
    p_value: float = float("nan")
    """Of the mean being zero, two-sided, at most 5 % where the interval excludes zero; NaN where
    unknown. Of tied samples, which bear no interval, that of the sign test."""
    doubt: Doubt = ""
    """What speaks against the interval: few seeds; or tied, too few that differ from the rest."""

    @property
    def excludes_zero(self) -> bool:
        """Whether zero can be ruled out at 95 %, from this one interval."""
        if np.isnan(self.p_value):
            return abs(self.mean) > self.half_width
        return self.p_value <= LEVEL


def interval(samples: Floats, scale: float = 1.0) -> Interval:
    """Interval of a mean: Student's t where that holds, a bootstrap where it does not.

    Samples that are skewed, or of which more than half are equal, take the symmetric studentised
    bootstrap (Hall, The Bootstrap and Edgeworth Expansion, 1992, section 3.6).
    docs/decisions/010 has the coverage of both, and benchmarks/intervals.py measures it.

    Args:
        samples: One value a seed, `[seeds]`; for a paired difference, the differences.
        scale: Size of the values that the samples are differences of. What is within a
            billionth of it, or of the largest sample, is rounding: it counts as equal, or as zero.

    Returns:
        Mean, half width at 95 %, and how they were found. The same samples always give the same.
    """
    count = samples.size
    if count < 2 or not np.isfinite(samples).all():
        return Interval(float(samples.mean()), float("nan"), "none")
    values, commonest = _without_rounding(samples, ROUNDING * max(scale, np.abs(samples).max()))
    if commonest == count:
        return Interval(float(values[0]), 0.0, "t", _sign_test(values), "tied")
    mean, away = float(values.mean()), values - values.mean()
    error = float(values.std(ddof=1) / np.sqrt(count))
    student = float(special.stdtrit(count - 1, 1.0 - LEVEL / 2.0) * error)
    tied = Interval(mean, student, "t", _sign_test(values), "tied")
    if commonest > 1 and count - commonest < FEWEST_APART:
        return tied
    if count < FEW:
        return Interval(mean, student, "t", _student_p(mean / error, count), "few")
    skewness = _skewness(away)
    if commonest <= count / 2 and abs(skewness) <= SKEWED:
        return Interval(mean, student, "t", _student_p(mean / error, count))
    # Turned so that a difference and its opposite are resampled alike.
    ratios = _studentised(np.sort(away if skewness > 0.0 else -away))
    last = int(np.ceil((1.0 - LEVEL) * (ratios.size + 1))) - 1
    half = float(np.partition(ratios, last)[last] * error)
    as_far = int((ratios >= (1.0 - ROUNDING) * abs(mean) / error).sum())
    return Interval(mean, half, "bootstrap", (1 + as_far) / (1 + ratios.size))


def paired(own: Floats, base: Floats) -> Interval:
    """Interval of a paired difference, `own - base`, each `[seeds]`."""
    return interval(own - base, float(max(np.abs(own).max(), np.abs(base).max())))


def stand_out(found: Sequence[Interval]) -> list[bool]:
    """Which of a table's differences get a star: Holm's procedure over all of them.

    Where nothing differs in truth, the chance of any star in the table is at most 5 %.

    Args:
        found: All the table's differences; those without a p-value take no part.

    Returns:
        One answer a difference.
    """
    known = [i for i, one in enumerate(found) if not np.isnan(one.p_value)]
    starred = [False] * len(found)
    for rank, i in enumerate(sorted(known, key=lambda i: found[i].p_value)):
        if found[i].p_value > LEVEL / (len(known) - rank):
            break
        starred[i] = True
    return starred


def _without_rounding(samples: Floats, rounding: float) -> tuple[Floats, int]:
    """Samples in order, equal where only rounding parts them, and how often the commonest came."""
    values = np.sort(samples)
    first = np.concatenate([[True], np.diff(values) > rounding])
    group = np.cumsum(first) - 1
    values = values[first][group]
    # Adding zero makes -0.0 a plain 0.0.
    return np.where(np.abs(values) <= rounding, 0.0, values) + 0.0, int(np.bincount(group).max())


def _skewness(away: Floats) -> float:
    return float((away**3).mean() / (away**2).mean() ** 1.5)


def _student_p(ratio: float, count: int) -> float:
    return float(2.0 * special.stdtr(count - 1, -abs(ratio)))


def _sign_test(values: Floats) -> float:
    """Two-sided p-value of the exact sign test; zeros take no part."""
    above, below = int((values > 0.0).sum()), int((values < 0.0).sum())
    return min(1.0, 2.0 * float(special.bdtr(min(above, below), above + below, 0.5)))


def _studentised(away: Floats) -> Floats:
    """How many standard errors of its own every resample's mean lies off, `[b]`.

    Args:
        away: Samples minus their mean.
    """
    weights = _resamples(away.size)
    # Sums without BLAS, whose last bits depend on the processor.
    off = np.einsum("bn,n->b", weights, away)
    variance = np.einsum("bn,n->b", weights, away**2) - off**2
    least = LEAST_SPREAD**2 * float(np.einsum("n,n->", away, away)) / away.size
    ratios: Floats = np.abs(off) / np.sqrt(np.maximum(variance, least) / (away.size - 1))
    return ratios


@lru_cache(maxsize=2)
def _resamples(count: int) -> Floats:
    """Shares of every sample in every resample, `[b, count]`.

    The same for all samples of a size, so that an interval depends on nothing but its samples.
    """
    resamples = int(np.clip(2_000_000 // count, 999, 4_999))
    rng = stream(0, "bootstrap", count)
    return rng.multinomial(count, np.full(count, 1.0 / count), resamples) / count
