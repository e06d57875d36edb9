"""Sums that do not depend on their order: terms as 64-bit fixed-point integers.

Floating-point addition is not associative, so a sum over clients would change in its last bits with
the number of shards. Integers add exactly, in any order and any grouping.
"""

import math
from dataclasses import dataclass

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

    @property
    def pivot(self) -> float:
        """A number at whose size float64's spacing is the quantum."""
        return 1.5 * 2.0**MANTISSA * self.quantum

    @property
    def limit(self) -> float:
        """Sums beyond this are not to be trusted: a term did not fit or was not a number."""
        return 2.0 ** (MANTISSA - 1) * self.quantum

    def sum_rows(self, terms: Array) -> Array:
        """Round `terms` `[k, n]` (float64, overwritten) to the grid; return their sum `[n]`.

        Adding the pivot rounds a term to the quantum and leaves the count of quanta in the low
        bits of the float, where integer addition can read it: one pass over the terms.
        """
        terms += self.pivot
        bits = terms.view(namespace_of(terms).int64)
        # A multiple of the pivot's own bits rides along; 64-bit wrap-around keeps the rest exact.
        excess = int(np.float64(self.pivot).view(np.int64)) * len(terms)
        total = bits.sum(axis=0)
        total -= (excess + 2**63) % 2**64 - 2**63
        return total

    def decode(self, total: Array) -> Array:
        """Return the float64 values of a sum of integers `[n]`."""
        return total * self.quantum

    def holds(self, values: Array) -> bool:
        """Whether decoded sums are within the limit; a lost or infinite term is not."""
        return -self.limit < float(values.min()) and float(values.max()) < self.limit
