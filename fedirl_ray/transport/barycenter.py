"""Entropic Wasserstein barycenters of measures on a product lattice or a point cloud."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from fedirl_ray.transport.advance import in_process
from fedirl_ray.transport.axis import CostScale, Floats
from fedirl_ray.transport.backend import (
    NUMPY,
    Array,
    Backend,
    Place,
    asnumpy,
    located,
    namespace_of,
)
from fedirl_ray.transport.cloud import FEWER, Cloud, CloudScale
from fedirl_ray.transport.fixed_point import FixedPoint
from fedirl_ray.transport.ground import Ground, Lattice, Where, ground_of, in_order
from fedirl_ray.transport.kernel import axis_order
from fedirl_ray.transport.measure import checked_measures, checked_weights, reordered
from fedirl_ray.transport.memory import ADVICE, demand, slots_for, vectors_bytes
from fedirl_ray.transport.projection import PLAIN_REACH
from fedirl_ray.transport.shard import Problem, make_shard
from fedirl_ray.transport.solver import Dtype, Solution, Solver, solve
from fedirl_ray.transport.step import Scaling


@dataclass(frozen=True)
class BarycenterResult:
    """A barycenter and how it was reached."""

    measure: Floats
    """The barycenter `[*shape]` (`[n]` on a cloud), non-negative, of sum 1; a tensor where the
    measures were."""
    converged: bool
    """Whether `error <= tol`; if not, raise `max_iters` or `epsilon`."""
    iterations: int
    """Projections onto each measure, over all levels of epsilon."""
    error: float
    """L1 distance between the barycenter and the marginal of the worst client's plan; the plans'
    other marginals are the measures exactly. Debiased: plus that of the self-transport plan."""
    seconds: float
    """Wall time of the call."""
    objective: float
    """`sum_k alpha_k epsilon <log u_k, p_k>`: the weighted transport cost of the plans plus
    `epsilon * sum(plan * log(plan))`, in units of the scaled ground cost."""
    domain: Scaling
    """`"plain"` (scalings) or `"log"` (their logarithms): where the iteration ended."""
    epsilon: float
    """Entropic regularisation, in units of the scaled ground cost."""


def barycenter(
    measures: ArrayLike | Array,
    axes: Sequence[ArrayLike] | None = None,
    *,
    points: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    epsilon: float | None = None,
    cost_scale: CostScale | CloudScale | None = None,
    periodic: Sequence[float | Literal[False]] | None = None,
    debiased: bool = False,
    tol: float = 1e-7,
    max_iters: int = 10_000,
    shards: int = 1,
    backend: Backend = "numpy",
    device: str | None = None,
    dtype: Dtype = "float64",
    domain: Scaling | None = None,
    anderson: int | None = None,
) -> BarycenterResult:
    """Return the entropic 2-Wasserstein barycenter of measures on a lattice or a point cloud.

    Minimises `sum_k alpha_k OT_epsilon(p_k, b)` over `b` by iterative Bregman projections (Benamou
    et al. 2015, section 3.2) on a separable Gibbs kernel: an iteration costs `k n sum(m)` for axes
    of `m` points, and memory is a few times the measures. On a cloud the kernel has no such
    structure: an iteration costs `k n**2`, and memory is still a few times the measures, beside
    what the kernel takes where 256 MiB hold it.

    Args:
        measures: `[k, *shape]` or `[k, n]`, non-negative; each is normalised to sum 1. With
            backend `"torch"` tensors too, or a list of them, which all lie on one device.
        axes: One entry per lattice axis: strictly increasing coordinates `[m]`, whose cost is the
            squared distance, or a symmetric non-negative matrix `[m, m]` that is itself the cost
            between the axis' categories (and is scaled like the others).
        points: Instead of axes: a cloud `[n, D]` of different points, whose cost is their squared
            distance. What transport can use of it: `geometry_of`; to spread it out: `thin`.
        weights: `[k]`, non-negative, normalised to sum 1; equal if `None`.
        epsilon: Entropic regularisation, in units of the ground cost after its scale; on a cloud
            by default such that the kernel's median row sums to 5, itself and four neighbours.
        cost_scale: On a lattice `"max"` (the default: the largest cost becomes 1), `"none"`, or one
            factor per axis. On a cloud the cost that becomes 1: `"median"` (the default, of all
            pairs), `"neighbours"` (the default epsilon), `"max"`, or `"none"`.
        periodic: Per axis `False`, or its period in coordinate units (angles).
        debiased: Remove the blur that entropy adds (Janati, Cuturi and Gramfort 2020,
            "Debiased Sinkhorn barycenters", algorithm 1).
        tol: Largest `error` to call converged; about 1e-12 is the least that float64 reaches.
        max_iters: Most projections onto each measure.
        shards: Number of blocks of clients, stepped on a thread each (give BLAS one thread then);
            leaves no trace in the result's bytes (on a GPU, none beyond rounding).
        backend: `"numpy"`, or `"torch"`, which is made for GPUs: a CPU is quicker with numpy.
        device: Where torch computes, `"cpu"`, `"cuda"` or `"cuda:1"`; by default where tensors
            lie, and on the CPU what are none.
        dtype: Precision of the scalings. `"float32"` halves time and memory; the barycenter is
            then right to about 1e-5 in L1 at epsilon .05, and `tol` below 1e-5 is not reached.
            `"tf32"` is float32 with a GPU's products of ten-bit mantissas: `tol` below 1e-2 is not
            to be relied on.
        domain: `"plain"` or `"log"` to insist; by default plain wherever its range suffices.
        anderson: Past steps to mix (each takes two numbers per client and point); by default up
            to 10, from the start where the largest cost exceeds 50 epsilon, else after 30 steps.

    Returns:
        The barycenter and how it was reached; look at `converged`.

    Raises:
        ValueError: If an argument breaks its law; the message names it.
        MemoryError: If the machine or its GPU cannot hold the problem.
    """
    where, epsilon, lattice_scale = where_of(axes, points, epsilon, cost_scale, periodic)
    solver = Solver(
        epsilon=epsilon,
        cost_scale=lattice_scale,
        periodic=periodic,
        debiased=debiased,
        tol=tol,
        max_iters=max_iters,
        backend=backend,
        device=device,
        dtype=dtype,
        domain=domain,
        anderson=anderson,
    )
    return barycenter_in_process(measures, where, weights, solver, shards)


def where_of(
    axes: Sequence[ArrayLike] | None,
    points: ArrayLike | None,
    epsilon: float | None,
    cost_scale: CostScale | CloudScale | None,
    periodic: Sequence[float | Literal[False]] | None,
) -> tuple[Where, float, CostScale]:
    """Return the axes or the cloud that measures are on, epsilon, and the scale of a lattice.

    Raises:
        ValueError: If both or neither are given, or what belongs to the other.
    """
    if (axes is None) == (points is None):
        got = "both" if points is not None else "neither"
        raise ValueError(f"either axes or points must be given, got {got}")
    if axes is not None:
        if epsilon is None:
            raise ValueError("epsilon must be given with axes, got None")
        # Axes have scales of their own, and refuse a cloud's.
        return axes, epsilon, "max" if cost_scale is None else cost_scale  # type: ignore[return-value]
    if periodic is not None:
        raise ValueError(f"periodic must be None with points, got {periodic}")
    cloud = Cloud.of(points, "median" if cost_scale is None else cost_scale)  # type: ignore[arg-type]
    return cloud, cloud.epsilon if epsilon is None else epsilon, "max"


def barycenter_in_process(
    measures: ArrayLike | Array,
    where: Where,
    weights: ArrayLike | None,
    solver: Solver,
    shards: int = 1,
) -> BarycenterResult:
    """Return `barycenter`, which see, by a solver given whole."""
    begin = perf_counter()
    if shards < 1:
        raise ValueError(f"shards must be >= 1, got {shards}")
    with solver.refusing_what_does_not_fit():
        task = prepare(measures, where, weights, solver)
        blocks = split(task.rows, task.weights, shards)
        advance = in_process([make_shard(task.problem, *block) for block in blocks])
        solution = solve(advance, task.problem, task.weights, solver)
        return make_result(task, solution, perf_counter() - begin)


@dataclass(frozen=True)
class Task:
    """A barycenter ready to be solved, wherever its shards will live."""

    problem: Problem
    solver: Solver
    rows: Array
    """The measures of the clients whose weight is not zero `[k, n]`, rows of sum 1; the lattice's
    axes in `order`."""
    weights: Floats
    """Theirs `[k]`, of sum 1."""
    shape: tuple[int, ...]
    """Of the lattice, or `[n]` of a cloud."""
    order: tuple[int, ...]
    """Of a lattice's axes inside the problem, for speed."""
    home: Any = None
    """The device of the tensors that the measures were, to which the barycenter goes back."""


