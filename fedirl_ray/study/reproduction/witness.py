"""A fleet that remembers what went to and fro."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from fedirl_ray.domain.job import Arrays, Job
from fedirl_ray.engine.fleet import Fleet
from fedirl_ray.engine.upload import Answer, Order, Poll
from fedirl_ray.fusion.spec import Barycenter


@dataclass
class Witness:
    """Passes everything on to a fleet; keeps the orders and the answers, one pair a round."""

    fleet: Fleet
    heard: list[tuple[Order, list[Answer]]] = field(default_factory=list)

    @property
    def barycenter(self) -> Barycenter:
        """Computes barycenters."""
        return self.fleet.barycenter

    @property
    def workers(self) -> int:
        """How many jobs are done at once."""
        return self.fleet.workers

    def equip(self, laid: Sequence[Arrays]) -> None:
        """Give clients what was made for them."""
        self.fleet.equip(laid)

    def prepare(self, seed: int) -> None:
        """Draw every client's data."""
        self.fleet.prepare(seed)

    def learn(self, order: Order) -> list[Answer]:
        """Have the clients learn, and remember it."""
        answers = self.fleet.learn(order)
        self.heard.append((order, answers))
        return answers

    def score(self, poll: Poll) -> list[Answer]:
        """Have the clients score rewards."""
        return self.fleet.score(poll)

    def do(self, pieces: Sequence[Job]) -> Iterator[tuple[int, Arrays]]:
        """Do jobs."""
        return self.fleet.do(pieces)
