"""What server and clients say to each other in a round, and how many bytes that takes.

Letters: `k` clients, `m` clients asked, `q` federations (one for each fused rule), `j` rewards a
client uploads: the one learnt alone, and what it sends to each federation (one for all of them in
the first round, where all start from the same point), `h` curvatures, `c` rewards that a client
scores, `d` features.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from fedirl_ray.config_fusion import CHOOSING, REFERENCES, FusionConfig
from fedirl_ray.fusion.rules import needs_of

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


@dataclass(frozen=True)
class Poll:
    """What the server asks of some clients on behalf of one rule: how well rewards do."""

    run: str
    seed: int
    round: int
    """See `Order`."""
    number: int
    """Which poll of the round, from 0."""
    clients: tuple[int, ...]
    """Clients asked, `m` of them, ascending."""
    thetas: Floats
    """What each is to score, `[m, c, d]`; `[1, c, d]` if all are asked about the same."""
    attempt: int = 0
    """How often this was asked before and never answered."""

    def key(self, client: int) -> Key:
        """What the ballot of a client must be marked with."""
        return Key(self.run, self.seed, self.round, client, self.attempt)

    def part(self, clients: Sequence[int]) -> Self:
        """Narrow the poll down to those of some clients that are asked."""
        here = np.flatnonzero(np.isin(self.clients, clients))
        own = self.thetas if len(self.thetas) == 1 else self.thetas[here]
        return replace(self, clients=tuple(self.clients[i] for i in here), thetas=own)


class Ballot(NamedTuple):
    """What one client says of the rewards it was asked about; nothing in it has been checked."""

    key: Key
    number: int
    """Which poll of the round it answers."""
    scores: Floats
    """`[c]`, each in [0, 2]."""


class Answer(NamedTuple):
    """What came back for one order or poll."""

    order: Order | Poll
    """As it was asked; an actor's own word for it is not taken."""
    uploads: Sequence[Any]
    """`Upload`s, or of a poll `Ballot`s, as far as one can trust the sender."""
    began: float
    """When the clients began to learn, on their machine's monotonic clock (seconds)."""
    seconds: float
    """Time the clients spent learning."""


class Traffic(NamedTuple):
    """Bytes one client and one round cost under a rule, numbers alone, without wire format."""

    down: int
    up: int


def traffic(rule: str, d: int, config: FusionConfig) -> Traffic:
    """Bytes a rule would send if it ran alone, polls included: those of a round with one.

    What a rule of the user's own asks clients to score is not known before it does.
    """
    base = exchanged(rule, d, config)
    c = len(config.candidates) if rule in CHOOSING else 0
    polls = scoring(c * d, c)
    return Traffic(base.down + polls.down, base.up + polls.up)


def exchanged(rule: str, d: int, config: FusionConfig) -> Traffic:
    """Bytes of theta each way, and of curvature where a rule needs it."""
    if rule in REFERENCES:
        return Traffic(0, 0)
    curvature = d * d if "curvature" in needs_of(rule, config) else 0
    return Traffic(NUMBER * d, NUMBER * (d + curvature))


def scoring(down: int, up: int) -> Traffic:
    """Bytes of so many numbers of rewards to score, and of so many scores."""
    return Traffic(NUMBER * down, NUMBER * up)
