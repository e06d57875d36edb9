"""Folders of results: claimed, with what they are for written down; tables in and out."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from fedirl_ray.atomic import write_atomically
from fedirl_ray.engine.folder import Kind, claim, unwritable
from fedirl_ray.engine.identity import IDENTITY, Identity
from fedirl_ray.engine.record import parquet


@contextmanager
def new_folder(
    folder: Path, kind: Kind, tree: Mapping[str, Any], identity: Identity, *, overwrite: bool
) -> Iterator[None]:
    """Claim a new folder and write down what it is for.

    Args:
        folder: Which.
        kind: What it will hold, a kind with settings.
        tree: Its settings.
        identity: What decides its results.
        overwrite: Replace what is already there.

    Raises:
        ConfigError: It is not empty, cannot be written, or another process works in it.
    """
    hint = f"go on in it with --resume; --overwrite true replaces {kind.what}"
    with claim(folder, kind, "run-dir", overwrite=overwrite, hint=hint):
        assert kind.settings is not None
        try:
            write_atomically(folder / IDENTITY, identity.encode())
            data = yaml.safe_dump(dict(tree), sort_keys=False).encode()
            write_atomically(folder / kind.settings, data)
        except OSError as err:
            raise unwritable(folder, "run-dir", err) from err
        yield


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table, the same names in every row, as Parquet."""
    write_atomically(path, parquet(pa.Table.from_pylist(list(rows))))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read what `write_rows` wrote."""
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows
