"""Finished seeds on disk: written whole or not at all, checked when read, never pickled.

A file is named after its seed and the SHA-256 of its bytes, so that one rename publishes the data
and its checksum together.
"""

import hashlib
import io
import os
import re
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from fedirl_ray.engine.result import SeedResult

_NAME = re.compile(r"seed-(\d{5,})-([0-9a-f]{16})\.npz")


def write_atomically(path: Path, data: bytes) -> None:
    """Put bytes under a name such that the name never holds less than all of them.

    Raises:
        OSError: E.g. the disk is full; what was under the name before is still there.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # makes the rename itself last
    finally:
        os.close(folder)


def save_seed(folder: Path, seed: int, result: SeedResult) -> None:
    """Keep one seed's result."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **asdict(result))
    data = buffer.getvalue()
    digest = hashlib.sha256(data).hexdigest()[:16]
    write_atomically(folder / f"seed-{seed:05d}-{digest}.npz", data)


def load_seeds(folder: Path, warn: Callable[[str], None]) -> dict[int, SeedResult]:
    """Read every seed that was kept.

    Args:
        folder: Where `save_seed` wrote.
        warn: Told, in one line each, which files are damaged; their seeds count as not done.

    Returns:
        Results by seed.
    """
    found = {}
    for path in sorted(folder.iterdir()):
        match = _NAME.fullmatch(path.name)
        if match is None:
            continue
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest()[:16] != match[2]:
            warn(f"checkpoint {path.name} is damaged (checksum differs); its seed is run again")
            path.unlink()
            continue
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                found[int(match[1])] = SeedResult(**arrays)
        except (ValueError, TypeError, zipfile.BadZipFile) as err:
            warn(f"checkpoint {path.name} is of another version ({err}); its seed is run again")
            path.unlink()
    return found
