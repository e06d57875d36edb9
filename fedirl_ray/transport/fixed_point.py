"""Sums that do not depend on their order: terms as 64-bit fixed-point integers.

Floating-point addition is not associative, so a sum over clients would change in its last bits with
the number of shards. Integers add exactly, in any order and any grouping.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fedirl_ray.transport.backend import Array, namespace_of

MANTISSA = 52


@dataclass(frozen=True)
class FixedPoint:
    """Integers that count multiples of `quantum`, a power of two."""

    quantum: float

    @classmethod
    def reaching(cls, bound: float) -> "FixedPoint":
        """Return the finest grid on which terms, and sums of terms, up to `bound` fit."""
        return cls(2.0 ** (math.ceil(math.log2(bound)) - (MANTISSA - 1)))

    @cached_property
    def pivot(self) -> float:
        """A number at whose size float64's spacing is the quantum."""
        return 1.5 * 2.0**MANTISSA * self.quantum

    @cached_property
    def pivot_bits(self) -> int:
        """The pivot's bits as an integer."""
        return int(np.float64(self.pivot).view(np.int64))

    @property
    def limit(self) -> float:
        """Sums beyond this are not to be trusted: a term did not fit or was not a number."""
        return 2.0 ** (MANTISSA - 1) * self.quantum

    def add_rows(self, terms: Array, total: Array, work: Array | None = None) -> None:
        """Add each row of `terms` `[k, n]`, rounded to the grid, to `total` (int64 `[n]`).

        Adding the pivot to a term rounds it to the quantum and leaves the count of quanta in the
        float64's low bits, where integer addition reads it: two passes, no conversion. The pivot's
        own bits ride along, once a row: `start` takes them away beforehand.

        Args:
            terms: Overwritten, unless there is `work`.
            total: Changed in place.
            work: Float64, like `terms`, to be overwritten; needed if `terms` are not float64.
        """
        if work is not None:
            work[...] = terms
            terms = work
        terms += self.pivot
        bits = terms.view(namespace_of(terms).int64)
        total += bits[0] if len(bits) == 1 else bits.sum(axis=0)

    def start(self, values: Array, rows: int) -> Array:
        """Return what a sum of so many rows like `values` `[n]` begins with.

        The pivots' bits that are going to be added, taken away.
        """
        xp = namespace_of(values)
        # 64-bit wrap-around keeps the rest exact.
        taken = (-self.pivot_bits * rows + 2**63) % 2**64 - 2**63
        return xp.full_like(values, taken, dtype=xp.int64)

    def decode(self, total: Array) -> Array:
        """Return the float64 values of a sum of integers `[n]`."""
        xp = namespace_of(total)
        return xp.asarray(total, dtype=xp.float64) * self.quantum

    def holds(self, values: Array) -> bool:
        """Whether decoded sums are within the limit; a lost or infinite term is not."""
        return -self.limit < float(values.min()) and float(values.max()) < self.limit
