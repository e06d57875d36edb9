"""Studies run through the command line, killed, interrupted, damaged and gone on with."""

import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pyarrow.parquet as pq
import pytest
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from processes import begin, wait_for

from fedirl_ray.command import sweep as command
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.engine.result import SeedResult, long_table
from fedirl_ray.engine.tasks import Came, LocalTasks, Lost, run_seeds
from fedirl_ray.errors import RunError
from fedirl_ray.run import main
from fedirl_ray.study.asking import create_study, ended, make_sampler, open_study, shown
from fedirl_ray.study.space import parse_study, read_study_file
from fedirl_ray.study.storage import mend_journal
from fedirl_ray.study.sweep import mend_tables, sweep
from fedirl_ray.study.trials import publish, trial_table
from fedirl_ray.transport import memory

ROOT = Path(__file__).parents[2]
KILLS = 10
PLAN = {
    "fixed": {
        "clients": 2,
        "seeds": 2,
        "problem": {"size": 3, "demonstrations": 2, "obstacles": 0.1},
        "irl": {"optimizer": "adam", "iterations": 5},
        "fusion.rules": ["mean", "barycenter"],
        "evaluation": {"held-out": 2, "discounts": [0.9]},
        "engine.backend": "local",
    },
    "search": {
        "fusion.epsilon": {"low": 0.05, "high": 5.0, "log": True},
        "fusion.sigma": ["shared", "client"],
    },
    "objectives": {"success/held-out/barycenter": "maximize"},
    "trials": 8,
}
QUIET = ("--progress", "False")


def keep(folder, **change):
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump({**PLAN, **change}))
    return str(path)


def on_ray(plan=PLAN):
    return {**plan["fixed"], "engine.backend": "ray"}


def trials(folder):
    return pq.read_table(folder / "trials.parquet").to_pydict()


def complete(folder):
    """Numbers and settings of the trials that ended well, from the journal itself."""
    storage = JournalStorage(JournalFileBackend(str(folder / "journal.log")))
    study = optuna.load_study(study_name=None, storage=storage)
    return [(t.number, t.params) for t in study.trials if t.state.name == "COMPLETE"]


def test_a_study_is_run_and_kept(tmp_path, capsys):
    assert main(["sweep", keep(tmp_path), "--run-dir", str(tmp_path / "s"), *QUIET]) == 0
    said = capsys.readouterr().out
    assert "best trial; 8 trials: 8 complete" in said
    assert said.endswith(f"sweep --resume {tmp_path / 's'} --trials 16\n")
    table = trials(tmp_path / "s")
    assert table["number"] == list(range(8))
    assert set(table["state"]) == {"COMPLETE"}
    # The objective is what the run itself finds.
    study = read_study_file(tmp_path / "s" / "study.yaml")
    for number in (0, 7):
        params = {name: table[f"params.{name}"][number] for name in study.search}
        config = study.config(params)
        rows = long_table(list(run_seeds(config)), domain_of(config))
        held = [
            row.value
            for row in rows
            if (row.rule, row.split, row.judge, row.metric)
            == ("barycenter", "held-out", "greedy-0.95", "success")
        ]
        assert table["values.success/held-out/barycenter"][number] == sum(held) / len(held)
    results = pq.read_table(tmp_path / "s" / "results.parquet").to_pydict()
    assert set(results["trial"]) == set(range(8))
    assert main(["report", str(tmp_path / "s")]) == 0


def test_one_worker_draws_the_same_trials_stopped_or_not(tmp_path):
    fixed = {**PLAN["fixed"], "seeds": 1}
    path = keep(tmp_path, fixed=fixed, trials=12)  # beyond the ten that TPE draws blindly
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    assert main(["sweep", path, "--run-dir", str(whole), *QUIET]) == 0
    assert main(["sweep", path, "--run-dir", str(halves), "--trials", "5", *QUIET]) == 0
    assert main(["sweep", "--resume", str(halves), "--trials", "12", *QUIET]) == 0
    names = [name for name in trials(whole) if name != "seconds"]
    assert {n: trials(whole)[n] for n in names} == {n: trials(halves)[n] for n in names}


