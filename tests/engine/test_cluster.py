"""A run on a cluster of two real nodes on the loopback address, one of which dies."""

import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

import pytest
from nodes import Cluster, free_port, kill
from processes import descendants

from fedirl_ray.run import main

ROOT = Path(__file__).parents[2]
FINAL = ("arrays.npz", "results.parquet", "summary.json", "table.txt")
JOB = [
    *("--seeds", "3", "--clients", "4", "--problem.name", "held:world", "--federation.rounds", "2"),
    *("--fusion.rules", "local,mean,barycenter", "--evaluation.held-out", "5"),
    *("--record.figure", "False", "--progress", "False"),
]
HELD = """
import os, pathlib, sys, time
from fedirl_ray.config import ProblemConfig
from fedirl_ray.problem.family import draw_world

HERE = pathlib.Path(__file__).parent
ACTOR = sys.argv[0].endswith("default_worker.py")

def world(role, index, rng):
    # Once there is a seed, actors wait over the next one's worlds.
    if ACTOR and list(pathlib.Path((HERE / "run").read_text()).glob("seeds/seed-*.npz")):
        (HERE / f"waits-{os.getpid()}").touch()
        while not (HERE / "go").exists():
            time.sleep(0.05)
    return draw_world(ProblemConfig(size=4), 0, index, "client", index)
"""

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "held.py").write_text(HELD)
    started = Cluster(folder, os.pathsep.join([str(ROOT), str(folder)]))
    yield started
    started.close()


def files(folder):
    return {name: (folder / name).read_bytes() for name in FINAL}


def held_up(cluster, folder):
    """A run in a folder whose clients wait over their second seed, and the clients' processes."""
    (cluster.folder / "run").write_text(str(folder))
    process = cluster.run(*JOB, "--engine.address", cluster.address, "--run-dir", folder)
    waiting, deadline = set(), time.monotonic() + 120.0
    while len(waiting) < 4:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        waiting = {int(path.name.split("-")[1]) for path in cluster.folder.glob("waits-*")}
        time.sleep(0.05)
    assert len(list(folder.glob("seeds/seed-*.npz"))) == 1
    return process, waiting


def test_a_node_that_dies_takes_no_client_and_no_byte_with_it(cluster, tmp_path):
    for attempt in range(5):  # a busy Ray may place all clients on one node
        calm, struck = tmp_path / "calm", tmp_path / f"struck-{attempt}"
        process, waiting = held_up(cluster, struck)
        if waiting & {one.pid for one in descendants(cluster.worker.pid)}:
            break
        process.kill()
        process.communicate()
        for path in cluster.folder.glob("waits-*"):
            path.unlink()
    else:
        pytest.fail("no client has come to the second node")
    kill(cluster.worker)
    (cluster.folder / "go").touch()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    local = cluster.run(*JOB, "--engine.backend", "local", "--run-dir", calm)
    local.communicate(timeout=60)
    assert local.returncode == 0
    assert files(struck) == files(calm)
    assert '"restarted"' in (struck / "events.jsonl").read_text()


def test_another_clusters_token_is_refused_in_one_line(cluster, tmp_path):
    environment = {**cluster.environment, "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    words = ["--engine.address", cluster.address, "--run-dir", tmp_path / "run"]
    process = cluster.run("--progress", "False", *words, environment=environment)
    _, errors = process.communicate(timeout=120)
    (line,) = errors.splitlines()
    assert process.returncode == 2
    assert line.startswith("engine.address must be auto or HOST:PORT of a running Ray cluster, got "
                           f"{cluster.address}: ")  # fmt: skip
    assert "without a token that both know" in line
    assert not (tmp_path / "run").exists()


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
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        f"engine.address must be auto or HOST:PORT of a running Ray cluster, got {address}: "
    )
