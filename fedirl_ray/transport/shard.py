"""A block of clients' measures and scalings, and one barycenter step over it.

Iterative Bregman projections (Benamou et al. 2015, "Iterative Bregman projections for regularized
transportation problems", section 3.2), with the scalings in the order
`v = b / K'u_old`, `u = p / Kv`, `b = prod_k (K'u_k) ** alpha_k`: a step takes `log b` and returns
this block's part of the next one, so blocks meet only in a sum of vectors `[n]`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fedirl_ray.transport.axis import Floats
from fedirl_ray.transport.kernel import Kernel

Domain = Literal["plain", "log"]

BATCH_UP_TO = 40_000
"""Clients are stepped together while their vectors hold at most so many numbers: more no longer
fit the cache, and one client at a time is quicker and needs less memory."""


@dataclass(frozen=True)
class Step:
    """What every shard is asked: project onto the measures from the barycenter `log_b` `[n]`."""

    log_b: Floats
    measure: bool = False


@dataclass(frozen=True)
class Term:
    """A shard's answer: its part of the next `log_b` `[n]`, and what was measured per client."""

    log_b: Floats
    errors: Floats
    """L1 violation of the second marginal `[k]`; empty unless asked for."""
    duals: Floats
    """`<log u, p>` `[k]`; empty unless asked for."""


Advance = Callable[[Step], Term]


@dataclass
class Shard:
    """Clients `[k]` with their measures `[k, n]`, weights `[k]` and last `K'u` `[k, n]`.

    In the plain domain `ktu` holds `K'u`, in the log domain its logarithm.
    """

    kernel: Kernel
    measures: Floats
    weights: Floats
    ktu: Floats
    domain: Domain
    quantum: float


def make_shard(kernel: Kernel, measures: Floats, weights: Floats, domain: Domain) -> Shard:
    """Return a shard at the start of the iteration, where every scaling `v` is 1."""
    plain = domain == "plain"
    start = np.ones_like(measures) if plain else np.zeros_like(measures)
    return Shard(kernel, measures, weights, start, domain, sum_quantum(kernel))


def sum_quantum(kernel: Kernel) -> float:
    """Return the grid step on which terms of `log b` are rounded before they are summed.

    Multiples of a power of two `q` add without rounding while sums stay below `2**53 * q`, so the
    order of summation, and with it the number of shards, leaves no trace in the bytes. The bound
    on the sums is `2**11` (the range of logarithms of float64) or four times the kernel's.
    """
    reach = sum(float(-log.min()) for log in kernel.logs)
    return float(2.0 ** (max(11, np.ceil(np.log2(4 * reach + 1))) - 53))


def advance_shard(shard: Shard, step: Step) -> Term:
    """Step every client of `shard` (in place) and return their part of the next `log_b`."""
    k, n = shard.measures.shape
    batch = max(1, min(k, BATCH_UP_TO // n))
    total = np.zeros(n)
    measured: list[Floats] = []
    move = _move_plain if shard.domain == "plain" else _move_log
    for start in range(0, k, batch):
        rows = slice(start, start + batch)
        log_ktu, seen = move(shard, rows, step)
        log_ktu *= shard.weights[rows, None]
        # Rounds to a multiple of the quantum: at this size float64 has no finer digits.
        pivot = 1.5 * 2.0**52 * shard.quantum
        log_ktu += pivot
        log_ktu -= pivot
        total += log_ktu.sum(axis=0)
        measured.append(seen)
    errors, duals = np.concatenate(measured, axis=1)
    return Term(total, errors, duals)


def _move_plain(shard: Shard, rows: slice, step: Step) -> tuple[Floats, Floats]:
    b, p = np.exp(step.log_b), shard.measures[rows]
    v = b / shard.ktu[rows]
    kv, spare = shard.kernel.apply(v.copy(), np.empty_like(v))
    log_kv = np.log(kv) if step.measure else None
    u = np.divide(p, kv, out=spare)
    ktu, _ = shard.kernel.apply(u, kv)
    seen = np.empty((2, 0))
    if log_kv is not None:
        seen = _measured(v * ktu - b, p, log_kv)
    shard.ktu[rows] = ktu
    return np.log(ktu), seen


def _move_log(shard: Shard, rows: slice, step: Step) -> tuple[Floats, Floats]:
    p, log_v = shard.measures[rows], step.log_b - shard.ktu[rows]
    log_kv = shard.kernel.apply_log(log_v)
    with np.errstate(divide="ignore"):
        log_u = np.log(p) - log_kv
    ktu = shard.kernel.apply_log(log_u)
    seen = np.empty((2, 0))
    if step.measure:
        seen = _measured(np.exp(log_v + ktu) - np.exp(step.log_b), p, log_kv)
    shard.ktu[rows] = ktu
    return ktu.copy(), seen


def _measured(violation: Floats, p: Floats, log_kv: Floats) -> Floats:
    """Return errors and duals `[2, k]`."""
    log_p = np.log(p, out=np.zeros_like(p), where=p > 0)
    return np.stack([np.abs(violation).sum(axis=1), (p * (log_p - log_kv)).sum(axis=1)])


def in_process(shards: Sequence[Shard]) -> Advance:
    """Advance all shards in this process, one after the other."""

    def advance(step: Step) -> Term:
        return gather([advance_shard(shard, step) for shard in shards])

    return advance


def gather(terms: Sequence[Term]) -> Term:
    """Sum the shards' terms; exact, hence the same bytes for any number of shards."""
    total = np.zeros_like(terms[0].log_b)
    for term in terms:
        total += term.log_b
    return Term(
        total,
        np.concatenate([term.errors for term in terms]),
        np.concatenate([term.duals for term in terms]),
    )
