"""Folders that one process at a time works in, and the law that finished work is never lost.

Every command that keeps results keeps them in a folder of some `Kind`, and follows one law:

- a folder that holds any work is never removed; one that holds nothing but what its creation wrote
  is, when what it was made for turns out to be impossible;
- what is overwritten is set aside in the folder until what replaces it has ended, and comes back
  where that could not begin;
- a process may die between any two steps: the next one that opens the folder puts it in order, and
  says so in one line.

Set aside means moved into `.replaced` (while it is moved: `.replacing`; while it is removed:
`.removed`), inside the folder: there every move is a rename within one file system, whatever the
folder is (mounted, linked to, the current one) and whoever may write beside it.
"""

import contextlib
import fcntl
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fedirl_ray.errors import ConfigError, FedirlError, RunError

LOCK = ".lock"
"""Held locked by the process that works in the folder. The kernel lets go of it however that
process ends; the file that a killed one leaves behind locks nobody out."""
REPLACED, REPLACING, REMOVED = ".replaced", ".replacing", ".removed"
_INNER = frozenset((LOCK, REPLACED, REPLACING, REMOVED))


@dataclass(frozen=True)
class Kind:
    """What the folders of one command hold; names are those of entries at the top."""

    what: str
    """What one is, for messages: "a run"."""
    settings: str | None
    """The file, written last when a folder is made, from which on it can be gone on with; None:
    it cannot, and without work it is nothing."""
    blank: frozenset[str]
    """Further files that are no work: what making the folder writes, and what starting adds."""
    made: frozenset[str] = frozenset()
    """All else that the command writes, files and folders: what may be overwritten."""

    def owns(self, name: str) -> bool:
        """Whether the command writes entries of this name (a killed one may leave a part)."""
        plain = name.removeprefix(".").removesuffix(".part")
        return plain in {self.settings, *self.blank, *self.made}

    def begun(self, folder: Path) -> bool:
        """Whether a folder can be gone on with."""
        return self.settings is not None and (folder / self.settings).is_file()

    def work(self, folder: Path) -> frozenset[Path]:
        """Every file of a folder that is neither blank nor a part of one; whoever put it there."""
        found = (path for name in _entries(folder) for path in _files(folder / name))
        return frozenset(path for path in found if not self._blank(path.relative_to(folder)))

    def _blank(self, path: Path) -> bool:
        if path.name.startswith(".") and path.suffix == ".part":
            return True
        return len(path.parts) == 1 and path.name in {*self.blank, self.settings}


def _entries(folder: Path) -> list[str]:
    """What is at the top of a folder, without what this module puts there."""
    return sorted(set(os.listdir(folder)) - _INNER) if folder.is_dir() else []


def _files(path: Path) -> Iterator[Path]:
    """A file, or those anywhere below a folder."""
    if path.is_symlink() or not path.is_dir():
        yield path
    else:
        for below in path.iterdir():
            yield from _files(below)


def fresh(parent: str, name: str) -> Path:
    """The first of PARENT/<time>-NAME, the same with -2, -3 ... that does not exist."""
    path, count = Path(parent, f"{time.strftime('%Y%m%d-%H%M%S')}-{name}"), 1
    first = path.name
    while path.exists():
        count += 1
        path = path.with_name(f"{first}-{count}")
    return path


