"""Whether Ray itself still lives: its control service, and the raylet of this process's node.

Ray says too little of its own death, and too late: tasks that had begun go on beside a dead raylet
while others wait for good, and 60 seconds after its control service (GCS) has died it ends this
process in its C++ part, before Python can say what is kept. Whether something listens at their two
addresses tells sooner.
"""

import socket
import time

from fedirl_ray.engine.cluster import ray
from fedirl_ray.errors import RunError

BEAT = 5.0
"""Seconds between two looks."""
GRACE = 10.0
"""Seconds that an address may be silent, as one is whose network stumbles."""


class Pulse:
    """Looks now and then at the Ray that this process has joined."""

    def __init__(self) -> None:
        context = ray.get_runtime_context()
        nodes = ray.nodes()  # type: ignore[no-untyped-call]
        mine = next(node for node in nodes if node["NodeID"] == context.get_node_id())
        self._parts = {
            "GCS": str(context.gcs_address),
            "raylet": f"{mine['NodeManagerAddress']}:{mine['NodeManagerPort']}",
        }
        self._next = 0.0

    def look(self, *, now: bool = False) -> None:
        """Look whether Ray lives, at most once in `BEAT` seconds.

        Args:
            now: Look in any case, e.g. since Ray has lost something.

        Raises:
            RunError: It has died.
        """
        if not now and time.monotonic() < self._next:
            return
        silent_since = time.monotonic()
        while (dead := self._silent()) is not None:
            if time.monotonic() - silent_since > GRACE:
                raise RunError(f"Ray died: nothing answers at its {dead}, {self._parts[dead]}")
            time.sleep(1.0)
        self._next = time.monotonic() + BEAT

    def _silent(self) -> str | None:
        """Which part does not answer; None: both do."""
        for part, address in self._parts.items():
            host, _, port = address.rpartition(":")
            try:
                socket.create_connection((host.strip("[]"), int(port)), timeout=GRACE).close()
            except OSError:
                return part
        return None
