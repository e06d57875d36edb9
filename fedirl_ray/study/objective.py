"""What makes a trial good: METRIC/SPLIT/RULE or COST/RULE, averaged over its seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from fedirl_ray.config import RunConfig
from fedirl_ray.engine.result import SPLITS, SeedResult, long_table, sent
from fedirl_ray.errors import DataError
from fedirl_ray.evaluate.planner import UNLEARNT
from fedirl_ray.laws import require

METRICS = ("success", "return", "difference")
"""Read in a split, under the run's first policy; `difference` is success beyond the mean's."""
COSTS = ("seconds", "bytes_down", "bytes_up")
"""Of a rule, a seed."""


@dataclass(frozen=True)
class Objective:
    """One objective, taken apart."""

    metric: str
    split: str | None
    rule: str

    @classmethod
    def parse(cls, name: Any, rules: Sequence[str]) -> Self:
        """Take an objective's name apart.

        Args:
            name: As the study file has it.
            rules: Those that every trial runs.

        Raises:
            ConfigError: There is no such objective, or it would be the same number, or none, in
                every trial.
        """
        law = (
            f"{'|'.join(METRICS)}/{'|'.join(SPLITS)}/RULE or {'|'.join(COSTS)}/RULE, "
            f"RULE among {', '.join(rules)}"
        )
        metric, *rest = str(name).split("/")
        placed = metric in METRICS and len(rest) == 2 and rest[0] in SPLITS
        right = (placed or (metric in COSTS and len(rest) == 1)) and rest[-1] in rules
        require(right, "objectives", law, name)
        rule: Any = rest[-1]
        untimed = metric == "seconds" and rule in UNLEARNT
        require(not untimed, "objectives", f"of a rule that learns, {rule} takes no seconds", name)
        nothing = metric == "difference" and rule == "mean"
        require(not nothing, "objectives", "of a rule that differs from mean", name)
        return cls(metric, rest[0] if placed else None, rule)

    def read(self, results: Sequence[SeedResult], config: RunConfig) -> float:
        """The mean over the seeds of a run.

        Raises:
            DataError: It is no finite number.
        """
        value = self._mean(results, config)
        if not math.isfinite(value):
            where = "" if self.split is None else f"{self.split}/"
            raise DataError(f"{self.metric}/{where}{self.rule} is no finite number, got {value}")
        return value

    def _mean(self, results: Sequence[SeedResult], config: RunConfig) -> float:
        rule = self.rule
        if self.metric == "seconds":
            column = config.fusion.rules.index(rule)
            return float(np.mean([result.seconds[column] for result in results]))
        if self.metric.startswith("bytes"):
            way = self.metric.removeprefix("bytes_")
            return float(np.mean([getattr(sent(rule, one, config), way) for one in results]))
        rows = long_table(results, config)
        metric = "success" if self.metric == "difference" else self.metric
        policy = next(row.policy for row in rows if row.metric == metric)

        def level(of: str) -> float:
            key = (of, self.split, policy, metric)
            found = [r.value for r in rows if (r.rule, r.split, r.policy, r.metric) == key]
            return float(np.mean(found))

        return level(rule) - level("mean") if self.metric == "difference" else level(rule)
