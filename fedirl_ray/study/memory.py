"""Memory of a process and all it has started, without counting shared pages twice.

Read from Linux's /proc. PSS (proportional set size) counts a page that several processes map in
equal shares, so that the sum over processes is what the machine really spends.
"""

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

PROC = Path("/proc")
MIB = 2.0**20


def family(root: int) -> list[int]:
    """Process ids of a process and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:  # it has ended meanwhile
                continue
            # The name before it stands in brackets, and may itself hold some.
            parent = int(stat.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found = [root]
    for process in found:
        found += children.get(process, [])
    return found


def pss(process: int) -> float:
    """Proportional set size in bytes; 0 of a process that has ended."""
    try:
        lines = (PROC / str(process) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(1024.0 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


class PeakMemory:
    """Samples the memory of a process and its descendants while it is open; a context manager."""

    def __init__(self, root: int | None = None, every: float = 0.5) -> None:
        """Choose what to watch.

        Args:
            root: Process id; None: this process.
            every: Seconds between two samples.
        """
        self.root, self.every = root or os.getpid(), every
        self.bytes = 0.0
        """The largest sum seen."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        """Start to sample."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, with one last sample."""
        self._over.set()
        self._thread.join()
        self._sample()

    def _watch(self) -> None:
        while not self._over.wait(self.every):
            self._sample()

    def _sample(self) -> None:
        self.bytes = max(self.bytes, sum(map(pss, family(self.root))))
