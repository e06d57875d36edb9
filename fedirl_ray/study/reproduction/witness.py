"""A fleet that remembers what went over the line."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fedirl_ray.engine.driver import Fleet
from fedirl_ray.engine.upload import Answer, Order
from fedirl_ray.evaluate.planner import Judgement
from fedirl_ray.fusion.spec import Barycenter
from fedirl_ray.problem.family import Role
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.problem.planning import Outcome


@dataclass
class Witness:
    """Passes everything on to a fleet; keeps the orders and the answers, one pair a round."""

    fleet: Fleet
    heard: list[tuple[Order, list[Answer]]] = field(default_factory=list)

    @property
    def barycenter(self) -> Barycenter:
        """Computes barycenters."""
        return self.fleet.barycenter

    def prepare(self, seed: int) -> None:
        """Draw every client's data."""
        self.fleet.prepare(seed)

    def learn(self, order: Order) -> list[Answer]:
        """Have the clients learn, and remember it."""
        answers = self.fleet.learn(order)
        self.heard.append((order, answers))
        return answers

    def pool(self, seed: int) -> Floats:
        """Fit one reward to everybody's data."""
        return self.fleet.pool(seed)

    def judge(
        self, seed: int, role: Role, indices: Sequence[int], thetas: Floats, matched: Floats
    ) -> tuple[Judgement, Outcome]:
        """Judge rewards in some worlds."""
        return self.fleet.judge(seed, role, indices, thetas, matched)
