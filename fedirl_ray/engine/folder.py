"""Folders that one process at a time works in."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fedirl_ray.errors import ConfigError

LOCK = ".lock"
"""Held locked by the process that works in the folder. The kernel lets go of it however that
process ends; the file that a killed one leaves behind locks nobody out."""


@contextmanager
def hold(folder: Path, flag: str) -> Iterator[None]:
    """Keep every other process from working in a folder.

    Args:
        folder: One that is there.
        flag: The setting that named it, for messages.

    Raises:
        ConfigError: Another process works in it, or it cannot be written.
    """
    try:
        held = _lock(folder / LOCK)
    except OSError as err:
        raise _unwritable(folder, flag, err) from err
    if held is None:
        raise ConfigError(
            f"{flag} must be a folder that no other process works in, got {folder}; wait for that "
            "process to end, or stop it"
        )
    try:
        yield
    finally:
        (folder / LOCK).unlink(missing_ok=True)
        os.close(held)


def _lock(path: Path) -> int | None:
    """Descriptor of a lock file, now locked; None: by another process."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file), path.stat()):
                return file
        except FileNotFoundError:
            pass  # as below
        except OSError as err:
            os.close(file)
            if isinstance(err, BlockingIOError):
                return None
            raise
        os.close(file)  # whoever held it removed it between our two steps


@contextmanager
def claim(
    folder: Path,
    flag: str,
    *,
    own: Callable[[str], bool] = lambda name: False,
    overwrite: bool = False,
    hint: str,
) -> Iterator[None]:
    """Make a new folder, or clear an old one, and hold it.

    Args:
        folder: Where.
        flag: The setting that named it, for messages.
        own: Whether a file or folder of this name in it may be overwritten.
        overwrite: Whether what is there and may be overwritten is removed.
        hint: What to do about a folder that holds something.

    Raises:
        ConfigError: It holds something, cannot be written, or another process works in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise _unwritable(folder, flag, err) from err
    with hold(folder, flag):
        held = sorted(name for name in os.listdir(folder) if name != LOCK)
        foreign = [name for name in held if not own(name)]
        if held and not overwrite:
            raise ConfigError(f"{flag} must be a new or empty folder, got {folder}; {hint}")
        if foreign:
            raise ConfigError(
                f"{flag} must hold nothing but what is to be overwritten, got {folder} with "
                f"{foreign[0]}"
            )
        try:
            for name in held:
                _remove(folder / name)
        except OSError as err:
            raise _unwritable(folder, flag, err) from err
        yield


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _unwritable(folder: Path, flag: str, err: OSError) -> ConfigError:
    return ConfigError(f"{flag} must be a folder that can be written, got {folder}: {err.strerror}")
