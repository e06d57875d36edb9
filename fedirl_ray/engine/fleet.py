"""The clients of a run, and workers for any jobs, wherever settings put them."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from fedirl_ray.config import RunConfig
from fedirl_ray.config_engine import EngineConfig
from fedirl_ray.domain.job import Arrays, Job
from fedirl_ray.engine.event import Event, Report, Started, ignore, unwatched
from fedirl_ray.engine.jobs import Doer, Worker
from fedirl_ray.engine.local import Clients
from fedirl_ray.engine.upload import Answer, Order, Poll
from fedirl_ray.fusion.spec import Barycenter


class Fleet(Protocol):
    """All clients, wherever they run (see `engine.local.Clients` for the arguments)."""

    def equip(self, laid: Sequence[Arrays]) -> None:
        """Give every client what the run has made for it."""
        ...

    def prepare(self, seed: int) -> None:
        """Draw every client's data, which `learn` else does on the way."""
        ...

    def learn(self, order: Order) -> list[Answer]:
        """Have clients learn; those that give no answer are left out."""
        ...

    def score(self, poll: Poll) -> list[Answer]:
        """Have clients score rewards; those that give no answer are left out."""
        ...

    def do(self, pieces: Sequence[Job]) -> Iterator[tuple[int, Arrays]]:
        """Do jobs, none of which waits for another; yields places and results as they come."""
        ...

    @property
    def workers(self) -> int:
        """How many jobs it does at once."""
        ...

    @property
    def barycenter(self) -> Barycenter:
        """Computes barycenters, with the bytes of `fedirl_ray.barycenter`."""
        ...


def open_fleet(
    config: RunConfig, report: Report = ignore, started: Started = unwatched
) -> AbstractContextManager[Fleet]:
    """Start a run's clients: in this process, or as Ray actors.

    Args:
        config: The run; `engine.*` says where.
        report: Told where the clients were put, and of what goes wrong.
        started: Told how many actors are up, while they start.
    """
    match config.engine.backend:
        case "local":
            report(Event("placed", f"{config.clients} clients in the driver's process"))
            return nullcontext(Clients(config, range(config.clients), report))
        case "ray":
            from fedirl_ray.engine.client import RayFleet

            return RayFleet(config, report, started)


def open_workers(engine: EngineConfig) -> AbstractContextManager[Doer]:
    """Make ready to do jobs: in this process, or in Ray actors of one CPU each."""
    if engine.backend == "local":
        return nullcontext(Worker())
    from fedirl_ray.engine.seats import Seats

    return Seats(engine)
