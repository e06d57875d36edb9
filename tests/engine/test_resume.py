"""Runs that are killed, interrupted, or out of disk, through the command line."""

import os
import random
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest
from engine import killed
from engine.faults import small
from processes import begin, called, descendants

from fedirl_ray.cli import PROG
from fedirl_ray.engine.checkpoint import Checkpoints
from fedirl_ray.engine.driver import federate
from fedirl_ray.engine.identity import identify
from fedirl_ray.engine.local import Clients
from fedirl_ray.run import main

ROOT = Path(__file__).parents[2]
FINAL = (
    "arrays.npz",
    "config.yaml",
    "identity.json",
    "results.parquet",
    "summary.json",
    "table.txt",
)
KILLS = 20
JOB = [
    *("--seeds", "4", "--clients", "3", "--problem.size", "3", "--federation.rounds", "3"),
    *("--federation.participation", "0.7", "--fusion.rules", "local,mean,barycenter"),
    *("--evaluation.held-out", "2", "--evaluation.discounts", "", "--record.figure", "False"),
    *("--progress", "False"),
]
LOCAL = ("--engine.backend", "local", "--progress", "no")


MAIN = """
import sys, time
from fedirl_ray import signals
from fedirl_ray.engine.checkpoint import Checkpoints
from fedirl_ray.run import main

signals.ENDING = 3600.0  # it ends by itself, or not at all
keep = Checkpoints.save_seed

def keep_and_wait(self, seed, result):
    keep(self, seed, result)
    if seed == 1:
        time.sleep(3600.0)  # the signal comes before it is over

Checkpoints.save_seed = keep_and_wait
sys.exit(main())
"""


def start(*words):
    """Start a process that takes signals as from a terminal."""
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def files(folder):
    return {name: (folder / name).read_bytes() for name in FINAL}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main([*JOB, *LOCAL, "--run-dir", str(folder)]) == 0
    return folder


def test_a_driver_killed_at_twenty_random_moments_resumes_to_the_same_bytes(whole, tmp_path):
    for place in ("first", "second"):  # the first also waits for the imports
        began = time.monotonic()
        process = begin(*JOB, *LOCAL, "--run-dir", tmp_path / place)
        process.join()
        seconds = time.monotonic() - began
    rng = random.Random(4)
    resumed = kills = 0
    run = tmp_path / "run"
    while kills < KILLS:
        # What was killed is gone on with, until a run ends; then the next one is begun.
        words = ["--resume", run] if (run / "config.yaml").exists() else [*JOB, "--run-dir", run]
        process = begin(*words, *LOCAL)
        process.join(rng.uniform(0.1, 1.1) * seconds)
        if process.is_alive():
            process.kill()
            kills += 1
            resumed += words[0] == "--resume"
        process.join()
        if (run / "table.txt").exists():
            assert files(run) == files(whole)
            run = tmp_path / f"run-{kills}"
        else:
            assert process.exitcode == -signal.SIGKILL
    assert resumed > 3
    if (run / "config.yaml").exists():
        assert main(["--resume", str(run), *LOCAL]) == 0
        assert files(run) == files(whole)


def test_a_damaged_round_is_told_and_the_one_before_is_used(tmp_path):
    config = small()
    config = replace(config, federation=replace(config.federation, rounds=4))
    kept = []
    fleet = Clients(config, range(config.clients))
    list(federate(config, fleet, keep=lambda seed, state: kept.append(state)))
    told = []
    checkpoints = Checkpoints(tmp_path, identify(config), told.append)
    for state in kept:
        checkpoints.save_round(0, state)
    before, last = sorted(tmp_path.iterdir())  # only the last two are kept
    last.write_bytes(last.read_bytes()[:-7])
    damaged = last.read_bytes()
    assert int(checkpoints.rounds()[0].done) == 2
    aside = tmp_path / f"{last.name}.damaged"
    assert told == [
        f"{last.name} is damaged (checksum differs) and set aside as {aside.name}; the round "
        "before is gone back to"
    ]
    assert sorted(tmp_path.iterdir()) == [before, aside]
    assert aside.read_bytes() == damaged


