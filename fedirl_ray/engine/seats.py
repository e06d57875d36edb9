"""Seats on Ray: actors that are asked for things, and may die, hang or come late over them.

A seat has one actor at a time. An actor is replaced, never repaired: what it holds is made anew
from what it was started with, so the next one in the seat computes the same bytes. What the lost
one was asked is asked again, until it has cost too many. Every wait has a deadline, but an actor's
for a CPU of its own.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from fedirl_ray.config_engine import EngineConfig
from fedirl_ray.domain.job import Arrays, Job
from fedirl_ray.engine.cluster import connect, cpus, leave, ray
from fedirl_ray.engine.event import Started
from fedirl_ray.engine.jobs import Worker, calls, good
from fedirl_ray.engine.pulse import BEAT, Pulse
from fedirl_ray.errors import FedirlError, RunError
from fedirl_ray.signals import quiet

WAVE = 4  # actors a CPU that start at once: the imports of more crowd each other out
HANGS = 2  # times an actor may take too long for one call before it is given up
DEATHS = 4  # times it may die over it

GONE = (
    ray.exceptions.RayActorError,
    ray.exceptions.ObjectLostError,
    ray.exceptions.GetTimeoutError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.NodeDiedError,
)
"""The actor died, or its answer with the node it was on."""

Put = Callable[[Any, int], Any]
"""(actor, attempts before) -> the reference to its answer."""
Wait = tuple[Any, float]
"""What is waited for, and for how many seconds."""


class Hung(Exception):
    """No answer came in time."""


class GivenUp(RunError):
    """Actors were lost over a call until it was given up; the cause is the last loss."""


@dataclass(eq=False)
class Call:
    """What is asked, and what has come of it."""

    key: int
    put: Put
    patience: float
    """Seconds to an answer."""
    keeps: bool = False
    """Whether its seat is kept for another call of the same key, or its cancellation."""
    hangs: int = HANGS
    deaths: int = DEATHS
    """Actors that it may still cost."""
    attempt: int = 0
    """How often it was asked in vain."""
    answer: Any = None
    error: BaseException | None = None
    """`GivenUp`, or what was raised."""
    seat: int = -1
    """Who was asked last."""


@dataclass(eq=False)
class Seat:
    """One actor, and what it is asked at present."""

    place: int
    hire: Callable[[], Any]
    starting: float
    """Seconds its actor may take to start."""
    actor: Any = None
    ready: bool = False
    call: Call | None = None
    busy: Generator[Wait, Any, None] | None = None
    """Its side of things, see `Seats._serve`."""

    def end(self) -> None:
        """End its actor; the next call hires another."""
        if self.actor is not None:
            ray.kill(self.actor)
        self.actor, self.ready = None, False


class Seats(ExitStack):
    """Actors of one class; a context manager that joins Ray, or starts it, and ends them."""

    def __init__(self, engine: EngineConfig, holder: type[Worker] = Worker, most: int = 0) -> None:
        """Make ready to join.

        Args:
            engine: `address` says which cluster, `timeout` how long an answer may take.
            holder: What actors are made of.
            most: Actors at once; 0: the cluster's CPUs.
        """
        super().__init__()
        self._engine, self._holder, self.most = engine, holder, most
        self._seats: list[Seat] = []
        self._queue: deque[Call] = deque()
        """What whoever is free first is to do."""
        self._heard: deque[Call] = deque()
        self._open: set[int] = set()
        """Keys of calls of which something is still to be heard."""
        self._awaited: dict[Any, tuple[Seat, float]] = {}
        """Whose answer it is, and when it is due, on `time.monotonic`."""

    def __enter__(self) -> Self:
        """Join Ray, and make the seats."""
        try:
            if connect(self._engine.address, workers=self.most or 8):
                self.callback(leave)
            self._pulse, self.cpus = Pulse(), cpus()
            self.callback(self._dismiss)
            self._furnish()
        except BaseException:
            self.close()
            raise
        return self

    def _furnish(self) -> None:
        """Make the seats; here, their actors get a CPU each, and wait for it however long."""
        self.most = min(self.most or self.cpus, self.cpus)
        hire = ray.remote(num_cpus=1)(self._holder).remote
        self._seats += [Seat(i, hire, math.inf) for i in range(self.most)]

    def _dismiss(self) -> None:
        with quiet():
            for seat in self._seats:
                seat.end()

    def _replaced(self, seat: Seat, reason: str) -> None:
        """Hear of an actor that was given up, and why."""

    def hire(self, started: Started) -> None:
        """Start all actors, in waves: all at once, a small machine only swaps tasks."""
        count, wave = len(self._seats), WAVE * self.cpus
        started(0, count)
        for first in range(0, count, wave):
            up = range(first, min(first + wave, count))
            self.all(dict.fromkeys(up, calling("ready")), "a sign of life")
            started(up.stop, count)

    def all(self, puts: Mapping[int, Put], what: str) -> list[Any]:
        """Ask some seats; returns their answers in the seats' order.

        Raises:
            RunError: One gives none.
        """
        found, _ = self.gather(puts)
        if lost := len(puts) - len(found):
            raise RunError(
                f"{what} must come from every actor, got none from {lost} of {len(puts)} "
                "(events.jsonl says why)"
            )
        return [found[i] for i in sorted(found)]

    def gather(
        self, puts: Mapping[int, Put], deadline: float = math.inf
    ) -> tuple[dict[int, Any], list[int]]:
        """Ask some seats, each its own.

        Args:
            puts: By seat.
            deadline: On `time.monotonic`; what has not come by then is left out.

        Returns:
            Answers by seat, without those that were given up; and the seats that are late.
        """
        found: dict[int, Any] = {}
        for i, put in puts.items():
            self.ask(Call(i, put, self._engine.timeout), i)
        try:
            while (heard := self.hear(deadline)) is not None:
                if heard.error is None:
                    found[heard.key] = heard.answer
                elif not isinstance(heard.error, GivenUp):
                    raise heard.error
            return found, sorted(self._open)
        finally:
            self.cancel(*self._open, kill=False)

    def do(self, pieces: Sequence[Job]) -> Iterator[tuple[int, Arrays]]:
        """Do jobs, at most one a CPU at once; whoever is free takes the next.

        Nothing else may be asked until all are done.

        Yields:
            Places in `pieces` and results, as they come.

        Raises:
            FedirlError: What a job's own input is to blame for.
            RunError: A job failed otherwise, or actors were lost over it again and again.
        """
        parts = calls(pieces, min(self.cpus, len(self._seats)))
        for i, places in enumerate(parts):
            jobs = [pieces[place] for place in places]
            patience = self._engine.timeout * sum(job.patience for job in jobs)
            self.ask(Call(i, calling("work", jobs), patience))
        try:
            while (heard := self.hear()) is not None:
                error, places = heard.error, parts[heard.key]
                kind = pieces[places[0]].kind
                if isinstance(error, GivenUp):
                    which = f"{kind} ({places[0] + 1} of {len(pieces)})"
                    raise RunError(f"{which} was begun again and again: {error}") from error
                if isinstance(error, FedirlError):
                    raise error
                if error is not None:
                    raise RunError(f"{kind} failed: {error!r}") from error
                yield from good(places, heard.answer)
        finally:
            self.cancel(*self._open)

    def ask(self, call: Call, place: int | None = None) -> None:
        """Ask for something: the actor in a seat, or whoever is free first."""
        self._open.add(call.key)
        if place is None:
            self._queue.append(call)
        else:
            self._begin(self._seats[place], call)

    def hear(self, deadline: float = math.inf) -> Call | None:
        """Wait until any call has an answer, or an error.

        Returns:
            None: none has by the deadline, on `time.monotonic`, or all have had.

        Raises:
            RunError: Ray has died, or actors cannot be started.
        """
        while self._open:
            self._share_out()
            self._pulse.look()
            if self._heard:
                self._open.discard(self._heard[0].key)
                return self._heard.popleft()
            if time.monotonic() >= deadline:
                break
            first = min(due for _, due in self._awaited.values())
            left = max(0.0, min(BEAT, min(first, deadline) - time.monotonic()))
            come, rest = ray.wait(list(self._awaited), num_returns=1, timeout=left)
            if come and rest:
                come += ray.wait(rest, num_returns=len(rest), timeout=0)[0]
            for awaited in come:
                self._take(awaited)
            now = time.monotonic()
            for awaited in [one for one, (_, due) in self._awaited.items() if due <= now]:
                self._take(awaited, late=True)
        return None

    def cancel(self, *keys: int, kill: bool = True) -> None:
        """Expect nothing more of calls; `kill` ends actors that are at them, or they may go on."""
        given_up = set(keys)
        self._open -= given_up
        self._queue = deque(call for call in self._queue if call.key not in given_up)
        self._heard = deque(call for call in self._heard if call.key not in given_up)
        for seat in self._seats:
            if seat.call is not None and seat.call.key in given_up:
                if kill and seat.busy is not None:
                    seat.end()
                self._stop(seat)

    def _share_out(self) -> None:
        """Have seats do what is queued: those whose actors are up, and as many others as it takes.

        No more than one a CPU: the homes of the first seats are one on each.
        """
        seats = self._seats[: self.cpus]
        coming = sum(seat.busy is not None and seat.call is None for seat in seats)
        for seat in sorted(seats, key=lambda seat: not seat.ready):
            free = seat.busy is None and seat.call is None
            if free and len(self._queue) > (0 if seat.ready else coming):
                coming += not seat.ready
                self._begin(seat)

    def _begin(self, seat: Seat, call: Call | None = None) -> None:
        if seat.busy is not None:
            self._stop(seat)
        seat.busy = self._serve(seat, call)
        self._step(seat, partial(next, seat.busy))

    def _stop(self, seat: Seat) -> None:
        """Have a seat wait for nothing any more."""
        if seat.busy is not None:
            seat.busy.close()
        seat.busy = seat.call = None
        for awaited in [one for one, (whose, _) in self._awaited.items() if whose is seat]:
            del self._awaited[awaited]

    def _step(self, seat: Seat, step: Callable[[], Wait]) -> None:
        """Have a seat go on to what it waits for next, or be done."""
        try:
            awaited, patience = step()
            self._awaited[awaited] = seat, time.monotonic() + patience
        except StopIteration:
            seat.busy = None

    def _take(self, awaited: Any, *, late: bool = False) -> None:
        """Give a seat what it has waited for, or what has become of that."""
        seat, _ = self._awaited.pop(awaited)
        assert seat.busy is not None
        try:
            if late:
                raise Hung
            step = partial(seat.busy.send, ray.get(awaited, timeout=self._engine.timeout))
        except (Hung, ray.exceptions.RayError) as err:
            step = partial(seat.busy.throw, err)
        self._step(seat, step)

    def _serve(self, seat: Seat, own: Call | None) -> Generator[Wait, Any, None]:
        """Do one call, a seat's own or whatever is queued once its actor is up.

        Yields what it waits for; is sent the answer, or has raised in it why there is none.
        """
        coming, seat.call = Call(-1, calling("ready"), seat.starting), own
        while seat.call is not None or self._queue:
            call = seat.call or coming
            try:
                if seat.actor is None:
                    with quiet():
                        seat.actor = seat.hire()
                if not seat.ready:
                    yield seat.actor.ready.remote(), seat.starting
                    seat.ready = True
                if call is coming:
                    if not self._queue:
                        return
                    call = seat.call = self._queue.popleft()
                call.seat = seat.place
                call.answer = yield call.put(seat.actor, call.attempt), call.patience
            except ray.exceptions.RayTaskError as err:
                call.error = err.cause or err
            except (Hung, *GONE) as err:
                if self._may_go_on(seat, call, err):
                    if call is not own and call is not coming:
                        self._queue.appendleft(call)  # who is free is quicker than who is new
                        seat.call = None
                    continue
            except ray.exceptions.RayError as err:
                call.error = err
            if call.error is not None or not call.keeps:
                seat.call = None
            self._heard.append(call)
            return

    def _may_go_on(self, seat: Seat, call: Call, err: Exception) -> bool:
        """Give an actor up, and a call that has cost too many."""
        if isinstance(err, Hung):
            call.hangs -= 1
            reason = f"no answer within {call.patience if seat.ready else seat.starting:g} s"
        else:
            self._pulse.look(now=True)
            call.deaths -= 1
            reason = f"it died ({type(err).__name__})"
        call.attempt += 1
        seat.end()
        self._replaced(seat, reason)
        if call.hangs > 0 and call.deaths > 0:
            return True
        if call.key < 0:
            raise RunError(f"an actor could not be started: {reason}") from err
        call.error = GivenUp(reason)
        call.error.__cause__ = err
        return False


def calling(method: str, *arguments: Any) -> Put:
    """Ask for a method of the actor's."""

    def put(actor: Any, attempt: int) -> Any:
        return getattr(actor, method).remote(*arguments)

    return put
