"""How far a long command is, on standard error: a live bar, or lines where it is no terminal."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from fedirl_ray.engine.event import LOGGER, Started

SOON, LATE = 1.0, 60.0
"""Seconds between two lines: the least where something was finished, and where nothing was."""


class Lines(Progress):
    """A bar's counts as lines of a log, for what is no terminal."""

    def __init__(self, get_time: Callable[[], float] = time.monotonic) -> None:
        super().__init__(disable=True, get_time=get_time)
        self._last = get_time()
        self._told: dict[TaskID, float] = {}

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """Count on."""
        super().advance(task_id, advance)
        self._tell(task_id)

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """Change what is counted, or how it is called."""
        super().update(task_id, **changes)
        self._tell(task_id)

    def _tell(self, task_id: TaskID) -> None:
        task, now = self._tasks[task_id], self.get_time()
        moved = task.completed > self._told.get(task_id, 0.0)
        due = now - self._last >= (SOON if moved else LATE)
        if task.visible and (due or (moved and task.finished)):
            took = timedelta(seconds=round(task.elapsed or 0.0))
            done = f"{task.completed:.0f} of {task.total or 0:.0f}"
            LOGGER.info("%s: %s (%s)", task.description, done, took)
            self._last, self._told[task_id] = now, task.completed


def progress_bar(*, shown: bool = True) -> Progress:
    """A bar with counts, the time that has passed and an estimate of what is left.

    Args:
        shown: Whether to draw it at all.
    """
    console = Console(stderr=True)
    if shown and not console.is_terminal:
        return Lines()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not shown,
    )


def actors_line(bar: Progress) -> Started:
    """Add a line that counts a run's actors, to be seen while they start."""
    task = bar.add_task("actors", total=None, visible=False)

    def started(up: int, count: int) -> None:
        if up == 0:
            bar.reset(task)
        bar.update(task, completed=up, total=count, visible=up < count)

    return started
