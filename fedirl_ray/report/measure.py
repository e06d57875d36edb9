"""How a metric is shown: a share in % and its differences in points, a return as it is."""

from dataclasses import dataclass

import numpy as np

from fedirl_ray.evaluate.comparison import Comparison
from fedirl_ray.evaluate.statistics import Interval
from fedirl_ray.report.difference import with_marks
from fedirl_ray.report.wording import plain, signed


@dataclass(frozen=True)
class Measure:
    """One metric in words and digits."""

    metric: str
    """Its name."""
    scale: float = 1.0
    """What its numbers are shown times."""
    unit: str = ""
    """Of its numbers."""
    apart: str = ""
    """Unit of its differences."""
    judge: str = "judge"
    """What those who judge by it are called."""
    level_digits: int | None = None
    """Decimals of a mean; None: as many as its spread bears."""
    most: int = 4
    """Most decimals of a narrow interval."""

    @property
    def name(self) -> str:
        """The metric and its unit."""
        return f"{self.metric} in {self.unit}" if self.unit else self.metric

    @property
    def difference_name(self) -> str:
        """A difference of the metric and its unit."""
        return f"{self.apart} of {self.metric}" if self.apart else self.metric

    @property
    def in_apart(self) -> str:
        """How a sentence about differences ends: in which unit."""
        return f", in {self.apart}" if self.apart else ""

    def by(self, judge: str) -> str:
        """Who judges."""
        return f"{judge} policy" if self.judge == "policy" else f"judged by {judge}"

    def level(self, found: Comparison) -> str:
        """A mean over seeds; empty where there is none."""
        return self._level(found.mean, found.spread)

    def with_spread(self, found: Comparison) -> str:
        """A mean with its standard deviation over seeds."""
        return self.with_half(found.mean, found.spread)

    def with_half(self, mean: float, half: float = float("nan")) -> str:
        """A mean with half the width of what it lies in, where that is known."""
        if np.isnan(mean) or np.isnan(half):
            return self._level(mean, half)
        return f"{self._level(mean, half)} ± {self.scale * half:.{self._level_digits(mean, half)}f}"

    def _level(self, mean: float, half: float) -> str:
        return "" if np.isnan(mean) else plain(self.scale * mean, self._level_digits(mean, half))

    def _level_digits(self, mean: float, half: float) -> int:
        if self.level_digits is not None:
            return self.level_digits
        if half > 0.0:
            return self._digits(half)
        # What bears no interval is told in three digits.
        size = np.log10(abs(mean)) if mean else 2.0
        return int(np.clip(2 - np.floor(size), 1, self.most))

    def difference(self, found: Interval, star: bool = False) -> str:
        """A difference, its interval, and its marks; empty where there is none.

        Args:
            found: In the metric's own unit.
            star: Whether it stands out in its table.
        """
        digits = self._digits(found.half_width)
        mean = signed(self.scale * found.mean, digits)
        return with_marks(found, mean, self.scale, digits, star)

    def told(self, found: Interval) -> str:
        """A difference in a sentence, with its unit."""
        said = self.difference(found).strip()
        return f"{said} {self.apart}" if self.apart else said

    def _digits(self, half: float) -> int:
        """A tenth is plenty, unless the interval is narrower than that."""
        digits = 1
        while digits < self.most and 0.0 < half < 0.5 * 0.1**digits / self.scale:
            digits += 1
        return digits


SUCCESS = Measure(
    "success", scale=100.0, unit="%", apart="points", judge="policy", level_digits=1, most=2
)
VALUE = Measure("value", scale=100.0, unit="%", apart="points", judge="policy", level_digits=1)
"""Return, 0 what a random policy earns and 100 the true reward's plan; see `value_of`."""


def measure_of(metric: str) -> Measure:
    """How a metric is shown, by its name."""
    return {one.metric: one for one in (SUCCESS, VALUE)}.get(metric, Measure(metric))
