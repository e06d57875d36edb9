"""The barycenter's clients in blocks over Ray actors; the maths stays in `transport`.

An actor holds a block of clients and forwards to `advance_shard`. An iteration sends `log_b` `[n]`
out through the object store and brings one vector of integers `[n]` back from each actor; integers
add exactly, so the result has the bytes of the in-process one.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import fields, replace
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fedirl_ray.engine.cluster import ray
from fedirl_ray.engine.crew import Crew
from fedirl_ray.engine.device import sees_gpu
from fedirl_ray.transport.advance import in_process
from fedirl_ray.transport.axis import Floats
from fedirl_ray.transport.backend import Array, Place, asnumpy
from fedirl_ray.transport.barycenter import BarycenterResult, Task, make_result, prepare, split
from fedirl_ray.transport.ground import Where
from fedirl_ray.transport.shard import (
    Problem,
    Saved,
    advance_shard,
    make_shard,
    restore,
    snapshot,
)
from fedirl_ray.transport.solver import Solver, solve
from fedirl_ray.transport.step import Measured, Step, Term, gather

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
    where: Where,
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
        where: The lattice's axes as for `barycenter`, or a cloud.
        weights: As for `barycenter`.
        solver: Everything else, as for `barycenter`.
        workers: Actors, of one CPU each, and of one GPU each where the solver's device is one; at
            most one per client is started.
        pays_from: Clients times lattice points below which everything stays in this process.
        deadline: Seconds to wait for one step before its workers count as dead.

    Raises:
        ValueError: If an argument breaks its law.
        RayActorError: If workers keep dying.
    """
    if workers < 1:
        raise ValueError(f"workers must be >= 1, got {workers}")
    begin = perf_counter()
    gpu = solver.device is not None and solver.device.startswith("cuda")
    # Workers with a GPU each are looked after from a CPU.
    task = prepare(measures, where, weights, replace(solver, device="cpu") if gpu else solver)
    size = math.prod(task.rows.shape)
    if (workers == 1 or size < pays_from) and (not gpu or sees_gpu()):
        if gpu:
            task = prepare(measures, where, weights, solver)
        why = "one worker" if workers == 1 else f"{size:,} numbers, actors pay from {pays_from:,}"
        place = f"in this process ({why})"
        advance = in_process([make_shard(task.problem, task.rows, task.weights)])
        solution = solve(advance, task.problem, task.weights, solver)
    else:
        with shard_crew(task, workers, deadline, device="cuda" if gpu else None) as crew:
            solution = solve(crew.advance, task.problem, task.weights, solver)
            place = f"on {len(crew.actors)} actors ({size:,} numbers)"
    _LOG.debug("barycenter of %d measures %s", len(task.rows), place)
    return Placed(make_result(task, solution, perf_counter() - begin), place)


class ShardActor:
    """Holds one block of clients between iterations."""

    def __init__(self, problem: Problem, rows: Floats, weights: Floats) -> None:
        # What comes from the object store is read-only and shared; the block is this actor's own.
        self.shard = make_shard(problem, np.array(rows), np.array(weights))
        self._on_gpu = problem.place.on_gpu

    def advance(self, step: Step) -> Term:
        """Take one step."""
        term = advance_shard(self.shard, step)
        return brought_home(term) if self._on_gpu else term

    def snapshot(self) -> Saved:
        """Return a copy of the state."""
        return snapshot(self.shard)

    def restore(self, saved: Saved) -> None:
        """Put a state back."""
        restore(self.shard, saved)


def shard_crew(
    task: Task, workers: int, deadline: float = 600.0, *, device: str | None = None, gpus: int = 0
) -> Crew[Step, Term]:
    """Give each worker a block of clients; the crew's `advance` is what `solve` asks for.

    Args:
        task: The barycenter, in torch if the workers are to have another device.
        workers: How many.
        deadline: Seconds to wait for one step before its workers count as dead.
        device: Of the workers' arrays; by default that of the task.
        gpus: That each worker has to itself; one at least if that is their device.
    """
    problem = task.problem
    if device is not None:
        problem, gpus = replace(problem, place=Place("torch", device)), max(1, gpus)
    shared, blocks = ray.put(problem), split(task.rows, task.weights, workers)
    parts = [(shared, ray.put(asnumpy(rows)), weights) for rows, weights in blocks]
    return Crew(ShardActor, parts, _ask, deadline, gpus)


def brought_home(term: Term) -> Term:
    """Return an answer whose arrays lie on the CPU, whence it can be sent."""
    seen = {one.name: _home(getattr(term.measured, one.name)) for one in fields(term.measured)}
    return Term(_home(term.total), Measured(**seen))


def _home(values: Array) -> Array:
    return values if isinstance(values, np.ndarray) else values.cpu()


def _ask(actors: Sequence[Any], step: Step, deadline: float) -> Term:
    """Step every block and join the answers in block order."""
    shared = ray.put(step)
    answers = [actor.advance.remote(shared) for actor in actors]
    return gather(ray.get(answers, timeout=deadline))
