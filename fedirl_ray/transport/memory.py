"""How much memory a barycenter needs, asked before it is taken."""

import logging
import math
import resource
from collections.abc import Iterator, Sequence
from pathlib import Path

from fedirl_ray.transport.backend import NUMPY, Place, Precision

ADVICE = "dtype='float32', anderson=0, a coarser lattice, or shards on several machines"

WORTH_SAYING = 2**30
"""Estimates from this many bytes on are logged."""

MIXING_BUDGET = 2**30
"""Bytes all kept steps together may take: a fixed number, so that the result does not depend on
what else runs on the machine."""

MOST_KEPT = 11
"""Kept steps where memory allows; more gained nothing by measurement."""

AXIS_COPIES = 6
"""Dense matrices of every axis at once, in float64: its cost, and while the kernel of one epsilon
replaces that of another the exponents and the entries of both, and one temporary."""

WORK = 4
LOOK = 3
"""Arrays of the clients that are stepped together: to work in, and for a look at the error."""

KERNEL_COPIES = 2
"""Further ones where the caller has a kernel of its own (debiased barycenters, divergences)."""

_LOG = logging.getLogger(__name__)


def slots_for(k: int, n: int, precision: Precision) -> int:
    """Return how many past steps of `k` clients on `n` points to keep: 1 if mixing cannot pay."""
    fitting = MIXING_BUDGET // (2 * k * n * item_size(precision))
    return min(MOST_KEPT, int(fitting)) if fitting >= 3 else 1


def item_size(precision: Precision) -> int:
    """Return the bytes of one number."""
    return 8 if precision == "float64" else 4


def batch_of(k: int, n: int, place: Place = NUMPY) -> int:
    """Return how many of `k` clients on a lattice of `n` points are stepped together."""
    most = place.choices.together
    return k if most is None else max(1, min(k, most // n))


def estimate(
    k: int,
    lengths: Sequence[int],
    slots: int,
    precision: Precision,
    *,
    second_kernel: bool,
    place: Place = NUMPY,
) -> int:
    """Return the bytes a barycenter on a lattice takes beside its input.

    Args:
        k: Measures.
        lengths: Points of each lattice axis.
        slots: Kept steps.
        precision: Of the scalings.
        second_kernel: Whether the loop has a kernel of its own beside the shards'.
        place: Where it is computed: with torch all clients are stepped together.
    """
    n = math.prod(lengths)
    axes = axes_bytes(lengths, second_kernel=second_kernel)
    return vectors_bytes(k, n, slots, precision, batch_of(k, n, place), place) + axes


def vectors_bytes(
    k: int, n: int, slots: int, precision: Precision, together: int, place: Place = NUMPY
) -> int:
    """Return the bytes of a barycenter's vectors.

    The normalised measures, the kept steps (twice, if they are mixed), the buffers of the clients
    that are stepped together, and a few vectors.

    Args:
        k: Measures.
        n: Points.
        slots: Kept steps.
        precision: Of the scalings.
        together: Clients that are stepped together.
        place: Where it is computed.
    """
    kept = 2 * slots if slots > 1 else 1
    # With torch a look at the error takes temporaries, where numpy goes through a cache.
    each = WORK if place.backend == "numpy" else WORK + LOOK
    vectors = 12 + (6 * slots if slots > 1 else 6)
    numbers = n * (k * (1 + kept) + each * together)
    return item_size(precision) * numbers + 8 * n * vectors


def axes_bytes(lengths: Sequence[int], *, second_kernel: bool = False) -> int:
    """Return the bytes of the axes' dense matrices."""
    copies = AXIS_COPIES + (KERNEL_COPIES if second_kernel else 0)
    return 8 * copies * sum(m * m for m in lengths)


def demand(needed: int, what: str, advice: str = ADVICE, place: Place = NUMPY) -> None:
    """Log a large estimate; refuse one that the machine or its GPU cannot hold.

    Raises:
        MemoryError: If `needed` bytes exceed the memory that is available.
    """
    there, where = available(), ""
    if place.on_gpu:
        there, where = _free_on_gpu(place), f" on {place.device}"
    if there is not None and needed > there:
        raise MemoryError(
            f"{what} needs {needed / 2**30:.1f} GiB and {there / 2**30:.1f} GiB are available"
            f"{where}; use {advice}"
        )
    if needed >= WORTH_SAYING:
        _LOG.warning("%s needs %.1f GiB%s", what, needed / 2**30, where)


def _free_on_gpu(place: Place) -> int:
    """What is free on a GPU, and what torch holds of it without using it."""
    cuda = place.xp.cuda
    unused = cuda.memory_reserved(place.device) - cuda.memory_allocated(place.device)
    return int(cuda.mem_get_info(place.device)[0] + unused)


def available() -> int | None:
    """Return the bytes this process may still take without swapping, where the system tells.

    The least of what the machine has, what the process's group of processes (cgroup, as containers
    and schedulers set it) leaves it, and what the process may address.
    """
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    found = [_free_memory(), *_left_in_groups(), None if limit == resource.RLIM_INFINITY else limit]
    return min((each for each in found if each is not None), default=None)


def _free_memory() -> int | None:
    table = Path("/proc/meminfo")
    if not table.exists():
        return None
    for line in table.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _left_in_groups(root: Path = Path("/sys/fs/cgroup")) -> Iterator[int]:
    """What each cgroup above this process leaves: its limit without what it holds for good."""
    try:
        own = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    names = {line.split(":", 2)[2].strip("/") for line in own if line.count(":") >= 2}
    for name in sorted(names):
        for folder in (root / name, *(root / name).parents):
            if folder == root.parent:
                break
            for limit, used in (
                ("memory.max", "memory.current"),
                ("memory.limit_in_bytes", "memory.usage_in_bytes"),
            ):
                try:
                    most = int((folder / limit).read_text())  # "max" where there is none
                    held = int((folder / used).read_text())
                    told = (folder / "memory.stat").read_text().splitlines()
                except (OSError, ValueError):
                    continue
                cached = sum(
                    int(line.split()[1])
                    for line in told
                    if line.split()[0] in ("inactive_file", "active_file")
                )
                yield max(0, most - max(0, held - cached))
