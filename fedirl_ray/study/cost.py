"""What the trials of a study cost together where they look at the same protected data.

Every trial adds noise of its own, and the best one is chosen by looking at all of them: whoever
publishes it has spent them all.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedirl_ray.errors import ConfigError
from fedirl_ray.privacy.accountant import Spent, spent
from fedirl_ray.privacy.protection import SIMULATED, Promise, promise_of
from fedirl_ray.study.space import Study

COST = "privacy.json"
"""The file that keeps it, in a study's folder."""


@dataclass(frozen=True)
class StudyCost:
    """What all trials that have begun cost."""

    cost: Spent | None
    """Of all together; None: some promised nothing, so that nothing holds."""
    dearest: float
    """Epsilon of the dearest trial alone."""
    trials: int
    open: int
    """Trials that promised nothing."""
    unit: str
    simulated: bool

    def in_words(self) -> list[str]:
        """The cost as lines under a table."""
        if self.cost is None:
            return [
                f"Privacy: {self.open} of {self.trials} trials promised nothing, and they looked "
                "at the same data as the others: no epsilon holds for the study."
            ]
        lines = [
            f"Privacy: {self.trials} trials looked at the same data; the best one, chosen among "
            f"them, cost epsilon {self.cost.epsilon:.4g} at delta {self.cost.delta:.3g} (rho "
            f"{self.cost.rho:.3g}), not the {self.dearest:.4g} of a trial alone."
        ]
        return [*lines, f"{SIMULATED}."] if self.simulated else lines


def cost_of(study: Study, tried: Sequence[Mapping[str, Any]]) -> StudyCost | None:
    """What trials cost together.

    Args:
        study: What is studied.
        tried: Settings of every trial that has begun, those that failed or were lost too.

    Returns:
        None where no trial promised anything. At the largest delta of a trial, by which each
        alone stays within its epsilon.
    """
    found: list[Promise | None] = []
    for params in tried:
        try:
            found.append(promise_of(study.config(params)))
        except ConfigError:
            continue  # it could not be run, and has not looked
    kept = [one for one in found if one is not None]
    if not kept:
        return None
    noise = [one.multiplier for one in kept for _ in range(one.cost.releases)]
    units = dict.fromkeys(one.unit for one in kept)
    return StudyCost(
        cost=spent(noise, max(one.cost.delta for one in kept)) if len(kept) == len(found) else None,
        dearest=max(one.cost.epsilon for one in kept),
        trials=len(found),
        open=len(found) - len(kept),
        unit=", ".join(units),
        simulated=any(one.simulated for one in kept),
    )


def as_tree(found: StudyCost) -> dict[str, Any]:
    """The cost as its file holds it."""
    return {**asdict(found), "in_words": found.in_words()}


def read_words(folder: Path) -> list[str]:
    """What a study's folder says of its cost; nothing where no trial promised anything."""
    try:
        return [str(line) for line in json.loads((folder / COST).read_text("utf-8"))["in_words"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []
