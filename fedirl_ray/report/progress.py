"""The live bar that every long command shows, on standard error."""

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from fedirl_ray.engine.event import Started


def progress_bar(*, shown: bool = True) -> Progress:
    """A bar with counts, the time that has passed and an estimate of what is left.

    Args:
        shown: Whether to draw it at all.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
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
