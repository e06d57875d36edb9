"""Finished work on disk: written whole or not at all, checked when read, no pickle.

A file is named after what it holds and the SHA-256 of its bytes, so that one rename publishes the
data and its checksum together.
"""

import contextlib
import hashlib
import io
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedirl_ray.engine.federation import Federation
from fedirl_ray.engine.result import SeedResult

_SEED = re.compile(r"seed-(\d{5,})-([0-9a-f]{16})\.npz")
_ROUND = re.compile(r"round-(\d{5,})-(\d{5,})-([0-9a-f]{16})\.npz")
_JOB = re.compile(r"job-([a-z0-9-]+)-([0-9a-f]{16})\.npz")

Warn = Callable[[str], None]
Arrays = dict[str, NDArray[Any]]


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
    except OSError as err:
        raise OSError(err.errno, err.strerror, str(path)) from err  # a full disk names no file
    finally:
        part.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # makes the rename itself last
    finally:
        os.close(folder)


def save_seed(folder: Path, seed: int, result: SeedResult) -> None:
    """Keep one seed's result; where its rounds stood is of no more use."""
    _save(folder, f"seed-{seed:05d}", asdict(result))
    for path in folder.glob(f"round-{seed:05d}-*.npz"):
        path.unlink()


def save_round(folder: Path, seed: int, state: Federation) -> None:
    """Keep where a seed stands after a round, and where it stood at the time before."""
    before = sorted(folder.glob(f"round-{seed:05d}-*.npz"))
    _save(folder, f"round-{seed:05d}-{int(state.done):05d}", asdict(state))
    for path in before[:-1]:
        path.unlink()


def load_seeds(folder: Path, warn: Warn) -> dict[int, SeedResult]:
    """Read every seed that was kept.

    Args:
        folder: Where `save_seed` wrote.
        warn: Told, in one line each, which files are damaged; their seeds count as not done.

    Returns:
        Results by seed.
    """
    found = {}
    for path, match in _named(folder, _SEED):
        with _describing(path, "its seed is run again", warn):
            found[int(match[1])] = SeedResult(**_load(path, match[2]))
    return found


def load_rounds(folder: Path, warn: Warn) -> dict[int, Federation]:
    """Read where the seeds that were under way stand.

    Args:
        folder: Where `save_round` wrote.
        warn: Told, in one line each, which files are damaged; the one before is used.

    Returns:
        The latest undamaged state by seed.
    """
    found = {}
    for path, match in _named(folder, _ROUND):
        with _describing(path, "the round before is gone back to", warn):
            found[int(match[1])] = Federation(**_load(path, match[3]))
    return found


def save_job(folder: Path, name: str, result: Arrays) -> None:
    """Keep what came of a job."""
    _save(folder, f"job-{name}", result)


def load_jobs(folder: Path, warn: Warn) -> dict[str, Arrays]:
    """Read every job's result that was kept.

    Args:
        folder: Where `save_job` wrote.
        warn: Told, in one line each, which files are damaged; their jobs count as not done.

    Returns:
        Results by name.
    """
    found = {}
    for path, match in _named(folder, _JOB):
        with _describing(path, "its job is run again", warn):
            found[match[1]] = _load(path, match[2])
    return found


class _DamagedError(Exception):
    """A file does not hold what its name promises."""


def _save(folder: Path, name: str, arrays: Arrays) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    data = buffer.getvalue()
    write_atomically(folder / f"{name}-{hashlib.sha256(data).hexdigest()[:16]}.npz", data)


def _named(folder: Path, pattern: re.Pattern[str]) -> Iterator[tuple[Path, re.Match[str]]]:
    for path in sorted(folder.iterdir()):
        match = pattern.fullmatch(path.name)
        if match is not None:
            yield path, match


def _load(path: Path, digest: str) -> Arrays:
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest()[:16] != digest:
        raise _DamagedError("is damaged (checksum differs)")
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return dict(arrays)


@contextlib.contextmanager
def _describing(path: Path, consequence: str, warn: Warn) -> Iterator[None]:
    """Tell of a file that cannot be used, and remove it."""
    try:
        yield
    except _DamagedError as err:
        warn(f"checkpoint {path.name} {err}; {consequence}")
        path.unlink()
    except (ValueError, TypeError, zipfile.BadZipFile) as err:
        warn(f"checkpoint {path.name} is of another version ({err}); {consequence}")
        path.unlink()
