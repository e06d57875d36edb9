"""A cluster of two real Ray nodes on the loopback address, for tests of several stages."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from processes import called, descendants

COUNT_NODES = """
import sys, time, ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On
ray.init(address=sys.argv[1], log_to_driver=False)
while sum(node["Alive"] for node in ray.nodes()) < int(sys.argv[2]):
    time.sleep(0.1)

@ray.remote(num_cpus=0)
class Probe:
    def home(self):
        return ray.get_runtime_context().get_node_id()

# Nodes are counted before actors can be placed on them.
for node in [node["NodeID"] for node in ray.nodes() if node["Alive"]]:
    while True:
        probe = Probe.options(scheduling_strategy=On(node, soft=True)).remote()
        home = ray.get(probe.home.remote())
        ray.kill(probe)
        if home == node:
            break
        print("placed elsewhere", file=sys.stderr)
        time.sleep(0.1)
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Cluster:
    """A head and a worker node, each `ray start --block`, with token authentication.

    Args:
        folder: Where logs lie, and runs start.
        python_path: Where nodes and runs find the package, and what else they import.
    """

    def __init__(self, folder, python_path):
        self.folder = folder
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(python_path),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
        }
        self.address = f"127.0.0.1:{free_port()}"
        port = self.address.partition(":")[2]
        self.temporary = tempfile.mkdtemp(prefix="fr", dir="/tmp")  # sockets need short names
        self.runs = []
        self.head = self.node(
            f"--head --port={port} --include-dashboard=false --temp-dir={self.temporary}", folder
        )
        self.worker = self.node(f"--address={self.address}", folder)
        self.await_nodes(2)

    def node(self, options, folder):
        words = f"start --block --node-ip-address=127.0.0.1 --num-cpus=1 {options}".split()
        with (folder / f"node-{time.monotonic_ns()}.log").open("w") as log:
            node = subprocess.Popen(
                [str(Path(sys.executable).with_name("ray")), *words],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 60.0
        while not called("raylet", node.pid):
            assert node.poll() is None, Path(log.name).read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        return node

    def await_nodes(self, count):
        """Wait until the head counts so many nodes: a run places its clients when it starts."""
        subprocess.run(
            [sys.executable, "-c", COUNT_NODES, self.address, str(count)],
            env=self.environment,
            capture_output=True,
            check=True,
            timeout=120.0,
        )

    def run(self, *words, environment=None):
        """Start a run in the cluster's folder; with its environment, unless another is given."""
        process = subprocess.Popen(
            [sys.executable, "-m", "fedirl_ray.run", *map(str, words)],
            cwd=self.folder,
            env=environment or self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.runs.append(process)
        return process

    def close(self):
        for process in self.runs:
            process.kill()
            process.communicate()
        for node in (self.worker, self.head):
            kill(node)
        shutil.rmtree(self.temporary, ignore_errors=True)


def kill(node):
    """SIGKILL to a node: its raylet and everything that runs on it."""
    everyone = descendants(node.pid)
    node.kill()
    for process in everyone:
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    node.wait()
