"""The Ray that a run starts for itself: signals while it starts, its death, and what it leaves."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from engine.faults import small
from processes import called, descendants

from fedirl_ray.cli import PROG
from fedirl_ray.command.federate import Invocation
from fedirl_ray.config_engine import EngineConfig
from fedirl_ray.engine import session
from fedirl_ray.engine.client import RayFleet
from fedirl_ray.engine.fleet import open_workers
from fedirl_ray.engine.jobs import Job
from fedirl_ray.engine.result import SeedResult
from fedirl_ray.engine.trials import RayTasks
from fedirl_ray.errors import ConfigError

ROOT = Path(__file__).parents[2]
SMALL = [
    *("--clients", "2", "--problem.size", "3", "--fusion.rules", "mean"),
    *("--evaluation.held-out", "2", "--evaluation.by-round", "False"),
    *("--record.figure", "False", "--progress", "False"),
]
STRESS = ["stress", "--size", "3", "--clients", "2,3", "--progress", "False"]

MAIN = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores it
{before}
from fedirl_ray.run import main
sys.exit(main())
"""

pytestmark = pytest.mark.ray


@pytest.fixture
def place(tmp_path_factory):
    """Where Ray's own folders go: short enough for its sockets, and this test's alone."""
    folder = Path("/tmp", f"t{os.getpid()}-{tmp_path_factory.mktemp('ray').name}")
    folder.mkdir()
    yield folder
    assert not any(folder.iterdir())  # nothing of any run's Ray is left
    folder.rmdir()


