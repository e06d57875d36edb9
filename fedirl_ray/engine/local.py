"""The clients' side of a run, in this process: what client actors hold, and the tests' oracle."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fedirl_ray.config import RunConfig
from fedirl_ray.domain.domain import Fits
from fedirl_ray.domain.job import Arrays
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.engine.device import on_device
from fedirl_ray.engine.event import Event, Report, ignore, on_change
from fedirl_ray.engine.jobs import Worker
from fedirl_ray.engine.upload import Answer, Ballot, Order, Poll, Upload
from fedirl_ray.fusion.spec import Support
from fedirl_ray.fusion.upload import open_channel, vote
from fedirl_ray.privacy.protection import Guard, clip_of
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.transport.barycenter import BarycenterResult, barycenter_in_process
from fedirl_ray.transport.ground import Where
from fedirl_ray.transport.solver import Solver


class Clients(Worker):
    """Some clients of a run. Holds a seed's data between calls, and nothing that matters more.

    Letters: `m` clients asked, `d` features; see also `engine.upload`.
    """

    workers = 1

    def __init__(
        self,
        config: RunConfig,
        members: Sequence[int],
        report: Report = ignore,
        laid: Sequence[Arrays] = (),
        aside: float | None = None,
    ) -> None:
        """Hold nothing yet.

        Args:
            config: The run.
            members: Their numbers.
            report: Told where barycenters are computed, of those that this process is asked for.
            laid: What the run has made for each of them.
            aside: Share of demonstrations to keep aside (see `domain.kinds.domain_of`).
        """
        super().__init__()
        self.config = config
        self.members = tuple(members)
        self._domain = domain_of(config, aside)
        self._laid: dict[int, Arrays] = {}
        self._seed = -1
        self._held: dict[int, Any] = {}
        self._support: Support | None = None
        self._tell_fused = on_change(report)
        self.equip(laid)

    def barycenter(
        self, measures: Floats, where: Where, weights: Floats | None, solver: Solver
    ) -> BarycenterResult:
        """Return `fedirl_ray.barycenter`."""
        engine = self.config.engine
        device = "" if engine.device == "cpu" else f", engine.device {engine.device}"
        told = f"barycenter in this process (engine.backend local){device}"
        self._tell_fused(Event("fused", told))
        return barycenter_in_process(measures, where, weights, on_device(solver, engine))

    def equip(self, laid: Sequence[Arrays]) -> None:
        """Take what the run has made for each member."""
        self._laid = dict(zip(self.members, laid, strict=False))

    def prepare(self, seed: int, clients: Sequence[int] | None = None) -> None:
        """Draw worlds and demonstrations that are not held yet; of all members by default."""
        clients = self.members if clients is None else clients
        if seed != self._seed:
            self._seed, self._held, self._support = seed, {}, None
        missing = [i for i in clients if i not in self._held]
        if missing:
            held = self._domain.hold(seed, missing, self._laid)
            self._held.update(zip(missing, held, strict=True))

    def learn(self, order: Order) -> list[Answer]:
        """Do what an order asks of its clients.

        Args:
            order: Clients, and where they start.

        Returns:
            One answer with an upload for each client.
        """
        began = time.monotonic()
        uploads = self.fit(order)
        return [Answer(order, uploads, began, time.monotonic() - began)]

    def fit(self, order: Order) -> list[Upload]:
        """Fit every client's reward, from each starting point, and send what it sends of them."""
        self.prepare(order.seed, order.clients)
        j, (m, d) = order.fits, order.own.shape
        start = np.empty((m, j, d))
        start[:, 0] = order.own
        start[:, 1:] = order.broadcast
        pull = np.zeros((m, j))
        pull[:, 1:] = self.config.federation.proximal  # alone, there is nothing to stay close to
        held, curved = [self._held[i] for i in order.clients], bool(order.hessian)
        found = self._domain.learn(held, start, pull, curvature=curved)
        first = 1 if j > 1 else 0  # in the first round all federations share the one fit
        if self.config.privacy.unit == "client":
            found = self._guarded(order, found)
        sent = self._send(order, found.theta[:, first:])
        theta = np.concatenate([found.theta[:, :1], sent], axis=1)
        rows = np.array(order.hessian, dtype=np.int64) - 1 + first
        return [
            Upload(
                order.key(client),
                theta[i],
                None if found.hessian is None else found.hessian[i, rows],
                float(found.objective[i, 0]),
                int(found.iterations[i, 0]),
                bool(found.converged[i, 0]),
                int(found.episodes[i]),
            )
            for i, client in enumerate(order.clients)
        ]

    def _guarded(self, order: Order, found: Fits) -> Fits:
        """What clients learnt with noise on every theta, and without all else that tells of it."""
        config, theta = self.config, found.theta.copy()
        for i, client in enumerate(order.clients):
            guard = Guard(config, self._laid.get(client, {}), client, order.seed)
            for row in range(theta.shape[1]):
                name = f"round {order.round} theta {row}"
                theta[i, row] = guard.theta(theta[i, row], clip_of(config.privacy), name)
        return replace(
            found,
            theta=theta,
            objective=np.zeros_like(found.objective),
            iterations=np.zeros_like(found.iterations),
            converged=np.ones_like(found.converged),
        )

    def score(self, poll: Poll) -> list[Answer]:
        """Score the rewards that a poll asks its clients about.

        Returns:
            One answer with a ballot for each client.
        """
        began = time.monotonic()
        self.prepare(poll.seed, poll.clients)
        each = np.broadcast_to(poll.thetas, (len(poll.clients), *poll.thetas.shape[1:]))
        overlaps = self._domain.score([self._held[i] for i in poll.clients], each)
        scores = self._vote(poll, overlaps.sum(axis=2))
        ballots = [
            Ballot(poll.key(client), poll.number, own)
            for client, own in zip(poll.clients, scores, strict=True)
        ]
        return [Answer(poll, ballots, began, time.monotonic() - began)]

    def _vote(self, poll: Poll, scores: Floats) -> Floats:
        """What clients say of the scores they found, both `[m, c]`."""
        config = self.config
        if not config.heterogeneity.adversaries:
            return scores
        return vote(
            config.heterogeneity,
            scores,
            poll.clients,
            config.clients,
            config.seed,
            poll.seed,
            ("round", poll.round, "poll", poll.number),
        )

    def _send(self, order: Order, learnt: Floats) -> Floats:
        """What clients send of what they learnt in each federation, both `[m, p, d]`."""
        config, dials = self.config, self.config.heterogeneity
        if not (dials.adversaries or dials.hidden_support):
            return learnt
        if self._support is None:
            self._support = self._domain.ground(order.seed).support
        channel = open_channel(
            dials, self._support, order.clients, config.clients, config.seed, order.seed
        )
        return channel.send(learnt)
