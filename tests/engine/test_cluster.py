"""A run on a cluster of two real nodes on the loopback address, one of which dies."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from processes import called, descendants

from fedirl_ray.run import main

ROOT = Path(__file__).parents[2]
FINAL = ("arrays.npz", "results.parquet", "summary.json", "table.txt")
JOB = [
    *("--seeds", "8", "--clients", "4", "--problem.size", "5", "--federation.rounds", "4"),
    *("--fusion.rules", "local,mean,barycenter", "--evaluation.held-out", "20"),
    *("--record.figure", "False", "--record.progress", "False"),
]

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

pytestmark = pytest.mark.ray


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Cluster:
    """A head and a worker node, each `ray start --block`, with token authentication."""

    def __init__(self, folder):
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
        }
        self.address = f"127.0.0.1:{free_port()}"
        port = self.address.partition(":")[2]
        temporary = f"/tmp/fr{os.getpid()}"  # sockets below it must have short names
        self.runs = []
        self.head = self.node(
            f"--head --port={port} --include-dashboard=false --temp-dir={temporary}", folder
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

    def run(self, *words):
        process = subprocess.Popen(
            [sys.executable, "-m", "fedirl_ray.run", *map(str, words)],
            cwd=ROOT,
            env=self.environment,
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


@pytest.fixture
def cluster(tmp_path):
    started = Cluster(tmp_path)
    yield started
    started.close()


def files(folder):
    return {name: (folder / name).read_bytes() for name in FINAL}


def test_a_node_that_dies_takes_no_client_and_no_byte_with_it(cluster, tmp_path):
    calm, struck = tmp_path / "calm", tmp_path / "struck"
    local = cluster.run(*JOB, "--engine.backend", "local", "--run-dir", calm)
    process = cluster.run(*JOB, "--engine.address", cluster.address, "--run-dir", struck)
    deadline = time.monotonic() + 90.0
    while not list(struck.glob("seeds/seed-*.npz")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert called("ray::Clients", cluster.worker.pid)  # clients were there
    kill(cluster.worker)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    local.communicate(timeout=60)
    assert local.returncode == 0
    assert files(struck) == files(calm)
    assert '"restarted"' in (struck / "events.jsonl").read_text()


LISTENING = """
import psutil
from fedirl_ray.engine.cluster import connect, ray

connect(None, workers=8)
ray.get(ray.remote(lambda: None).remote(), timeout=60)
this = psutil.Process()
for process in [this, *this.children(recursive=True)]:
    for socket in process.net_connections("inet"):
        if socket.status == psutil.CONN_LISTEN:
            print(socket.laddr.ip)
"""


def test_a_ray_of_its_own_listens_on_this_machine_alone():
    done = subprocess.run(
        [sys.executable, "-c", LISTENING], cwd=ROOT, capture_output=True, text=True, timeout=120.0
    )
    assert done.returncode == 0, done.stderr
    addresses = done.stdout.split()
    assert len(addresses) > 3  # gcs, raylet, driver, workers
    assert {address.removeprefix("::ffff:") for address in addresses} == {"127.0.0.1"}


@pytest.mark.parametrize("address", ["127.0.0.1:{free}", "nonsense", "127.0.0.1:99999"])
def test_no_cluster_at_an_address_is_one_line(tmp_path, capsys, address):
    address = address.format(free=free_port())
    words = ["--engine.address", address, "--run-dir", str(tmp_path / "run")]
    assert main([*JOB, *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        f"engine.address must be auto or HOST:PORT of a running Ray cluster, got {address}: "
    )
