"""Actors that keep a state and step together; a death among them leaves no trace.

The driver keeps copies of their states, and the steps since. When one dies another takes its place,
all go back to the copies, and the steps are repeated: to the byte, for a step is a function of the
states and its argument.
"""

import logging
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from fedirl_ray.engine.cluster import ray

LOST = (
    ray.exceptions.RayActorError,
    ray.exceptions.GetTimeoutError,
    ray.exceptions.ObjectLostError,
)
"""A worker died, or did not answer in time, or its answer went with its node."""

SNAPSHOT_EVERY = 25
"""Steps between two copies of the actors' state: what a dead worker costs at most."""

RETRIES = 3
"""Deaths in a row after which the error is the user's."""

_LOG = logging.getLogger(__name__)

StepT = TypeVar("StepT")
SeenT = TypeVar("SeenT")


class Crew(Generic[StepT, SeenT]):
    """The actors of one barycenter, of one CPU each, or of one CPU and GPU each.

    A context manager that ends them.
    """

    def __init__(
        self,
        holder: type,
        parts: Sequence[tuple[Any, ...]],
        ask: Callable[[Sequence[Any], StepT, float], SeenT],
        deadline: float = 600.0,
        gpus: int = 0,
    ) -> None:
        """Start the actors.

        Args:
            holder: What an actor is made of; has `snapshot()` and `restore(saved)`.
            parts: What each actor is made with.
            ask: Takes one step: (actors, step, deadline) -> what the driver sees of it.
            deadline: Seconds to wait for one step before its workers count as dead.
            gpus: That each actor has to itself.
        """
        # Ray gives a worker as many BLAS threads as it has CPUs: one.
        self._made: Any = ray.remote(num_cpus=1, num_gpus=gpus)(holder)
        self._parts, self._ask, self.deadline = parts, ask, deadline
        self.actors: list[Any] = [self._made.remote(*part) for part in parts]
        self._since: list[StepT] = []
        self._saved: list[Any] = []
        self._save()

    def __enter__(self) -> Self:
        """Return the crew itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Dismiss the actors."""
        for actor in self.actors:
            ray.kill(actor)

    def advance(self, step: StepT) -> SeenT:
        """Take a step; whoever dies over it is replaced, and it is taken again.

        Raises:
            RayActorError: Workers keep dying.
        """
        for deaths in range(RETRIES + 1):
            try:
                if deaths:
                    self._revive()
                seen = self._ask(self.actors, step, self.deadline)
                self._since.append(step)
                if len(self._since) >= SNAPSHOT_EVERY:
                    self._save()
                return seen
            except LOST as error:
                if deaths == RETRIES:
                    raise
                _LOG.warning("a worker was lost (%s); repeating from the last state", error)
        raise AssertionError("unreachable: the last try returns or raises")

    def _save(self) -> None:
        # The copies come to the driver's node: a state that died with its actor would be no use.
        saved = [actor.snapshot.remote() for actor in self.actors]
        self._saved = [ray.put(ray.get(one, timeout=self.deadline)) for one in saved]
        self._since = []

    def _revive(self) -> None:
        """Replace every worker that does not answer, and take all back to where they were."""
        for i, actor in enumerate(self.actors):
            try:
                ray.get(actor.__ray_ready__.remote(), timeout=self.deadline)
            except LOST:
                ray.kill(actor)
                self.actors[i] = self._made.remote(*self._parts[i])
        pairs = zip(self.actors, self._saved, strict=True)
        ray.get([actor.restore.remote(saved) for actor, saved in pairs], timeout=self.deadline)
        for step in self._since:
            self._ask(self.actors, step, self.deadline)