def start(place, *words, before=""):
    return subprocess.Popen(
        [sys.executable, "-c", MAIN.format(before=before), *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "RAY_TMPDIR": str(place)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


AT_A_FORK = """
count = 0
def forked():
    global count
    count += 1
    if count == 2:
        os.kill(os.getpid(), signal.SIGINT)  # raised in this hook, it would only be printed
os.register_at_fork(after_in_parent=forked)
"""

BETWEEN_TWO_LINES = """
import fedirl_ray.engine.cluster, ray._private.state as state
class Accessor(state.GlobalStateAccessor):
    def __init__(self, *arguments):
        os.kill(os.getpid(), signal.SIGTERM)  # raised before it is connected, it would never end
        os.kill(os.getpid(), signal.SIGINT)
state.GlobalStateAccessor = Accessor
"""


@pytest.mark.parametrize(
    ("before", "said", "code"),
    [(AT_A_FORK, "Interrupted", 130), (BETWEEN_TWO_LINES, "Terminated", 143)],
    ids=["at a fork", "between two lines"],
)
def test_a_signal_while_ray_starts_is_acted_upon_when_it_has(tmp_path, place, before, said, code):
    process = start(place, *STRESS, "--run-dir", tmp_path / "run", before=before)
    _, errors = process.communicate(timeout=180)
    assert (process.returncode, errors) == (code, f"{said}; nothing was measured\n")


NEVER_UP = """
import time, types
import fedirl_ray.engine.cluster, ray._private.node as node, ray._private.services as services
def nobody(*arguments):
    raise RuntimeError("no such node")
services.get_node = nobody
node.time = types.SimpleNamespace(**vars(time))
node.time.monotonic = lambda: 60.0 * time.monotonic()  # half a second is its half minute
"""


def test_a_ray_that_does_not_come_up_in_its_time_is_one_line(tmp_path, place):
    run = tmp_path / "run"
    process = start(place, *SMALL, "--seeds", "2", "--run-dir", run, before=NEVER_UP)
    _, errors = process.communicate(timeout=180)
    (line,) = errors.splitlines()
    assert process.returncode == 1
    assert line.startswith(
        "Ray could not be started on this machine: The current node timed out during startup."
    )
    assert "engine.backend local does without Ray" in line
    assert line.endswith(f"go on with: {PROG} --resume {run}")


def begun(process, folder):
    """Wait until a run has kept a seed."""
    while not list(folder.glob("seeds/seed-*.npz")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("number", "said", "code"),
    [(signal.SIGTERM, "Terminated", 143), (signal.SIGHUP, "Hung up", 129)],
)
def test_a_signal_to_all_processes_of_a_run_is_told_once(tmp_path, place, number, said, code):
    run = tmp_path / "run"
    process = start(place, *SMALL, "--seeds", "1000", "--run-dir", run)
    begun(process, run)
    os.killpg(process.pid, number)  # as schedulers do, and terminals that close
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=180)
    assert errors == f"{said}; what was finished is kept, go on with: {PROG} --resume {run}\n"
    assert process.returncode == code


def test_a_killed_run_takes_its_ray_and_its_folder_with_it(tmp_path, place):
    run = tmp_path / "run"
    process = start(place, *SMALL, "--seeds", "1000", "--run-dir", run)
    begun(process, run)
    family = descendants(process.pid)
    assert any("Agent" in one.name() for one in family)  # Ray's own wait for a minute
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(family, timeout=45)
    assert not alive


@pytest.mark.parametrize("part", ["raylet", "gcs_server"])
def test_a_run_whose_ray_dies_says_so_and_how_to_go_on(tmp_path, place, part):
    run = tmp_path / "run"
    hasty = "import fedirl_ray.engine.pulse as pulse; pulse.BEAT, pulse.GRACE = 1.0, 1.0"
    process = start(place, *SMALL, "--seeds", "1000", "--run-dir", run, before=hasty)
    begun(process, run)
    for pid in called(f"/{part}", process.pid):
        os.kill(pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=180)
    (line,) = errors.splitlines()
    assert process.returncode == 1
    assert line.startswith("Ray died: nothing answers at its ")
    assert line.endswith(f"; what was finished is kept, go on with: {PROG} --resume {run}")
    assert list(run.glob("seeds/seed-*.npz"))


NOT_THERE = ("tyro", "rich", "matplotlib", "plotly", "optuna", "fedirl_ray.command")


def test_a_clients_actor_imports_nothing_of_the_command_line(ray_session):
    names = NOT_THERE

    def look():  # travels by value
        return {"found": np.array([name in sys.modules for name in names])}

    with RayFleet(Invocation(**vars(small()))) as fleet:
        fleet.prepare(0)
        assert fleet.workers == 2
        both = dict(fleet.do([Job("looking", look, {})] * 2))
    assert both.keys() == {0, 1}
    assert not any(found["found"].any() for found in both.values())


def test_a_job_imports_nothing_of_the_command_line(ray_session):
    names = NOT_THERE

    def look():
        return {"found": np.array([name in sys.modules for name in names])}

    with open_workers(EngineConfig(backend="ray")) as workers:
        ((_, found),) = workers.do([Job("looking", look, {})])
    assert not found["found"].any()


def test_a_trial_of_a_sweep_imports_nothing_of_the_command_line(ray_session):
    names = NOT_THERE

    def look():
        return {"found": np.array([name in sys.modules for name in (*names, "fedirl_ray")])}

    with RayTasks(EngineConfig(), most=1) as tasks:
        tasks.start(0, small())
        came = [tasks.next().what for _ in range(2)]
        ((_, found),) = tasks.do([Job("looking", look, {})])
    assert isinstance(came[0], SeedResult)
    assert found["found"].tolist() == [False] * len(names) + [True]


def test_what_a_run_killed_with_its_watchdog_left_is_removed_and_a_live_ones_is_not(
    place, monkeypatch
):
    monkeypatch.setenv("RAY_TMPDIR", str(place))
    dead, live, foreign = (place / f"{session.PREFIX}{name}" for name in ("dead", "live", "other"))
    for folder in (dead, live):
        folder.mkdir()
        (folder / session.LOCK).touch()
    foreign.mkdir()
    with (live / session.LOCK).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        session.Session.open("/nowhere/ray").close()
        assert sorted(place.iterdir()) == [live, foreign]
    session.Session.open("/nowhere/ray").close()
    assert sorted(place.iterdir()) == [foreign]
    foreign.rmdir()


@pytest.mark.parametrize("place", ["/tmp/" + "t" * 90, "/tmp/ü", "tmp", "/dev/null/there"])
def test_a_place_that_is_none_is_named(monkeypatch, place):
    monkeypatch.setenv("RAY_TMPDIR", place)
    with pytest.raises(ConfigError, match=f"^RAY_TMPDIR must be .*, got {place}"):
        session.Session.open("/nowhere/ray")


def test_a_long_folder_for_temporary_files_is_not_rays(monkeypatch):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", "/tmp/" + "t" * 90)
    assert session.ray_folder() == Path("/tmp")
