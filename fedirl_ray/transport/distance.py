"""The squared 2-Wasserstein distance between two measures on a product lattice."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from fedirl_ray.transport.axis import CostScale, Floats, ground_costs
from fedirl_ray.transport.barycenter import PLAIN_REACH
from fedirl_ray.transport.kernel import Kernel, gibbs_kernel
from fedirl_ray.transport.measure import checked_measures
from fedirl_ray.transport.shard import Step, advance_shard, make_shard

CHECK_EVERY = 10
"""Iterations between two measurements of the error."""


@dataclass(frozen=True)
class Wasserstein2Result:
    """A squared distance and how it was reached; costs in units of the scaled ground cost."""

    divergence: float
    """Debiased Sinkhorn divergence, >= 0 and 0 for equal measures; the exact cost if `exact`."""
    transport_cost: float
    """Ground cost of the (entropic or exact) plan: an upper bound on the exact cost."""
    converged: bool
    """Whether `error <= tol`."""
    iterations: int
    """Sinkhorn iterations between the two measures."""
    error: float
    """Largest L1 violation of a marginal."""
    seconds: float
    """Wall time of the call."""


def wasserstein2(
    p: ArrayLike,
    q: ArrayLike,
    axes: Sequence[ArrayLike],
    *,
    epsilon: float | None = None,
    cost_scale: CostScale = "max",
    periodic: Sequence[float | Literal[False]] | None = None,
    exact: bool = False,
    tol: float = 1e-7,
    max_iters: int = 10_000,
) -> Wasserstein2Result:
    """Return the squared 2-Wasserstein distance between two measures on a product lattice.

    Args:
        p: `[*shape]` or `[n]`, non-negative; normalised to sum 1.
        q: As `p`.
        axes: As for `barycenter`.
        epsilon: Entropic regularisation, in units of the ground cost after its scale; needed
            unless `exact`.
        cost_scale: As for `barycenter`.
        periodic: As for `barycenter`.
        exact: Solve the linear program on the measures' supports (POT's `emd2`); its memory is
            the product of the supports' sizes.
        tol: Largest L1 violation of a marginal to call converged.
        max_iters: Most Sinkhorn iterations.

    Returns:
        The Sinkhorn divergence (Feydy et al. 2019, "Interpolating between optimal transport and
        MMD using Sinkhorn divergences", equation 3) and the plan's cost; look at `converged`.

    Raises:
        ValueError: If an argument breaks its law; the message names it.
    """
    begin = perf_counter()
    costs = ground_costs(axes, cost_scale=cost_scale, periodic=periodic)
    shape = tuple(len(cost) for cost in costs)
    one, two = (
        checked_measures(np.asarray(m)[None], shape, name)[0] for m, name in ((p, "p"), (q, "q"))
    )
    if exact:
        cost = _exact_cost(one, two, costs)
        return Wasserstein2Result(cost, cost, True, 0, 0.0, perf_counter() - begin)
    if epsilon is None or not (epsilon > 0 and np.isfinite(epsilon)):
        raise ValueError(f"epsilon must be finite and > 0 unless exact, got {epsilon}")
    kernel = gibbs_kernel(costs, epsilon)
    log_u, log_v, iterations, error = _scalings(kernel, one, two, tol, max_iters)
    entropic = _mean(one, log_u) + _mean(two, log_v)
    selves = []
    for measure in (one, two):
        log_d, self_error = _self_scaling(kernel, measure, tol, max_iters)
        selves.append(_mean(measure, log_d))
        error = max(error, self_error)
    return Wasserstein2Result(
        divergence=epsilon * (entropic - sum(selves)),
        transport_cost=_plan_cost(costs, epsilon, log_u, log_v),
        converged=error <= tol,
        iterations=iterations,
        error=error,
        seconds=perf_counter() - begin,
    )


def _scalings(
    kernel: Kernel, p: Floats, q: Floats, tol: float, max_iters: int
) -> tuple[Floats, Floats, int, float]:
    """Return `log u`, `log v`, iterations and error of Sinkhorn's iteration from `p` to `q`.

    It is a barycenter's step whose barycenter is held at `q`.
    """
    domain: Literal["plain", "log"] = "plain" if _reach(kernel) <= PLAIN_REACH else "log"
    shard = make_shard(kernel, p[None], np.ones(1), domain)
    with np.errstate(divide="ignore"):
        log_p, log_q = np.log(p), np.log(q)
    for iteration in range(1, max_iters + 1):
        check = iteration % CHECK_EVERY == 0 or iteration in (2, 4, max_iters)
        before = shard.ktu.copy() if check else shard.ktu
        term = advance_shard(shard, Step(log_q, measure=check))
        if check and term.errors[0] <= tol:
            break
    log_ktu = np.log(before[0]) if domain == "plain" else before[0]
    log_v = log_q - log_ktu
    log_u = log_p - kernel.apply_log(log_v[None])[0]
    return log_u, log_v, iteration, float(term.errors[0])


def _self_scaling(kernel: Kernel, p: Floats, tol: float, max_iters: int) -> tuple[Floats, float]:
    """Return `log d` with `d * (K d) = p`, and the L1 error of that equation."""
    with np.errstate(divide="ignore"):
        log_p = np.log(p)
    log_d = np.zeros_like(p)
    for _ in range(max_iters):
        log_kd = kernel.apply_log(log_d[None])[0]
        error = float(np.abs(np.exp(log_d + log_kd) - p).sum())
        if error <= tol:
            break
        log_d = 0.5 * (log_d + log_p - log_kd)
    return log_d, error


def _plan_cost(costs: Sequence[Floats], epsilon: float, log_u: Floats, log_v: Floats) -> float:
    """Return `<C, plan>`: per axis, one product with that axis' kernel times its cost."""
    total = 0.0
    for i in range(len(costs)):
        kernel = gibbs_kernel(costs, epsilon, weigh_axis=i)
        total += float(np.exp(log_u + kernel.apply_log(log_v[None])[0]).sum())
    return total


def _exact_cost(p: Floats, q: Floats, costs: Sequence[Floats]) -> float:
    import ot

    shape = tuple(len(cost) for cost in costs)
    here, there = np.flatnonzero(p), np.flatnonzero(q)
    rows, columns = np.unravel_index(here, shape), np.unravel_index(there, shape)
    total = np.zeros((len(here), len(there)))
    for cost, row, column in zip(costs, rows, columns, strict=True):
        total += cost[np.ix_(row, column)]
    mass_p, mass_q = p[here], q[there]
    return float(ot.emd2(mass_p, mass_q * (mass_p.sum() / mass_q.sum()), total))


def _mean(p: Floats, values: Floats) -> float:
    held = p > 0
    return float(p[held] @ values[held])


def _reach(kernel: Kernel) -> float:
    return sum(float(-log.min()) for log in kernel.logs)
