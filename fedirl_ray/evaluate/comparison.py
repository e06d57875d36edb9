"""Rules compared over seeds: paired, with intervals, and split into where a gain comes from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedirl_ray.errors import DataError
from fedirl_ray.evaluate.statistics import Interval, interval, paired
from fedirl_ray.problem.mdp import Floats


@dataclass(frozen=True)
class Comparison:
    """One rule under one policy in one split, in the unit of the samples."""

    mean: float
    """Mean over seeds."""
    spread: float
    """Standard deviation over seeds (n - 1); NaN for one seed."""
    difference: Interval
    """Paired difference to the parameter mean."""


def compare(samples: Floats, rules: Sequence[str]) -> dict[str, Comparison]:
    """Compare every rule with the parameter mean on the same seeds.

    Args:
        samples: `[seeds, c]`, one column a rule.
        rules: Names of the columns; `mean` is among them.

    Returns:
        One comparison a rule.
    """
    base = samples[:, rules.index("mean")]
    several = len(samples) > 1
    return {
        rule: Comparison(
            mean=float(column.mean()),
            spread=float(column.std(ddof=1)) if several else float("nan"),
            difference=paired(column, base),
        )
        for rule, column in zip(rules, samples.T, strict=True)
    }


def value_of(earned: Floats, random: float | Floats, best: float | Floats) -> Floats:
    """Returns on a scale that worlds of all kinds share.

    Args:
        earned: Returns, any shape.
        random: What a policy earns that knows nothing, in the same worlds.
        best: What the true reward's plan, or its expert, earns there.

    Returns:
        0 where nothing is earned beyond `random`, 1 at `best`; beyond either end where it is.

    Raises:
        DataError: Somewhere the best earns no more than the random policy.
    """
    reach = np.asarray(best - random, dtype=np.float64)
    if not (reach > 0.0).all():
        raise DataError(
            f"value needs worlds where the best policy earns more than a random one, got "
            f"{float(np.min(reach)):+.3g} beyond it"
        )
    share: Floats = (earned - random) / reach
    return share


@dataclass(frozen=True)
class Gain:
    """The barycenter's paired gain over the parameter mean, and its three parts (they add up)."""

    total: Interval
    """Barycenter minus parameter mean."""
    normalisation: Interval
    """Same-sigma arithmetic mean minus parameter mean: what shifting and weighing alone do."""
    blur: Interval
    """Self control minus parameter mean: nothing can be transported, so entropic blur alone."""
    transport: Interval
    """What is left for transport: total minus normalisation minus blur."""


def split_gain(samples: Floats, rules: Sequence[str]) -> Gain | None:
    """Split the barycenter's gain; None unless every rule that takes part was run.

    Args:
        samples: `[seeds, c]`, one column a rule.
        rules: Names of the columns.

    Returns:
        The parts, each with its interval over seeds.
    """
    if not {"mean", "arithmetic", "self-control", "barycenter"} <= set(rules):
        return None
    mean, arithmetic, control, fused = (
        samples[:, rules.index(rule)]
        for rule in ("mean", "arithmetic", "self-control", "barycenter")
    )
    rest = (fused - mean) - (arithmetic - mean) - (control - mean)
    return Gain(
        total=paired(fused, mean),
        normalisation=paired(arithmetic, mean),
        blur=paired(control, mean),
        # Of these columns alone: others may not have been judged.
        transport=interval(rest, float(np.abs([mean, arithmetic, control, fused]).max())),
    )
