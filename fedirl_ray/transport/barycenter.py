"""Entropic Wasserstein barycenters of measures on a product lattice."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from fedirl_ray.transport.axis import CostScale, Floats, ground_costs
from fedirl_ray.transport.backend import Backend, Precision, asnumpy, namespace
from fedirl_ray.transport.fixed_point import FixedPoint
from fedirl_ray.transport.kernel import axis_order
from fedirl_ray.transport.measure import checked_measures, checked_weights, reordered
from fedirl_ray.transport.memory import demand, estimate, slots_for
from fedirl_ray.transport.projection import PLAIN_REACH
from fedirl_ray.transport.shard import Problem, in_process, make_shard
from fedirl_ray.transport.solver import Solution, Solver, solve
from fedirl_ray.transport.step import Scaling


@dataclass(frozen=True)
class BarycenterResult:
    """A barycenter and how it was reached."""

    measure: Floats
    """The barycenter `[*shape]`, non-negative, of sum 1."""
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


def barycenter(
    measures: ArrayLike,
    axes: Sequence[ArrayLike],
    *,
    weights: ArrayLike | None = None,
    epsilon: float,
    cost_scale: CostScale = "max",
    periodic: Sequence[float | Literal[False]] | None = None,
    debiased: bool = False,
    tol: float = 1e-7,
    max_iters: int = 10_000,
    shards: int = 1,
    backend: Backend = "numpy",
    dtype: Precision = "float64",
    domain: Scaling | None = None,
    anderson: int | None = None,
) -> BarycenterResult:
    """Return the entropic 2-Wasserstein barycenter of measures on a product lattice.

    Minimises `sum_k alpha_k OT_epsilon(p_k, b)` over `b` by iterative Bregman projections (Benamou
    et al. 2015, section 3.2) on a separable Gibbs kernel: an iteration costs `k n sum(m)` for axes
    of `m` points, and memory is a few times the measures.

    Args:
        measures: `[k, *shape]` or `[k, n]`, non-negative; each is normalised to sum 1.
        axes: One entry per lattice axis: strictly increasing coordinates `[m]`, whose cost is the
            squared distance, or a symmetric non-negative matrix `[m, m]` that is itself the cost
            between the axis' categories (and is scaled like the others).
        weights: `[k]`, non-negative, normalised to sum 1; equal if `None`.
        epsilon: Entropic regularisation, in units of the ground cost after its scale.
        cost_scale: `"max"` (the largest cost over the lattice becomes 1), `"none"`, or one factor
            per axis.
        periodic: Per axis `False`, or its period in coordinate units (angles).
        debiased: Remove the blur that entropy adds (Janati, Cuturi and Gramfort 2020,
            "Debiased Sinkhorn barycenters", algorithm 1).
        tol: Largest `error` to call converged; about 1e-12 is the least that float64 reaches.
        max_iters: Most projections onto each measure.
        shards: Number of blocks of clients, stepped on a thread each (give BLAS one thread then);
            leaves no trace in the result's bytes.
        backend: `"numpy"`, or `"torch"` (on the GPU if it sees one).
        dtype: Precision of the scalings. `"float32"` halves time and memory; the barycenter is
            then right to about 1e-5 in L1 at epsilon .05, and `tol` below 1e-5 is not reached.
        domain: `"plain"` or `"log"` to insist; by default plain wherever its range suffices.
        anderson: Past steps to mix (each takes two numbers per client and point); by default up
            to 10, from the start where the largest cost exceeds 50 epsilon, else after 30 steps.

    Returns:
        The barycenter and how it was reached; look at `converged`.

    Raises:
        ValueError: If an argument breaks its law; the message names it.
        MemoryError: If the machine cannot hold the problem.
    """
    solver = Solver(
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
    return barycenter_in_process(measures, axes, weights, solver, shards)


def barycenter_in_process(
    measures: ArrayLike,
    axes: Sequence[ArrayLike],
    weights: ArrayLike | None,
    solver: Solver,
    shards: int = 1,
) -> BarycenterResult:
    """Return `barycenter`, which see, by a solver given whole."""
    begin = perf_counter()
    task = prepare(measures, axes, weights, solver)
    if shards < 1:
        raise ValueError(f"shards must be >= 1, got {shards}")
    advance = in_process(
        [make_shard(task.problem, *block) for block in split(task.rows, task.weights, shards)]
    )
    solution = solve(advance, task.problem, task.weights, solver)
    return make_result(task, solution, perf_counter() - begin)


@dataclass(frozen=True)
class Task:
    """A barycenter ready to be solved, wherever its shards will live."""

    problem: Problem
    solver: Solver
    rows: Floats
    """The measures of the clients whose weight is not zero `[k, n]`, rows of sum 1; the lattice's
    axes in `order`."""
    weights: Floats
    """Theirs `[k]`, of sum 1."""
    shape: tuple[int, ...]
    """Of the lattice."""
    order: tuple[int, ...]
    """Of its axes inside the problem, for speed."""


def prepare(
    measures: ArrayLike, axes: Sequence[ArrayLike], weights: ArrayLike | None, solver: Solver
) -> Task:
    """Check and normalise the arguments of `barycenter`, which see.

    Raises:
        ValueError: If an argument breaks its law; the message names it.
        MemoryError: If the machine cannot hold the problem.
    """
    costs = ground_costs(axes, cost_scale=solver.cost_scale, periodic=solver.periodic)
    shape = tuple(len(cost) for cost in costs)
    solver.check()
    rows = checked_measures(measures, shape)
    alphas = checked_weights(weights, len(rows))
    counted = alphas > 0
    if not counted.all():
        rows, alphas = rows[counted], alphas[counted]
    order = axis_order(shape)
    problem = make_problem(tuple(costs[i] for i in order), len(rows), solver)
    return Task(problem, solver, reordered(rows, shape, order), alphas, shape, order)


def make_problem(costs: tuple[Floats, ...], k: int, solver: Solver) -> Problem:
    """Return what the shards of `k` clients share, with the number of kept steps chosen.

    Raises:
        ValueError: If a field of the solver breaks its law.
        MemoryError: If the machine cannot hold the problem.
    """
    backend, dtype, anderson = solver.backend, solver.dtype, solver.anderson
    namespace(backend)
    if dtype not in ("float64", "float32"):
        raise ValueError(f"dtype must be 'float64' or 'float32', got {dtype!r}")
    if anderson is not None and anderson < 0:
        raise ValueError(f"anderson must be >= 0, got {anderson}")
    lengths = [len(cost) for cost in costs]
    n = math.prod(lengths)
    reach = sum(float(cost.max()) for cost in costs) / solver.epsilon
    slots = slots_for(k, n, dtype) if anderson is None else anderson + 1
    needed = estimate(k, lengths, slots, dtype, second_kernel=solver.debiased)
    demand(needed, f"a barycenter of {k} measures on {n} points")
    # A bound on |log K'u|: potentials differ by at most the reach; and float64 itself ends at 745.
    bound = 8 * reach + 64
    if reach <= PLAIN_REACH["float64"]:
        bound = min(bound, 1024.0)
    return Problem(costs, FixedPoint.reaching(bound), slots, backend, dtype)


def split(rows: Floats, weights: Floats, shards: int) -> list[tuple[Floats, Floats]]:
    """Return the clients' rows and weights in at most `shards` consecutive blocks."""
    parts = min(shards, len(rows))
    return list(zip(np.array_split(rows, parts), np.array_split(weights, parts), strict=True))


def make_result(task: Task, solution: Solution, seconds: float) -> BarycenterResult:
    """Return the result of a solved task."""
    log_b = asnumpy(solution.log_b)
    measure = np.exp(log_b)
    if not 0.0 < measure.sum() < np.inf:
        # Debiased and stopped early: only the mass is out of range, which is divided out.
        measure = np.exp(log_b - log_b.max())
    inside = (measure / measure.sum()).reshape([task.shape[i] for i in task.order])
    return BarycenterResult(
        measure=np.ascontiguousarray(inside.transpose(np.argsort(task.order))),
        converged=solution.error <= task.solver.tol,
        iterations=solution.iterations,
        error=solution.error,
        seconds=seconds,
        objective=task.solver.epsilon * float(task.weights @ solution.duals),
        domain=solution.domain,
    )
