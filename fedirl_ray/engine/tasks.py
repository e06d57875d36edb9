"""Many runs side by side, each whole in one process, which has a CPU and starts nothing on Ray.

Seeds come back one by one, so that a run can be given up while it is under way.

What a run itself is to blame for comes back as a value, `Failed`. Whatever Ray raises instead, and
memory that gives out in a run, is the machine's doing, `Lost`: a worker killed, a node gone. The
same run may well succeed when it is begun again, here or on a larger machine.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import NamedTuple, Protocol, Self

from threadpoolctl import threadpool_limits

from fedirl_ray.config import RunConfig
from fedirl_ray.config_engine import EngineConfig
from fedirl_ray.engine.driver import federate
from fedirl_ray.engine.local import Clients
from fedirl_ray.engine.result import SeedResult
from fedirl_ray.errors import MOST, in_short, reason


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


def run_seeds(config: RunConfig) -> Iterator[SeedResult]:
    """Run a federation in this process, one seed after the other."""
    threadpool_limits(limits=1)
    alone = replace(config, engine=EngineConfig(backend="local"))
    for _, result in federate(alone, Clients(alone, range(alone.clients))):
        yield result


def told(config: RunConfig) -> Iterator[SeedResult | Failed | Lost]:
    """Run a federation; what it raises comes as a value, since users' errors need not unpickle."""
    try:
        yield from run_seeds(config)
    except MemoryError as err:
        yield Lost(in_short(reason(err), MOST))
    except Exception as err:  # whatever a user's world may raise is its run's fault alone
        yield Failed.of(err)


class LocalTasks:
    """One run at a time, in this process."""

    most = 1

    def __init__(self) -> None:
        self._key = -1
        self._seeds: Iterator[SeedResult | Failed | Lost] = iter(())

    def start(self, key: int, config: RunConfig) -> None:
        """Begin a run."""
        self._key, self._seeds = key, told(config)

    def next(self) -> Came:
        """Take the run's next seed."""
        return Came(self._key, next(self._seeds, None))

    def cancel(self, key: int) -> None:
        """Give the run up."""
        self._seeds = iter(())


def open_tasks(engine: EngineConfig, most: int | None) -> AbstractContextManager[Tasks]:
    """Make ready to run many federations where the settings say."""
    if engine.backend == "local":
        return nullcontext(LocalTasks())
    from fedirl_ray.engine.trials import RayTasks

    return RayTasks(engine, most)
