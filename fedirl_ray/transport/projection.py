"""One Bregman projection of a few clients: `u = p / Kv`, then `K'u`, plain or in logarithms.

Letters: `k` clients of the block, `n` lattice points, `h` kept steps.
"""

from dataclasses import dataclass
from types import ModuleType

import numpy as np

from fedirl_ray.transport.axis import Floats
from fedirl_ray.transport.backend import Array, beside, namespace_of
from fedirl_ray.transport.ground import GibbsKernel
from fedirl_ray.transport.kernel import Kernel
from fedirl_ray.transport.step import Measured, Step

PLAIN_REACH = {"float64": 300.0, "float32": 35.0}
"""Largest cost over epsilon at which no number of the plain iteration can leave the float's range:
potentials differ by at most this much, so a sum lies within twice of it from 1, in logarithms."""

NONE: Floats = np.empty(0)
UNMEASURED = Measured(NONE, NONE, NONE, np.empty((0, 0)))
"""Of a step that was not to be measured."""


@dataclass(frozen=True)
class Block:
    """Views of a shard's arrays for some of its clients."""

    measures: Array
    """`[k, n]`."""
    logs: Array
    """`[k, h, n]`: kept `log K'u`, or `K'u` itself where `linear`."""
    ratios: Array
    """`[k, h, n]`: kept `log(q / b)`; no slots if steps are not mixed."""
    buffers: tuple[Array, Array, Array, Array]
    """`[k, n]` each, to be overwritten."""
    linear: bool
    """Whether `logs` holds `K'u` itself, as the plain domain does when steps are not mixed."""
    cached: int | None
    """Numbers worked on at once where several passes over them follow each other."""


def project(kernel: GibbsKernel, block: Block, step: Step, b: Array) -> tuple[Array, Measured]:
    """Project a block of clients, and keep the step in the block's slots.

    Args:
        kernel: The Gibbs kernel at the step's epsilon.
        block: The clients; its slots and buffers are overwritten.
        step: Where to start from.
        b: `exp(step.log_b)` `[n]` in the precision of the block, where the step needs it.

    Returns:
        `log K'u` `[k, n]` in one of the buffers, to be overwritten, and what was measured.
    """
    if step.domain == "plain" and step.slots == 1:
        usual = block.linear and step.rescale == 1.0 and not step.measure
        if usual and block.cached is not None and isinstance(kernel, Kernel):
            factor = kernel.groups[0].factor
            if factor is not None:
                return _project_fused(kernel, factor, block, b), UNMEASURED
        return _project_unmixed(kernel, block, step, b)
    return _project_kept(kernel, block, step, b)


def _project_unmixed(
    kernel: GibbsKernel, block: Block, step: Step, b: Array
) -> tuple[Array, Measured]:
    """Take the shortest way: no exponential, one logarithm."""
    xp = namespace_of(b)
    v, spare, kept, _ = block.buffers
    if block.linear and step.rescale == 1.0:
        xp.divide(b, block.logs[:, 0], out=v)
    else:
        xp.exp(_log_scaling(block, step, v), out=v)
    if step.measure:
        kept[...] = v
    # What was kept has been read: the new product is made where it is to stay.
    ktu, spare, duals, margins = _plain_pair(
        kernel, block.measures, v, spare, step.measure, block.logs[:, 0]
    )
    errors = NONE
    if step.measure:
        kept *= ktu
        kept -= b
        errors = _row_sums(abs(kept))
    return xp.log(ktu, out=spare), Measured(errors, duals, margins, UNMEASURED.products)


