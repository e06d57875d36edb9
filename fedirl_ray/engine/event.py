"""What happened to a run that is worth telling, and was not in the plan."""

from collections.abc import Callable
from typing import Literal, NamedTuple


class Event(NamedTuple):
    """One line of events.jsonl."""

    what: Literal["placed", "fused", "refused", "missing", "restarted", "late"]
    """placed: clients were given to actors; fused: barycenters are large enough to be computed
    by actors (told once, and when that changes); refused: an upload was not let in; missing: a
    client was left out of a round; restarted: an actor died or hung and was replaced; late: an
    answer came after it had been given up, and was thrown away."""
    reason: str
    seed: int | None = None
    round: int | None = None
    clients: tuple[int, ...] = ()


Report = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Tell nobody."""
