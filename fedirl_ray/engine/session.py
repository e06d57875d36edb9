"""The folder of a Ray that a run starts for itself, and the watchdog that sees to its end."""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Self

from fedirl_ray.engine import watchdog
from fedirl_ray.errors import ConfigError

PREFIX = "fr-"
LOCK = "run.lock"
"""Locked as long as the run or its watchdog lives; the kernel lets go of it when both have ended.
No other Ray's folder has it."""
LONGEST = 107 - len("/fr-12345678/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")
"""Letters that the folder of a session's folder may have: a socket's path has no more than 107."""
GOING = 30.0  # seconds that the watchdog may take; then it is left to its work


class Session:
    """A folder that exists as long as this process, or something of its Ray, does."""

    def __init__(self, folder: Path, lock: int, package: str) -> None:
        self.folder = folder
        self._lock = lock
        self._dog = subprocess.Popen(
            [sys.executable, "-I", watchdog.__file__, str(folder), package],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(lock,),
            start_new_session=True,  # out of reach of Ctrl-C
        )

    @classmethod
    def open(cls, package: str) -> Self:
        """Make a folder for a Ray, with somebody to watch it; remove those of killed runs.

        Args:
            package: Where Ray is installed.

        Raises:
            ConfigError: There can be none.
        """
        place = ray_folder()
        _tidy(place, package)
        try:
            place.mkdir(parents=True, exist_ok=True)
            # Under another name until it is locked, that no other run takes it for a dead one's.
            new = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=place))
            lock = os.open(new / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
            folder = new.with_name(new.name.removeprefix("."))
            new.rename(folder)
        except OSError as err:
            raise ConfigError(
                f"RAY_TMPDIR must be a folder that can be written, got {place}: {err.strerror}"
            ) from err
        return cls(folder, lock, package)

    def close(self) -> None:
        """Have what is left of the Ray ended and the folder removed."""
        assert self._dog.stdin is not None
        self._dog.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._dog.wait(GOING)
        os.close(self._lock)


def ray_folder() -> Path:
    """Where Ray's folders go: RAY_TMPDIR, TMPDIR or /tmp, as Ray has it.

    Raises:
        ConfigError: RAY_TMPDIR is not fit for it.
    """
    place = os.environ.get("RAY_TMPDIR")
    if place is None:
        place = os.environ.get("TMPDIR", "")
        return Path(place if _fits(place) and os.path.isdir(place) else "/tmp")
    if not _fits(place):
        raise ConfigError(
            f"RAY_TMPDIR must be an absolute path of at most {LONGEST} plain letters (Ray's "
            f"sockets lie below it), got {place} ({len(os.fsencode(place))})"
        )
    return Path(place)


def _fits(place: str) -> bool:
    return place.isascii() and os.path.isabs(place) and len(place) <= LONGEST


def _tidy(place: Path, package: str) -> None:
    """Remove what runs left that were killed together with their watchdogs."""
    for lock in place.glob(f"{PREFIX}*/{LOCK}"):
        with suppress(OSError), lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not watchdog.processes(lock.parent, package):
                shutil.rmtree(lock.parent, ignore_errors=True)
