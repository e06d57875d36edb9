"""A program's run on a Ray of its own, with features and a metric that its workers must find."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fedirl_ray

ROOT = Path(fedirl_ray.__file__).parents[1]
MINE = """
import numpy as np
def phi(states, actions): return np.concatenate([states**2, states * actions, actions], axis=1)
def still(observations, actions, rewards): return float(np.abs(observations[:, 1]).mean())
"""
PROGRAM = """
import sys
import fedirl_ray
TINY = {"steps": 64, "rows": 4, "rollout": 64, "batch": 64, "epochs": 1, "hidden": (4,),
        "evaluations": 1, "episodes": 2}
config = fedirl_ray.preset(
    "CartPole-v1", clients=3, seeds=1, irl={"iterations": 4}, problem={"demonstrations": 3},
    control={"points": (3, 3, 3, 3), "episodes": 2, "judged": (1.0,), "expert": TINY,
             "agent": TINY},
    **{"problem.features": "mine_on_ray:phi", "evaluation.metrics": ("mine_on_ray:still",),
       "fusion.rules": ("local", "mean", "barycenter", "expert"), "evaluation.held_out": 2,
       "record.figure": False, "engine.backend": sys.argv[1]},
)
print(fedirl_ray.run(config, folder=sys.argv[1]).summary["seeds"])
"""
OF_THE_MACHINE = {"timings.json", "events.jsonl", "environment.json", "config.yaml"}


@pytest.mark.ray
def test_a_program_finds_the_same_bytes_on_ray_with_modules_beside_it(tmp_path):
    (tmp_path / "mine_on_ray.py").write_text(MINE)
    (tmp_path / "program.py").write_text(PROGRAM)
    for backend in ("local", "ray"):
        done = subprocess.run(
            [sys.executable, "program.py", backend],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "[0]\n"), done.stderr
    here, there = (
        {path.name: path.read_bytes() for path in (tmp_path / backend).iterdir()}
        for backend in ("local", "ray")
    )
    assert set(here) == set(there)
    assert {name for name in here if here[name] != there[name]} <= OF_THE_MACHINE
    assert b"actor" in there["events.jsonl"]