def slug(name: str) -> str:
    """A problem's name as part of a folder's: up to 60 letters, digits, and `-_.` between them."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:60].strip("-._") or "problem"


@contextlib.contextmanager
def hold(folder: Path, flag: str) -> Iterator[None]:
    """Keep every other process from working in a folder.

    Args:
        folder: One that is there.
        flag: The setting that named it, for messages.

    Raises:
        ConfigError: Another process works in it, or it cannot be written.
    """
    path = folder / LOCK
    try:
        held = _lock(path)
    except OSError as err:
        raise unwritable(folder, flag, err) from err
    if held is None:
        raise ConfigError(
            f"{flag} must be a folder that no other process works in, got {folder}; wait for that "
            "process to end, or stop it"
        )
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(held), path.stat()):  # else it is another's by now
                path.unlink()
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


@contextlib.contextmanager
def claim(
    folder: Path, kind: Kind, flag: str, *, overwrite: bool = False, hint: str
) -> Iterator[None]:
    """Make a new folder, or set an old one's content aside, and hold it.

    Left by an exception, a folder without any work is as if it had not been claimed: what was in
    it comes back, and what was made for it is removed, folders above it included.

    Args:
        folder: Where.
        kind: What it will hold.
        flag: The setting that named it, for messages.
        overwrite: Whether what is there and may be overwritten is; `end` removes it.
        hint: What to do about a folder that holds something.

    Raises:
        ConfigError: It holds something, cannot be written, or another process works in it.
    """
    made = _make(folder, flag)
    try:
        with hold(folder, flag):
            try:
                _put_in_order(folder, kind)
                _make_room(folder, kind, flag, overwrite=overwrite, hint=hint)
            except OSError as err:
                raise unwritable(folder, flag, err) from err
            try:
                yield
            except BaseException:
                _leave(folder, kind, failed=True)
                raise
            _leave(folder, kind, failed=kind.settings is None)
    finally:
        for path in made:  # ours alone, and only while there is nothing in it
            with contextlib.suppress(OSError):
                path.rmdir()


@contextlib.contextmanager
def reopen(folder: Path, kind: Kind, flag: str) -> Iterator[None]:
    """Hold a folder that was claimed before, to go on in it.

    Raises:
        ConfigError: There is none of this kind, or another process works in it.
    """
    if kind.begun(folder) or any((folder / name).exists() for name in (REPLACED, REPLACING)):
        with hold(folder, flag):
            _put_in_order(folder, kind)
            if kind.begun(folder):
                try:
                    yield
                finally:
                    _tell_replaced(folder)
                return
    law = f"the folder of {kind.what} (with {kind.settings})"
    raise ConfigError(f"{flag} must be {law}, got {folder}")


@contextlib.contextmanager
def failing_late(folder: Path, kind: Kind) -> Iterator[None]:
    """Let what stops work that has come to something be a failure, not a refusal of its settings.

    Raises:
        RunError: Settings or data were refused after work had been added to the folder.
    """
    before = kind.work(folder)
    try:
        yield
    except RunError:
        raise
    except FedirlError as err:
        if kind.work(folder) <= before:
            raise
        raise RunError(str(err)) from err


def end(folder: Path) -> None:
    """Remove what a folder's content has replaced, now that it has ended."""
    if (folder / REPLACED).exists():
        (folder / REPLACED).rename(folder / REMOVED)  # at once; a rest of it would be no run
    _remove([folder / REMOVED])


def _make(folder: Path, flag: str) -> list[Path]:
    """Make a folder and those above it; returns the ones that are new, innermost first."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise unwritable(folder, flag, err) from err
    return new


def _make_room(folder: Path, kind: Kind, flag: str, *, overwrite: bool, hint: str) -> None:
    """Have a held folder hold nothing but what was set aside."""
    there = _entries(folder)
    if not there:
        return
    foreign = [name for name in there if not kind.owns(name)]
    if not (foreign or kind.work(folder) or kind.begun(folder)):
        _remove(folder / name for name in there)  # of a process that died before it began
        return
    if not overwrite:
        raise ConfigError(f"{flag} must be a new or empty folder, got {folder}; {hint}")
    if foreign:
        raise ConfigError(
            f"{flag} must hold nothing but what is to be overwritten, got {folder} with "
            f"{foreign[0]}"
        )
    _set_aside(folder, there)


def _set_aside(folder: Path, there: Iterable[str]) -> None:
    """Move all that is there into REPLACED; what had been set aside before goes with it."""
    moving = folder / REPLACING
    moving.mkdir()
    try:
        for name in (*there, *([REPLACED] if (folder / REPLACED).exists() else [])):
            (folder / name).rename(moving / name)
    except BaseException:
        _put_back(folder)
        raise
    moving.rename(folder / REPLACED)


def _put_back(folder: Path) -> None:
    """Move all of REPLACING back."""
    moving = folder / REPLACING
    for name in sorted(os.listdir(moving)):
        (moving / name).rename(folder / name)
    moving.rmdir()


def _leave(folder: Path, kind: Kind, *, failed: bool) -> None:
    """Take a claim back that has failed and come to nothing; say what is still set aside."""
    if failed and not kind.work(folder):
        _undo(folder, kind)
    _tell_replaced(folder)


def _undo(folder: Path, kind: Kind) -> None:
    """Take back a claim that came to nothing; whoever dies at it leaves what cannot go on."""
    first = [] if kind.settings is None else [folder / kind.settings]
    _remove([*first, *(folder / name for name in _entries(folder))])
    if (folder / REPLACED).exists():
        (folder / REPLACED).rename(folder / REPLACING)
        _put_back(folder)


def _put_in_order(folder: Path, kind: Kind) -> None:
    """Finish what a process that died in `claim` or `end` had begun."""
    _remove([folder / REMOVED])
    if (folder / REPLACING).exists():
        _put_back(folder)
        _say(f"{folder} was about to be overwritten when that stopped; all is back in its place")
    # Without its settings nothing can have been done.
    while (folder / REPLACED).exists() and not (kind.begun(folder) or kind.work(folder)):
        _undo(folder, kind)
        _say(f"what overwrote {folder} never began; what was there before is back in its place")


def _tell_replaced(folder: Path) -> None:
    if (folder / REPLACED).exists():
        _say(f"what {folder} replaces is kept in {folder / REPLACED} until this has ended")


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def unwritable(folder: Path, flag: str, err: OSError) -> ConfigError:
    """The refusal of a folder that cannot be written."""
    return ConfigError(f"{flag} must be a folder that can be written, got {folder}: {err.strerror}")


def _say(line: str) -> None:
    print(line, file=sys.stderr)
