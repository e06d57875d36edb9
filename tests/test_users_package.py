"""A user's package outside the clone, installed beside the built wheel: a run, a sweep, a cluster.

What is installed here is what users get: nothing of the source tree is on the path.
"""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from nodes import Cluster

ROOT = Path(__file__).parents[1]
PROJECT = """
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "orchard"
version = "1.0"
dependencies = ["fedirl-ray"]

[tool.setuptools]
packages = ["orchard"]
"""
WORLDS = '''
import numpy as np
from fedirl_ray import TabularMDP
from fedirl_ray.problem.mdp import absorb

PLACES = 7


def row(role, index, rng):
    """A row of trees, the ripe one at its end; wind takes a walker back, each world its own."""
    wind = rng.uniform(0.05, 0.4)
    here = np.arange(PLACES)
    back, on = np.maximum(here - 1, 0), np.minimum(here + 1, PLACES - 1)
    successors = np.stack([np.stack([back, back], 1), np.stack([on, back], 1)], 1)
    chances = np.array([[1.0, 0.0], [1.0 - wind, wind]])
    ripe = here == PLACES - 1
    successors, probabilities = absorb(
        successors.astype(np.int32), np.tile(chances, (PLACES, 1, 1)), ripe
    )
    return TabularMDP(
        successors=successors, probabilities=probabilities, initial=np.eye(PLACES)[0],
        terminal=ripe, goal=ripe, features=np.ones((PLACES, 1, 1)), reward=1.0 * ripe[:, None],
        axes=(here.astype(float),),
    )
'''
LEARNING = '''
import numpy as np


def ripeness(world):
    """How far along the row, and how far squared."""
    along = world.axes[0] / world.axes[0][-1]
    return np.stack([along, along**2], axis=1)


def boldest(given):
    """The reward of the client that is surest of it."""
    return given.thetas[np.linalg.norm(given.thetas, axis=1).argmax()].copy()


def rest(world, visits):
    """Steps spent where the walker began."""
    return float(visits[0].sum())
'''
OWN = [
    *("--problem.name", "orchard.worlds:row", "--problem.features", "orchard.learning:ripeness"),
    *("--fusion.rules", "local,mean,orchard.learning:boldest,barycenter,expert"),
    *("--evaluation.metrics", "orchard.learning:rest", "--evaluation.held-out", "3"),
    *("--evaluation.discounts", "", "--problem.horizon", "20", "--problem.demonstrations", "4"),
    *("--clients", "3", "--seeds", "3", "--record.figure", "False", "--progress", "False"),
]
RUN = ("-m", "fedirl_ray.run")
FINAL = ("arrays.npz", "rewards.npz", "results.parquet", "summary.json", "table.txt")


BUILD = """
import os, shutil, sys
from setuptools import build_meta
made = sys.argv[1]
sdist = build_meta.build_sdist(made)
shutil.unpack_archive(f"{made}/{sdist}", made)
os.chdir(f"{made}/{sdist.removesuffix('.tar.gz')}")
build_meta.build_wheel(made)
"""


