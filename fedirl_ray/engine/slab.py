"""Slabs of the lattice on Ray actors; the maths stays in `transport.slab`.

The driver holds no vector of the lattice until the end. Blocks travel from actor to actor through
the object store: the driver only passes references on. When a worker dies all go back to the last
state they kept, and the steps since are repeated, to the byte.
"""

import mmap
from collections.abc import Sequence
from time import perf_counter
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedirl_ray.engine.cluster import ray
from fedirl_ray.engine.crew import Crew
from fedirl_ray.transport.axis import CostScale, Floats, ground_costs
from fedirl_ray.transport.measure import checked_weights
from fedirl_ray.transport.slab import (
    Sight,
    SlabSolution,
    add_sights,
    check_slabs,
    collect,
    make_slab,
    solve_slabs,
    spread_u,
    spread_v,
    step_traffic,
)


class SlabResult(NamedTuple):
    """A barycenter, how it was reached, and what that cost the network."""

    measure: Floats
    """`[*shape]`, of sum 1."""
    solution: SlabSolution
    sent: int
    """Bytes that crossed between workers, repeated steps left out."""
    seconds: float


def barycenter_on_slabs(
    measures: NDArray[np.floating],
    axes: Sequence[ArrayLike],
    *,
    workers: int,
    epsilon: float,
    weights: ArrayLike | None = None,
    cost_scale: CostScale = "max",
    periodic: Sequence[float | Literal[False]] | None = None,
    tol: float = 1e-7,
    max_iters: int = 10_000,
    deadline: float = 600.0,
) -> SlabResult:
    """Return the entropic barycenter with every client's vectors cut into slabs over workers.

    For lattices on which even one client's vectors are too large for a machine, or with fewer
    clients than workers; else `barycenter_on_ray` sends less. Equals `fedirl_ray.barycenter` up to
    rounding; the bytes depend on the number of workers, not on where they run.

    Args:
        measures: `[k, n]`, non-negative, of positive sum. Of a whole `numpy.memmap` only the file's
            name goes to the workers, which read their columns there, client by client.
        axes: As for `barycenter`, at least two.
        workers: Slabs, each an actor of one CPU.
        epsilon: As for `barycenter`; at least the largest cost over 300.
        weights: As for `barycenter`.
        cost_scale: As for `barycenter`.
        periodic: As for `barycenter`.
        tol: As for `barycenter`.
        max_iters: As for `barycenter`.
        deadline: Seconds to wait for one step before its workers count as dead.

    Raises:
        ValueError: An argument breaks its law.
        RayActorError: Workers keep dying.
    """
    begin = perf_counter()
    costs = ground_costs(axes, cost_scale=cost_scale, periodic=periodic)
    check_slabs(costs, epsilon, workers)
    shape = tuple(len(cost) for cost in costs)
    _check(measures, shape)
    alphas = checked_weights(weights, len(measures))
    with slab_crew(costs, epsilon, measures, alphas, workers, deadline) as crew:
        solution = solve_slabs(lambda *, measure: crew.advance(measure), tol, max_iters)
        measure = np.exp(log_b(crew))
    return SlabResult(
        (measure / measure.sum()).reshape(shape),
        solution,
        solution.iterations * step_traffic(len(measures), shape, workers),
        perf_counter() - begin,
    )


def _check(measures: NDArray[np.floating], shape: tuple[int, ...]) -> None:
    """Refuse measures that are none, looking at one client at a time."""
    n = int(np.prod(shape))
    if measures.ndim != 2 or measures.shape[1] != n or len(measures) == 0:
        raise ValueError(
            f"measures must have shape [k, {n}] to match the axes, got {list(measures.shape)}"
        )
    for i, measure in enumerate(measures):
        total = float(measure.sum())
        if not (np.isfinite(total) and measure.min() >= 0.0 and total > 0.0):
            raise ValueError(
                f"measures[{i}] must be finite, non-negative and of positive mass, got entries "
                f"from {measure.min()} to {measure.max()}"
            )


