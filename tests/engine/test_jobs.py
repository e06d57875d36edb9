import importlib
import os
import signal
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest

from fedirl_ray.config import IRLConfig
from fedirl_ray.config_engine import EngineConfig
from fedirl_ray.domain.job import Job
from fedirl_ray.engine.fleet import open_workers
from fedirl_ray.engine.identity import code_in_words
from fedirl_ray.engine.jobs import Jobs, Worker, asked, calls, name_of
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
    return [Job("square", work, {"number": number, **more}, kept=True) for number in range(count)]


def squares(engine, folder, jobs, warn=pytest.fail):
    with open_workers(engine) as workers:
        return [int(found["square"]) for found in Jobs(workers, folder, warn).all(jobs)]


def test_jobs_are_done_wherever_they_run(tmp_path, ray_session):
    assert squares(LOCAL, tmp_path / "here", jobs_of(square)) == [0, 1, 4, 9, 16]
    assert squares(RAY, tmp_path / "there", jobs_of(square)) == [0, 1, 4, 9, 16]


def test_what_is_kept_is_not_done_again(tmp_path):
    assert squares(LOCAL, tmp_path, jobs_of(square, 3)) == [0, 1, 4]
    names = sorted(path.name for path in tmp_path.iterdir())
    doing = Jobs(Worker(), tmp_path, pytest.fail)
    found = [place for place, _ in doing.run(jobs_of(square, 5))]
    assert found == [0, 1, 2, 3, 4]
    assert len(list(tmp_path.iterdir())) == 5
    assert set(names) <= {path.name for path in tmp_path.iterdir()}


def test_a_job_is_named_by_everything_that_decides_it():
    base = {"number": 3, "config": IRLConfig(), "array": np.arange(3.0)}
    name = name_of(Job("square", square, base))
    assert name == name_of(Job("square", square, dict(base, array=np.arange(3.0)), True, 2.0, 9))
    others = [
        Job("square", square, dict(base, number=4)),
        Job("square", square, dict(base, config=replace(IRLConfig(), l2=0.5))),
        Job("square", square, dict(base, array=np.arange(3.0) + 1e-15)),
        Job("square", square, dict(base, array=np.arange(3.0)[:, None])),
        Job("square", refuse, base),
    ]
    assert len({name, *map(name_of, others)}) == 6
    with pytest.raises(TypeError, match="must be plain"):
        name_of(Job("square", square, {"number": object()}))


def test_a_damaged_result_is_done_again_and_said(tmp_path):
    squares(LOCAL, tmp_path, jobs_of(square, 2))
    path = next(tmp_path.iterdir())
    path.write_bytes(path.read_bytes()[:-3])
    said = []
    assert squares(LOCAL, tmp_path, jobs_of(square, 2), said.append) == [0, 1]
    (aside,) = tmp_path.glob("*.damaged")
    assert said == [
        f"{path.name} is damaged (checksum differs) and set aside as {aside.name}; its job is run "
        "again"
    ]
    assert len(list(tmp_path.iterdir())) == 3


def test_a_killed_worker_costs_nothing_but_time(tmp_path, ray_session):
    jobs = jobs_of(die_once, 1, marker=str(tmp_path / "died"))
    assert squares(RAY, tmp_path / "jobs", jobs) == [0]
    assert (tmp_path / "died").exists()


@pytest.mark.parametrize("engine", [LOCAL, RAY], ids=["local", "ray"])
def test_bad_input_found_by_a_job_is_the_callers(tmp_path, ray_session, engine):
    with pytest.raises(DataError, match=r"[01] is not to be squared"):
        squares(engine, tmp_path, jobs_of(refuse))


def test_a_job_that_fails_otherwise_stops_the_run_and_keeps_the_rest(tmp_path, ray_session):
    mixed = [*jobs_of(square, 2), Job("breaking", break_down, {"number": 1})]
    with open_workers(RAY) as workers:
        doing = Jobs(workers, tmp_path, pytest.fail)
        doing.all(mixed[:2])
        with pytest.raises(RunError, match="breaking failed: ZeroDivisionError"):
            doing.all(mixed)
    assert len(list(tmp_path.iterdir())) == 2


WORK = "import numpy as np\n\ndef work(x):\n    return {'square': np.array(x + %d)}\n"


