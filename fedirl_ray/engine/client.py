"""The clients' side of a run, in Ray actors that serve every seed."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from fedirl_ray.config import RunConfig, narrowed
from fedirl_ray.domain.job import Arrays
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.engine.cluster import gpus, homes, ray
from fedirl_ray.engine.device import on_device
from fedirl_ray.engine.door import hear
from fedirl_ray.engine.event import Event, Report, Started, ignore, on_change, unwatched
from fedirl_ray.engine.local import Clients
from fedirl_ray.engine.placement import place
from fedirl_ray.engine.seats import Seat, Seats, calling
from fedirl_ray.engine.shard import PAYS_FROM, barycenter_on_ray
from fedirl_ray.engine.upload import Answer, Order, Poll
from fedirl_ray.errors import RunError
from fedirl_ray.fusion.rules import share_aside
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.transport.barycenter import BarycenterResult
from fedirl_ray.transport.ground import Where
from fedirl_ray.transport.solver import Solver

STARTING = 120.0  # seconds an actor may take to start,
ONE_MORE = 2.0  # and for each one that may be starting beside it: on a small machine they queue


class RayFleet(Seats):
    """All clients of a run, shared out over seats.

    Answers are gathered in the seats' order, never in order of arrival.
    """

    def __init__(
        self,
        config: RunConfig,
        report: Report = ignore,
        started: Started = unwatched,
        *,
        holder: type[Clients] = Clients,
        pays_from: int = PAYS_FROM,
    ) -> None:
        """Make ready to join Ray, where `with` finds every client its actor and starts them.

        Args:
            config: The run.
            report: Told of placement, of where barycenters are computed, of what goes wrong.
            started: Told of each wave of actors that is up.
            holder: What an actor is made of.
            pays_from: Clients times support points from which barycenters go to actors.
        """
        super().__init__(config.engine, holder, config.clients)
        # Without what a command adds: actors would import the command line to unpickle it.
        self._config = narrowed(config, RunConfig)
        self._report, self._started, self._pays_from = report, started, pays_from
        self._tell_fused = on_change(report)
        self._where: tuple[int | None, int | None] = (None, None)

    def _furnish(self) -> None:
        """Share clients out, and start their actors; none reserves a CPU."""
        config, costs = self._config, domain_of(self._config).costs()
        aside = share_aside(config)  # looked up here, where rules of the user's own can be imported
        self.placement = place(costs, config.engine.clients_per_actor, self.cpus)
        blocks = self.placement.blocks
        made, starting = ray.remote(num_cpus=0)(self._holder), STARTING + ONE_MORE * len(blocks)
        for i, (block, home) in enumerate(zip(blocks, homes(len(blocks)), strict=True)):
            actor = made.options(scheduling_strategy=home)
            hire = partial(actor.remote, config, block, aside=aside)
            self._seats.append(Seat(i, hire, starting))
        self._report(Event("placed", self.placement.reason))
        self.hire(self._started)

    @property
    def workers(self) -> int:
        """Jobs that are done at once."""
        return min(self.cpus, len(self._seats))

    def equip(self, laid: Sequence[Arrays]) -> None:
        """Give every client's actor, and whoever takes its place, what the run has made for it."""
        if not any(laid):
            return
        puts = {}
        for i, (seat, block) in enumerate(zip(self._seats, self.placement.blocks, strict=True)):
            own = ray.put([laid[client] for client in block])
            assert isinstance(seat.hire, partial)
            seat.hire = partial(seat.hire, laid=own)
            puts[i] = calling("equip", own)
        self.all(puts, "what clients are given")

    def prepare(self, seed: int) -> None:
        """Draw every client's world and demonstrations, which `learn` else does on the way."""
        self.all(dict.fromkeys(range(len(self._seats)), calling("prepare", seed)), "worlds")

    def learn(self, order: Order) -> list[Answer]:
        """Have the clients learn, each on its own actor; the late and the lost are left out."""
        return self._exchange("learn", order)

    def score(self, poll: Poll) -> list[Answer]:
        """Have the clients score rewards likewise."""
        return self._exchange("score", poll)

    def _exchange(self, method: str, order: Order | Poll) -> list[Answer]:
        self._where = (order.seed, order.round)
        blocks = self.placement.blocks
        parts = {i: part for i, block in enumerate(blocks) if (part := order.part(block)).clients}
        asked: dict[int, Order | Poll] = {}

        def put(i: int, actor: Any, attempt: int) -> Any:
            asked[i] = replace(parts[i], attempt=attempt)
            return getattr(actor, method).remote(asked[i])

        allowed = self._config.federation.round_timeout
        deadline = math.inf if allowed is None else time.monotonic() + allowed
        found, late = self.gather({i: partial(put, i) for i in parts}, deadline)
        if late:
            reason = f"no answer within federation.round-timeout {allowed:g} s"
            clients = sorted(client for i in late for client in blocks[i])
            self._report(Event("late", reason, *self._where, tuple(clients)))
        return [answer for i in sorted(found) for answer in hear(asked[i], found[i])]

    def barycenter(
        self, measures: Floats, where: Where, weights: Floats | None, solver: Solver
    ) -> BarycenterResult:
        """Return `fedirl_ray.barycenter`, to the byte; on actors where that is quicker.

        Where it was computed, and why, is told once and whenever that changes.

        Raises:
            RunError: Its actors keep dying, or get no CPU.
        """
        engine = self._config.engine
        asked, solver = engine.fuse_workers, on_device(solver, engine)
        # More would wait for a CPU, or for a GPU.
        most = self.cpus if engine.device == "cpu" else gpus()
        if most == 0:
            raise RunError("engine.device cuda: the cluster has no GPU")
        workers = most if asked == "auto" else min(asked, most)
        try:
            found, placed = barycenter_on_ray(
                measures,
                where,
                weights,
                solver,
                workers=workers,
                pays_from=self._pays_from,
                deadline=self._config.engine.timeout,
            )
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError) as err:
            raise RunError(f"the barycenter's actors were lost ({type(err).__name__})") from err
        why = f"engine.fuse-workers {asked} on {self.cpus} CPUs"
        if engine.device != "cpu":
            why += f" and {most} GPUs"
        self._tell_fused(Event("fused", f"barycenter {placed}, {why}"))
        return found

    def _replaced(self, seat: Seat, reason: str) -> None:
        self._report(Event("restarted", reason, *self._where, self.placement.blocks[seat.place]))
