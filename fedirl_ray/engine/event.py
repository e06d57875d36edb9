"""What happened to a run that is worth telling, and was not in the plan."""

import logging
from collections.abc import Callable
from typing import Literal, NamedTuple

LOGGER = logging.getLogger("fedirl_ray")
"""What is told while work is under way; the command line writes it to standard error."""


class Event(NamedTuple):
    """One line of events.jsonl."""

    what: Literal["placed", "fused", "refused", "missing", "skipped", "summed", "restarted", "late"]
    """placed: clients were given to actors; fused: where barycenters are computed, and why
    (told once, and when that changes); refused: an upload was not let in, by the rules named or by
    all; missing: a client was left out of a round; skipped: a rule missed its quorum in a round and
    kept its reward; summed: what a server that sees sums alone was sent, and
    which clients were lost on the way; restarted: an actor died or hung and was replaced; late: an
    answer came after it had been given up, and was thrown away."""
    reason: str
    seed: int | None = None
    round: int | None = None
    clients: tuple[int, ...] = ()

    def __str__(self) -> str:
        places = {"seed": self.seed, "round": self.round, "clients": self.clients or None}
        said = [f"{name} {value}" for name, value in places.items() if value is not None]
        return f"{', '.join([self.what, *said])}: {self.reason}"


Report = Callable[[Event], None]
Started = Callable[[int, int], None]
"""Told, while actors start, how many are up, and of how many."""


def ignore(event: Event) -> None:
    """Tell nobody."""


def unwatched(up: int, count: int) -> None:
    """Let actors start with nobody looking on."""


def on_change(report: Report) -> Report:
    """Pass an event on only if it is not the one that was passed on last."""
    last: Event | None = None

    def changed(event: Event) -> None:
        nonlocal last
        if event != last:
            last = event
            report(event)

    return changed
