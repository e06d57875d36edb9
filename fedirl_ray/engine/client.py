"""The clients' side of a run, as Ray actors that may die, hang, or come late.

An actor is replaced, never repaired: what its clients hold is drawn from their seeds, so the
replacement computes the same bytes.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import numpy as np

from fedirl_ray.config import RunConfig, narrowed
from fedirl_ray.engine.cluster import connect, cpus, homes, leave, ray
from fedirl_ray.engine.door import hear
from fedirl_ray.engine.event import Event, Report, Started, ignore, on_change, unwatched
from fedirl_ray.engine.local import Clients
from fedirl_ray.engine.placement import costs, place
from fedirl_ray.engine.pulse import BEAT, Pulse
from fedirl_ray.engine.shard import PAYS_FROM, barycenter_on_ray
from fedirl_ray.engine.upload import Answer, Order
from fedirl_ray.errors import RunError
from fedirl_ray.evaluate.planner import Judgement
from fedirl_ray.problem.family import Role
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.problem.planning import Outcome
from fedirl_ray.signals import quiet
from fedirl_ray.transport.barycenter import BarycenterResult

WAVE = 4  # actors a CPU that start at once: the imports of more crowd each other out
STARTING = 120.0  # seconds an actor may take to start,
ONE_MORE = 2.0  # and for each one that may be starting beside it: on a small machine they queue
HANGS = 2  # times an actor may take too long for one call before it is given up
DEATHS = 4  # times it may die over it

GONE = (ray.exceptions.RayActorError, ray.exceptions.ObjectLostError)
"""The actor died, or its answer with the node it was on."""

Call = Callable[[Any, int], Any]
"""(actor, attempt) -> the reference to its answer."""


@dataclass
class Seat:
    """One actor, and what it is asked at present."""

    clients: tuple[int, ...]
    home: Any
    actor: Any = None
    ready: bool = False
    hangs: int = 0
    deaths: int = 0
    since: float = 0.0
    """When what is awaited was asked for."""

    @property
    def attempt(self) -> int:
        """How often the present call was asked in vain."""
        return self.hangs + self.deaths


class RayFleet:
    """All clients of a run in actors that serve every seed; a context manager.

    Answers are gathered in the actors' order, never in order of arrival. Every wait has a
    deadline.
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
        """Join or start Ray, and find every client its actor; `with` starts them.

        Args:
            config: The run.
            report: Told of placement, of where barycenters are computed, of what goes wrong.
            started: Told of each wave of actors that is up.
            holder: What an actor is made of.
            pays_from: Clients times support points from which barycenters go to actors.
        """
        # Without what a command adds: actors would import the command line to unpickle it.
        self._config = narrowed(config, RunConfig)
        self._report, self._holder = report, holder
        self._started, self._pays_from = started, pays_from
        self._tell_fused = on_change(report)
        self._joined = connect(config.engine.address, workers=config.clients)
        self._seats: list[Seat] = []
        try:
            self._pulse = Pulse()
            self.placement = place(costs(config), config.engine.clients_per_actor, cpus())
            blocks = self.placement.blocks
            homely = zip(blocks, homes(len(blocks)), strict=True)
            self._seats += [Seat(block, home) for block, home in homely]
            report(Event("placed", self.placement.reason))
        except BaseException:
            self.close()
            raise
        self._where: tuple[int | None, int | None] = (None, None)

    def __enter__(self) -> Self:
        """Start the actors in waves, and wait until they are up."""
        try:
            self._start(WAVE * cpus())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the actors, and Ray if this fleet started it."""
        self.close()

    def close(self) -> None:
        """Stop the actors, and Ray if this fleet started it."""
        with quiet():
            try:
                for seat in self._seats:
                    if seat.actor is not None:
                        ray.kill(seat.actor)
            finally:
                if self._joined:
                    leave()

    def _start(self, wave: int) -> None:
        """Start the actors, so many at a time: all at once, a small machine only swaps tasks."""
        count = len(self._seats)
        self._started(0, count)
        for first in range(0, count, wave):
            up = range(first, min(first + wave, count))
            self._all({i: _calling("ready") for i in up}, "a sign of life")
            self._started(up.stop, count)

    def prepare(self, seed: int) -> None:
        """Draw every client's world and demonstrations, which `learn` else does on the way."""
        self._all({i: _calling("prepare", seed) for i in range(len(self._seats))}, "worlds")

    def learn(self, order: Order) -> list[Answer]:
        """Have the clients learn, each on its own actor; the late and the lost are left out."""
        self._where = (order.seed, order.round)
        parts = {
            i: part
            for i, seat in enumerate(self._seats)
            if (part := order.part(seat.clients)).clients
        }
        asked: dict[int, Order] = {}

        def calling(i: int) -> Call:
            def call(actor: Any, attempt: int) -> Any:
                asked[i] = replace(parts[i], attempt=attempt)
                return actor.learn.remote(asked[i])

            return call

        allowed = self._config.federation.round_timeout
        deadline = None if allowed is None else time.monotonic() + allowed
        found = self._gather({i: calling(i) for i in parts}, deadline)
        return [answer for i in sorted(found) for answer in hear(asked[i], found[i])]

    def pool(self, seed: int) -> Floats:
        """Fit one reward to everybody's data, on one actor."""
        theta: Floats = self._all({0: _calling("pool", seed)}, "the pooled reward")[0]
        return theta

    def judge(
        self, seed: int, role: Role, indices: Sequence[int], thetas: Floats, matched: Floats
    ) -> tuple[Judgement, Outcome]:
        """Judge rewards, the worlds shared out evenly."""
        edges = np.linspace(0, len(indices), len(self._seats) + 1).astype(int)
        cuts = [slice(a, b) for a, b in itertools.pairwise(edges) if a < b]
        calls = {
            i: _calling("judge", seed, role, indices[cut], thetas[cut], matched[cut])
            for i, cut in enumerate(cuts)
        }
        judged, unlearnt = zip(*self._all(calls, "judgement"), strict=True)
        return (
            Judgement(*(np.concatenate(table) for table in zip(*judged, strict=True))),
            Outcome(*(np.concatenate(table) for table in zip(*unlearnt, strict=True))),
        )

    def barycenter(
        self, measures: Floats, axes: Sequence[Floats], **settings: Any
    ) -> BarycenterResult:
        """Return `fedirl_ray.barycenter`, to the byte; on actors where that is quicker.

        Where it was computed, and why, is told once and whenever that changes.

        Raises:
            RunError: Its actors keep dying, or get no CPU.
        """
        asked = self._config.engine.fuse_workers
        workers = cpus() if asked == "auto" else min(asked, cpus())  # more would wait for a CPU
        try:
            found, where = barycenter_on_ray(
                measures,
                axes,
                workers=workers,
                pays_from=self._pays_from,
                deadline=self._config.engine.timeout,
                **settings,
            )
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError) as err:
            raise RunError(f"the barycenter's actors were lost ({type(err).__name__})") from err
        why = f"engine.fuse-workers {asked} on {cpus()} CPUs"
        self._tell_fused(Event("fused", f"barycenter {where}, {why}"))
        return found

    def _all(self, calls: Mapping[int, Call], what: str) -> list[Any]:
        """Gather answers none of which can be done without."""
        found = self._gather(calls, None)
        lost = sorted(set(calls) - set(found))
        if lost:
            raise RunError(
                f"{what} must come from every actor, got none from {len(lost)} of {len(calls)} "
                "(events.jsonl says why)"
            )
        return [found[i] for i in sorted(found)]

    def _gather(self, calls: Mapping[int, Call], deadline: float | None) -> dict[int, Any]:
        """Put calls to actors and wait for the answers.

        Args:
            calls: By seat.
            deadline: On `time.monotonic`; what has not come by then is left out.

        Returns:
            Answers by seat. Those that died or hung too often are left out as well.
        """
        found: dict[int, Any] = {}
        awaited: dict[Any, int] = {}
        for i, call in calls.items():
            self._seats[i].hangs = self._seats[i].deaths = 0
            self._ask(i, call, awaited)
        while awaited:
            self._pulse.look()
            for ref in self._next(awaited, deadline):
                i = awaited.pop(ref)
                seat = self._seats[i]
                try:
                    answer = ray.get(ref, timeout=self._config.engine.timeout)
                except (*GONE, ray.exceptions.GetTimeoutError) as err:
                    self._pulse.look(now=True)
                    seat.deaths += 1
                    self._replace(seat, f"it died ({type(err).__name__})")
                except ray.exceptions.RayTaskError as err:
                    raise err.cause from err
                else:
                    if seat.ready:
                        found[i] = answer
                        continue
                    seat.ready = True
                if seat.deaths < DEATHS:
                    self._ask(i, calls[i], awaited)
            now = time.monotonic()
            if deadline is not None and now >= deadline:
                self._tell_late(awaited)
                break
            for ref, i in list(awaited.items()):
                seat = self._seats[i]
                if now - seat.since < self._patience(seat):
                    continue
                del awaited[ref]
                seat.hangs += 1
                self._replace(seat, f"no answer within {self._patience(seat):g} s")
                if seat.hangs < HANGS:
                    self._ask(i, calls[i], awaited)
        return found

    def _ask(self, i: int, call: Call, awaited: dict[Any, int]) -> None:
        """Put a call to an actor that is up; wait for any other to come up first."""
        seat = self._seats[i]
        if seat.actor is None:
            self._hire(seat)
        ref = call(seat.actor, seat.attempt) if seat.ready else seat.actor.ready.remote()
        seat.since = time.monotonic()
        awaited[ref] = i

    def _patience(self, seat: Seat) -> float:
        if seat.ready:
            return self._config.engine.timeout
        return STARTING + ONE_MORE * len(self._seats)

    def _next(self, awaited: Mapping[Any, int], deadline: float | None) -> Iterator[Any]:
        """Wait until something has come, a deadline has passed, or Ray is to be looked at again."""
        limits = [self._seats[i].since + self._patience(self._seats[i]) for i in awaited.values()]
        if deadline is not None:
            limits.append(deadline)
        left = max(0.0, min(BEAT, min(limits) - time.monotonic()))
        ready, rest = ray.wait(list(awaited), num_returns=1, timeout=left)
        yield from ready
        if ready and rest:
            yield from ray.wait(rest, num_returns=len(rest), timeout=0)[0]

    def _hire(self, seat: Seat) -> None:
        actor = ray.remote(num_cpus=0)(self._holder).options(scheduling_strategy=seat.home)
        with quiet():
            seat.actor = actor.remote(self._config, seat.clients)
        seat.ready = False

    def _replace(self, seat: Seat, reason: str) -> None:
        """Give an actor up; the next call hires another."""
        ray.kill(seat.actor)
        seat.actor, seat.ready = None, False
        self._report(Event("restarted", reason, *self._where, seat.clients))

    def _tell_late(self, awaited: Mapping[Any, int]) -> None:
        late = sorted(client for i in awaited.values() for client in self._seats[i].clients)
        if late:
            allowed = self._config.federation.round_timeout
            reason = f"no answer within federation.round-timeout {allowed:g} s"
            self._report(Event("late", reason, *self._where, tuple(late)))


def _calling(method: str, *arguments: Any) -> Call:
    def call(actor: Any, attempt: int) -> Any:
        return getattr(actor, method).remote(*arguments)

    return call