class OnDisk(NamedTuple):
    """An array in a file that every worker can open."""

    filename: str
    dtype: str
    offset: int
    shape: tuple[int, ...]


def _source(measures: NDArray[np.floating]) -> Any:
    """What to send so that a worker can read the measures."""
    # A view of a memory map knows no offset of its own.
    whole = isinstance(measures, np.memmap) and isinstance(measures.base, mmap.mmap)
    if isinstance(measures, np.memmap) and whole and measures.flags.c_contiguous:
        name = str(measures.filename)
        return OnDisk(name, measures.dtype.str, measures.offset, measures.shape)
    return ray.put(np.asarray(measures))


class SlabActor:
    """Holds one slab between steps."""

    def __init__(
        self,
        costs: Sequence[Floats],
        epsilon: float,
        source: OnDisk | NDArray[np.floating],
        weights: Floats,
        worker: int,
        workers: int,
    ) -> None:
        rows: Any = source
        if isinstance(source, OnDisk):
            name, dtype, offset, shape = source
            rows = np.memmap(name, dtype, mode="r", offset=offset, shape=shape)
        self.slab = make_slab(costs, epsilon, rows, weights, worker, workers)

    def spread_v(self) -> Any:
        """First part of a step: one block for each worker."""
        return _one_or_all(spread_v(self.slab))

    def spread_u(self, *blocks: Floats) -> Any:
        """Second part: one block for each worker."""
        return _one_or_all(spread_u(self.slab, blocks))

    def collect(self, measure: bool, *blocks: Floats) -> Sight | None:
        """Last part: move the barycenter on this slab's rows."""
        return collect(self.slab, blocks, measure=measure)

    def snapshot(self) -> tuple[Floats, Floats]:
        """Return a copy of what a step changes."""
        return self.slab.ktu.copy(), self.slab.log_b.copy()

    def restore(self, saved: tuple[Floats, Floats]) -> None:
        """Put a state back."""
        self.slab.ktu, self.slab.log_b = (part.copy() for part in saved)

    def log_b(self) -> Floats:
        """Return the barycenter's logarithm on this slab's rows."""
        return self.slab.log_b


def _one_or_all(blocks: list[Floats]) -> Any:
    """Ray wants a bare value where one is promised."""
    return blocks[0] if len(blocks) == 1 else tuple(blocks)


def slab_crew(
    costs: Sequence[Floats],
    epsilon: float,
    measures: NDArray[np.floating],
    weights: Floats,
    workers: int,
    deadline: float = 600.0,
) -> Crew[bool, Sight | None]:
    """Give each worker a slab; a step is told whether to measure how far it is from the end."""
    rows = _source(measures)
    parts = [(costs, epsilon, rows, weights, i, workers) for i in range(workers)]
    return Crew(SlabActor, parts, _ask, deadline)


def log_b(crew: Crew[bool, Sight | None]) -> Floats:
    """Return the barycenter's logarithm `[n]`."""
    parts = ray.get([actor.log_b.remote() for actor in crew.actors], timeout=crew.deadline)
    return np.concatenate(parts).ravel()


def _ask(actors: Sequence[Any], measure: bool, deadline: float) -> Sight | None:
    """Step every slab; the blocks go from worker to worker."""
    workers = len(actors)
    cut = [actor.spread_v.options(num_returns=workers).remote() for actor in actors]
    cut = [
        actor.spread_u.options(num_returns=workers).remote(*blocks)
        for actor, blocks in zip(actors, _turned(cut), strict=True)
    ]
    ended = [
        actor.collect.remote(measure, *blocks)
        for actor, blocks in zip(actors, _turned(cut), strict=True)
    ]
    return add_sights(ray.get(ended, timeout=deadline))


def _turned(cut: Sequence[Any]) -> list[list[Any]]:
    """Give worker `j` the `j`-th block of every worker, in worker order."""
    rows = [part if isinstance(part, list) else [part] for part in cut]
    return [list(column) for column in zip(*rows, strict=True)]