def test_after_a_fix_the_old_result_does_not_come_back(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    said = []

    def once(added):
        sys.modules.pop("fixed", None)
        importlib.invalidate_caches()
        (tmp_path / "fixed.py").write_text(WORK % added)
        sys.dont_write_bytecode, kept = True, sys.dont_write_bytecode
        try:
            import fixed
        finally:
            sys.dont_write_bytecode = kept
        jobs = [Job("w", fixed.work, {"x": number}, kept=True) for number in (1, 2)]
        return squares(LOCAL, tmp_path / "jobs", jobs, said.append)

    assert once(1) == [2, 3]
    assert once(100) == [101, 102]
    (line,) = said
    assert line == f"results of {code_in_words()} are kept but not used: w and others run again"
    assert len(list((tmp_path / "jobs").iterdir())) == 4
    assert once(1) == [2, 3]  # the old code finds its own again
    assert len(said) == 1


@dataclass(frozen=True)
class Asking:
    """Arguments that name a user's code somewhere inside."""

    names: tuple[str, ...] = ("own_for_jobs:f",)


@pytest.fixture
def own_code(tmp_path, monkeypatch):
    """Writes a user's module that arguments of jobs name."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return (tmp_path / "own_for_jobs.py").write_text


def test_a_job_is_named_after_the_packages_code_and_the_users(own_code, monkeypatch):
    for told in (Asking(), [{"name": "own_for_jobs:f"}], "own_for_jobs:f"):
        own, none = (Job("square", square, {"number": 1, "told": x}) for x in (told, "f"))
        own_code("one")
        names = {name_of(own)}
        plain = name_of(none)
        own_code("two")
        names.add(name_of(own))
        assert plain == name_of(none)
        with monkeypatch.context() as patch:
            patch.setattr("fedirl_ray.engine.jobs.source_digest", lambda: "another")
            names.add(name_of(own))
        assert len(names) == 3
        assert all(name.startswith(asked(own)) for name in names)


def test_what_is_kept_under_other_code_of_the_users_is_done_again(own_code, tmp_path):
    told = []
    for code, lines in (("one", 0), ("two", 1), ("one", 1)):
        own_code(code)
        asking = {"file": str(tmp_path / "count"), "told": Asking()}
        jobs = [Job("count", count, asking, kept=True)]
        Jobs(Worker(), tmp_path / "jobs", told.append).all(jobs)
        assert len(told) == lines
    assert (tmp_path / "count").read_text() == "xx"


def test_what_is_quick_is_done_again_and_leaves_no_file(tmp_path):
    jobs = [Job("count", count, {"file": str(tmp_path / "count")})]
    doing = Jobs(Worker(), tmp_path / "jobs", pytest.fail)
    assert [int(doing.all(jobs)[0]["times"]) for _ in range(3)] == [1, 2, 3]
    assert not list((tmp_path / "jobs").iterdir())


def test_results_of_earlier_versions_are_kept_but_not_used_and_that_is_said_once(tmp_path):
    squares(LOCAL, tmp_path, jobs_of(square, 2))
    for path in tmp_path.iterdir():  # as they were named before code was part of it
        _, kind, asked, _, checksum = path.stem.split("-")
        path.rename(tmp_path / f"job-{kind}-{asked}-{checksum}.npz")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    said = []
    assert squares(LOCAL, tmp_path, jobs_of(square, 2), said.append) == [0, 1]
    assert said == ["results of an earlier version are kept but not used: square and others run "
                    "again"]  # fmt: skip
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(after) == 4
    assert before.items() <= after.items()


def test_a_result_under_another_jobs_name_is_not_taken_for_its_own(tmp_path):
    squares(LOCAL, tmp_path, jobs_of(square, 1))
    (path,) = tmp_path.iterdir()
    wanted = Job("square", square, {"number": 7}, kept=True)
    path.rename(tmp_path / f"job-{name_of(wanted)}-{path.stem.rpartition('-')[2]}.npz")
    said = []
    assert squares(LOCAL, tmp_path, [wanted], said.append) == [49]
    assert len(said) == 1
    assert said[0].endswith(f"is of the job {name_of(jobs_of(square, 1)[0])}; its job is run again")


def test_a_job_that_is_asked_for_twice_is_done_once(tmp_path):
    (tmp_path / "count").write_text("")
    jobs = [Job("count", count, {"file": str(tmp_path / "count")}, kept=True)]
    doing = Jobs(Worker(), tmp_path / "jobs", pytest.fail)
    assert [int(doing.all(jobs)[0]["times"]) for _ in range(3)] == [1, 1, 1]
    assert (tmp_path / "count").read_text() == "x"


def count(file, told=None):
    with open(file, "a") as counted:
        counted.write("x")
    return {"times": np.array(os.path.getsize(file))}


def squares_of(asked):
    """Squares of several numbers in one call; 3 cannot be done."""
    return [
        DataError("3 is not to be squared")
        if one["number"] == 3
        else {"square": np.array(one["number"] ** 2), "beside": np.array(len(asked))}
        for one in asked
    ]


def bundled(numbers, together):
    return [Job("many", squares_of, {"number": n}, True, together=together) for n in numbers]


@pytest.mark.parametrize("together", [1, 2, 100])
def test_jobs_that_are_done_together_are_kept_and_named_one_by_one(tmp_path, together):
    folder = tmp_path / "many"
    jobs = [*bundled([0, 1, 2], together), *jobs_of(square, 2), *bundled([4, 5], together)]
    found = Jobs(Worker(), folder, pytest.fail).all(jobs)
    assert [int(one["square"]) for one in found] == [0, 1, 4, 0, 1, 16, 25]
    beside = [int(found[place]["beside"]) for place in (0, 1, 2, 5, 6)]
    assert max(beside) == min(together, 3)  # others stand between the two groups
    names = set(map(name_of, bundled([0, 1, 2, 4, 5], 1)))
    assert names < set(map(name_of, jobs))
    assert len(list(folder.iterdir())) == 7


@pytest.mark.parametrize("engine", [LOCAL, RAY], ids=["local", "ray"])
def test_of_jobs_done_together_a_failing_one_loses_no_other(tmp_path, ray_session, engine):
    jobs = bundled([1, 2, 3, 4], 100)
    with open_workers(engine) as workers:
        doing = Jobs(workers, tmp_path, pytest.fail)
        with pytest.raises(DataError, match="3 is not to be squared"):
            doing.all(jobs)
        kept = len(list(tmp_path.iterdir()))
        assert kept >= (3 if engine is LOCAL else 1)
        rest = [int(one["square"]) for one in doing.all([jobs[0], jobs[1], jobs[3]])]
    assert rest == [1, 4, 16]


def test_calls_leave_work_for_every_worker():
    jobs = [*bundled(range(10), 4), *jobs_of(square, 3)]
    assert calls(jobs, 1) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9], [10], [11], [12]]
    assert [len(one) for one in calls(jobs, 5)] == [2] * 5 + [1] * 3
    assert calls([jobs[1], jobs[5], jobs[12]], 1) == [[0, 1], [2]]
    assert calls([], 1) == []