def prepare(
    measures: ArrayLike | Array,
    where: Where,
    weights: ArrayLike | None,
    solver: Solver,
) -> Task:
    """Check and normalise the arguments of `barycenter`, which see.

    Raises:
        ValueError: If an argument breaks its law; the message names it.
        MemoryError: If the machine or its GPU cannot hold the problem.
    """
    ground = ground_of(where, cost_scale=solver.cost_scale, periodic=solver.periodic)
    shape = ground.shape
    solver.check()
    place = located(measures, solver.backend, solver.device)
    order = axis_order(shape, place.choices.merge_up_to)
    ground = in_order(ground, order)
    if place.on_gpu:
        # Before the measures are brought there.
        make_problem(ground, len(measures), solver, place)  # type: ignore[arg-type]
    rows = checked_measures(measures, shape, place=place)
    alphas = checked_weights(weights, len(rows))
    counted = alphas > 0
    if not counted.all():
        rows, alphas = rows[np.flatnonzero(counted).tolist()], alphas[counted]
    problem = make_problem(ground, len(rows), solver, place)
    first = measures[0] if isinstance(measures, list | tuple) and len(measures) else measures
    home = getattr(first, "device", None) if isinstance(first, type(rows)) else None
    return Task(
        problem,
        solver,
        reordered(rows, shape, order),
        alphas,
        shape,
        order,
        home if solver.backend == "torch" else None,
    )