def pip(*words, cwd):
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, words)],
        cwd=cwd, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """This package as a wheel, built from its sdist, and that from a copy of the source tree."""
    copy, made = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "fedirl_ray", copy / "fedirl_ray", ignore=ignored)
    done = subprocess.run(
        [sys.executable, "-c", BUILD, made], cwd=copy, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = made.glob("fedirl_ray-*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A fresh folder with the wheel and the user's package; what they need is the interpreter's."""
    source, site = tmp_path_factory.mktemp("orchard"), tmp_path_factory.mktemp("site")
    (source / "orchard").mkdir()
    (source / "pyproject.toml").write_text(PROJECT)
    for name, text in (("__init__", ""), ("worlds", WORLDS), ("learning", LEARNING)):
        (source / "orchard" / f"{name}.py").write_text(text)
    words = ("install", "--no-deps", "--no-build-isolation", "--target", site)
    pip(*words, wheel, source, cwd=source)
    shutil.rmtree(source)
    return site


@pytest.fixture(scope="module")
def command(installed):
    """Runs Python with a line of words in a folder, where nothing else is found."""

    def run(folder, *words):
        done = subprocess.run(
            [sys.executable, *map(str, words)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(installed)},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def alone(command, tmp_path_factory):
    """The run's folder, made in one process."""
    folder = tmp_path_factory.mktemp("alone")
    command(folder, *RUN, *OWN, "--engine.backend", "local", "--run-dir", "run")
    return folder / "run"


def files(folder):
    return {name: (folder / name).read_bytes() for name in FINAL}


def test_all_that_is_no_code_is_in_the_wheel(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    package = ROOT / "fedirl_ray"
    others = [path for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert {f"fedirl_ray/{path.relative_to(package)}" for path in others} <= names
    for path in ROOT.glob("sweeps/*.yaml"):
        assert f"fedirl_ray/sweeps/{path.name}" in names
    for name in ("py.typed", "presets/pendulum.yaml", "report/templates/page.html"):
        assert f"fedirl_ray/{name}" in names
    assert not [name for name in names if name.startswith(("tests", "benchmarks", "docs"))]


THERE = """
import fedirl_ray
from fedirl_ray.presets import study_named
from fedirl_ray.study.space import read_study_file
print(fedirl_ray.__file__)
print(fedirl_ray.preset("pendulum").clients)
path = study_named("scale")
assert read_study_file(path).trials > 1
print(path.read_text().splitlines()[0])
"""


def test_it_is_the_installed_package_that_runs_and_its_presets_are_there(
    command, installed, tmp_path
):
    file, clients, study = command(tmp_path, "-c", THERE).splitlines()
    assert Path(file).is_relative_to(installed)
    assert clients == "6"
    assert study == (ROOT / "sweeps" / "scale.yaml").read_text().splitlines()[0]


def test_the_script_is_installed(command, installed, tmp_path):
    script = installed / "bin" / "fedirl"
    said = command(tmp_path, script, "presets")
    assert "Studies: fedirl sweep NAME\n" in said
    assert "\n  regularisation " in said
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert command(tmp_path, script, "--version") == f"fedirl_ray {version}\n"
    assert f"version: {version}\n" in (ROOT / "CITATION.cff").read_text()


READ = """
import fedirl_ray
result = fedirl_ray.load("run")
reward = result.reward("orchard.learning:boldest", seed=2)
print(reward(6) > reward(0), reward)
"""


def test_a_run_in_one_process_names_the_users_own_everywhere(command, alone):
    table = (alone / "table.txt").read_text()
    assert table.startswith("orchard.worlds:row, 3 clients, 3 seeds")
    assert "\n orchard.learning:boldest " in table
    rows = pq.read_table(alone / "results.parquet").to_pylist()
    rested = [row["value"] for row in rows if row["metric"] == "orchard.learning:rest"]
    assert rested
    assert all(1.0 <= value <= 20.0 for value in rested)
    command(alone.parent, *RUN, "report", "run")
    assert "orchard.learning:boldest" in (alone / "report.html").read_text()
    said = command(alone.parent, "-c", READ)
    assert said.startswith("True LearntReward('orchard.worlds:row'")


@pytest.mark.ray
def test_rays_workers_import_what_is_installed(command, alone, tmp_path):
    command(tmp_path, *RUN, *OWN, "--run-dir", "run")
    assert files(tmp_path / "run") == files(alone)


@pytest.mark.ray
def test_a_sweep_of_the_users_own(command, tmp_path):
    pairs = zip(OWN[::2], OWN[1::2], strict=True)
    fixed = {
        name.removeprefix("--"): value.split(",") if name == "--fusion.rules" else value
        for name, value in pairs
        if not name.startswith(("--record", "--progress")) and value
    }
    objective = "orchard.learning:rest/held-out/orchard.learning:boldest"
    study = {
        "fixed": {**fixed, "evaluation.discounts": []},
        "search": {"irl.l2": [0.1, 1.0]},
        "objectives": {objective: "minimize"},
        "sampler": "grid",
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    command(tmp_path, *RUN, "sweep", "study.yaml", "--run-dir", "study", "--progress", "False")
    trials = pq.read_table(tmp_path / "study" / "trials.parquet").to_pylist()
    assert [trial["state"] for trial in trials] == ["COMPLETE"] * 2
    found = [trial[name] for trial in trials for name in trial if name.endswith(objective)]
    assert len(found) == 2
    assert all(1.0 <= value <= 20.0 for value in found)


@pytest.mark.ray
def test_a_run_on_two_nodes(installed, alone, tmp_path):
    cluster = Cluster(tmp_path, installed)
    try:
        process = cluster.run(
            *OWN, "--engine.address", cluster.address, "--run-dir", tmp_path / "run"
        )
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    finally:
        cluster.close()
    assert files(tmp_path / "run") == files(alone)
    events = (tmp_path / "run" / "events.jsonl").read_text()
    assert " on 2 CPUs " in events  # one of each node
