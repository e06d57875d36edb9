"""Tables as the page draws them."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """One cell of a table."""

    text: str
    """What is read; a number already rounded."""
    value: float | None = None
    """The number itself, before rounding."""
    strong: bool = False
    """Whether it stands out: it has a star."""


@dataclass(frozen=True)
class Table:
    """A table as the template draws it: the first column names the row."""

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()
    """What its marks mean, a sentence each."""
