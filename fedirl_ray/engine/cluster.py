"""Joining a Ray cluster, or starting one; where its CPUs are."""

import logging
import os
import socket
from typing import Any

from fedirl_ray.errors import ConfigError

# Read by Ray when it is imported: silences a notice about accelerators nobody asked for.
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
import ray as ray  # others take it from here, with the notice silenced
from ray._private import ray_constants
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

_REACHABLE = ray_constants.ENABLE_RAY_CLUSTER
KNOCKING = 10.0  # seconds a cluster may take to accept a connection


def connect(address: str | None, *, workers: int) -> None:
    """Join a Ray cluster, or start one on this machine that only this process uses.

    All ports of one that is started are on 127.0.0.1.

    Args:
        address: `auto`, `HOST:PORT`, or None.
        workers: Processes that may start at once without Ray warning of it.

    Raises:
        ConfigError: No cluster answers there.
    """
    if address is not None and address != "auto":
        _knock(address)
    # Ray has no argument for it: by this it decides whether a node's address is the loopback one,
    # and then all its processes listen there alone. Other nodes could not reach such a driver.
    ray_constants.ENABLE_RAY_CLUSTER = _REACHABLE and address is not None
    try:
        ray.init(
            address=address or "local",
            include_dashboard=False if address is None else None,
            configure_logging=True,
            logging_level=logging.ERROR,
            log_to_driver=False,
            _system_config=(
                {"worker_maximum_startup_concurrency": max(8, workers)} if address is None else None
            ),
        )
    except (ConnectionError, ValueError, RuntimeError) as err:
        reason = str(err).splitlines()[0]
        raise ConfigError(
            f"engine.address must be a running Ray cluster, got {address}: {reason}"
        ) from err


def _knock(address: str) -> None:
    """Refuse an address where nothing listens; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=KNOCKING).close()
    except (OSError, ValueError, OverflowError) as err:
        raise ConfigError(
            f"engine.address must be auto or HOST:PORT of a running Ray cluster, got {address}: "
            f"{err}"
        ) from err


def homes(count: int) -> list[Any]:
    """Spread actors over the nodes in proportion to their CPUs.

    Actors wait far more than they work, so none reserves a CPU; Ray would put all of them on one
    node.

    Args:
        count: Actors.

    Returns:
        A scheduling strategy for each; a preference, so that an actor whose node has died finds
        another.
    """
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    seats = sorted(
        ((turn + 0.5) / cpus, node["NodeID"])
        for node in nodes
        if node["Alive"] and (cpus := int(node["Resources"].get("CPU", 0))) > 0
        for turn in range(cpus)
    )
    if len({node for _, node in seats}) < 2:
        return ["DEFAULT"] * count
    return [
        NodeAffinitySchedulingStrategy(seats[i % len(seats)][1], soft=True) for i in range(count)
    ]


def cpus() -> int:
    """CPUs of the cluster, at least one."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return max(1, int(resources.get("CPU", 1)))
