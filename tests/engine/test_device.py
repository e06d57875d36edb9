"""Where a run computes its barycenters. GPUs that Ray is told of stand for those that are there."""

import subprocess
import sys

import numpy as np
import pytest

from fedirl_ray.config import RunConfig
from fedirl_ray.config_engine import EngineConfig
from fedirl_ray.engine.device import on_device, require_device, sees_gpu
from fedirl_ray.engine.identity import decisive
from fedirl_ray.errors import ConfigError
from fedirl_ray.run import main
from fedirl_ray.transport.barycenter import barycenter_in_process, make_result, prepare
from fedirl_ray.transport.solver import Solver, solve

AXES = [np.linspace(0, 1, 11), np.linspace(0, 1, 8)]
ROWS = np.random.default_rng(0).random((5, 11, 8)) ** 2
without_gpu = pytest.mark.skipif(sees_gpu(), reason="there is a GPU")


@without_gpu
def test_a_gpu_that_is_not_there_is_refused_in_one_line_and_nothing_is_written(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(["--engine.device", "cuda", "--clients", "2"]) == 2
    line = capsys.readouterr().err.strip()
    assert line.endswith("engine.device must be cpu without torch and a GPU that it sees, got cuda")
    assert "\n" not in line
    assert not list(tmp_path.iterdir())


@without_gpu
def test_what_joins_a_cluster_is_not_asked_for_a_gpu_of_its_own():
    require_device(EngineConfig(device="cuda", address="auto"))
    with pytest.raises(ConfigError, match=r"engine\.device must be cpu"):
        require_device(EngineConfig(device="cuda", address="auto", backend="local"))


def test_the_device_goes_into_the_solver_and_into_what_decides_results():
    solver = Solver(epsilon=0.1)
    assert on_device(solver, EngineConfig()) is solver
    there = on_device(solver, EngineConfig(device="cuda"))
    assert (there.backend, there.device, there.dtype) == ("torch", "cuda", "float64")
    plain, moved = RunConfig(), RunConfig(engine=EngineConfig(device="cuda"))
    assert decisive(moved) == {**decisive(plain), "engine.device": "cuda"}


DECLARED = """
import numpy as np, ray
from engine.test_device import AXES, ROWS, by_crew
ray.init(address="local", num_cpus=2, num_gpus=2, include_dashboard=False, log_to_driver=False)
by_crew(gpus=1, left=0)
print("done")
"""


def by_crew(gpus, left):
    """Fuse on two actors that have a GPU each by Ray's books; check that they do."""
    import ray

    from fedirl_ray.engine.shard import shard_crew

    solver = Solver(epsilon=0.01, tol=1e-11, backend="torch")
    task = prepare(ROWS, AXES, None, solver)
    with shard_crew(task, 2, gpus=gpus) as crew:
        assert ray.available_resources().get("GPU", 0) == left
        found = make_result(task, solve(crew.advance, task.problem, task.weights, solver), 0.0)
    here = barycenter_in_process(ROWS, AXES, None, Solver(epsilon=0.01, tol=1e-11))
    assert found.converged
    assert np.abs(found.measure - here.measure).sum() < 1e-9


@pytest.mark.ray
def test_shards_take_a_gpu_each(ray_session):
    # In a Ray of its own, that is told of two GPUs.
    pytest.importorskip("torch")
    done = subprocess.run(
        [sys.executable, "-c", DECLARED], capture_output=True, text=True, cwd="tests", check=False
    )
    assert done.stdout.strip().endswith("done"), done.stderr[-2000:]


@pytest.mark.ray
def test_answers_of_torch_come_home_as_they_left(ray_session):
    pytest.importorskip("torch")
    by_crew(gpus=0, left=0)
