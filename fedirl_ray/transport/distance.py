"""The squared 2-Wasserstein distance between two measures on a product lattice or a cloud."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from fedirl_ray.transport.advance import in_process
from fedirl_ray.transport.axis import CostScale, Floats
from fedirl_ray.transport.barycenter import make_problem, where_of
from fedirl_ray.transport.cloud import CloudScale
from fedirl_ray.transport.ground import GibbsKernel, Ground, Where, ground_of, in_order
from fedirl_ray.transport.kernel import axis_order
from fedirl_ray.transport.measure import checked_measures, reordered
from fedirl_ray.transport.memory import demand
from fedirl_ray.transport.shard import make_shard
from fedirl_ray.transport.simplex import Transport, exact_transport
from fedirl_ray.transport.solver import Solver, solve

FLOOR = 1e-300
"""Zeros of the held measure are lifted to this, so that potentials stay finite."""


@dataclass(frozen=True)
class Wasserstein2Result:
    """A squared distance and how it was reached; costs in units of the scaled ground cost."""

    divergence: float
    """Debiased Sinkhorn divergence, 0 for equal measures, >= 0 if `positive_definite`; the exact
    cost if `exact`."""
    transport_cost: float
    """Ground cost of the (entropic or exact) plan: an upper bound on the exact cost."""
    converged: bool
    """Whether `error <= tol`; if `exact`, whether the solver calls its plan optimal. If not, the
    numbers above bound nothing."""
    iterations: int
    """Sinkhorn iterations between the two measures."""
    error: float
    """Largest L1 violation of a marginal."""
    seconds: float
    """Wall time of the call."""
    positive_definite: bool
    """Whether the Gibbs kernel is, which is the condition for a divergence >= 0 (Feydy et al. 2019,
    theorem 1). Squared distances on lines always meet it; periodic axes and costs of one's own
    need an epsilon that is small against their costs. True if `exact`, which needs no kernel."""


def wasserstein2(
    p: ArrayLike,
    q: ArrayLike,
    axes: Sequence[ArrayLike] | None = None,
    *,
    points: ArrayLike | None = None,
    epsilon: float | None = None,
    cost_scale: CostScale | CloudScale | None = None,
    periodic: Sequence[float | Literal[False]] | None = None,
    exact: bool = False,
    tol: float = 1e-7,
    max_iters: int = 10_000,
) -> Wasserstein2Result:
    """Return the squared 2-Wasserstein distance between two measures on a lattice or a cloud.

    Args:
        p: `[*shape]` or `[n]`, non-negative; normalised to sum 1.
        q: As `p`.
        axes: As for `barycenter`.
        points: As for `barycenter`.
        epsilon: Entropic regularisation, in units of the ground cost after its scale; needed on a
            lattice unless `exact`, on a cloud by default that of `barycenter`.
        cost_scale: As for `barycenter`.
        periodic: As for `barycenter`.
        exact: Solve the linear program on the measures' supports (POT's `emd2`); its memory is
            the product of the supports' sizes.
        tol: Largest L1 violation of a marginal to call converged.
        max_iters: Most Sinkhorn iterations.

    Returns:
        The Sinkhorn divergence (Feydy et al. 2019, "Interpolating between optimal transport and
        MMD using Sinkhorn divergences", equation 3) and the plan's cost; look at `converged`, and
        on periodic axes at `positive_definite`.

    Raises:
        ValueError: If an argument breaks its law; the message names it.
    """
    begin = perf_counter()
    if epsilon is None and exact:
        epsilon = 1.0  # not looked at
    if epsilon is None and axes is not None:
        raise ValueError("epsilon must be given unless exact")
    where, epsilon, lattice_scale = where_of(axes, points, epsilon, cost_scale, periodic)
    ground = ground_of(where, cost_scale=lattice_scale, periodic=periodic)
    one, two = (
        checked_measures(np.asarray(m)[None], ground.shape, name)[0]
        for m, name in ((p, "p"), (q, "q"))
    )
    order = axis_order(ground.shape)
    one, two = reordered(np.stack((one, two)), ground.shape, order)
    ground = in_order(ground, order)
    if exact:
        found = _exact(one, two, ground)
        return Wasserstein2Result(
            divergence=found.cost,
            transport_cost=found.cost,
            converged=found.flaw is None,
            iterations=0,
            error=found.error,
            seconds=perf_counter() - begin,
            positive_definite=True,
        )
    log_q = np.log(np.maximum(two, FLOOR))
    solver = Solver(epsilon=epsilon, tol=tol, max_iters=max_iters)
    solver.check()
    # In the memory of a debiased one: the two selves take a kernel, too.
    problem = make_problem(ground, 1, replace(solver, debiased=True))
    alone = np.ones(1)
    advance = in_process([make_shard(problem, one[None], alone)])
    between = solve(advance, problem, alone, solver, held=log_q)
    kernel = problem.kernel(epsilon)
    with np.errstate(divide="ignore"):
        log_v = log_q - between.total
        log_u = np.log(one) - kernel.apply_log(log_v[None])[0]
        selves = [_self_scaling(kernel, row[None], tol, max_iters) for row in (one, two)]
    entropic = _mean(one, log_u) + _mean(two, log_v)
    error = max(between.error, *(self_error for _, self_error in selves))
    return Wasserstein2Result(
        divergence=epsilon * (entropic - _mean(one, selves[0][0][0]) - _mean(two, selves[1][0][0])),
        transport_cost=ground.plan_cost(epsilon, log_u, log_v),
        converged=error <= tol,
        iterations=between.iterations,
        error=error,
        seconds=perf_counter() - begin,
        positive_definite=ground.positive_definite(epsilon),
    )


def divergences_to(
    measures: Floats,
    held: Floats,
    where: Where,
    *,
    epsilon: float,
    cost_scale: CostScale = "max",
    tol: float = 1e-3,
    max_iters: int = 200,
) -> Floats:
    """Return the debiased Sinkhorn divergences of many measures to one.

    As `wasserstein2`, all at once and by plain iterations, which suffice where distances only
    weigh clients.

    Args:
        measures: `[k, n]`, rows of sum 1.
        held: `[n]`, of sum 1.
        where: The lattice's axes as for `barycenter`, or a cloud.
        epsilon: Entropic regularisation.
        cost_scale: Of a lattice, as for `barycenter`.
        tol: Largest L1 violation of a marginal.
        max_iters: Most iterations.

    Returns:
        `[k]`, those below zero by rounding at zero.
    """
    kernel = ground_of(where, cost_scale=cost_scale).kernel(epsilon)
    log_q = np.log(np.maximum(held, FLOOR))
    with np.errstate(divide="ignore"):
        log_p = np.log(measures)
    log_v = np.zeros_like(measures)
    with np.errstate(divide="ignore"):
        for _ in range(max_iters):
            log_u = log_p - kernel.apply_log(log_v)
            log_ku = kernel.apply_log(log_u)
            error = float(np.abs(np.exp(log_v + log_ku) - held).sum(axis=1).max())
            log_v = log_q - log_ku
            if error <= tol:
                break
    with np.errstate(divide="ignore"):
        own, _ = _self_scaling(kernel, measures, tol, max_iters)
        there, _ = _self_scaling(kernel, held[None], tol, max_iters)
    # Zeros of a measure have no potential, and no part in its mean.
    with np.errstate(invalid="ignore"):
        first = np.where(measures > 0.0, measures * (log_u - own), 0.0).sum(axis=1)
        second = np.where(held > 0.0, held * (log_v - there), 0.0).sum(axis=1)
    found: Floats = np.maximum(epsilon * (first + second), 0.0)
    return found


def _self_scaling(
    kernel: GibbsKernel, rows: Floats, tol: float, max_iters: int
) -> tuple[Floats, float]:
    """Return `log d` with `d * (K d) = p` for rows `[k, n]`, and the worst L1 error of it."""
    log_p = np.log(rows)
    log_d = np.zeros_like(rows)
    for _ in range(max_iters):
        log_kd = kernel.apply_log(log_d)
        error = float(np.abs(np.exp(log_d + log_kd) - rows).sum(axis=1).max())
        if error <= tol:
            break
        log_d = 0.5 * (log_d + log_p - log_kd)
    return log_d, error


def _exact(p: Floats, q: Floats, ground: Ground) -> Transport:
    """Solve on the measures' supports."""
    here, there = np.flatnonzero(p), np.flatnonzero(q)
    # The costs, POT's copy of them, its plan and one temporary.
    demand(
        4 * 8 * len(here) * len(there),
        f"an exact distance between measures on {len(here)} and {len(there)} points",
        "epsilon instead of exact, or fewer points",
    )
    total = ground.between(here, there)
    return exact_transport(p[here], q[there], total)


def _mean(p: Floats, values: Floats) -> float:
    held = p > 0
    return float(p[held] @ values[held])
