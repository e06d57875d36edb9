"""Finished work on disk: written whole or not at all, checked when read, no pickle.

A file is named after what it holds and the SHA-256 of its bytes, so that one rename publishes the
data and its checksum together. Inside, beside the data, stands whose it is: a run's identity and
the seed (see `engine.identity`), or a job's name and its code. Nothing is ever deleted for being
damaged or another's: the first is set aside, the second refused or passed over.
"""

import hashlib
import io
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from fedirl_ray.atomic import write_atomically
from fedirl_ray.domain.job import Arrays
from fedirl_ray.engine.federation import Federation
from fedirl_ray.engine.identity import Identity
from fedirl_ray.engine.result import SeedResult
from fedirl_ray.errors import ConfigError

_SEED = re.compile(r"(seed-(\d{5,}))-([0-9a-f]{16})\.npz")
_ROUND = re.compile(r"(round-(\d{5,})-\d{5,})-([0-9a-f]{16})\.npz")
_JOB = re.compile(r"job-(?P<name>[a-z0-9-]+)-(?P<sum>[0-9a-f]{16})\.npz")
_NAME, _IDENTITY, _CODE = _MARKS = ("kept.name", "kept.identity", "kept.code")
"""Whose a file is, as arrays of bytes: no result has any of these names."""

Warn = Callable[[str], None]


def drop_torn_line(path: Path) -> None:
    """Cut a file of lines back to its last whole one; what came after was never done."""
    data = path.read_bytes() if path.is_file() else b""
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)


class Checkpoints:
    """What is kept of a run under way: finished seeds, and where the others stand."""

    def __init__(self, folder: Path, identity: Identity, warn: Warn) -> None:
        """Take a folder.

        Args:
            folder: Where files are kept.
            identity: Whose.
            warn: Told, in one line each, which files are damaged and what follows.
        """
        self._folder, self._identity, self._warn = folder, identity, warn

    def save_seed(self, seed: int, result: SeedResult) -> None:
        """Keep one seed's result; where its rounds stood is of no more use."""
        self._save(f"seed-{seed:05d}", asdict(result))
        for path in self._folder.glob(f"round-{seed:05d}-*.npz"):
            path.unlink()

    def save_round(self, seed: int, state: Federation) -> None:
        """Keep where a seed stands after a round, and where it stood at the time before."""
        before = sorted(self._folder.glob(f"round-{seed:05d}-*.npz"))
        self._save(f"round-{seed:05d}-{int(state.done):05d}", asdict(state))
        for path in before[:-1]:
            path.unlink()

    def seeds(self) -> dict[int, SeedResult]:
        """Every seed that was kept; those whose files are damaged count as not done.

        Raises:
            ConfigError: A file is of another run or seed.
        """
        found = self._load(_SEED, "its seed is run again")
        return {seed: SeedResult(**arrays) for seed, arrays in found.items()}

    def rounds(self) -> dict[int, Federation]:
        """Where the seeds that were under way stand, by the latest undamaged file of each.

        Raises:
            ConfigError: A file is of another run or seed.
        """
        found = self._load(_ROUND, "the round before is gone back to")
        return {seed: Federation(**arrays) for seed, arrays in found.items()}

    def _save(self, name: str, arrays: Arrays) -> None:
        marks = {_NAME: name, _IDENTITY: self._identity.encode().decode()}
        _write(self._folder, name, arrays, marks)

    def _load(self, pattern: re.Pattern[str], consequence: str) -> dict[int, Arrays]:
        found = {}
        for path, match in _named(self._folder, pattern):
            arrays = _read(path, match[3], consequence, self._warn)
            if arrays is not None:
                self._check(path, match[1], arrays)
                found[int(match[2])] = _data(arrays)
        return found

    def _check(self, path: Path, name: str, arrays: Arrays) -> None:
        """Refuse a file that is not of this run, or of another seed or round."""
        law = "resume must be the folder of a run that only its own checkpoints are in, got"
        if _IDENTITY not in arrays:
            raise ConfigError(f"{law} {path} of an earlier version, which wrote down no identity")
        theirs = Identity.decode(_text(arrays, _IDENTITY).encode(), path)
        if theirs.code != self._identity.code:
            raise ConfigError(f"{law} {path} of {theirs.code}, not of {self._identity.code}")
        for difference in self._identity.differences(theirs):
            raise ConfigError(
                f"{law} {path} of another: its {difference.name} was {difference.other}, not "
                f"{difference.one}"
            )
        if _text(arrays, _NAME) != name:
            raise ConfigError(f"{law} {path} that was called {_text(arrays, _NAME)}")