def _project_fused(kernel: Kernel, factor: Array, block: Block, b: Array) -> Array:
    """Do the same for a kernel whose first axis has a factor, with far less memory traffic.

    Along the first axis columns are independent, so what is done entry by entry (`v = b / K'u`,
    `u = p / Kv`, the logarithm) is done on a few columns in the cache, between the product that
    makes them and the one that takes them; `v`, `Kv` and `u` never exist as whole vectors.
    """
    xp, (m, rank) = namespace_of(b), factor.shape
    columns = b.shape[0] // m
    one, two, three, log_ktu = block.buffers
    few = max(1, (block.cached or columns * m) // m)
    parts = [slice(start, min(columns, start + few)) for start in range(0, columns, few)]
    for row in range(len(block.measures)):
        p, ktu, out = (
            x.reshape(m, columns) for x in (block.measures[row], block.logs[row, 0], log_ktu[row])
        )
        b_columns = b.reshape(m, columns)
        x, spare, work = one[row : row + 1], two[row : row + 1], three[row]
        core = _core(x, rank, columns)
        for part in parts:
            v = _columns(work, m, part)
            xp.divide(b_columns[:, part], ktu[:, part], out=v)
            xp.matmul(factor.T, v, out=core[:, part])
        x, spare = kernel.expand(*kernel.reduce(x, spare, first=1), first=1)
        core, core_u = _core(x, rank, columns), _core(spare, rank, columns)
        for part in parts:
            u = _columns(work, m, part)
            xp.matmul(factor, core[:, part], out=u)
            xp.divide(p[:, part], u, out=u)
            xp.matmul(factor.T, u, out=core_u[:, part])
        x, spare = kernel.expand(*kernel.reduce(spare, x, first=1), first=1)
        core = _core(x, rank, columns)
        for part in parts:
            fresh = _columns(work, m, part)
            xp.matmul(factor, core[:, part], out=fresh)
            ktu[:, part] = fresh
            xp.log(fresh, out=out[:, part])
    return log_ktu


def _core(x: Array, rank: int, columns: int) -> Array:
    """The projected lattice at the start of the only row of `x`."""
    return x[0, : rank * columns].reshape(rank, columns)


def _columns(work: Array, m: int, part: slice) -> Array:
    """A contiguous `[m, columns of part]` at the start of `work` `[n]`."""
    width = part.stop - part.start
    return work[: m * width].reshape(m, width)


def _project_kept(
    kernel: GibbsKernel, block: Block, step: Step, b: Array
) -> tuple[Array, Measured]:
    """Work from and to logarithms, which can be mixed with those of past steps."""
    xp = namespace_of(block.measures)
    one, two, three, four = block.buffers
    log_v = _log_scaling(block, step, four)
    if step.domain == "plain":
        v = xp.exp(log_v, out=one)
        ktu, spare, duals, margins = _plain_pair(
            kernel, block.measures, v, two, step.measure, three
        )
        log_ktu = xp.log(ktu, out=spare)
    else:
        log_kv = kernel.apply_log(log_v, (one, two, three))
        free = three if log_kv is two else two
        log_u = xp.subtract(xp.log(block.measures, out=one), log_kv, out=log_kv)
        duals, margins = NONE, NONE
        if step.measure:
            held = block.measures > 0
            duals = _row_sums(block.measures * xp.where(held, log_u, xp.zeros_like(log_u)))
        log_ktu = kernel.apply_log(log_u, (one, free, log_u))
    log_v += log_ktu
    log_b, products, errors = beside(log_v, step.log_b), UNMEASURED.products, NONE
    ratio = block.ratios[:, step.slot] if step.slots > 1 else log_v
    xp.subtract(log_v, log_b, out=ratio)
    if step.slots > 1:
        products = xp.matmul(block.ratios, ratio[:, :, None])[:, :, 0]
    block.logs[:, step.slot] = log_ktu
    if step.measure or step.judge:
        gap = xp.exp(ratio, out=log_v)
        gap *= b
        gap -= b
        errors = _row_sums(abs(gap))
    return log_ktu, Measured(errors, duals, margins, products)


def _plain_pair(
    kernel: GibbsKernel, p: Array, v: Array, spare: Array, measure: bool, out: Array
) -> tuple[Array, Array, Array, Array]:
    """Write `K'u` to `out`; return it and a free buffer, and duals and margins if measured."""
    xp = namespace_of(v)
    guarded = measure and kernel.reach > PLAIN_REACH[kernel.precision]
    most_v = _row_peaks(v) if guarded else None
    kv, spare = kernel.apply(v, spare)
    least_kv = -_row_peaks(xp.where(p > 0, -kv, xp.full_like(kv, -np.inf))) if guarded else None
    u = xp.divide(p, kv, out=spare if kernel.swaps else out)
    duals, margins = NONE, NONE
    if measure:
        tiny = float(np.finfo(kernel.precision).tiny)
        duals = _row_sums(p * xp.log(xp.clip(u, tiny, None)))
    most_u = _row_peaks(u) if guarded else None
    ktu, spare = kernel.apply(u, out if kernel.swaps else spare)
    if most_v is not None and least_kv is not None and most_u is not None:
        least_ktu = -_row_peaks(-ktu)
        margins = xp.minimum(
            least_kv / xp.clip(most_v, 1.0, None), least_ktu / xp.clip(most_u, 1.0, None)
        )
    return ktu, spare, duals, margins


def _log_scaling(block: Block, step: Step, out: Array) -> Array:
    """Write `log v` to `out`."""
    xp: ModuleType = namespace_of(out)
    log_b, filled, only = beside(out, step.log_b), len(step.mix), step.only
    if filled == 0:
        out[...] = log_b
    elif only is not None:
        # Other slots may hold what a step that was taken back left there, infinities too.
        kept = xp.log(block.logs[:, 0]) if block.linear else block.logs[:, only]
        xp.subtract(log_b, kept, out=out)
    else:
        mixed = xp.matmul(beside(out, step.mix)[None, None], block.logs[:, :filled])
        xp.subtract(log_b, mixed[:, 0], out=out)
    if step.rescale != 1.0:
        out *= step.rescale
    return out


def _row_sums(values: Array) -> Array:
    xp = namespace_of(values)
    return xp.asarray(values.sum(axis=1), dtype=xp.float64)


def _row_peaks(values: Array) -> Array:
    xp = namespace_of(values)
    return xp.asarray(xp.amax(values, axis=1), dtype=xp.float64)
