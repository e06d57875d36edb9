"""Sums over clients of which the server learns nothing but the sum, simulated in one process.

A client sends whole numbers modulo 2^64 under masks: one of its own, and one for every neighbour
that both draw from a key of theirs, which one adds and the other takes away (Bonawitz et al. 2017,
"Practical secure aggregation for privacy-preserving machine learning"). Once everybody's message
has come, clients reveal their own masks; those of pairs cancel in the sum. Where a message is
missing, nobody reveals anything, and those who are left take the sum anew under other masks: what
the lost client sent may still arrive, but stays under a mask that is never revealed. So no shares
of keys have to be kept, at the price of a repeated sum.

Whole numbers add exactly, so the sum has the bytes of one without masks, whoever adds it up.

Letters: `m` clients, `n` numbers of a message.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedirl_ray.errors import RunError
from fedirl_ray.problem.mdp import Floats

Words = NDArray[np.uint64]
Terms = Callable[[tuple[int, ...]], NDArray[np.int64]]
"""What clients of some places have to add, `[m, n]`: their shares depend on who is there."""

NEIGHBOURS = 32
"""Pairs that a client of a large cohort has. A message stays hidden while one of its neighbours
keeps their key to itself (Bell et al. 2020, "Secure single-server aggregation with
(poly)logarithmic overhead")."""


class CohortError(RunError):
    """Too few clients are left for a sum to hide what each one adds."""


class Message(NamedTuple):
    """What the server receives from one client."""

    client: int
    number: int
    """Of the sum, from 0."""
    attempt: int
    """How often that was taken before."""
    words: Words
    """`[n]`."""


Look = Callable[[Message], None]


def encode(values: Floats, bits: int) -> NDArray[np.int64]:
    """Numbers as multiples of 2^-bits.

    Raises:
        RunError: One is so large that a sum could leave the ring, or is none.
    """
    scaled = np.rint(values * 2.0**bits)
    if not np.all(np.abs(scaled) < 2.0**62):
        raise RunError(
            f"a number to be summed must be finite and below 2^{62 - bits}, "
            f"got {np.abs(values).max():.3g}"
        )
    return scaled.astype(np.int64)


def decode(total: NDArray[np.int64], bits: int) -> Floats:
    """A sum of such multiples as numbers."""
    found: Floats = total.astype(np.float64) * 2.0**-bits
    return found


@dataclass
class SecureSum:
    """A cohort of clients, and the sums that are taken over them one after the other."""

    clients: tuple[int, ...]
    """Their numbers; shrinks as they are lost."""
    min_cohort: int
    """Least clients whose sum is taken."""
    key: bytes | None
    """Of all masks, which the server does not know; None: no masks, for comparison."""
    lost: Mapping[int, int] = field(default_factory=dict)
    """In which sum a client is lost."""
    look: Look = lambda message: None
    """Told every message, as the server sees it."""
    number: int = 0
    """Sums that were taken."""
    dropped: list[int] = field(default_factory=list)
    """Clients that were lost."""

    def __post_init__(self) -> None:
        self._places = tuple(range(len(self.clients)))
        self._require_cohort()

    @property
    def places(self) -> tuple[int, ...]:
        """Places, in the cohort as it began, of those who are left."""
        return self._places

    def __call__(self, terms: Terms) -> NDArray[np.int64]:
        """Take one sum.

        Args:
            terms: What each client adds; asked again when clients were lost.

        Returns:
            `[n]`, over those who are left.

        Raises:
            CohortError: They are fewer than `min_cohort`.
        """
        attempt = 0
        while True:
            whole = terms(self._places).astype(np.int64).view(np.uint64)
            here = [self.lost.get(client, -1) != self.number for client in self.clients]
            sent = self._masked(whole, attempt)
            for client, words, came in zip(self.clients, sent, here, strict=True):
                if came:
                    self.look(Message(client, self.number, attempt, words))
            if all(here):
                break
            self.dropped += [c for c, came in zip(self.clients, here, strict=True) if not came]
            self._places = tuple(p for p, came in zip(self._places, here, strict=True) if came)
            self.clients = tuple(c for c, came in zip(self.clients, here, strict=True) if came)
            self._require_cohort()
            attempt += 1
        total: Words = sent.sum(axis=0, dtype=np.uint64)
        if self.key is not None:
            n = len(total)
            for client in self.clients:  # revealed, now that all have come
                total -= self._drawn(n, "own", client, attempt)
        self.number += 1
        return total.view(np.int64)

    def _masked(self, whole: Words, attempt: int) -> Words:
        """Messages `[m, n]` of what clients add."""
        if self.key is None:
            return whole
        sent, n = whole.copy(), whole.shape[1]
        for i, client in enumerate(self.clients):
            sent[i] += self._drawn(n, "own", client, attempt)
        for i, j in pairs(len(self.clients)):
            mask = self._drawn(n, "pair", self.clients[i], self.clients[j], attempt)
            sent[i] += mask
            sent[j] -= mask
        return sent

    def _drawn(self, n: int, *name: str | int) -> Words:
        """A mask that who knows the key and the name can draw again, and nobody else."""
        assert self.key is not None
        said = self.key + repr((self.number, *name)).encode()
        return np.frombuffer(hashlib.shake_256(said).digest(8 * n), dtype="<u8")

    def _require_cohort(self) -> None:
        count = len(self.clients)
        if count < self.min_cohort:
            gone = f", {len(self.dropped)} having been lost" if self.dropped else ""
            raise CohortError(
                f"a sum must be over at least privacy.min-cohort {self.min_cohort} clients, "
                f"got {count}{gone}"
            )


def pairs(count: int) -> Sequence[tuple[int, int]]:
    """Who shares masks with whom: everybody, or the nearest on a circle in a large cohort."""
    reach = min(count // 2, NEIGHBOURS // 2)
    if count <= NEIGHBOURS + 1:
        return [(i, j) for i in range(count) for j in range(i + 1, count)]
    return [(i, (i + away) % count) for i in range(count) for away in range(1, reach + 1)]