@pytest.mark.ray
def test_trials_on_ray_find_what_this_process_finds(ray_session, tmp_path):
    fixed = {
        "sampler": "grid",
        "search": {"fusion.epsilon": [0.1, 1.0], "fusion.intercept": [True]},
    }
    for name, backend in (("here", PLAN["fixed"]), ("there", on_ray())):
        path = keep(tmp_path, **fixed, fixed=backend)
        assert main(["sweep", path, "--run-dir", str(tmp_path / name), *QUIET]) == 0
    read = [pq.read_table(tmp_path / n / "results.parquet").to_pylist() for n in ("here", "there")]
    assert read[0] == read[1]


def start(*words):
    return subprocess.Popen(
        [sys.executable, "-m", "fedirl_ray.run", "sweep", *map(str, words), *QUIET],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_ten_kills_lose_no_trial_and_repeat_none(tmp_path):
    search = {
        "fusion.epsilon": [0.1 * i for i in range(1, 15)],
        "fusion.sigma": ["shared", "client"],
    }
    path, folder = keep(tmp_path, sampler="grid", search=search, trials=28), tmp_path / "s"
    moments = random.Random(0)
    words = [path, "--run-dir", folder]
    for kill in range(KILLS):
        process = begin("sweep", *words, *QUIET)
        before = len(list(folder.glob("trials/*.parquet")))
        wait_for(process, lambda: len(list(folder.glob("trials/*.parquet"))) > before)  # noqa: B023
        time.sleep(0.1 * moments.random())
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, kill
        assert (folder / "study.yaml").is_file(), kill
        words = ["--resume", folder]
    assert main(["sweep", "--resume", str(folder), *QUIET]) == 0
    done = complete(folder)
    assert len(done) == 28
    assert len({tuple(sorted(params.items())) for _, params in done}) == 28
    assert sorted(number for number, _ in done) == trials(folder)["number"]
    assert set(pq.read_table(folder / "results.parquet")["trial"].to_pylist()) == {
        number for number, _ in done
    }


def test_ctrl_c_leaves_a_study_that_can_be_gone_on_with(tmp_path):
    path, folder = keep(tmp_path, trials=400), tmp_path / "s"
    process = start(path, "--run-dir", folder)
    while not list(folder.glob("trials/*.parquet")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    (line,) = errors.splitlines()
    assert line.endswith(f"go on with: python -m fedirl_ray.run sweep --resume {folder}")
    ended = len(trials(folder)["number"])
    assert main(["sweep", "--resume", str(folder), "--trials", str(ended + 1), *QUIET]) == 0
    assert len(complete(folder)) == ended + 1


def test_a_torn_line_is_cut_off(tmp_path):
    path, folder = keep(tmp_path, trials=3), tmp_path / "s"
    assert main(["sweep", path, "--run-dir", str(folder), *QUIET]) == 0
    journal = folder / "journal.log"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code": 4, "wor')
    assert main(["sweep", "--resume", str(folder), "--trials", "4", *QUIET]) == 0
    assert journal.read_bytes().startswith(whole)
    assert len(complete(folder)) == 4
    mend_journal(tmp_path)  # nothing to mend


def test_a_trial_that_fails_is_recorded_and_too_many_end_the_study(tmp_path, capsys):
    # A path from corner to corner leaves room for few obstacles.
    fixed = {name: value for name, value in PLAN["fixed"].items() if name != "problem"}
    mixed = {"problem.obstacles": [0.1, 0.95, 0.2, 0.96], "problem.demonstrations": [2]}
    fixed["problem.size"] = 3
    path = keep(tmp_path, fixed=fixed, search=mixed, sampler="grid", **{"max-failures": 2})
    assert main(["sweep", path, "--run-dir", str(tmp_path / "s"), *QUIET]) == 0
    table = trials(tmp_path / "s")
    assert table["state"] == ["COMPLETE", "FAIL", "COMPLETE", "FAIL"]  # not in a row
    assert "problem.obstacles must leave a path" in table["error"][1]
    assert table["error"][0] is None
    path = keep(
        tmp_path,
        fixed=fixed,
        search={"problem.obstacles": [0.9, 0.91, 0.92, 0.93]},
        sampler="grid",
        **{"max-failures": 3},
    )
    capsys.readouterr()
    assert main(["sweep", path, "--run-dir", str(tmp_path / "t"), *QUIET]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("max-failures 3: that many trials failed one after the other, the last")
    assert trials(tmp_path / "t")["state"] == ["FAIL"] * 3


def test_a_poor_trial_is_given_up_after_some_seeds(tmp_path):
    fixed = {**PLAN["fixed"], "seeds": 4, "fusion.cost-scale": "max"}
    plan = {**PLAN, "fixed": fixed, "pruner": "median", "trials": 9,
            "search": {"fusion.epsilon": {"low": 0.01, "high": 10.0, "log": True}}}  # fmt: skip
    path = keep(tmp_path, **plan)
    assert main(["sweep", path, "--run-dir", str(tmp_path / "s"), *QUIET]) == 0
    states = trials(tmp_path / "s")["state"]
    assert len(states) == 9
    assert {"COMPLETE", "PRUNED"} == set(states)


def test_several_objectives_leave_a_front(tmp_path, capsys):
    objectives = {"success/held-out/barycenter": "maximize", "bytes_up/barycenter": "minimize"}
    search = {"clients": [1, 2, 3]}
    fixed = {name: value for name, value in PLAN["fixed"].items() if name != "clients"}
    path = keep(tmp_path, fixed=fixed, search=search, objectives=objectives, sampler="grid")
    assert main(["sweep", path, "--run-dir", str(tmp_path / "s"), *QUIET]) == 0
    said = capsys.readouterr().out
    assert "Pareto front; 3 trials" in said
    assert "More trials" not in said  # a grid has no others
    # One round, two features of eight bytes, a client.
    assert sorted(trials(tmp_path / "s")["values.bytes_up/barycenter"]) == [16.0, 32.0, 48.0]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "sweep must be given one study file, got none"),
        (["none.yaml"], "none.yaml must be a readable YAML file: No such file or directory"),
        (["--resume", "nowhere"], "resume must be the folder of a study (with study.yaml), got"),
        (["--trials", "0"], "trials must be an integer >= 1, got 0"),
        (["--concurency", "2"], "no setting is called --concurency; did you mean --concurrency?"),
    ],
)
def test_bad_input_is_one_line(words, line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", *words]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(line)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("nonsense://", "storage must be a database that can be opened, got nonsense://"),
        ("me:secret@here", "storage must be a database's URL, such as postgresql://USER@HOST/"),
        (
            "postgresql://me:sec@secret@here/db",
            "storage must be a URL with one @, before the host; "
            "in a user or password write @ as %40, ",
        ),
    ],
)
def test_a_database_that_is_none_is_one_line(url, line, tmp_path, capsys):
    words = ["--run-dir", str(tmp_path / "s"), "--storage", url, *QUIET]
    assert main(["sweep", keep(tmp_path), *words]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(line)
    assert "secret" not in said


def test_postgresql_without_its_driver_names_the_extra(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    words = ["--run-dir", str(tmp_path / "s"), "--storage", "postgresql://me:secret@here/db"]
    assert main(["sweep", keep(tmp_path), *words, *QUIET]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said == (
        "storage must be of a database whose driver is installed (pip install "
        "'fedirl-ray[postgresql]'), got postgresql without psycopg"
    )
    assert not (tmp_path / "s").exists()


def test_a_study_in_a_database_is_gone_on_with_and_reported_by_its_folder(tmp_path, capsys):
    url = f"sqlite:///{tmp_path}/studies.db"
    for name in ("s", "t"):  # two studies in one database
        words = ["--run-dir", str(tmp_path / name), "--storage", url, *QUIET]
        assert main(["sweep", keep(tmp_path, trials=2), *words]) == 0
    folder = (tmp_path / "s").rename(tmp_path / "elsewhere")
    assert main(["sweep", "--resume", str(folder), "--trials", "3", *QUIET]) == 0
    assert trials(folder)["number"] == [0, 1, 2]
    assert trials(tmp_path / "t")["number"] == [0, 1]
    assert main(["report", str(folder)]) == 0
    assert "Study elsewhere" in (folder / "report.html").read_text()
    (tmp_path / "studies.db").unlink()
    capsys.readouterr()
    assert main(["report", str(folder)]) == 2
    assert "a study's database must be there, got sqlite:" in capsys.readouterr().err


def test_a_study_is_overwritten_where_that_is_asked_for_and_can_be(tmp_path, capsys):
    folder = tmp_path / "s"
    words = ["sweep", keep(tmp_path, trials=2), "--run-dir", str(folder), *QUIET]
    assert main(words) == 0
    assert main(["report", str(folder)]) == 0
    capsys.readouterr()
    assert main(words) == 2
    assert capsys.readouterr().err.endswith("; --overwrite true replaces it\n")
    assert main([*words, "--trials", "1", "--overwrite", "true"]) == 0
    assert trials(folder)["number"] == [0]
    assert not (folder / ".replaced").exists()
    url = ("--storage", f"sqlite:///{tmp_path}/studies.db")
    assert main([*words, "--trials", "1", "--overwrite", "true", *url]) == 0
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert main([*words, "--overwrite", "true"]) == 2
    assert "overwrite must be false for a study in a database" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_study_in_a_journal_is_not_moved_to_a_database(tmp_path, capsys):
    folder, url = tmp_path / "s", f"sqlite:///{tmp_path}/studies.db"
    assert main(["sweep", keep(tmp_path, trials=1), "--run-dir", str(folder), *QUIET]) == 0
    assert main(["sweep", "--resume", str(folder), "--storage", url, *QUIET]) == 2
    assert "must be left out for a study kept in its folder's journal" in capsys.readouterr().err


def test_the_tables_of_a_study_under_way_are_written_again_and_again(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "PUBLISHING", 0.0)
    folder, seen = tmp_path / "s", []

    def publish_and_look(*words):
        publish(*words)
        seen.append(len(trials(folder)["number"]))

    monkeypatch.setattr(command, "publish", publish_and_look)
    assert main(["sweep", keep(tmp_path, trials=3), "--run-dir", str(folder), *QUIET]) == 0
    assert seen == [1, 2, 3, 3]


def test_a_second_driver_is_refused_while_the_first_is_at_it(tmp_path, capsys):
    path, folder = keep(tmp_path, trials=400), tmp_path / "s"
    first = begin("sweep", path, "--run-dir", folder, *QUIET)
    wait_for(first, lambda: list(folder.glob("trials/*.parquet")))
    for words in (["--resume", str(folder)], [path, "--run-dir", str(folder)]):
        assert main(["sweep", *words, *QUIET]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"must be a folder that no other process works in, got {folder}" in line
    assert first.is_alive()
    first.kill()  # the kernel lets go of the lock
    first.join()
    ended = len(complete(folder))
    assert main(["sweep", "--resume", str(folder), "--trials", str(ended + 1), *QUIET]) == 0
    assert len(complete(folder)) == ended + 1


def test_what_comes_of_a_run_here_comes_seed_by_seed():
    config = parse_study(PLAN).base()
    tasks = LocalTasks()
    tasks.start(7, config)
    came = [tasks.next() for _ in range(3)]
    assert [one.key for one in came] == [7, 7, 7]
    assert came[-1].what is None


class Poisoned(LocalTasks):
    """Runs whose success is no number."""

    def next(self):
        key, what = super().next()
        if isinstance(what, SeedResult):
            what = replace(what, held_out_scores=np.full_like(what.held_out_scores, np.inf))
        return Came(key, what)


@pytest.mark.parametrize("pruner", ["none", "median"])
def test_a_trial_whose_objective_is_no_number_fails_and_says_so(pruner, tmp_path):
    study = parse_study({**PLAN, "pruner": pruner, "trials": 2})
    create_study(tmp_path, study)
    with open_study(tmp_path, study) as found:
        ends = list(sweep(study, found, tmp_path, Poisoned(), 2))
    line = "DataError: success/held-out/barycenter is no finite number, got inf"
    assert [(end.state.name, end.user_attrs["error"]) for end in ends] == [("FAIL", line)] * 2


class Losing(LocalTasks):
    """Runs of which some are lost, by their numbers, when their first seed should come."""

    def __init__(self, *lost):
        super().__init__()
        self.lost = lost

    def next(self):
        came = super().next()
        return Came(came.key, Lost("it went away")) if came.key in self.lost else came


def test_what_the_machine_lost_is_begun_again_with_the_same_settings(tmp_path):
    study = parse_study({**PLAN, "sampler": "random", "trials": 4, "max-failures": 2})
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    for folder in (whole, torn):
        (folder / "trials").mkdir(parents=True)
        create_study(folder, study)
    with open_study(whole, study) as found:
        expected = [end.params for end in sweep(study, found, whole, LocalTasks(), 4)]
    with open_study(torn, study) as found:
        # One attempt at the first trial is lost, three at the second: then it is given up.
        ends = list(sweep(study, found, torn, Losing(0, 2, 3, 4), 3))
        assert [end.params for end in ends] == expected[:3]
        assert [(end.number, end.state.name) for end in ends] == [
            (1, "COMPLETE"),
            (4, "FAIL"),
            (5, "COMPLETE"),
        ]
        assert trial_table(study, shown(found))["state"] == ["COMPLETE", "LOST", "COMPLETE"]
        assert [trial.number for trial in ended(found)] == [1, 5]
    for _ in range(2):  # asked for again once, however often the study is opened
        with open_study(torn, study) as found:
            assert [trial.state.name for trial in found.trials].count("WAITING") == 1
    with open_study(torn, study) as found:
        ends = list(sweep(study, found, torn, Losing(6), 4))
        assert [(end.number, end.params) for end in ends] == [(7, expected[1]), (8, expected[3])]
        assert [trial.number for trial in ended(found)] == [1, 5, 7, 8]


def test_memory_that_gives_out_in_a_trial_is_the_machines_doing(tmp_path, monkeypatch, capsys):
    path, folder = keep(tmp_path, trials=2), tmp_path / "s"
    monkeypatch.setattr(memory, "available", lambda: 10)
    assert main(["sweep", path, "--run-dir", str(folder), *QUIET]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("2 of 2 trials have not ended, the machine did not let them (trial 5: ")
    assert "needs 0.0 GiB and 0.0 GiB are available" in line
    assert trials(folder)["state"] == ["LOST"] * 2
    monkeypatch.undo()
    assert main(["sweep", "--resume", str(folder), *QUIET]) == 0
    assert trials(folder)["state"] == ["COMPLETE"] * 2


def test_trials_lost_for_good_one_after_the_other_end_a_study(tmp_path):
    study = parse_study({**PLAN, "max-failures": 2})
    create_study(tmp_path, study)
    with (
        open_study(tmp_path, study) as found,
        pytest.raises(RunError, match=r"^max-failures 2: .* the last, trial 5, with it went away$"),
    ):
        list(sweep(study, found, tmp_path, Losing(*range(9)), 8))


def test_a_trial_that_died_while_it_was_drawn_is_drawn_again_and_the_same(tmp_path):
    ends = {"low": 0.0, "high": 0.9}
    search = {"fusion.epsilon": PLAN["search"]["fusion.epsilon"], "problem.layout": ends}
    study = parse_study({**PLAN, "sampler": "random", "search": search, "trials": 2})
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    for folder in (whole, torn):
        (folder / "trials").mkdir(parents=True)
        create_study(folder, study)
    with open_study(whole, study) as found:
        expected = [end.params for end in sweep(study, found, whole, LocalTasks(), 2)]
    assert expected[0]["problem.layout"] != expected[1]["problem.layout"]
    with open_study(torn, study) as found:
        found.sampler = make_sampler(study, 0)
        first = found.ask()
        name, entry = next(iter(study.search.items()))
        first.suggest_float(name, entry.low, entry.high, log=entry.log)
    with open_study(torn, study) as found:
        assert [end.params for end in sweep(study, found, torn, LocalTasks(), 2)] == expected
        assert [trial.number for trial in ended(found)] == [1, 2]


def test_a_table_that_cannot_be_made_again_is_told(tmp_path):
    study = parse_study({**PLAN, "trials": 1})
    (tmp_path / "trials").mkdir()
    create_study(tmp_path, study)
    with open_study(tmp_path, study) as found:
        list(sweep(study, found, tmp_path, LocalTasks(), 1))
        (tmp_path / "trials" / "00000.parquet").unlink()
        line = "^the table of trial 0 cannot be made again: it went away$"
        with pytest.raises(RunError, match=line):
            mend_tables(study, found, tmp_path, Losing(0))