def test_a_damaged_seed_is_told_in_one_line_and_run_again(whole, tmp_path, capsys):
    run = interrupted(tmp_path)
    seed = sorted((run / "seeds").glob("seed-*.npz"))[0]
    data = bytearray(seed.read_bytes())
    data[len(data) // 2] ^= 1
    seed.write_bytes(data)
    assert main(["--resume", str(run), *LOCAL]) == 0
    assert capsys.readouterr().err == (
        f"{seed.name} is damaged (checksum differs) and set aside as {seed.name}.damaged; its seed "
        "is run again\n"
    )
    assert files(run) == files(whole)


def interrupted(tmp_path):
    """A run killed once it had two seeds."""
    run = tmp_path / "interrupted"
    process = begin(*JOB, *LOCAL, "--run-dir", run, before=partial(killed.arm, "seed", 2))
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(list((run / "seeds").glob("seed-*.npz"))) == 2
    return run


def wait_for(happened, process):
    while not happened():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


@pytest.mark.parametrize("backend", ["local", pytest.param("ray", marks=pytest.mark.ray)])
def test_ctrl_c_ends_the_run_and_says_how_to_go_on(whole, tmp_path, backend):
    run = tmp_path / "run"
    process = start(*JOB, "--engine.backend", backend, "--run-dir", run)
    wait_for(lambda: list((run / "seeds").glob("seed-*.npz")), process)
    family = descendants(process.pid)
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the whole group
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 130
    assert errors == (
        "Interrupted; what was finished is kept, go on with: "
        f"python -m fedirl_ray.run --resume {run}\n"
    )
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive
    assert main(["--resume", str(run), *LOCAL]) == 0
    assert {**files(run), "config.yaml": b""} == {**files(whole), "config.yaml": b""}


@pytest.mark.ray
def test_ctrl_c_while_ray_starts_leaves_nothing_behind(tmp_path):
    run = tmp_path / "run"
    process = start(*JOB, "--run-dir", run)
    wait_for(lambda: called("gcs_server", process.pid), process)
    family = descendants(process.pid)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert errors == (
        "Interrupted; what was finished is kept, go on with: "
        f"python -m fedirl_ray.run --resume {run}\n"
    )
    assert not [one for one in family if one.is_running() and one.status() != "zombie"]


def test_a_full_disk_ends_the_run_in_one_line_and_keeps_the_last_good_checkpoint(whole, tmp_path):
    run = interrupted(tmp_path)
    kept = {path.name: path.read_bytes() for path in (run / "seeds").glob("seed-*.npz")}
    most = max(map(len, kept.values())) - 100  # no further seed fits

    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (most, most))
    said = tmp_path / "said"
    process = begin("--resume", run, *LOCAL, before=limit, said=said)
    process.join()
    assert process.exitcode == 1
    (line,) = said.read_text().splitlines()
    assert line.startswith(f"File too large: {run}/seeds/seed-0000")
    assert line.endswith(f"what was finished is kept, go on with: {PROG} --resume {run}")
    left = {path.name: path.read_bytes() for path in (run / "seeds").glob("*seed-*")}
    assert left == kept  # and no part of another
    assert main(["--resume", str(run), *LOCAL]) == 0
    assert files(run) == files(whole)


def test_a_really_full_disk_does_the_same(tmp_path, capsys):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk takes root")
    try:
        assert main([*JOB, *LOCAL, "--run-dir", str(disk / "run")]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"No space left on device: {disk}/run/")
        assert list((disk / "run" / "seeds").glob("seed-*.npz"))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_run_that_died_before_it_began_can_be_begun_again(tmp_path):
    run = tmp_path / "run"
    (run / "seeds").mkdir(parents=True)
    (run / ".config.yaml.part").write_text("half")
    assert main(["--resume", str(run)]) == 2
    assert main([*JOB, *LOCAL, "--run-dir", str(run), "--seeds", "1"]) == 0


def test_a_finished_run_tidies_up_what_its_end_left(tmp_path):
    run = tmp_path / "run"
    assert main([*JOB, *LOCAL, "--run-dir", str(run), "--seeds", "1"]) == 0
    (run / "seeds").mkdir()
    assert main(["--resume", str(run)]) == 0
    assert not (run / "seeds").exists()


def test_a_missed_quorum_is_one_line_and_exit_code_1(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Clients, "learn", lambda self, order: [])
    run = tmp_path / "run"
    assert main([*JOB, *LOCAL, "--run-dir", str(run)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("federation.quorum 0.5 needs 1 of 2 uploads in round 0 of seed 0, got 0")
    assert line.endswith(f"go on with: {PROG} --resume {run}")


def test_a_missed_quorum_names_an_upload_that_was_refused(tmp_path, capsys):
    words = ["--run-dir", str(tmp_path / "run"), "--federation.norm-bound", "1e-9"]
    assert main([*JOB, *LOCAL, *words]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "got 0; client 0: theta has norm " in line
    assert "beyond federation.norm-bound 1e-09; what was finished is kept" in line
