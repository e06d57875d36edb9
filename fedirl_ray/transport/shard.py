"""A block of clients: their measures, their scalings, and one barycenter step over them.

Iterative Bregman projections (Benamou et al. 2015, "Iterative Bregman projections for regularized
transportation problems", section 3.2), ordered `v = b / K'u_old`, `u = p / Kv`,
`b = prod_k (K'u_k) ** alpha_k`: a step takes `log b` and returns this block's part of the next
one, so blocks meet only in a sum of vectors `[n]`.

Letters: `k` clients, `n` lattice points, `h` slots of kept steps (1 if steps are not mixed).
"""

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fedirl_ray.transport.axis import Floats
from fedirl_ray.transport.backend import (
    Array,
    Backend,
    Precision,
    asarray,
    asnumpy,
    like,
    namespace,
)
from fedirl_ray.transport.fixed_point import FixedPoint
from fedirl_ray.transport.kernel import Kernel, gibbs_kernel
from fedirl_ray.transport.memory import BATCH_UP_TO
from fedirl_ray.transport.projection import CACHED, Block, project
from fedirl_ray.transport.step import Advance, Step, Term, gather, join

THREADS_FROM = 2**16
"""Clients times points of a shard from which it is worth a thread of its own."""


@dataclass(frozen=True)
class Problem:
    """What all shards of one barycenter share."""

    costs: tuple[Floats, ...]
    """One matrix `[m, m]` per lattice axis, scaled."""
    fixed_point: FixedPoint
    """The grid on which the shards' terms add exactly."""
    slots: int = 1
    """Most kept steps `h`; more than one allows mixing."""
    backend: Backend = "numpy"
    precision: Precision = "float64"
    low_rank: bool = True

    @cached_property
    def size(self) -> int:
        """Number of lattice points `n`."""
        return math.prod(len(cost) for cost in self.costs)

    @cached_property
    def reach(self) -> float:
        """Largest cost over the lattice."""
        return sum(float(cost.max()) for cost in self.costs)

    def kernel(self, epsilon: float) -> Kernel:
        """Return the Gibbs kernel at `epsilon`."""
        xp = namespace(self.backend)
        return gibbs_kernel(
            self.costs, epsilon, xp=xp, precision=self.precision, low_rank=self.low_rank
        )


@dataclass
class Shard:
    """Clients with their measures, weights and kept steps; `advance_shard` moves it in place."""

    problem: Problem
    measures: Array
    """`[k, n]`, rows of sum 1."""
    weights: Floats
    """`[k]`, part of weights that sum to 1 over all shards."""
    logs: Array
    """`[k, h, n]`: kept `log K'u`, or `K'u` itself where `linear`."""
    ratios: Array
    """`[k, h, n]`: kept `log(q / b)`; no slots if steps are not mixed."""
    linear: bool = False
    kernel: Kernel | None = None
    buffers: tuple[Array, ...] = ()
    """Four arrays to work in, as large as the clients that are stepped together."""
    wide: Array = None
    """A small one in float64, for some of the terms of the sum; none if all are in float64."""


Saved = tuple[Array, Array, bool]
"""What a step changes of a shard."""


def make_shard(problem: Problem, measures: Floats, weights: Floats) -> Shard:
    """Return a shard of the clients' normalised `measures` `[k, n]` and `weights` `[k]`."""
    xp = namespace(problem.backend)
    rows = asarray(xp, measures, problem.precision)
    empty = xp.empty_like(rows[:, None])
    return Shard(problem, rows, weights, empty, empty[:, :0])


