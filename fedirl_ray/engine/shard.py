"""The barycenter's clients in blocks over Ray actors; the maths stays in `transport`.

An actor holds a block of clients and forwards to `advance_shard`. An iteration sends `log_b` `[n]`
out through the object store and brings one vector of integers `[n]` back from each actor; integers
add exactly, so the result has the bytes of the in-process one.
"""

import logging
from collections.abc import Sequence
from time import perf_counter
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

from fedirl_ray.engine.cluster import ray
from fedirl_ray.transport.axis import CostScale, Floats
from fedirl_ray.transport.backend import Backend, Precision
from fedirl_ray.transport.barycenter import BarycenterResult, Task, make_result, prepare, split
from fedirl_ray.transport.shard import (
    Problem,
    Saved,
    advance_shard,
    in_process,
    make_shard,
    restore,
    snapshot,
)
from fedirl_ray.transport.solver import solve
from fedirl_ray.transport.step import Domain, Step, Term, gather

LOST = (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError)
"""A worker died, or did not answer in time."""

PAYS_FROM = 5_000_000
"""Clients times lattice points from which actors pay: below, starting them and moving the vectors
costs more than the arithmetic they share (measured, see docs/benchmarks.md)."""

SNAPSHOT_EVERY = 25
"""Steps between two copies of the actors' state: what a dead worker costs at most."""

RETRIES = 3
"""Deaths in a row after which the error is the user's."""

_LOG = logging.getLogger(__name__)


class Placed(NamedTuple):
    """A barycenter and where it was computed."""

    result: BarycenterResult
    where: str
    """One line: in this process or on how many actors, and why."""


def barycenter_on_ray(
    measures: ArrayLike,
    axes: Sequence[ArrayLike],
    *,
    workers: int,
    pays_from: int = PAYS_FROM,
    deadline: float = 600.0,
    weights: ArrayLike | None = None,
    epsilon: float,
    cost_scale: CostScale = "max",
    periodic: Sequence[Any] | None = None,
    debiased: bool = False,
    tol: float = 1e-7,
    max_iters: int = 10_000,
    backend: Backend = "numpy",
    dtype: Precision = "float64",
    domain: Domain | None = None,
    anderson: int | None = None,
) -> Placed:
    """Return `fedirl_ray.barycenter`, to the byte, computed by Ray actors where that is quicker.

    Args:
        measures: As for `barycenter`, like every argument not named here.
        axes: As for `barycenter`.
        workers: Actors, of one CPU each; at most one per client is started.
        pays_from: Clients times lattice points below which everything stays in this process.
        deadline: Seconds to wait for one step before its workers count as dead.
        weights: As for `barycenter`.
        epsilon: As for `barycenter`.
        cost_scale: As for `barycenter`.
        periodic: As for `barycenter`.
        debiased: As for `barycenter`.
        tol: As for `barycenter`.
        max_iters: As for `barycenter`.
        backend: As for `barycenter`.
        dtype: As for `barycenter`.
        domain: As for `barycenter`.
        anderson: As for `barycenter`.

    Raises:
        ValueError: If an argument breaks its law.
        RayActorError: If workers keep dying.
    """
    if workers < 1:
        raise ValueError(f"workers must be >= 1, got {workers}")
    begin = perf_counter()
    task = prepare(
        measures,
        axes,
        weights=weights,
        epsilon=epsilon,
        cost_scale=cost_scale,
        periodic=periodic,
        debiased=debiased,
        tol=tol,
        max_iters=max_iters,
        backend=backend,
        dtype=dtype,
        domain=domain,
        anderson=anderson,
    )
    size = task.rows.size
    if workers == 1 or size < pays_from:
        why = "one worker" if workers == 1 else f"{size:,} numbers, actors pay from {pays_from:,}"
        where = f"in this process ({why})"
        advance = in_process([make_shard(task.problem, task.rows, task.weights)])
        solution = solve(advance, task.problem, task.weights, task.goal)
    else:
        with Crew(task, workers, deadline) as crew:
            solution = solve(crew.advance, task.problem, task.weights, task.goal)
            where = f"on {len(crew.actors)} actors ({size:,} numbers)"
    _LOG.info("barycenter of %d measures %s", len(task.rows), where)
    return Placed(make_result(task, solution, perf_counter() - begin), where)


class ShardActor:
    """Holds one block of clients between iterations."""

    def __init__(self, problem: Problem, rows: Floats, weights: Floats) -> None:
        # What comes from the object store is read-only and shared; the block is this actor's own.
        self.shard = make_shard(problem, np.array(rows), np.array(weights))

    def advance(self, step: Step) -> Term:
        """Take one step."""
        return advance_shard(self.shard, step)

    def snapshot(self) -> Saved:
        """Return a copy of the state."""
        return snapshot(self.shard)

    def restore(self, saved: Saved) -> None:
        """Put a state back."""
        restore(self.shard, saved)


class Crew:
    """The actors of one barycenter; `advance` is theirs together.

    The driver keeps the actors' last snapshots, and the steps since. When a worker dies its block
    is given to a new one, all go back to the snapshot, and the steps are repeated: to the byte.
    """

    def __init__(self, task: Task, workers: int, deadline: float = 600.0) -> None:
        self.deadline = deadline
        problem = ray.put(task.problem)
        self.blocks = [
            (problem, ray.put(rows), weights)
            for rows, weights in split(task.rows, task.weights, workers)
        ]
        self.actors = [self._hire(block) for block in self.blocks]
        self.steps: list[Step] = []
        self.saved: list[ray.ObjectRef[Saved]] = []
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

    def advance(self, step: Step) -> Term:
        """Step every block and join the answers in block order."""
        for deaths in range(RETRIES + 1):
            try:
                if deaths:
                    self._revive()
                term = self._ask(step)
                self.steps.append(step)
                if len(self.steps) >= SNAPSHOT_EVERY:
                    self._save()
                return term
            except LOST as error:
                if deaths == RETRIES:
                    raise
                _LOG.warning("a shard worker was lost (%s); repeating from the last state", error)
        raise AssertionError("unreachable: the last try returns or raises")

    def _ask(self, step: Step) -> Term:
        shared = ray.put(step)
        answers = [actor.advance.remote(shared) for actor in self.actors]
        return gather(ray.get(answers, timeout=self.deadline))

    def _save(self) -> None:
        saved = [actor.snapshot.remote() for actor in self.actors]
        ray.wait(saved, num_returns=len(saved), timeout=self.deadline, fetch_local=False)
        ray.get([actor.__ray_ready__.remote() for actor in self.actors], timeout=self.deadline)
        self.saved, self.steps = saved, []

    def _revive(self) -> None:
        """Replace every worker that does not answer, and take all back to where they were."""
        for i, actor in enumerate(self.actors):
            try:
                ray.get(actor.__ray_ready__.remote(), timeout=self.deadline)
            except LOST:
                ray.kill(actor)
                self.actors[i] = self._hire(self.blocks[i])
        ray.get(
            [a.restore.remote(s) for a, s in zip(self.actors, self.saved, strict=True)],
            timeout=self.deadline,
        )
        for step in self.steps:
            self._ask(step)

    def _hire(self, block: tuple[Any, Any, Floats]) -> Any:
        # Ray gives a worker as many BLAS threads as it has CPUs: one.
        return ray.remote(ShardActor).options(num_cpus=1).remote(*block)
