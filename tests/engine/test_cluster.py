"""A run on a cluster of two real nodes on the loopback address, one of which dies."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from nodes import Cluster, free_port, kill
from processes import called

from fedirl_ray.run import main

ROOT = Path(__file__).parents[2]
FINAL = ("arrays.npz", "results.parquet", "summary.json", "table.txt")
JOB = [
    *("--seeds", "8", "--clients", "4", "--problem.size", "5", "--federation.rounds", "4"),
    *("--fusion.rules", "local,mean,barycenter", "--evaluation.held-out", "20"),
    *("--record.figure", "False", "--record.progress", "False"),
]

pytestmark = pytest.mark.ray


@pytest.fixture
def cluster(tmp_path):
    started = Cluster(tmp_path, ROOT)
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
