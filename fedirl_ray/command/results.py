"""Folders of results: made empty, with what they are for written down; tables in and out."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from fedirl_ray.engine.checkpoint import write_atomically
from fedirl_ray.errors import ConfigError


def make_folder(folder: Path, file: str, tree: Mapping[str, Any]) -> None:
    """Make an empty folder and write down what it is for.

    Args:
        folder: Which.
        file: Name of the settings file in it.
        tree: The settings.

    Raises:
        ConfigError: It is not empty, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ConfigError(
                f"run-dir must be a new or empty folder, got {folder}; go on in it with --resume"
            )
        write_atomically(folder / file, yaml.safe_dump(dict(tree), sort_keys=False).encode())
    except OSError as err:
        raise ConfigError(
            f"run-dir must be a folder that can be written, got {folder}: {err.strerror}"
        ) from err


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table, the same names in every row, as Parquet."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), buffer)
    write_atomically(path, buffer.getvalue())


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read what `write_rows` wrote."""
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows
