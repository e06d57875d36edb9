import os
import signal
from dataclasses import replace

import numpy as np
import pytest

from fedirl_ray.config import EngineConfig, IRLConfig
from fedirl_ray.engine.jobs import Job, Jobs
from fedirl_ray.errors import DataError, RunError

LOCAL, RAY = EngineConfig(backend="local"), EngineConfig()


def square(number, **rest):
    return {"square": np.array(number**2), "where": np.array(os.getpid())}


def refuse(number):
    raise DataError(f"{number} is not to be squared")


def break_down(number):
    raise ZeroDivisionError("no such luck")


def die_once(number, marker):
    """Dies the first time, as a worker does that is killed for memory."""
    if not os.path.exists(marker):
        open(marker, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"square": np.array(number**2)}


def jobs_of(work, count=5, **more):
    return [Job("square", work, {"number": number, **more}) for number in range(count)]


def squares(engine, folder, jobs, warn=pytest.fail):
    with Jobs(engine, folder, warn) as doing:
        return [int(found["square"]) for found in doing.all(jobs)]


def test_jobs_are_done_wherever_they_run(tmp_path, ray_session):
    assert squares(LOCAL, tmp_path / "here", jobs_of(square)) == [0, 1, 4, 9, 16]
    assert squares(RAY, tmp_path / "there", jobs_of(square)) == [0, 1, 4, 9, 16]


def test_what_is_kept_is_not_done_again(tmp_path):
    assert squares(LOCAL, tmp_path, jobs_of(square, 3)) == [0, 1, 4]
    names = sorted(path.name for path in tmp_path.iterdir())
    with Jobs(LOCAL, tmp_path, pytest.fail) as doing:
        found = [place for place, _ in doing.run(jobs_of(square, 5))]
    assert found == [0, 1, 2, 3, 4]
    assert len(list(tmp_path.iterdir())) == 5
    assert set(names) <= {path.name for path in tmp_path.iterdir()}


def test_a_job_is_named_by_everything_that_decides_it():
    base = {"number": 3, "config": IRLConfig(), "array": np.arange(3.0)}
    name = Job("square", square, base).name
    assert name == Job("square", square, dict(base, array=np.arange(3.0))).name
    others = [
        Job("square", square, dict(base, number=4)),
        Job("square", square, dict(base, config=replace(IRLConfig(), l2=0.5))),
        Job("square", square, dict(base, array=np.arange(3.0) + 1e-15)),
        Job("square", square, dict(base, array=np.arange(3.0)[:, None])),
        Job("square", refuse, base),
    ]
    assert len({name, *(job.name for job in others)}) == 6
    with pytest.raises(TypeError, match="must be plain"):
        _ = Job("square", square, {"number": object()}).name


def test_a_damaged_result_is_done_again_and_said(tmp_path):
    squares(LOCAL, tmp_path, jobs_of(square, 2))
    path = next(tmp_path.iterdir())
    path.write_bytes(path.read_bytes()[:-3])
    said = []
    assert squares(LOCAL, tmp_path, jobs_of(square, 2), said.append) == [0, 1]
    assert len(said) == 1
    assert "its job is run again" in said[0]


def test_a_killed_worker_costs_nothing_but_time(tmp_path, ray_session):
    jobs = jobs_of(die_once, 1, marker=str(tmp_path / "died"))
    assert squares(RAY, tmp_path / "jobs", jobs) == [0]
    assert (tmp_path / "died").exists()


@pytest.mark.parametrize("engine", [LOCAL, RAY], ids=["local", "ray"])
def test_bad_input_found_by_a_job_is_the_callers(tmp_path, ray_session, engine):
    with pytest.raises(DataError, match="0 is not to be squared"):
        squares(engine, tmp_path, jobs_of(refuse))


def test_a_job_that_fails_otherwise_stops_the_run_and_keeps_the_rest(tmp_path, ray_session):
    mixed = [*jobs_of(square, 2), Job("breaking", break_down, {"number": 1})]
    with Jobs(RAY, tmp_path, pytest.fail) as doing:
        doing.all(mixed[:2])
        with pytest.raises(RunError, match="breaking failed: ZeroDivisionError"):
            doing.all(mixed)
    assert len(list(tmp_path.iterdir())) == 2
