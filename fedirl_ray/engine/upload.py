"""What server and clients say to each other in a round, and how many bytes that takes.

Letters: `k` clients, `m` clients asked, `q` federations (one for each fused rule), `j` rewards a
client uploads: the one learnt alone, and what it sends to each federation (one for all of them in
the first round, where all start from the same point), `h` curvatures, `d` features.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from fedirl_ray.config_fusion import REFERENCES
from fedirl_ray.fusion.rules import rule_named

Floats = NDArray[np.float64]

NUMBER = 8  # bytes of a float64


class Key(NamedTuple):
    """Which question an upload answers."""

    run: str
    seed: int
    round: int
    client: int
    attempt: int


@dataclass(frozen=True)
class Order:
    """What the server asks of some clients in one round."""

    run: str
    """See `engine.identity.name_of`."""
    seed: int
    """Repetition, from 0."""
    round: int
    """From 0."""
    clients: tuple[int, ...]
    """Clients asked, `m` of them, ascending."""
    own: Floats
    """Where each goes on with the reward it learns alone, `[m, d]`. Clients keep no state that
    matters; the server remembers this point for them."""
    broadcast: Floats
    """Theta of each federation, `[q, d]`; empty in the first round."""
    hessian: tuple[int, ...]
    """Which of the uploaded rewards are to come with their curvatures, `h` of them, ascending."""
    attempt: int = 0
    """How often this was asked before and never answered."""

    @property
    def fits(self) -> int:
        """Rewards each client learns: alone, and from each broadcast."""
        return 1 + len(self.broadcast)

    @property
    def columns(self) -> int:
        """Rewards each client uploads, `j`."""
        return 1 + max(1, len(self.broadcast))

    def row(self, federation: int) -> int:
        """Which of a client's uploaded rewards is for a federation."""
        return 1 + federation if len(self.broadcast) else 1

    def key(self, client: int) -> Key:
        """What the upload of a client must be marked with."""
        return Key(self.run, self.seed, self.round, client, self.attempt)

    def part(self, clients: Sequence[int]) -> Self:
        """Narrow the order down to those of some clients that are asked."""
        here = np.flatnonzero(np.isin(self.clients, clients))
        return replace(self, clients=tuple(self.clients[i] for i in here), own=self.own[here])


class Upload(NamedTuple):
    """What one client sends back; nothing in it has been checked."""

    key: Key
    theta: Floats
    """`[j, d]`. Row 0: learnt alone, for the books of the experiment and never fused. Then what it
    sends to each federation, which of an adversary is something else than it learnt."""
    hessian: Floats | None
    """Curvatures at the rewards that they were asked for of, `[h, d, d]`; None where of none."""
    negative_log_likelihood: float
    """Of the reward learnt alone; negative: demonstrations the model cannot achieve."""
    iterations: int
    """Optimiser steps of the reward learnt alone."""
    converged: bool
    """Whether those reached their tolerance."""
    episodes: int
    """Demonstrations it was learnt from."""


def curvatures_of(uploads: Sequence[Upload], order: Order, row: int) -> Floats:
    """Curvatures at one of the uploaded rewards, `[m, d, d]`, of which they were asked for."""
    at = order.hessian.index(row)
    return np.stack([upload.hessian[at] for upload in uploads if upload.hessian is not None])


class Answer(NamedTuple):
    """What came back for one order."""

    order: Order
    """As it was asked; an actor's own word for it is not taken."""
    uploads: Sequence[Any]
    """`Upload`s, as far as one can trust the sender."""
    began: float
    """When the clients began to learn, on their machine's monotonic clock (seconds)."""
    seconds: float
    """Time the clients spent learning."""


class Traffic(NamedTuple):
    """Bytes one client and one round cost under a rule, numbers alone, without wire format."""

    down: int
    up: int


def traffic(rule: str, d: int) -> Traffic:
    """Bytes a rule would send if it ran alone: theta each way, and curvature where it needs it."""
    if rule in REFERENCES:
        return Traffic(0, 0)
    curvature = d * d if "curvature" in rule_named(rule).needs else 0
    return Traffic(NUMBER * d, NUMBER * (d + curvature))