def make_problem(
    ground: Ground,
    k: int,
    solver: Solver,
    place: Place = NUMPY,
) -> Problem:
    """Return what the shards of `k` clients share, with the number of kept steps chosen.

    Raises:
        ValueError: If a field of the solver breaks its law.
        MemoryError: If the machine or its GPU cannot hold the problem.
    """
    dtype, anderson = solver.dtype, solver.anderson
    if dtype not in ("float64", "float32", "tf32"):
        raise ValueError(f"dtype must be 'float64', 'float32' or 'tf32', got {dtype!r}")
    if dtype == "tf32" and not place.on_gpu:
        raise ValueError("dtype must be 'float64' or 'float32' without a GPU, got 'tf32'")
    if anderson is not None and anderson < 0:
        raise ValueError(f"anderson must be >= 0, got {anderson}")
    if dtype == "tf32" and isinstance(ground, Cloud):
        # Its mantissas would be those of the exponents, too.
        raise ValueError("dtype must be 'float64' or 'float32' with points, got 'tf32'")
    precision, n = solver.precision, ground.size
    slots = slots_for(k, n, precision) if anderson is None else anderson + 1
    needed = vectors_bytes(k, n, slots, precision, ground.together(k, place), place)
    needed += ground.kernel_bytes(precision, second_kernel=solver.debiased, place=place)
    advice = ADVICE if isinstance(ground, Lattice) else FEWER
    demand(needed, f"a barycenter of {k} measures on {ground.name}", advice, place)
    reach = ground.reach / solver.epsilon
    # A bound on |log K'u|: potentials differ by at most the reach; and float64 itself ends at 745.
    bound = 8 * reach + 64
    if reach <= PLAIN_REACH["float64"]:
        bound = min(bound, 1024.0)
    tf32 = dtype == "tf32"
    return Problem(ground, FixedPoint.reaching(bound), slots, place, precision, tf32)


def split(rows: Array, weights: Floats, shards: int) -> list[tuple[Array, Floats]]:
    """Return the clients' rows and weights in at most `shards` consecutive blocks."""
    places = np.array_split(np.arange(len(rows)), min(shards, len(rows)))
    cuts = [slice(int(place[0]), int(place[-1]) + 1) for place in places]
    return [(rows[cut], weights[cut]) for cut in cuts]


def make_result(task: Task, solution: Solution, seconds: float) -> BarycenterResult:
    """Return the result of a solved task."""
    log_b = solution.log_b if task.home is not None else asnumpy(solution.log_b)
    xp = namespace_of(log_b)
    measure = xp.exp(log_b)
    if not 0.0 < float(measure.sum()) < np.inf:
        # Debiased and stopped early: only the mass is out of range, which is divided out.
        measure = xp.exp(log_b - log_b.max())
    inside = tuple(task.shape[i] for i in task.order)
    undone = tuple(int(i) for i in np.argsort(task.order))
    measure = reordered((measure / measure.sum())[None], inside, undone)[0].reshape(task.shape)
    return BarycenterResult(
        measure=measure if task.home is None else measure.to(task.home),
        converged=solution.error <= task.solver.tol,
        iterations=solution.iterations,
        error=solution.error,
        seconds=seconds,
        objective=task.solver.epsilon * float(task.weights @ asnumpy(solution.duals)),
        domain=solution.domain,
        epsilon=task.solver.epsilon,
    )
