"""What every part of a reproduction is told, and what it is made of."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fedirl_ray.config_engine import EngineConfig

Scale = Literal["smoke", "laptop", "paper"]
Record = Mapping[str, Any]
"""One row of a part's table: names and plain values, the same names in every row."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is run, from which root seed, and where."""

    scale: Scale
    seed: int = 0
    engine: EngineConfig = field(default_factory=lambda: EngineConfig(backend="local"))
    folder: Path = Path()
    """Where parts that take long keep finished pieces."""

    def at(self, *, smoke: int, laptop: int, paper: int) -> int:
        """The number that belongs to this plan's scale."""
        return {"smoke": smoke, "laptop": laptop, "paper": paper}[self.scale]


@dataclass(frozen=True)
class Part:
    """One table or figure: its work, cut into steps."""

    title: str
    seconds: float
    """Measured for one step at laptop scale on one busy core; only the estimate reads it."""
    steps: Callable[[Plan], int]
    """Number of steps of a plan."""
    run: Callable[[Plan], Iterator[list[Record]]]
    """Does a plan's steps in order; yields each one's rows."""
