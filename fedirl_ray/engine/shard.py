"""The barycenter's clients in blocks over Ray actors; the maths stays in `transport`.

An actor holds a block of clients and forwards to `advance_shard`. An iteration sends `log_b` `[n]`
out through the object store and brings one vector of integers `[n]` back from each actor; integers
add exactly, so the result has the bytes of the in-process one.
"""

import logging
from collections.abc import Sequence
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fedirl_ray.engine.cluster import ray
from fedirl_ray.engine.crew import Crew
from fedirl_ray.transport.axis import Floats
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
from fedirl_ray.transport.solver import Solver, solve
from fedirl_ray.transport.step import Step, Term, gather

PAYS_FROM = 5_000_000
"""Clients times lattice points from which actors pay: below, starting them and moving the vectors
costs more than the arithmetic they share (measured, see docs/benchmarks.md)."""

_LOG = logging.getLogger(__name__)


class Placed(NamedTuple):
    """A barycenter and where it was computed."""

    result: BarycenterResult
    where: str
    """One line: in this process or on how many actors, and why."""


def barycenter_on_ray(
    measures: ArrayLike,
    axes: Sequence[ArrayLike],
    weights: ArrayLike | None,
    solver: Solver,
    *,
    workers: int,
    pays_from: int = PAYS_FROM,
    deadline: float = 600.0,
) -> Placed:
    """Return `fedirl_ray.barycenter`, to the byte, computed by Ray actors where that is quicker.

    Args:
        measures: As for `barycenter`.
        axes: As for `barycenter`.
        weights: As for `barycenter`.
        solver: Everything else, as for `barycenter`.
        workers: Actors, of one CPU each; at most one per client is started.
        pays_from: Clients times lattice points below which everything stays in this process.
        deadline: Seconds to wait for one step before its workers count as dead.

    Raises:
        ValueError: If an argument breaks its law.
        RayActorError: If workers keep dying.
    """
    if workers < 1:
        raise ValueError(f"workers must be >= 1, got {workers}")
    begin = perf_counter()
    task = prepare(measures, axes, weights, solver)
    size = task.rows.size
    if workers == 1 or size < pays_from:
        why = "one worker" if workers == 1 else f"{size:,} numbers, actors pay from {pays_from:,}"
        where = f"in this process ({why})"
        advance = in_process([make_shard(task.problem, task.rows, task.weights)])
        solution = solve(advance, task.problem, task.weights, solver)
    else:
        with shard_crew(task, workers, deadline) as crew:
            solution = solve(crew.advance, task.problem, task.weights, solver)
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


def shard_crew(task: Task, workers: int, deadline: float = 600.0) -> Crew[Step, Term]:
    """Give each worker a block of clients; the crew's `advance` is what `solve` asks for."""
    problem = ray.put(task.problem)
    blocks = split(task.rows, task.weights, workers)
    parts = [(problem, ray.put(rows), weights) for rows, weights in blocks]
    return Crew(ShardActor, parts, _ask, deadline)


def _ask(actors: Sequence[Any], step: Step, deadline: float) -> Term:
    """Step every block and join the answers in block order."""
    shared = ray.put(step)
    answers = [actor.advance.remote(shared) for actor in actors]
    return gather(ray.get(answers, timeout=deadline))
