"""The clients of a run, and workers for any jobs, wherever settings put them."""

from contextlib import AbstractContextManager, nullcontext

from fedirl_ray.config import EngineConfig, RunConfig
from fedirl_ray.engine.driver import Fleet
from fedirl_ray.engine.event import Event, Report, Started, ignore, unwatched
from fedirl_ray.engine.jobs import Doer, Worker
from fedirl_ray.engine.local import Clients


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
