"""The clients' side of a run, in this process: what client actors hold, and the tests' oracle."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from fedirl_ray.config import RunConfig
from fedirl_ray.engine.event import Event, Report, ignore, on_change
from fedirl_ray.engine.jobs import Worker
from fedirl_ray.engine.upload import Answer, Order, Upload
from fedirl_ray.evaluate.planner import Judgement, judge, judge_references
from fedirl_ray.fusion.spec import Support, support_of
from fedirl_ray.fusion.upload import open_channel
from fedirl_ray.irl.block import demonstrators, prepare, recorded_outcome
from fedirl_ray.irl.maxent import fit, fit_pooled
from fedirl_ray.problem.family import Role, draw_world, horizon
from fedirl_ray.problem.mdp import Floats, TabularMDP
from fedirl_ray.problem.planning import Outcome
from fedirl_ray.transport.barycenter import BarycenterResult, barycenter


class Clients(Worker):
    """Some clients of a run. Holds a seed's data between calls, and nothing that matters more.

    Letters: `m` clients asked, `w` worlds, `c` rewards to judge, `d` features; see also
    `engine.upload`.
    """

    def __init__(self, config: RunConfig, members: Sequence[int], report: Report = ignore) -> None:
        """Hold nothing yet.

        Args:
            config: The run.
            members: Their numbers.
            report: Told where barycenters are computed, of those that this process is asked for.
        """
        super().__init__()
        self.config = config
        self.members = tuple(members)
        self._seed = -1
        self._held: dict[int, tuple[TabularMDP, Floats, int, int]] = {}
        self._support: Support | None = None
        self._tell_fused = on_change(report)

    def barycenter(
        self, measures: Floats, axes: Sequence[Floats], **settings: Any
    ) -> BarycenterResult:
        """Return `fedirl_ray.barycenter`."""
        self._tell_fused(Event("fused", "barycenter in this process (engine.backend local)"))
        return barycenter(measures, axes, **settings)

    def prepare(self, seed: int, clients: Sequence[int] | None = None) -> None:
        """Draw worlds and demonstrations that are not held yet; of all members by default."""
        clients = self.members if clients is None else clients
        if seed != self._seed:
            self._seed, self._held, self._support = seed, {}, None
        missing = [i for i in clients if i not in self._held]
        if missing:
            block = prepare(self.config, seed, missing)
            data = zip(block.worlds, block.counts, block.iterations, block.episodes, strict=True)
            self._held.update(zip(missing, data, strict=True))

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
        held = [self._held[i] for i in order.clients]
        j, (m, d) = order.fits, order.own.shape
        start = np.empty((m, j, d))
        start[:, 0] = order.own
        start[:, 1:] = order.broadcast
        pull = np.zeros((m, j))
        pull[:, 1:] = self.config.federation.proximal  # alone, there is nothing to stay close to
        found = fit(
            [world for world, *_ in held for _ in range(j)],
            np.repeat([counts for _, counts, *_ in held], j, axis=0),
            self.config.irl,
            horizon(self.config.problem),
            start=start.reshape(m * j, d),
            iterations=np.repeat([iterations for _, _, iterations, _ in held], j),
            proximal=pull.ravel(),
        )
        learnt, hessian = found.theta.reshape(m, j, d), found.hessian.reshape(m, j, d, d)
        first = 1 if j > 1 else 0  # in the first round all federations share the one fit
        theta = np.concatenate([learnt[:, :1], self._send(order, learnt[:, first:])], axis=1)
        curved = np.array(order.hessian, dtype=np.int64) - 1 + first
        return [
            Upload(
                order.key(client),
                theta[i],
                hessian[i, curved] if len(curved) else None,
                float(found.negative_log_likelihood[i * j]),
                int(found.iterations[i * j]),
                bool(found.converged[i * j]),
                held[i][-1],
            )
            for i, client in enumerate(order.clients)
        ]

    def _send(self, order: Order, learnt: Floats) -> Floats:
        """What clients send of what they learnt in each federation, both `[m, p, d]`."""
        config, dials = self.config, self.config.heterogeneity
        if not (dials.adversaries or dials.hidden_support):
            return learnt
        if self._support is None:
            self._support = support_of(
                draw_world(config.problem, config.seed, order.seed, "probe", 0)
            )
        channel = open_channel(
            dials, self._support, order.clients, config.clients, config.seed, order.seed
        )
        return channel.send(learnt)

    def pool(self, seed: int) -> Floats:
        """Fit one theta `[d]` to the data of *all* clients: what privacy forbids."""
        everyone = prepare(self.config, seed, range(self.config.clients))
        return fit_pooled(
            everyone.worlds, everyone.counts, self.config.irl, horizon(self.config.problem)
        )

    def judge(
        self, seed: int, role: Role, indices: Sequence[int], thetas: Floats, matched: Floats
    ) -> tuple[Judgement, Outcome]:
        """Judge rewards, and the references, in some worlds.

        The demonstrator of a client's world is its own expert. A held-out world is nobody's: there
        the clients' experts take turns, as their rewards do; recorded demonstrations say nothing.

        Args:
            seed: Which repetition.
            role: Clients' own worlds, or held-out ones.
            indices: Which worlds, `[w]`.
            thetas: `[w, c, d]`.
            matched: The same at one norm, `[w, c, d]`.

        Returns:
            The rewards' outcomes and the references' (see `judge_references`).
        """
        problem = self.config.problem
        worlds = [draw_world(problem, self.config.seed, seed, role, i) for i in indices]
        takers = [i % self.config.clients for i in indices]
        recorded = None
        if problem.demonstrations_file is not None:
            nothing = np.full(len(worlds), np.nan)
            recorded = Outcome(nothing, nothing)
            if role == "client":
                recorded = recorded_outcome(self.config, takers, worlds)
        references = judge_references(
            worlds,
            self.config,
            temperatures=demonstrators(self.config, seed, takers),
            recorded=recorded,
        )
        return judge(worlds, thetas, matched, self.config), references
