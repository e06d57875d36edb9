"""What makes a trial good: METRIC/SPLIT/RULE or COST/RULE, averaged over its seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

import numpy as np

from fedirl_ray.config_fusion import REFERENCES
from fedirl_ray.domain.adapting import ADAPTATIONS
from fedirl_ray.domain.domain import SPLITS, Domain, Split
from fedirl_ray.engine.result import SeedResult, judges, sent
from fedirl_ray.errors import DataError
from fedirl_ray.laws import require

DIFFERENCE = "difference"
"""Of the metric that tables are of, beyond the mean's; like every metric, by the first judge."""
COSTS = ("seconds", "bytes_down", "bytes_up")
"""Of a rule, a seed."""
UNTIMED = tuple(name for name in REFERENCES if name not in ("local", *ADAPTATIONS, "pooled"))
"""References that nobody learns."""


@dataclass(frozen=True)
class Objective:
    """One objective, taken apart."""

    metric: str
    split: str | None
    rule: str

    @classmethod
    def parse(cls, name: Any, domain: Domain, rules: Sequence[str]) -> Self:
        """Take an objective's name apart.

        Args:
            name: As the study file has it.
            domain: The kind of world that trials run in.
            rules: Those that every trial runs.

        Raises:
            ConfigError: There is no such objective, or it would be the same number, or none, in
                every trial.
        """
        metrics = (*dict.fromkeys(channel.metric for channel in domain.channels), DIFFERENCE)
        law = (
            f"{'|'.join(metrics)}/{'|'.join(SPLITS)}/RULE or {'|'.join(COSTS)}/RULE, "
            f"RULE among {', '.join(rules)}"
        )
        metric, *rest = str(name).split("/")
        placed = metric in metrics and len(rest) == 2 and rest[0] in SPLITS
        right = (placed or (metric in COSTS and len(rest) == 1)) and rest[-1] in rules
        require(right, "objectives", law, name)
        rule: Any = rest[-1]
        untimed = metric == "seconds" and rule in UNTIMED
        require(not untimed, "objectives", f"of a rule that learns, {rule} takes no seconds", name)
        homeless = placed and rest[0] == SPLITS[1] and rule in ADAPTATIONS
        require(not homeless, "objectives", f"{SPLITS[0]} of {rule}, which is a client's own", name)
        nothing = metric == "difference" and rule == "mean"
        require(not nothing, "objectives", "of a rule that differs from mean", name)
        return cls(metric, rest[0] if placed else None, rule)

    def read(self, results: Sequence[SeedResult], domain: Domain) -> float:
        """The mean over the seeds of a run.

        Raises:
            DataError: It is no finite number.
        """
        value = self._mean(results, domain)
        if not math.isfinite(value):
            where = "" if self.split is None else f"{self.split}/"
            raise DataError(f"{self.metric}/{where}{self.rule} is no finite number, got {value}")
        return value

    def _mean(self, results: Sequence[SeedResult], domain: Domain) -> float:
        rule, rules = self.rule, domain.config.fusion.rules
        if self.metric == "seconds":
            column = rules.index(rule)
            return float(np.mean([result.seconds[column] for result in results]))
        if self.metric.startswith("bytes"):
            way = self.metric.removeprefix("bytes_")
            return float(np.mean([getattr(sent(rule, one, domain), way) for one in results]))
        metric = domain.metric if self.metric == DIFFERENCE else self.metric
        channel = next(iter(judges(domain, metric).values()))
        split = cast(Split, self.split)
        levels = np.mean([result.scores(split)[:, channel] for result in results], axis=0)
        base = levels[rules.index("mean")] if self.metric == DIFFERENCE else 0.0
        return float(levels[rules.index(rule)] - base)
