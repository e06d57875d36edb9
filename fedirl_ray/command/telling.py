"""How much a command that takes long tells while it is at work."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from fedirl_ray.command.stopping import say
from fedirl_ray.engine.event import LOGGER


@dataclass(frozen=True, kw_only=True)
class Telling:
    """What is written to standard error until the results are there."""

    progress: bool = True
    """Show how far it is: a live bar, or plain lines where standard error is no terminal."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """What is told beside that: error, why it stopped; warning, also what is damaged or left out;
    info, also lines of progress; debug, also what is in events.jsonl."""


@contextmanager
def logged(telling: Telling) -> Iterator[None]:
    """Write what the package logs, from a level on, to standard error."""
    handler, before = _Lines(), LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(telling.log_level.upper())
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(before)


class _Lines(logging.Handler):
    """Each record as a line, as all else is said."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say it."""
        say(record.getMessage())
