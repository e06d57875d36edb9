"""Sweeps on Ray whose workers, or whose Ray, die: what the machine did is not what a trial did."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
import yaml
from processes import descendants

from fedirl_ray.run import main

ROOT = Path(__file__).parents[2]
PLAN = {
    "fixed": {
        "clients": 2,
        "seeds": 1,
        "problem": {"size": 3, "demonstrations": 2, "obstacles": 0.1},
        "fusion.rules": ["mean", "barycenter"],
        "evaluation": {"held-out": 1, "discounts": []},
    },
    "objectives": {"success/held-out/barycenter": "maximize"},
    "sampler": "grid",
}
WORLDS = """
import os, pathlib, signal, time
import numpy as np
from fedirl_ray.problem.mdp import TabularMDP

HERE = pathlib.Path(__file__).parent

def fine(role, index, rng):
    successors = np.array([[[1], [0]], [[1], [1]]], dtype=np.int32)
    return TabularMDP(
        successors=successors, probabilities=np.ones((2, 2, 1)), initial=np.array([1.0, 0.0]),
        terminal=np.array([False, True]), goal=np.array([False, True]),
        features=np.eye(2)[:, None, :], reward=np.array([[0.0], [1.0]]), axes=(np.arange(2.0),))

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def once(role, index, rng):
    if not (HERE / "killed").exists():
        (HERE / "killed").touch()
        die()
    return fine(role, index, rng)

def always(role, index, rng):
    (HERE / "healed").exists() or die()
    return fine(role, index, rng)

def slow(role, index, rng):  # that its sweep is still at it when Ray's death is noticed
    if (HERE / "dying").exists() and not (HERE / "healed").exists():
        time.sleep(5.0)
    return fine(role, index, rng)

class Odd(Exception):
    def __init__(self, one, two):  # cannot be unpickled
        super().__init__(f"{one} and {two}")

def raises(role, index, rng):
    raise Odd("no world", "no way")
"""


def start(*words, **more):
    return subprocess.Popen(
        [sys.executable, "-m", "fedirl_ray.run", "sweep", *map(str, words), "--progress", "False"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def rows(folder):
    return pq.read_table(folder / "trials.parquet").to_pylist()


def on_this_process(folder):
    """Have a study go on without Ray, which changes no result."""
    path = folder / "study.yaml"
    tree = yaml.safe_load(path.read_text())
    tree["fixed"]["engine.backend"] = "local"
    path.write_text(yaml.safe_dump(tree))


@pytest.mark.ray
def test_what_the_machine_did_is_tried_again_and_what_a_trial_did_is_kept(tmp_path, monkeypatch):
    (tmp_path / "mortal.py").write_text(WORLDS)
    names = [f"mortal:{name}" for name in ("fine", "once", "always", "raises")]
    fixed = {name: value for name, value in PLAN["fixed"].items() if name != "problem"}
    search = {"problem.name": names}
    fixed["problem.demonstrations"] = 2
    path, folder = tmp_path / "plan.yaml", tmp_path / "s"
    path.write_text(yaml.safe_dump({**PLAN, "fixed": fixed, "search": search}))
    where = os.pathsep.join([str(ROOT), str(tmp_path)])
    process = start(path, "--run-dir", folder, env=os.environ | {"PYTHONPATH": where})
    _, said = process.communicate(timeout=300)
    assert process.returncode == 1, said
    line = said.splitlines()[-1]
    assert line.startswith("1 of 4 trials have not ended, the machine did not let them (trial ")
    assert "ActorDiedError" in line
    assert line.endswith(f"run them again with: python -m fedirl_ray.run sweep --resume {folder}")
    found = {row["params.problem.name"]: row for row in rows(folder)}
    assert len(rows(folder)) == 4
    states = [found[name]["state"] for name in names]
    assert states == ["COMPLETE", "COMPLETE", "LOST", "FAIL"]
    assert "no world and no way" in found["mortal:raises"]["error"]
    # Numbers are those of attempts: two of `once`, three of `always`.
    assert max(row["number"] for row in rows(folder)) == 6

    (tmp_path / "healed").touch()
    on_this_process(folder)
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["sweep", "--resume", str(folder), "--progress", "False"]) == 0
    again = {row["params.problem.name"]: row for row in rows(folder)}
    assert [again[name]["state"] for name in names] == ["COMPLETE", "COMPLETE", "COMPLETE", "FAIL"]
    assert {n: again[n] for n in names if n != "mortal:always"} == {
        n: found[n] for n in names if n != "mortal:always"
    }


@pytest.mark.ray
@pytest.mark.parametrize(("part", "name"), [("raylet", "raylet"), ("gcs_server", "GCS")])
def test_a_sweep_whose_ray_dies_says_so_and_loses_no_point(part, name, tmp_path, monkeypatch):
    (tmp_path / "mortal.py").write_text(WORLDS)
    epsilons = [0.1 * i for i in range(1, 13)]
    search = {"fusion.epsilon": epsilons}
    fixed = {**PLAN["fixed"], "problem": {"name": "mortal:slow", "demonstrations": 2}}
    path, folder = tmp_path / "plan.yaml", tmp_path / "s"
    path.write_text(yaml.safe_dump({**PLAN, "fixed": fixed, "search": search}))
    where = os.pathsep.join([str(ROOT), str(tmp_path)])
    process = start(path, "--run-dir", folder, env=os.environ | {"PYTHONPATH": where})
    while not list(folder.glob("trials/*.parquet")):
        assert process.poll() is None
        psutil.cpu_percent(interval=0.05)
    (tmp_path / "dying").touch()
    (victim,) = [one for one in descendants(process.pid) if one.name() == part]
    victim.send_signal(signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1, said
    line = said.splitlines()[-1]
    assert line.startswith(
        f"Ray died: nothing answers at its {part.split('_')[0].replace('gcs', 'GCS')}"
    )
    assert line.endswith(f"go on with: python -m fedirl_ray.run sweep --resume {folder}")
    assert "Traceback" not in said
    before = {row["number"]: row for row in rows(folder)}
    assert set(row["state"] for row in before.values()) == {"COMPLETE"}  # none is called failed

    (tmp_path / "healed").touch()
    on_this_process(folder)
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["sweep", "--resume", str(folder), "--progress", "False"]) == 0
    after = {row["number"]: row for row in rows(folder)}
    assert (
        sorted(row["params.fusion.epsilon"] for row in after.values()) == search["fusion.epsilon"]
    )
    assert {row["state"] for row in after.values()} == {"COMPLETE"}
    assert {number: after[number] for number in before} == before
