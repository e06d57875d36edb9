"""The second sharding: every worker holds all clients on a slab of the lattice.

For supports so large that one client's vectors do not fit a machine, or fewer clients than
workers. Sums over clients are then local; what travels is the lattice itself. With the first axis
cut into slabs every other axis can be multiplied along where it lies; for the first axis the
lattice is cut along the rest instead, which is one exchange of blocks between all workers. A step
needs two exchanges, not four: the measures are kept in the second cut, so that `u = p / Kv` is
formed there and multiplied along the first axis at once.

An iteration sends `2 k n (w - 1) / w` numbers between `w` workers, against `2 n (w - 1)` when
clients are sharded: clients first, slabs when they do not fit.

Letters: `k` clients, `n` lattice points, `m` points of the first axis, `r = n / m`, `w` workers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedirl_ray.transport.axis import Floats
from fedirl_ray.transport.kernel import Kernel, gibbs_kernel


@dataclass
class Slab:
    """One worker's part: some rows of the first axis, and some columns of the rest."""

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


@dataclass
class Traffic:
    """Bytes that crossed between workers; what a worker sends itself is not counted."""

    sent: int = 0


def make_slabs(
    costs: Sequence[Floats], epsilon: float, measures: Floats, weights: Floats, workers: int
) -> list[Slab]:
    """Cut the lattice into one slab per worker.

    Args:
        costs: Ground cost of each axis `[m, m]`, at least two.
        epsilon: Entropic regularisation.
        measures: `[k, n]`, rows of sum 1.
        weights: `[k]`, of sum 1.
        workers: Number of slabs, at most the length of the first axis and of the rest.

    Raises:
        ValueError: If the lattice cannot be cut into so many slabs.
    """
    m = len(costs[0])
    k, n = measures.shape
    if len(costs) < 2 or not 1 <= workers <= min(m, n // m):
        raise ValueError(
            f"workers must be between 1 and {min(m, n // m)} on a lattice of at least two axes, "
            f"got {workers} and {len(costs)} axes"
        )
    first = np.exp(-costs[0] / epsilon)
    rest = gibbs_kernel(costs[1:], epsilon)
    lattice = measures.reshape(k, m, n // m)
    rows, columns = _cuts(m, workers), _cuts(n // m, workers)
    return [
        Slab(
            first,
            rest,
            weights,
            np.ascontiguousarray(lattice[:, :, column]),
            np.ones((k, row.stop - row.start, n // m)),
        )
        for row, column in zip(rows, columns, strict=True)
    ]


def spread_v(slab: Slab, log_b: Floats, workers: int) -> list[Floats]:
    """Form `v` on this slab's rows, multiply along the rest, and cut it for each worker.

    Args:
        slab: This worker's part.
        log_b: `[m_w, r]`, the barycenter on this slab's rows.
        workers: Number of slabs.

    Returns:
        A block `[k, m_w, r_w]` for each worker.
    """
    v = np.exp(log_b) / slab.ktu
    k, rows, r = v.shape
    product, _ = slab.rest.apply(v.reshape(k * rows, r), np.empty((k * rows, r)))
    product = product.reshape(k, rows, r)
    return [np.ascontiguousarray(product[:, :, cut]) for cut in _cuts(r, workers)]


def spread_u(slab: Slab, blocks: Sequence[Floats], workers: int) -> list[Floats]:
    """Complete `Kv` on this worker's columns, form `u`, multiply along the first axis, and cut.

    Args:
        slab: This worker's part.
        blocks: What every worker's `spread_v` cut for this one.
        workers: Number of slabs.

    Returns:
        A block `[k, m_w, r_w]` for each worker.
    """
    kv = np.matmul(slab.first, np.concatenate(blocks, axis=1))
    product = np.matmul(slab.first, np.divide(slab.columns, kv, out=kv))
    return [np.ascontiguousarray(product[:, cut]) for cut in _cuts(len(slab.first), workers)]


def collect(slab: Slab, blocks: Sequence[Floats]) -> Floats:
    """Complete `K'u` on this slab's rows and return the next `log_b` there, `[m_w, r]`."""
    product = np.concatenate(blocks, axis=2)
    k, rows, r = product.shape
    ktu, _ = slab.rest.apply(product.reshape(k * rows, r), np.empty((k * rows, r)))
    slab.ktu = ktu.reshape(k, rows, r)
    return np.tensordot(slab.weights, np.log(slab.ktu), axes=1)


def advance_slabs(slabs: Sequence[Slab], log_b: Floats, traffic: Traffic) -> Floats:
    """Take one step of all slabs in this process: `log_b` `[n]` to the next, traffic counted.

    The scheduler of workers elsewhere does the same with its own means of exchange.
    """
    workers = len(slabs)
    lattice = log_b.reshape(len(slabs[0].first), -1)
    rows = _cuts(len(lattice), workers)
    cut = [spread_v(slab, lattice[row], workers) for slab, row in zip(slabs, rows, strict=True)]
    cut = _exchange(cut, traffic)
    cut = [spread_u(slab, blocks, workers) for slab, blocks in zip(slabs, cut, strict=True)]
    cut = _exchange(cut, traffic)
    return np.concatenate(
        [collect(slab, blocks) for slab, blocks in zip(slabs, cut, strict=True)]
    ).ravel()


def _exchange(cut: Sequence[Sequence[Floats]], traffic: Traffic) -> list[list[Floats]]:
    """Give worker `j` the `j`-th block of every worker, in worker order."""
    workers = range(len(cut))
    traffic.sent += sum(cut[i][j].nbytes for i in workers for j in workers if i != j)
    return [[cut[i][j] for i in workers] for j in workers]


def _cuts(length: int, parts: int) -> list[slice]:
    """Cut a range into consecutive slices whose lengths differ by at most one."""
    ends = [length * (i + 1) // parts for i in range(parts)]
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
