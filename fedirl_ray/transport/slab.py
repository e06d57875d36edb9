"""The second sharding: every worker holds all clients on a slab of the lattice.

For supports so large that one client's vectors do not fit a machine, or fewer clients than
workers. Sums over clients are then local; what travels is the lattice itself. With the first axis
cut into slabs every other axis can be multiplied along where it lies; for the first axis the
lattice is cut along the rest instead, which is one exchange of blocks between all workers. A step
needs two exchanges, not four: the measures are kept in the second cut, so that `u = p / Kv` is
formed there and multiplied along the first axis at once.

An iteration sends `2 k n (w - 1) / w` numbers between `w` workers, against `2 n (w - 1)` when
clients are sharded: clients first, slabs when they do not fit. Only plain steps are taken, so
epsilon must be large enough for the plain domain.

Letters: `k` clients, `n` lattice points, `m` points of the first axis, `r = n / m`, `w` workers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fedirl_ray.transport.axis import Floats
from fedirl_ray.transport.kernel import Kernel, gibbs_kernel
from fedirl_ray.transport.projection import PLAIN_REACH

MEASURE_EVERY = 10
"""Steps between two looks at the marginals, after looks at the second and the fifth."""


@dataclass
class Slab:
    """One worker's part: some rows of the first axis, and some columns of the rest."""

    workers: int
    """Number of slabs."""
    first: Floats
    """Kernel matrix of the first axis `[m, m]`."""
    rest: Kernel
    """Kernel of the other axes, of size `r`."""
    weights: Floats
    """All clients' `[k]`."""
    columns: Floats
    """The measures' columns this worker owns `[k, m, r_w]`."""
    ktu: Floats
    """`K'u` on the rows this worker owns `[k, m_w, r]`."""
    log_b: Floats
    """The barycenter's logarithm on the same rows `[m_w, r]`."""


class Sight(NamedTuple):
    """What one worker saw of a step; summed over workers, what there is to see."""

    errors: Floats
    """Its part of the L1 distance of each plan's second marginal from the barycenter `[k]`."""
    moved: float
    """Its part of the L1 distance between the barycenter and the one before."""


class SlabSolution(NamedTuple):
    """Where `solve_slabs` ended; the barycenter stays with the slabs."""

    iterations: int
    error: float
    converged: bool


