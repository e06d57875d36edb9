"""A block of clients: their measures, their scalings, and one barycenter step over them.

Iterative Bregman projections (Benamou et al. 2015, "Iterative Bregman projections for regularized
transportation problems", section 3.2), ordered `v = b / K'u_old`, `u = p / Kv`,
`b = prod_k (K'u_k) ** alpha_k`: a step takes `log b` and returns this block's part of the next
one, so blocks meet only in a sum of vectors `[n]`.

Letters: `k` clients, `n` points, `h` slots of kept steps (1 if steps are not mixed).
"""

from dataclasses import dataclass

import numpy as np

from fedirl_ray.transport.axis import Floats
from fedirl_ray.transport.backend import NUMPY, Array, Place, Precision, asnumpy, like
from fedirl_ray.transport.fixed_point import FixedPoint
from fedirl_ray.transport.ground import GibbsKernel, Ground
from fedirl_ray.transport.projection import Block, project
from fedirl_ray.transport.step import Step, Term, join


@dataclass(frozen=True)
class Problem:
    """What all shards of one barycenter share."""

    ground: Ground
    """Where the measures live: its points and the cost between them."""
    fixed_point: FixedPoint
    """The grid on which the shards' terms add exactly."""
    slots: int = 1
    """Most kept steps `h`; more than one allows mixing."""
    place: Place = NUMPY
    """Where the shards' arrays lie, and the loop's."""
    precision: Precision = "float64"
    tf32: bool = False
    """Whether a GPU takes products of float32 matrices in TF32."""

    @property
    def size(self) -> int:
        """Number of points `n`."""
        return self.ground.size

    @property
    def reach(self) -> float:
        """Largest cost."""
        return self.ground.reach

    def kernel(self, epsilon: float) -> GibbsKernel:
        """Return the Gibbs kernel at `epsilon`."""
        return self.ground.kernel(epsilon, place=self.place, precision=self.precision)


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
    kernel: GibbsKernel | None = None
    buffers: tuple[Array, ...] = ()
    """Four arrays to work in, as large as the clients that are stepped together."""
    wide: Array = None
    """A small one in float64, for some of the terms of the sum; none if all are in float64."""
    scaled: tuple[Floats, Array | float] | None = None
    """The weights, and the same beside the measures: see `_alphas`."""


Saved = tuple[Array, Array, bool]
"""What a step changes of a shard."""


def make_shard(problem: Problem, measures: Floats, weights: Floats) -> Shard:
    """Return a shard of the clients' normalised `measures` `[k, n]` and `weights` `[k]`."""
    rows = problem.place.asarray(measures, problem.precision)
    empty = problem.place.xp.empty_like(rows[:, None])
    return Shard(problem, rows, weights, empty, empty[:, :0])


def advance_shard(shard: Shard, step: Step) -> Term:
    """Step every client of `shard` in place and return their part of the next `log_b`."""
    if shard.kernel is None or shard.kernel.epsilon != step.epsilon:
        shard.kernel = shard.problem.kernel(step.epsilon)
    problem, place = shard.problem, shard.problem.place
    xp, choices = place.xp, place.choices
    k, n = shard.measures.shape
    if len(step.mix) == 0:
        _forget(shard, step.slots)
    elif step.slots > shard.logs.shape[1]:
        _keep_more(shard, step.slots)
    batch = problem.ground.together(k, place)
    cached = n if choices.cached is None else choices.cached
    if not shard.buffers:
        first = shard.measures[:batch]
        shard.buffers = tuple(xp.empty_like(first) for _ in range(4))
        if first.dtype != xp.float64:
            shard.wide = xp.empty_like(first[:, :cached], dtype=xp.float64)
    log_b = place.asarray(step.log_b)
    b = place.asarray(xp.exp(log_b), problem.precision) if step.needs_b else None
    total = problem.fixed_point.start(log_b, k)
    alphas, seen = _alphas(shard), []
    with (
        np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"),
        place.multiplying(tf32=problem.tf32),
    ):
        for start in range(0, k, batch):
            rows = slice(start, min(k, start + batch))
            one, two, three, four = (buffer[: rows.stop - start] for buffer in shard.buffers)
            block = Block(
                shard.measures[rows],
                shard.logs[rows],
                shard.ratios[rows],
                (one, two, three, four),
                shard.linear,
                choices.cached,
            )
            log_ktu, measured = project(shard.kernel, block, step, b)
            alpha = alphas if isinstance(alphas, float) else alphas[rows]
            for part in range(0, n, cached):
                columns = slice(part, min(n, part + cached))
                terms, work = log_ktu[:, columns], None
                terms *= alpha
                if shard.wide is not None:
                    work = shard.wide[: rows.stop - start, : columns.stop - part]
                problem.fixed_point.add_rows(terms, total[columns], work)
            seen.append(measured)
    shard.linear = step.domain == "plain" and step.slots == 1
    return Term(total, join(seen))


def _alphas(shard: Shard) -> Array | float:
    """The weights beside the measures `[k, 1]`, sent there once as long as they are the same.

    One number where all are equal: numpy multiplies by it twice as fast.
    """
    weights = shard.weights
    if shard.scaled is None or shard.scaled[0] is not weights:
        equal = bool((weights == weights[0]).all())
        beside = shard.problem.place.asarray(weights)[:, None]
        shard.scaled = weights, float(weights[0]) if equal else beside
    return shard.scaled[1]


def _forget(shard: Shard, slots: int) -> None:
    """Make room for `slots` steps without keeping any: every attempt begins like this."""
    if shard.logs.shape[1] != slots:
        empty = shard.problem.place.xp.empty_like(shard.measures[:, None])
        shard.logs, shard.ratios = empty, empty[:, :0]
    shard.linear = False
    if slots > 1:
        _keep_more(shard, slots)


def _keep_more(shard: Shard, slots: int) -> None:
    """Make room for `slots` kept steps, the newest becoming the first of them."""
    xp = shard.problem.place.xp
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
    place, precision = shard.problem.place, shard.problem.precision
    shard.logs, shard.ratios = (place.asarray(part.copy(), precision) for part in saved[:2])
    shard.linear = saved[2]