def any_in(folder: Path) -> bool:
    """Whether a folder holds any seed or round, damaged or not."""
    return any(True for pattern in (_SEED, _ROUND) for _ in _named(folder, pattern))


class Shelf:
    """Results of jobs, by name; each is read when it is asked for."""

    def __init__(self, folder: Path, code: str, warn: Warn) -> None:
        """Look at what is kept.

        Args:
            folder: Where files are kept.
            code: Which code does jobs now, in words.
            warn: Told, in one line each, which files are damaged.
        """
        self._folder, self._code, self._warn = folder, code, warn
        self._paths = {match["name"]: (path, match["sum"]) for path, match in _named(folder, _JOB)}
        self._by_work = {_without_code(name): name for name in self._paths}
        self._by_work |= {name: name for name in self._paths}  # earlier versions wrote no code

    def put(self, name: str, result: Arrays) -> None:
        """Keep what came of a job."""
        marks = {_NAME: name, _CODE: self._code}
        self._paths[name] = _write(self._folder, f"job-{name}", result, marks)

    def get(self, name: str) -> Arrays | None:
        """What came of a job; None: nothing is kept of it, or what is, is damaged."""
        if name not in self._paths:
            return None
        path, checksum = self._paths[name]
        arrays = _read(path, checksum, "its job is run again", self._warn)
        if arrays is not None and _text(arrays, _NAME) == name:
            return _data(arrays)
        if arrays is not None:
            self._warn(f"{path.name} is of the job {_text(arrays, _NAME)}; its job is run again")
        del self._paths[name]
        return None

    def by_other_code(self, name: str) -> str | None:
        """Which code has done the same work before, if other code has.

        Args:
            name: Of a job of which nothing is kept.
        """
        work = _without_code(name)
        other = self._by_work.get(work)
        if other == work:
            return "an earlier version"
        if other not in self._paths:
            return None
        arrays = _read(*self._paths.pop(other), "it is not used", self._warn)
        return None if arrays is None else _text(arrays, _CODE)


def _without_code(name: str) -> str:
    """A job's name but for the digest of the code (see `engine.jobs.name_of`)."""
    return name.rpartition("-")[0]


def _write(folder: Path, name: str, arrays: Arrays, marks: Mapping[str, str]) -> tuple[Path, str]:
    """Write arrays, and whose they are, under a name that ends in their checksum: both."""
    buffer = io.BytesIO()
    marked = {mark: np.frombuffer(text.encode(), np.uint8) for mark, text in marks.items()}
    np.savez(buffer, allow_pickle=False, **arrays, **marked)
    data = buffer.getvalue()
    checksum = _checksum(data)
    path = folder / f"{name}-{checksum}.npz"
    write_atomically(path, data)
    return path, checksum


def _read(path: Path, checksum: str, consequence: str, warn: Warn) -> Arrays | None:
    """Read what `_write` wrote; None: it is damaged, which is told, and set aside."""
    data, why = path.read_bytes(), "checksum differs"
    if _checksum(data) == checksum:
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                return dict(arrays)
        except (ValueError, EOFError, zipfile.BadZipFile) as err:
            why = str(err)
    aside = path.with_name(f"{path.name}.damaged")
    path.rename(aside)
    warn(f"{path.name} is damaged ({why}) and set aside as {aside.name}; {consequence}")
    return None


def _checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _text(arrays: Arrays, mark: str) -> str:
    """A mark as text; none where there is none."""
    return bytes(arrays[mark].astype(np.uint8)).decode(errors="replace") if mark in arrays else ""


def _data(arrays: Arrays) -> Arrays:
    """Arrays without marks."""
    return {name: array for name, array in arrays.items() if name not in _MARKS}


def _named(folder: Path, pattern: re.Pattern[str]) -> Iterator[tuple[Path, re.Match[str]]]:
    for path in sorted(folder.iterdir()):
        match = pattern.fullmatch(path.name)
        if match is not None:
            yield path, match
