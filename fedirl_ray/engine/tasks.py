"""Many runs side by side: each is one Ray task that runs whole in its own process.

A task asks for one CPU and starts nothing on Ray itself, so tasks never wait for each other. Seeds
come back one by one, so that a run can be given up while it is under way.

What a run itself is to blame for comes back as a value, `Failed`. Whatever Ray raises instead is
the machine's doing, `Lost`: a worker killed, a node gone, memory short. The same run may well
succeed when it is begun again.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from threadpoolctl import threadpool_limits

from fedirl_ray.config import EngineConfig, RunConfig
from fedirl_ray.engine.driver import federate
from fedirl_ray.engine.local import Clients
from fedirl_ray.engine.result import SeedResult
from fedirl_ray.errors import MOST, in_short


class Failed(NamedTuple):
    """A run that cannot be run: its settings or its world are to blame."""

    reason: str

    @classmethod
    def of(cls, err: Exception) -> Self:
        """Say in one line what was raised."""
        return cls(in_short(f"{type(err).__name__}: {err}", MOST))


class Lost(NamedTuple):
    """A run that the machine, or its time limit, did not let end."""

    reason: str


class Came(NamedTuple):
    """What came of a run: a seed, its end (None), or why there will be none."""

    key: int
    what: SeedResult | Failed | Lost | None


class Tasks(Protocol):
    """Runs under way."""

    @property
    def most(self) -> int:
        """How many may be under way at once."""
        ...

    def start(self, key: int, config: RunConfig) -> None:
        """Begin a run."""
        ...

    def next(self) -> Came:
        """Wait until something comes of any run.

        Raises:
            RunError: Nothing will any more.
        """
        ...

    def cancel(self, key: int) -> None:
        """Give a run up; nothing more comes of it."""
        ...

    def __enter__(self) -> Self:
        """Be ready to begin."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give all runs up."""
        ...


def run_seeds(config: RunConfig) -> Iterator[SeedResult]:
    """Run a federation in this process, one seed after the other."""
    threadpool_limits(limits=1)
    alone = replace(config, engine=EngineConfig(backend="local"))
    for _, result in federate(alone, Clients(alone, range(alone.clients))):
        yield result


def _told(config: RunConfig) -> Iterator[SeedResult | Failed]:
    """Run a federation; what it raises comes as a value, since users' errors need not unpickle."""
    try:
        yield from run_seeds(config)
    except Exception as err:  # whatever a user's world may raise is its run's fault alone
        yield Failed.of(err)


def _announced(config: RunConfig) -> Iterator[SeedResult | Failed | None]:
    """Run a federation; the first thing that comes, None, says that it has been given a CPU."""
    yield None
    yield from _told(config)


class LocalTasks:
    """One run at a time, in this process."""

    most = 1

    def __init__(self) -> None:
        self._key = -1
        self._seeds: Iterator[SeedResult | Failed] = iter(())

    def __enter__(self) -> Self:
        """Be ready to begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the run up."""
        self._seeds = iter(())

    def start(self, key: int, config: RunConfig) -> None:
        """Begin a run."""
        self._key, self._seeds = key, _told(config)

    def next(self) -> Came:
        """Take the run's next seed."""
        return Came(self._key, next(self._seeds, None))

    def cancel(self, key: int) -> None:
        """Give the run up."""
        self._seeds = iter(())


class RayTasks:
    """Runs on a cluster's CPUs."""

    def __init__(self, engine: EngineConfig, most: int | None) -> None:
        """Join or start Ray.

        Args:
            engine: `address` says which cluster.
            most: Runs at once; None: the cluster's CPUs.
        """
        from fedirl_ray.engine.cluster import connect, cpus, leave, ray
        from fedirl_ray.engine.pulse import BEAT, Pulse

        self._ray, self._leave, self._beat = ray, leave, BEAT
        self._joined = connect(engine.address, workers=most or 8)
        self._pulse = Pulse()
        self.most = min(most or cpus(), cpus())
        self._deadline = engine.timeout
        task = ray.remote(num_cpus=1, max_retries=0)(_announced)
        self._task = task.options(num_returns="streaming")
        self._running: dict[Any, int] = {}
        self._since: dict[Any, float] = {}
        """When something last came of a run that has begun; one that waits for a CPU has none."""

    def __enter__(self) -> Self:
        """Be ready to begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give all runs up, and Ray if it was started for them."""
        try:
            for stream in self._running:
                self._ray.cancel(stream, force=True)
        finally:
            if self._joined:
                self._leave()

    def start(self, key: int, config: RunConfig) -> None:
        """Begin a run."""
        stream = self._task.remote(config)
        self._running[stream] = key

    def next(self) -> Came:
        """Wait until something comes of any run.

        A run of which nothing comes for `engine.timeout` seconds after it has been given a CPU
        counts as lost, not as failed: how long it takes is the machine's doing too.

        Raises:
            RunError: Ray has died.
        """
        while True:
            self._pulse.look()
            ready, _ = self._ray.wait(
                list(self._running), num_returns=1, timeout=min(self._left(), self._beat)
            )
            if not ready:
                if self._left() == 0.0:
                    late = min(self._since, key=lambda one: self._since[one])
                    self._ray.cancel(late, force=True)
                    said = f"no seed within {self._deadline:g} s (engine.timeout)"
                    return Came(self._forget(late), Lost(said))
                continue
            stream: Any = ready[0]
            try:
                came: SeedResult | Failed | None = self._ray.get(next(stream))
            except StopIteration:
                return Came(self._forget(stream), None)
            except self._ray.exceptions.RayError as err:
                self._pulse.look(now=True)
                said = f"{type(err).__name__}: {str(err).splitlines()[0]}"
                return Came(self._forget(stream), Lost(said))
            self._since[stream] = time.monotonic()
            if isinstance(came, Failed):
                return Came(self._forget(stream), came)
            if came is not None:
                return Came(self._running[stream], came)

    def _left(self) -> float:
        """Seconds until the first run is late; infinite while all wait for a CPU."""
        if not self._since:
            return float("inf")
        return max(0.0, min(self._since.values()) + self._deadline - time.monotonic())

    def cancel(self, key: int) -> None:
        """Give a run up; nothing more comes of it."""
        stream = next(one for one, mine in self._running.items() if mine == key)
        self._forget(stream)
        self._ray.cancel(stream, force=True)

    def _forget(self, stream: Any) -> int:
        self._since.pop(stream, None)
        return self._running.pop(stream)


def open_tasks(engine: EngineConfig, most: int | None) -> Tasks:
    """Make ready to run many federations where the settings say."""
    return LocalTasks() if engine.backend == "local" else RayTasks(engine, most)
