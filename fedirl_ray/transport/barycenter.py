"""Entropic Wasserstein barycenters of measures on a product lattice."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from fedirl_ray.transport.axis import CostScale, Floats, ground_costs
from fedirl_ray.transport.kernel import Kernel, gibbs_kernel
from fedirl_ray.transport.measure import checked_measures, checked_weights
from fedirl_ray.transport.shard import Advance, Domain, Step, Term, in_process, make_shard

CHECK_EVERY = 10
"""Iterations between two measurements of the error."""

PLAIN_REACH = 300.0
"""Largest cost over epsilon at which no product of the plain iteration can leave float64."""


@dataclass(frozen=True)
class BarycenterResult:
    """A barycenter and how it was reached."""

    measure: Floats
    """The barycenter `[*shape]`, non-negative, of sum 1."""
    converged: bool
    """Whether `error <= tol`."""
    iterations: int
    """Projections onto each measure."""
    error: float
    """Largest L1 violation of a marginal over the clients; at most 2."""
    seconds: float
    """Wall time of the call."""
    objective: float
    """Regularised transport cost, in units of the scaled ground cost."""
    domain: Domain
    """`"plain"` (scalings) or `"log"` (their logarithms), chosen by what epsilon allows."""


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
    backend: Literal["numpy", "torch"] = "numpy",
) -> BarycenterResult:
    """Return the entropic 2-Wasserstein barycenter of measures on a product lattice.

    Args:
        measures: `[k, *shape]` or `[k, n]`, non-negative; each is normalised to sum 1.
        axes: One entry per lattice axis: strictly increasing coordinates, or a symmetric matrix
            that is itself the cost between the axis' categories.
        weights: `[k]`, non-negative, normalised to sum 1; equal if `None`.
        epsilon: Entropic regularisation, in units of the ground cost after its scale.
        cost_scale: `"max"` (the largest cost over the lattice becomes 1), `"none"`, or one factor
            per axis.
        periodic: Per axis `False`, or its period (angles).
        debiased: Remove the blur that entropy adds (Janati, Cuturi and Gramfort 2020,
            "Debiased Sinkhorn barycenters", algorithm 1).
        tol: Largest L1 violation of a marginal to call converged.
        max_iters: Most projections onto each measure.
        shards: Number of blocks of clients; leaves no trace in the result's bytes.
        backend: `"numpy"` or `"torch"`.

    Returns:
        The barycenter and how it was reached; look at `converged`.

    Raises:
        ValueError: If an argument breaks its law; the message names it.
    """
    begin = perf_counter()
    costs = ground_costs(axes, cost_scale=cost_scale, periodic=periodic)
    shape = tuple(len(cost) for cost in costs)
    rows = checked_measures(measures, shape)
    alphas = checked_weights(weights, len(rows))
    if not (epsilon > 0 and np.isfinite(epsilon)):
        raise ValueError(f"epsilon must be finite and > 0, got {epsilon}")
    if shards < 1:
        raise ValueError(f"shards must be >= 1, got {shards}")
    if max_iters < 1:
        raise ValueError(f"max_iters must be >= 1, got {max_iters}")
    if backend != "numpy":
        raise ValueError(f"backend must be 'numpy', got {backend!r}")
    kernel = gibbs_kernel(costs, epsilon)
    reach = sum(float(cost.max()) for cost in costs) / epsilon
    domain: Domain = "plain" if reach <= PLAIN_REACH else "log"
    counted = alphas > 0
    rows, alphas = rows[counted], alphas[counted]
    blocks = np.array_split(np.arange(len(rows)), min(shards, len(rows)))
    advance = in_process(
        [make_shard(kernel, rows[block], alphas[block], domain) for block in blocks]
    )
    log_b, iterations, last = solve(
        advance, kernel, tol=tol, max_iters=max_iters, debiased=debiased
    )
    error = float(last.errors.max())
    measure = np.exp(log_b)
    return BarycenterResult(
        measure=(measure / measure.sum()).reshape(shape),
        converged=error <= tol,
        iterations=iterations,
        error=error,
        seconds=perf_counter() - begin,
        objective=epsilon * float(alphas @ last.duals),
        domain=domain,
    )


def solve(
    advance: Advance, kernel: Kernel, *, tol: float, max_iters: int, debiased: bool
) -> tuple[Floats, int, Term]:
    """Iterate `advance` until the marginals agree; return `log_b` `[n]`, iterations, last term."""
    log_b, log_d = np.zeros(kernel.size), np.zeros(kernel.size)
    for iteration in range(1, max_iters + 1):
        check = iteration % CHECK_EVERY == 0 or iteration in (2, 4, max_iters)
        term = advance(Step(log_b, measure=check))
        if check and term.errors.max() <= tol:
            break
        log_b = term.log_b
        if debiased:
            log_b = log_b + log_d
            log_d = 0.5 * (log_d + log_b - kernel.apply_log(log_d[None])[0])
    return log_b, iteration, term
