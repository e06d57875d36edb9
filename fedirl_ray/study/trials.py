"""The tables of a study's trials on disk: one of each trial that ended well, and two of all.

Every table of a trial says of which trial of which study it is, so that one in another's place is
known.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from optuna.trial import FrozenTrial, TrialState

from fedirl_ray.atomic import write_atomically
from fedirl_ray.engine.record import parquet
from fedirl_ray.engine.result import Row
from fedirl_ray.errors import ConfigError
from fedirl_ray.study.space import Study

TRIALS = "trials"
LOST = "lost"
"""Marks a trial that the machine did not let end; the state its row has."""
MARK = b"fedirl_ray.trial"
"""Key of what a table says of itself."""


def path_of(folder: Path, number: int) -> Path:
    """The file of a trial's long table."""
    return folder / TRIALS / f"{number:05d}.parquet"


def keep(folder: Path, mark: str, number: int, rows: Sequence[Row]) -> None:
    """Keep a trial's long table; it is told as ended only when that is on disk.

    Args:
        folder: The study's.
        mark: Whose the table is, see `Record.mark`.
        number: The trial's.
        rows: The table.

    Raises:
        OSError: E.g. the disk is full.
    """
    columns: dict[str, Any] = {"trial": [number] * len(rows)}
    columns |= {name: [getattr(row, name) for row in rows] for name in Row._fields}
    table = pa.table(columns).replace_schema_metadata({MARK: mark.encode()})
    write_atomically(path_of(folder, number), parquet(table))


def require_own(folder: Path, marks: Mapping[int, str]) -> None:
    """Refuse tables of other trials: each is somebody's work, and is not written over.

    Args:
        folder: The study's.
        marks: What the tables of its trials must say of themselves, by number.

    Raises:
        ConfigError: A table is not its trial's.
    """
    for number, mine in marks.items():
        path = path_of(folder, number)
        try:
            said = (pq.read_schema(path).metadata or {}).get(MARK, b"no trial")
        except (pa.ArrowException, OSError):
            continue  # see `torn`
        if said != mine.encode():
            raise ConfigError(
                f"{path} must be of {mine}, got {said.decode(errors='replace')}; put the right "
                "file there, or none: then its trial is run again"
            )


def torn(folder: Path, numbers: Sequence[int]) -> dict[int, str]:
    """Trials whose tables are missing or cannot be read, and which it is."""
    found = {}
    for number in numbers:
        try:
            pq.read_table(path_of(folder, number))
        except FileNotFoundError:
            found[number] = "is not there"
        except (pa.ArrowException, OSError) as err:
            found[number] = f"cannot be read ({str(err).splitlines()[0]})"
    return found


def trial_table(study: Study, trials: Sequence[FrozenTrial]) -> dict[str, list[Any]]:
    """One trial a row, as columns."""
    columns: dict[str, list[Any]] = {
        "number": [trial.number for trial in trials],
        "state": [_state(trial) for trial in trials],
    }
    for i, name in enumerate(study.objectives):
        columns[f"values.{name}"] = [
            trial.values[i] if trial.state == TrialState.COMPLETE else None for trial in trials
        ]
    for name in study.search:
        columns[f"params.{name}"] = _one_kind([trial.params.get(name) for trial in trials])
    for name in ("seconds", "error"):
        columns[name] = [trial.user_attrs.get(name) for trial in trials]
    return columns


def _state(trial: FrozenTrial) -> str:
    return LOST.upper() if trial.user_attrs.get(LOST) else trial.state.name


def _one_kind(values: list[Any]) -> list[Any]:
    """A Parquet column holds one type: numbers beside words, or too large, are spelt out."""
    said = [value for value in values if value is not None]
    kinds = {isinstance(value, str | bool) for value in said}
    large = any(isinstance(value, int) and abs(value) >= 2**63 for value in said)
    return [None if v is None else str(v) for v in values] if len(kinds) > 1 or large else values


def publish(study: Study, folder: Path, trials: Sequence[FrozenTrial]) -> None:
    """Write trials.parquet and results.parquet from what is kept.

    Args:
        study: What is studied.
        folder: Its folder.
        trials: Those that have ended, or were lost.
    """
    write_atomically(folder / "trials.parquet", parquet(pa.table(trial_table(study, trials))))
    done = [path_of(folder, t.number) for t in trials if t.state == TrialState.COMPLETE]
    kept = [table for path in done if (table := _read(path)) is not None]
    if kept:
        table = pa.concat_tables([one.replace_schema_metadata() for one in kept])
        write_atomically(folder / "results.parquet", parquet(table))


def _read(path: Path) -> pa.Table | None:
    """A trial's table; None: it has no whole file, see `torn`."""
    try:
        return pq.read_table(path)
    except (pa.ArrowException, OSError):
        return None