def advance_shard(shard: Shard, step: Step) -> Term:
    """Step every client of `shard` in place and return their part of the next `log_b`."""
    if shard.kernel is None or shard.kernel.epsilon != step.epsilon:
        shard.kernel = shard.problem.kernel(step.epsilon)
    problem, xp = shard.problem, namespace(shard.problem.backend)
    k, n = shard.measures.shape
    if not step.mix:
        _forget(shard, step.slots)
    elif step.slots > shard.logs.shape[1]:
        _keep_more(shard, step.slots)
    batch = max(1, min(k, BATCH_UP_TO // n))
    if not shard.buffers:
        first = shard.measures[:batch]
        shard.buffers = tuple(xp.empty_like(first) for _ in range(4))
        if first.dtype != xp.float64:
            shard.wide = xp.empty_like(first[:, :CACHED], dtype=xp.float64)
    b = asarray(xp, xp.exp(step.log_b), problem.precision)
    # One number where all weights are equal: numpy multiplies by it twice as fast.
    equal = bool((shard.weights == shard.weights[0]).all())
    alphas = None if equal else asarray(xp, shard.weights)[:, None]
    total = xp.zeros_like(b, dtype=xp.int64)
    seen = []
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        for start in range(0, k, batch):
            rows = slice(start, min(k, start + batch))
            one, two, three, four = (buffer[: rows.stop - start] for buffer in shard.buffers)
            block = Block(
                shard.measures[rows],
                shard.logs[rows],
                shard.ratios[rows],
                (one, two, three, four),
                shard.linear,
            )
            log_ktu, measured = project(shard.kernel, block, step, b)
            alpha = float(shard.weights[0]) if alphas is None else alphas[rows]
            for part in range(0, n, CACHED):
                columns = slice(part, min(n, part + CACHED))
                terms, work = log_ktu[:, columns], None
                terms *= alpha
                if shard.wide is not None:
                    work = shard.wide[: rows.stop - start, : columns.stop - part]
                problem.fixed_point.add_rows(terms, total[columns], work)
            seen.append(measured)
    problem.fixed_point.settle(total, k)
    shard.linear = step.domain == "plain" and step.slots == 1
    return Term(total, join(seen))


def _forget(shard: Shard, slots: int) -> None:
    """Make room for `slots` steps without keeping any: every attempt begins like this."""
    xp = namespace(shard.problem.backend)
    if shard.logs.shape[1] != slots:
        empty = xp.empty_like(shard.measures[:, None])
        shard.logs, shard.ratios = empty, empty[:, :0]
    shard.linear = False
    if slots > 1:
        _keep_more(shard, slots)


def _keep_more(shard: Shard, slots: int) -> None:
    """Make room for `slots` kept steps, the newest becoming the first of them."""
    xp = namespace(shard.problem.backend)
    k, n = shard.measures.shape
    precision = getattr(xp, shard.problem.precision)
    logs = xp.zeros((k, slots, n), dtype=precision, **like(shard.measures))
    logs[:, 0] = xp.log(shard.logs[:, 0]) if shard.linear else shard.logs[:, 0]
    shard.logs, shard.ratios, shard.linear = logs, xp.zeros_like(logs), False


def snapshot(shard: Shard) -> Saved:
    """Return a copy of what a step changes: enough to repeat every later step."""
    return asnumpy(shard.logs).copy(), asnumpy(shard.ratios).copy(), shard.linear


def restore(shard: Shard, saved: Saved) -> None:
    """Put back what `snapshot` returned."""
    xp, precision = namespace(shard.problem.backend), shard.problem.precision
    shard.logs, shard.ratios = (asarray(xp, part.copy(), precision) for part in saved[:2])
    shard.linear = saved[2]


def in_process(shards: Sequence[Shard]) -> Advance:
    """Advance all shards in this process, large ones each in a thread of its own.

    The array libraries release the interpreter's lock while they compute, and the terms add exactly
    in any order, so threads change the time alone.
    """
    if len(shards) == 1 or max(math.prod(s.measures.shape) for s in shards) < THREADS_FROM:
        return lambda step: gather([advance_shard(shard, step) for shard in shards])
    threads = ThreadPoolExecutor(
        min(len(shards), os.cpu_count() or 1), thread_name_prefix="barycenter"
    )

    def advance(step: Step) -> Term:
        # Each with the caller's handling of floating-point errors, which belongs to a context.
        terms = [threads.submit(copy_context().run, advance_shard, one, step) for one in shards]
        return gather([term.result() for term in terms])

    return advance
