"""Pieces of work that a kind of world cuts its long computations into.

Where they are done, how often they are tried and what is kept of them is the engine's affair.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from numpy.typing import NDArray

from fedirl_ray.errors import FedirlError

Arrays = dict[str, NDArray[Any]]
"""What came of a job, by name."""
Work = Callable[..., Arrays]
ManyWork = Callable[[Sequence[Any]], Sequence[Arrays | FedirlError]]
"""Arguments of jobs to their results in that order; what went wrong stands in a result's place."""
T = TypeVar("T")


class Job(NamedTuple):
    """A function of a module, and what it is called with."""

    kind: str
    """What it is called in messages and on disk: lower-case letters and hyphens."""
    work: Work | ManyWork
    """Called with the arguments by name, or, see `together`, with a list of jobs' arguments."""
    arguments: Mapping[str, Any]
    """Plain values, dataclasses, arrays."""
    kept: bool = False
    """Whether it takes so long that a run which is interrupted keeps what came of it."""
    patience: float = 1.0
    """How many times engine.timeout it may take."""
    together: int = 0
    """How many such jobs one call may do, for speed: no result depends on it. 0: the function does
    one job."""


Plan = Generator[Sequence[Job], Sequence[Arrays], T]
"""Work in stages: yields jobs that may all be done at once, is sent what came of them in their
order, and returns its result."""


def done(plan: Plan[T], do: Callable[[Sequence[Job]], Sequence[Arrays]]) -> T:
    """Do a plan stage by stage."""
    try:
        stage = next(plan)
        while True:
            stage = plan.send(do(stage))
    except StopIteration as end:
        result: T = end.value
        return result
