"""A run that has ended, read back from its folder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedirl_ray.cli import PROG, typed
from fedirl_ray.cli import load as read_settings
from fedirl_ray.config import RunConfig
from fedirl_ray.domain.reward import LearntReward, load_reward
from fedirl_ray.engine.record import CONFIG, RunFolder
from fedirl_ray.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


@dataclass(frozen=True, eq=False)
class Result:
    """What a run has found; everything is read from its folder when it is asked for."""

    folder: Path
    """Where it is kept; README says what is in it."""
    config: RunConfig
    """Its settings."""

    @property
    def rules(self) -> tuple[str, ...]:
        """Rules and references that were compared, in the tables' order."""
        return self.config.fusion.rules

    @cached_property
    def summary(self) -> Mapping[str, Any]:
        """Means, spreads, paired differences and their intervals, as in summary.json.

        Raises:
            DataError: The file is missing or damaged.
        """
        tree = json.loads(self._read("summary.json"))
        assert isinstance(tree, dict)
        return tree

    def __repr__(self) -> str:
        config = self.config
        return (
            f"Result({str(self.folder)!r}: {config.problem.name}, {config.clients} clients, "
            f"{config.seeds} seeds, {len(self.rules)} rules)"
        )

    def table(self) -> str:
        """All tables as text, as in table.txt."""
        return self._read("table.txt")

    def to_arrow(self) -> "pa.Table":
        """Every number: seed, round, split, rule, judge, metric, step, value.

        Raises:
            DataError: The file is missing or damaged.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.folder / "results.parquet"
        try:
            return pq.read_table(path)
        except (pa.ArrowException, OSError) as err:
            raise DataError(
                f"{path} must be a run's long table: {str(err).splitlines()[0]}"
            ) from None

    def to_pandas(self) -> "pd.DataFrame":
        """The same as a data frame.

        Raises:
            ConfigError: pandas is not installed.
        """
        try:
            import pandas  # noqa: F401
        except ImportError:
            raise ConfigError(
                "to_pandas needs pandas, which is not installed: pip install pandas, or use "
                "to_arrow"
            ) from None
        return self.to_arrow().to_pandas()

    def reward(self, rule: str = "barycenter", seed: int = 0) -> LearntReward:
        """A reward that was learnt, to be called with states and actions.

        Args:
            rule: Whose: one of `rules` that has a reward.
            seed: Of which repetition.

        Raises:
            DataError: There is no such reward.
        """
        return load_reward(self.folder / "rewards.npz", rule, seed)

    def _read(self, name: str) -> str:
        path = self.folder / name
        try:
            return path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as err:
            raise DataError(f"{path} must be a readable file, got: {err}") from None


def load(folder: Path | str) -> Result:
    """Read a run that has ended.

    Args:
        folder: The run's.

    Raises:
        DataError: There is no run that has ended, or other code left it.
    """
    path = Path(folder)
    place = RunFolder(path)
    if not (path / CONFIG).is_file():
        raise DataError(f"folder must be that of a run (with {CONFIG}), got {path}")
    if not place.finished:
        raise DataError(
            f"folder must be of a run that has ended, got {path}; go on with: "
            f"{typed('--resume', path)}"
        )
    try:
        config = read_settings(
            RunConfig, [str(path / CONFIG)], prog=PROG, description="", whole=True
        )
    except ConfigError as err:
        raise DataError(
            f"folder must be of a run whose settings this version knows, got {path} of "
            f"{place.version}: {err}"
        ) from None
    return Result(path, config)
