"""Ends what is left of a run's own Ray once the run has gone, however it went, and its folder.

Started by `engine.session` as a script: `watchdog.py FOLDER PACKAGE`, with the reading end of a
pipe as its standard input. The run holds the writing end; when the run ends, even by SIGKILL, the
pipe does too. Only the standard library is imported.
"""

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

GRACE = 1.0
"""Seconds in which Ray's processes may go by themselves. Most do; its agents would first try for a
minute to tell a control service that has gone with the run."""
MOST = 30.0  # seconds after which what cannot be killed is left


def processes(folder: Path, package: str) -> list[int]:
    """Ray's processes whose session lies in a folder (Linux; elsewhere none is found).

    Args:
        folder: Of a Ray.
        package: Where Ray is installed: its own programs name it, its workers are called `ray::`.
    """
    return [
        pid
        for pid in map(int, filter(str.isdigit, _names(Path("/proc"))))
        if pid != os.getpid()
        and ((line := _line(pid)).startswith(b"ray::") or os.fsencode(package) in line)
        and (os.fsencode(folder) in line or _opened(pid, folder))
    ]


def _names(path: Path) -> Iterator[str]:
    try:
        yield from os.listdir(path)
    except OSError:
        return


def _line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _opened(pid: int, folder: Path) -> bool:
    """Whether a process has a file of the folder open: Ray's write their logs there."""
    files, below = f"/proc/{pid}/fd", f"{folder}/"
    for name in _names(Path(files)):
        try:
            if os.readlink(f"{files}/{name}").startswith(below):
                return True
        except OSError:
            continue
    return False


def end(folder: Path, package: str) -> None:
    """Kill what is left of a Ray, and remove its folder."""
    began = time.monotonic()
    while left := processes(folder, package):
        waited = time.monotonic() - began
        if waited > MOST:
            return
        for pid in left if waited > GRACE else ():
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue
        time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # meant for the run
    sys.stdin.buffer.read()
    end(Path(sys.argv[1]), sys.argv[2])