def make_slab(
    costs: Sequence[Floats],
    epsilon: float,
    measures: NDArray[np.floating],
    weights: Floats,
    worker: int,
    workers: int,
) -> Slab:
    """Cut one worker's slab out of the lattice.

    Args:
        costs: Ground cost of each axis `[m, m]`, at least two.
        epsilon: Entropic regularisation.
        measures: `[k, n]`, non-negative. Read one client at a time and never as a whole, so that
            they may lie on disk (`numpy.memmap`).
        weights: `[k]`, of sum 1.
        worker: Which slab, from 0.
        workers: Number of slabs, at most the length of the first axis and of the rest.

    Raises:
        ValueError: The lattice cannot be cut into so many slabs, or epsilon is too small for
            plain steps.
    """
    check_slabs(costs, epsilon, workers)
    m, (k, n) = len(costs[0]), measures.shape
    row, column = _cuts(m, workers)[worker], _cuts(n // m, workers)[worker]
    columns = np.empty((k, m, column.stop - column.start))
    for client, measure in enumerate(measures):
        columns[client] = measure.reshape(m, n // m)[:, column] / measure.sum()
    return Slab(
        workers,
        np.exp(-costs[0] / epsilon),
        gibbs_kernel(costs[1:], epsilon),
        weights,
        columns,
        np.ones((k, row.stop - row.start, n // m)),
        np.zeros((row.stop - row.start, n // m)),
    )


def check_slabs(costs: Sequence[Floats], epsilon: float, workers: int) -> None:
    """Refuse what slabs cannot do.

    Raises:
        ValueError: The lattice cannot be cut into so many slabs, or epsilon is too small.
    """
    lengths = [len(cost) for cost in costs]
    most = min(lengths[0], math.prod(lengths[1:]))
    if len(costs) < 2 or not 1 <= workers <= most:
        raise ValueError(
            f"workers must be between 1 and {most} on a lattice of at least two axes, "
            f"got {workers} and {len(costs)} axes"
        )
    least = sum(float(cost.max()) for cost in costs) / PLAIN_REACH["float64"]
    if not (np.isfinite(epsilon) and epsilon > 0.0 and epsilon >= least):
        raise ValueError(
            f"epsilon must be finite and >= {least:.3g} (the largest cost over "
            f"{PLAIN_REACH['float64']:g}) where the lattice is cut into slabs, got {epsilon}"
        )


def spread_v(slab: Slab) -> list[Floats]:
    """Form `v` on this slab's rows, multiply along the rest, and cut it for each worker.

    Returns:
        A block `[k, m_w, r_w]` for each worker.
    """
    v = np.exp(slab.log_b) / slab.ktu
    k, rows, r = v.shape
    product, _ = slab.rest.apply(v.reshape(k * rows, r), np.empty((k * rows, r)))
    product = product.reshape(k, rows, r)
    return [np.ascontiguousarray(product[:, :, cut]) for cut in _cuts(r, slab.workers)]


def spread_u(slab: Slab, blocks: Sequence[Floats]) -> list[Floats]:
    """Complete `Kv` on this worker's columns, form `u`, multiply along the first axis, and cut.

    Args:
        slab: This worker's part.
        blocks: What every worker's `spread_v` cut for this one.

    Returns:
        A block `[k, m_w, r_w]` for each worker.
    """
    kv = np.matmul(slab.first, np.concatenate(blocks, axis=1))
    product = np.matmul(slab.first, np.divide(slab.columns, kv, out=kv))
    return [np.ascontiguousarray(product[:, cut]) for cut in _cuts(len(slab.first), slab.workers)]


def collect(slab: Slab, blocks: Sequence[Floats], *, measure: bool) -> Sight | None:
    """Complete `K'u` on this slab's rows and move the barycenter there.

    Args:
        slab: This worker's part.
        blocks: What every worker's `spread_u` cut for this one.
        measure: Whether to say what was seen.
    """
    product = np.concatenate(blocks, axis=2)
    k, rows, r = product.shape
    flat, _ = slab.rest.apply(product.reshape(k * rows, r), np.empty((k * rows, r)))
    ktu, b = flat.reshape(k, rows, r), np.exp(slab.log_b)
    log_b = np.tensordot(slab.weights, np.log(ktu), axes=1)
    sight = None
    if measure:
        errors = np.abs(b * (ktu / slab.ktu - 1.0)).sum(axis=(1, 2))
        sight = Sight(errors, float(np.abs(np.exp(log_b) - b).sum()))
    slab.ktu, slab.log_b = ktu, log_b
    return sight


class AdvanceSlabs(Protocol):
    """Takes one step of all slabs, wherever they are."""

    def __call__(self, *, measure: bool) -> Sight | None:
        """Take a step; say what all slabs saw together if asked to."""
        ...


def solve_slabs(advance: AdvanceSlabs, tol: float, max_iters: int) -> SlabSolution:
    """Step until the marginals agree to `tol` in L1, or the steps are used up."""
    error = np.inf
    for taken in range(1, max_iters + 1):
        look = taken in (2, 5, max_iters) or taken % MEASURE_EVERY == 0
        sight = advance(measure=look)
        if sight is not None:
            error = float(sight.errors.max()) + sight.moved
            if error <= tol:
                return SlabSolution(taken, error, True)
    return SlabSolution(max_iters, error, False)


def add_sights(sights: Sequence[Sight | None]) -> Sight | None:
    """Add up what the workers saw, in worker order."""
    seen = [sight for sight in sights if sight is not None]
    if not seen:
        return None
    return Sight(
        np.sum([sight.errors for sight in seen], axis=0), sum(sight.moved for sight in seen)
    )


def step_traffic(k: int, lengths: Sequence[int], workers: int) -> int:
    """Bytes that cross between workers in a step; what a worker sends itself is not counted."""
    m, r = lengths[0], math.prod(lengths[1:])
    kept: int = sum(
        (row.stop - row.start) * (column.stop - column.start)
        for row, column in zip(_cuts(m, workers), _cuts(r, workers), strict=True)
    )
    return 2 * 8 * k * (m * r - kept)


def in_process_slabs(slabs: Sequence[Slab]) -> AdvanceSlabs:
    """Advance all slabs in this process; workers elsewhere exchange blocks in the same order."""

    def advance(*, measure: bool) -> Sight | None:
        cut = _exchange([spread_v(slab) for slab in slabs])
        pairs = zip(slabs, cut, strict=True)
        cut = _exchange([spread_u(slab, blocks) for slab, blocks in pairs])
        pairs = zip(slabs, cut, strict=True)
        return add_sights([collect(slab, blocks, measure=measure) for slab, blocks in pairs])

    return advance


def _exchange(cut: Sequence[Sequence[Floats]]) -> list[list[Floats]]:
    """Give worker `j` the `j`-th block of every worker, in worker order."""
    workers = range(len(cut))
    return [[cut[i][j] for i in workers] for j in workers]


def _cuts(length: int, parts: int) -> list[slice]:
    """Cut a range into consecutive slices whose lengths differ by at most one."""
    ends = [length * (i + 1) // parts for i in range(parts)]
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
