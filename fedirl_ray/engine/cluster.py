"""Joining a Ray cluster, or starting one; where its CPUs are."""

import logging
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from fedirl_ray.engine.session import Session, ray_folder
from fedirl_ray.errors import ConfigError, RunError
from fedirl_ray.signals import quiet

# Read by Ray when it is imported. The first silences a notice about accelerators nobody asked for.
# By the second, Ray would pack the current folder under `uv run` and start workers in a copy of it,
# without what .gitignore names: this package is on every node, as is what it imports.
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
import ray as ray  # others take it from here, with the above said
from ray._private import ray_constants
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

_REACHABLE = ray_constants.ENABLE_RAY_CLUSTER
KNOCKING = 10.0  # seconds a cluster may take to accept a connection, and again to let one in
_session: Session | None = None
"""Of the Ray that this process has started."""


def connect(address: str | None, *, workers: int) -> bool:
    """Join a Ray cluster, or start one on this machine that only this process uses.

    All ports of one that is started are on 127.0.0.1. Ended by `leave`. A signal that comes while
    Ray starts waits until it has.

    Args:
        address: `auto`, `HOST:PORT`, or None.
        workers: Processes that may start at once without Ray warning of it.

    Returns:
        Whether `leave` is due; not where this process was in a cluster before.

    Raises:
        ConfigError: No cluster answers there, or lets this process in; or RAY_TMPDIR is no place
            for one's files.
        RunError: None could be started.
    """
    if ray.is_initialized():
        return False
    try:
        if address is None:
            with quiet():
                _start(workers)
        else:
            _join(address)
    except KeyboardInterrupt:
        leave()
        raise
    return True


def leave() -> None:
    """Leave the cluster; one that was started by this process is ended, its files are removed.

    A signal that comes meanwhile waits.
    """
    global _session
    with quiet():
        ray.shutdown()
        if _session is not None:
            _session.close()
            _session = None


def _start(workers: int) -> None:
    global _session
    # Ray has no argument for it: by this it decides whether a node's address is the loopback one,
    # and then all its processes listen there alone; the environment variable that is read into it
    # would hold for clusters that are joined too. Other nodes could not reach such a driver.
    ray_constants.ENABLE_RAY_CLUSTER = False
    _session = Session.open(str(Path(ray.__file__).parent))
    try:
        ray.init(
            address="local",
            include_dashboard=False,
            logging_level=logging.CRITICAL,
            log_to_driver=False,
            _temp_dir=str(_session.folder),
            _system_config={"worker_maximum_startup_concurrency": max(8, workers)},
        )
    except Exception as err:  # Ray raises bare ones too, where it tells of a start that timed out
        place = _session.folder.parent
        leave()
        raise RunError(
            f"Ray could not be started on this machine: {_first_line(err)} (does it lack memory, "
            f"time, or room in {place}? engine.backend local does without Ray)"
        ) from err


def _join(address: str) -> None:
    found = _found() if address == "auto" else address
    _knock(address, found)
    _try(address, found)
    ray_constants.ENABLE_RAY_CLUSTER = _REACHABLE
    with quiet():
        try:
            ray.init(address=found, logging_level=logging.CRITICAL, log_to_driver=False)
        except Exception as err:  # as above
            ray.shutdown()
            raise _refused(address, found, _first_line(err)) from err


def _found() -> str:
    """The address that `auto` stands for: RAY_ADDRESS, or of the last `ray start` on this machine.

    Ray itself would also try any Ray that it sees running, another run's own among them.
    """
    named = os.environ.get("RAY_ADDRESS", "auto")
    if named != "auto":
        return named
    try:
        found = (ray_folder() / "ray" / "ray_current_cluster").read_text("utf-8").strip()
    except OSError:
        raise _refused("auto", "", "no Ray was started here by `ray start`") from None
    # As Ray does where it finds the address itself.
    token = ("RAY_AUTH_TOKEN" in os.environ) or ("RAY_AUTH_TOKEN_PATH" in os.environ)
    if token or (Path.home() / ".ray" / "auth_token").is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    return found


def _knock(address: str, found: str) -> None:
    """Refuse an address where nothing listens; Ray itself would try for minutes."""
    host, _, port = found.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCKING).close()
    except (OSError, ValueError, OverflowError) as err:
        raise _refused(address, found, str(err)) from err


_TRYING = """
import sys
from fedirl_ray.engine.cluster import ray
print(flush=True)
try:
    ray.init(address=sys.argv[1], logging_level=100, log_to_driver=False)
except Exception as err:
    print(err.__cause__ or err)
    sys.exit(1)
"""


def _try(address: str, found: str) -> None:
    """Refuse a Ray that does not let a process in; joining it could take minutes, or crash."""
    with subprocess.Popen(
        [sys.executable, "-c", _TRYING, found],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as trying:
        assert trying.stdout is not None
        try:
            trying.stdout.readline()  # imports are done
            said, _ = trying.communicate(timeout=KNOCKING)
        except subprocess.TimeoutExpired:
            reason = f"what listens there lets nobody in within {KNOCKING:g} s"
            raise _refused(address, found, f"{reason}; {_KEY}") from None
        finally:
            trying.kill()
    if trying.returncode:
        reason = _first_line(said).partition(". ")[0] or "it could not be joined"
        raise _refused(address, found, f"{reason}; {_KEY}")


_KEY = (
    "is it another's, of another version, or without a token that both know (RAY_AUTH_MODE=token "
    "and RAY_AUTH_TOKEN or ~/.ray/auth_token)?"
)


def _refused(address: str, found: str, reason: str) -> ConfigError:
    where = f"{address} ({found})" if found not in ("", address) else address
    return ConfigError(
        f"engine.address must be auto or HOST:PORT of a running Ray cluster, got {where}: {reason}"
    )


def _first_line(said: object) -> str:
    return next((line.strip() for line in str(said).splitlines() if line.strip()), "")


def gpus() -> int:
    """Return how many GPUs the cluster has."""
    there: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return int(there.get("GPU", 0))


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
