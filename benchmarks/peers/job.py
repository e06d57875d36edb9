"""The per-client job of `benchmarks.clients`, as every peer's clients do it: one client at a time.

Worlds and demonstrations are drawn once a process, in the first round, which is not counted.
"""

import functools
from dataclasses import replace
from typing import Any

import numpy as np

from fedirl_ray.config import IRLConfig, RunConfig

JOB = RunConfig(irl=IRLConfig(optimizer="adam", iterations=50))


@functools.cache
def data(clients: int) -> Any:
    """Everybody's worlds and demonstrations, drawn once a process."""
    from threadpoolctl import threadpool_limits

    from fedirl_ray.irl.block import prepare

    threadpool_limits(limits=1)
    return prepare(replace(JOB, clients=clients), 0, range(clients))


def learn(client: int, clients: int, start: np.ndarray) -> np.ndarray:
    """One client's fit: what an actor of ours does when it takes its clients one by one."""
    from fedirl_ray.irl.maxent import fit
    from fedirl_ray.problem.family import horizon

    block = data(clients)
    found = fit(
        [block.worlds[client]],
        block.counts[client : client + 1],
        JOB.irl,
        horizon(JOB.problem),
        start=start[None],
    )
    return found.theta[0]
