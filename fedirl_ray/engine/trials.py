"""Runs side by side on Ray: each runs whole in an actor that has a CPU to itself."""

from collections.abc import Iterator
from typing import Any

from fedirl_ray.config import RunConfig
from fedirl_ray.config_engine import EngineConfig
from fedirl_ray.engine.jobs import Worker
from fedirl_ray.engine.result import SeedResult
from fedirl_ray.engine.seats import Call, GivenUp, Hung, Seats, calling
from fedirl_ray.engine.tasks import Came, Failed, Lost, told


class Runner(Worker):
    """Does one run after the other."""

    def begin(self, config: RunConfig) -> SeedResult | Failed | Lost | None:
        """Begin a run, and do its first seed."""
        self._seeds: Iterator[SeedResult | Failed | Lost] = told(config)
        return self.go_on()

    def go_on(self) -> SeedResult | Failed | Lost | None:
        """Do its next seed; None: there is none."""
        return next(self._seeds, None)


class RayTasks(Seats):
    """Runs under way on a cluster's CPUs; see `engine.tasks.Tasks`.

    A run from which nothing comes for `engine.timeout` seconds after it has been given a CPU counts
    as lost, not as failed: how long it takes is the machine's doing too.
    """

    def __init__(self, engine: EngineConfig, most: int | None) -> None:
        """Make ready to join Ray.

        Args:
            engine: `address` says which cluster.
            most: Runs at once; None: the cluster's CPUs.
        """
        super().__init__(engine, Runner, most or 0)
        self._last: Call | None = None
        """The seed that came last, of a run that is to go on unless it is cancelled first."""

    def start(self, key: int, config: RunConfig) -> None:
        """Begin a run."""
        self._put(key, None, "begin", config)

    def next(self) -> Came:
        """Wait until something comes of any run.

        Raises:
            RunError: Ray has died, or actors cannot be started.
        """
        last, self._last = self._last, None
        if last is not None:
            self._put(last.key, last.seat, "go_on")
        heard = self.hear()
        assert heard is not None
        if isinstance(heard.answer, SeedResult):
            self._last = heard
        else:
            super().cancel(heard.key, kill=False)
        if heard.error is None:
            return Came(heard.key, heard.answer)
        error = heard.error.__cause__ if isinstance(heard.error, GivenUp) else heard.error
        if isinstance(error, Hung):
            said = f"no seed within {self._engine.timeout:g} s (engine.timeout)"
        else:
            said = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
        return Came(heard.key, Lost(said))

    def cancel(self, *keys: int, kill: bool = True) -> None:
        """Give runs up; nothing more comes of them."""
        if self._last is not None and self._last.key in keys:
            self._last = None
        super().cancel(*keys, kill=kill)

    def _put(self, key: int, seat: int | None, method: str, *arguments: Any) -> None:
        put = calling(method, *arguments)
        self.ask(Call(key, put, self._engine.timeout, keeps=True, hangs=1, deaths=1), seat)
