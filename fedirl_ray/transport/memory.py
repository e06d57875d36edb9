"""How much memory a barycenter needs, asked before it is taken."""

import logging
from pathlib import Path

from fedirl_ray.transport.backend import Precision

WORTH_SAYING = 2**30
"""Estimates from this many bytes on are logged."""

MIXING_BUDGET = 2**30
"""Bytes all kept steps together may take: a fixed number, so that the result does not depend on
what else runs on the machine."""

MOST_KEPT = 11
"""Kept steps where memory allows; more gained nothing by measurement."""

_LOG = logging.getLogger(__name__)


def slots_for(k: int, n: int, precision: Precision) -> int:
    """Return how many past steps of `k` clients on `n` points to keep: 1 if mixing cannot pay."""
    fitting = MIXING_BUDGET // (2 * k * n * item_size(precision))
    return min(MOST_KEPT, int(fitting)) if fitting >= 3 else 1


def item_size(precision: Precision) -> int:
    """Return the bytes of one number."""
    return 8 if precision == "float64" else 4


def estimate(k: int, n: int, slots: int, precision: Precision) -> int:
    """Return the bytes a barycenter of `k` measures on `n` points takes beside its input.

    The normalised measures, the kept steps (twice, if they are mixed), and a few vectors.
    """
    kept = 2 * slots if slots > 1 else 1
    return item_size(precision) * k * n * (1 + kept) + 8 * n * (
        12 + (6 * slots if slots > 1 else 6)
    )


def demand(needed: int, what: str) -> None:
    """Log a large estimate; refuse one that this machine cannot hold.

    Raises:
        MemoryError: If `needed` bytes exceed the memory that is available.
    """
    available = _available()
    if available is not None and needed > available:
        raise MemoryError(
            f"{what} needs {needed / 2**30:.1f} GiB and {available / 2**30:.1f} GiB are available; "
            "use dtype='float32', anderson=0, a coarser lattice, or shards on several machines"
        )
    if needed >= WORTH_SAYING:
        _LOG.warning("%s needs %.1f GiB", what, needed / 2**30)


def _available() -> int | None:
    """Return the bytes that can be had without swapping, where the system tells."""
    table = Path("/proc/meminfo")
    if not table.exists():
        return None
    for line in table.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None
