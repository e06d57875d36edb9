"""Commands that cannot be done, or only in part: what is on disk before and after."""

import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from engine import killed
from processes import begin

from fedirl_ray.cli import PROG
from fedirl_ray.engine.folder import REPLACED
from fedirl_ray.run import main

ROOT = Path(__file__).parents[2]
NOBODY = ("--engine.address", "127.0.0.1:1")
SMALL = (
    "--clients", "2", "--problem.size", "3", "--fusion.rules", "mean,barycenter",
    "--evaluation.held-out", "2", "--progress", "False", "--record.figure", "False",
)  # fmt: skip
LOCAL = (*SMALL, "--engine.backend", "local")
FICKLE = """
import os, pathlib
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.problem.family import draw_world

def world(role, index, rng):
    if list(pathlib.Path(os.environ["FAILS_AFTER"]).glob("seeds/seed-00001-*")):
        return None
    return draw_world(ProblemConfig(size=3), 0, index, "client", index)
"""
"""A world that fails once two seeds are kept in some folder."""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


def refusal(words, capsys):
    """The one line on standard error of a command that ends with exit code 2.

    One that names a cluster has a process of its own: this one may have joined another already.
    """
    if NOBODY[0] in words:
        ended = subprocess.run(
            [sys.executable, "-m", "fedirl_ray.run", *words], capture_output=True, text=True
        )
        code, said = ended.returncode, ended.stderr
    else:
        code, said = main(words), capsys.readouterr().err
    assert code == 2, said
    (line,) = said.splitlines()
    return line


def content(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_line_that_a_full_disk_tore_costs_nothing(tmp_path, capsys, monkeypatch):
    (tmp_path / "fickle.py").write_text(FICKLE)
    words = [*LOCAL, "--seeds", "3", "--problem.name", "fickle:world", "--problem.horizon", "9"]
    monkeypatch.setenv("FAILS_AFTER", "run")
    assert main([*words, "--run-dir", "run"]) == 1
    events = tmp_path / "run" / "events.jsonl"
    whole = events.read_text()
    events.write_text(whole + whole[: len(whole) // 2])
    monkeypatch.setenv("FAILS_AFTER", "nowhere")
    assert main(["--resume", "run"]) == 0
    assert events.read_text().startswith(whole)
    assert main(["report", "run"]) == 0


def test_a_world_that_fails_late_costs_no_finished_seed(tmp_path, monkeypatch, capsys):
    (tmp_path / "fickle.py").write_text(FICKLE)
    words = [*LOCAL, "--seeds", "4", "--problem.name", "fickle:world", "--problem.horizon", "9"]
    monkeypatch.setenv("FAILS_AFTER", "run")
    assert main([*words, "--run-dir", "run"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "problem.name fickle:world must return a TabularMDP" in line
    assert line.endswith(f"what was finished is kept, go on with: {PROG} --resume run")
    kept = content(tmp_path / "run" / "seeds")
    assert len(kept) == 2
    assert main(["--resume", "run"]) == 1
    assert "must return a TabularMDP" in capsys.readouterr().err
    assert content(tmp_path / "run" / "seeds") == kept
    monkeypatch.setenv("FAILS_AFTER", "nowhere")
    assert main(["--resume", "run"]) == 0
    assert main([*words, "--run-dir", "whole"]) == 0
    for name in ("arrays.npz", "results.parquet"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_run_is_not_overwritten_by_one_that_cannot_begin(tmp_path, capsys):
    run = tmp_path / "run"
    assert main([*LOCAL, "--seeds", "1", "--run-dir", "run"]) == 0
    old = content(run)
    words = [*SMALL, *NOBODY, "--seeds", "1", "--run-dir", "run", "--overwrite", "True"]
    assert refusal(words, capsys).startswith("engine.address must be")
    assert content(run) == old


def test_what_an_overwriting_run_replaces_is_there_until_it_has_ended(tmp_path, capsys):
    run = tmp_path / "run"
    assert main([*LOCAL, "--seeds", "1", "--run-dir", "run"]) == 0
    old = content(run)
    words = [*LOCAL, "--seeds", "3", "--seed", "1", "--run-dir", "run", "--overwrite", "True"]
    process = begin(*words, before=partial(killed.arm, "seed", 1))
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert content(run / REPLACED) == old
    assert main(["--resume", "run"]) == 0
    assert "replaces is kept" not in capsys.readouterr().err
    assert not (run / REPLACED).exists()
    assert main([*LOCAL, "--seeds", "3", "--seed", "1", "--run-dir", "again"]) == 0
    for name in ("arrays.npz", "results.parquet"):
        assert (run / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([*SMALL, *NOBODY], "engine.address"),
        (["cartpole", "--progress", "False", *NOBODY], "engine.address"),
        (["cartpole", "--problem.name", "no:where"], "problem.name"),
        (["control", "--problem.name", "broken:world"], "problem.name"),
        (["control", "broken:world"], "settings start with --, got 'broken:world'"),
        (["reproduce", "figure2", "--scale", "smoke", "--progress", "False", *NOBODY],
         "engine.address"),
        ([*LOCAL, "--problem.name", "broken:world"], "problem.name"),
        ([*LOCAL, "--fusion.sigma", "1e-9", "--fusion.rules", "mean,arithmetic"], "fusion.sigma"),
    ],
)  # fmt: skip
def test_what_turns_out_to_be_impossible_leaves_no_folder(tmp_path, words, said, capsys):
    (tmp_path / "broken.py").write_text("import nothing_of_this_name\n")
    before = set(tmp_path.iterdir())
    # Whose cluster does not answer takes a process, and a second: they are refused with one folder.
    for place in (["--run-dir", "below/run"], *([] if NOBODY[0] in words else [[]])):
        assert refusal([*words, *place], capsys).startswith(said)
        assert set(tmp_path.iterdir()) - before <= {tmp_path / "__pycache__"}


@pytest.mark.ray
def test_a_stress_run_that_measured_nothing_is_as_if_it_had_not_been(tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    for name in ("stress.parquet", "summary.json", "table.txt", "scaling.png"):
        (folder / name).write_text("old")
    old = content(folder)
    words = ["stress", "--clients", "20000", "--run-dir", str(folder), "--overwrite", "True"]
    process = subprocess.Popen(
        [sys.executable, "-m", "fedirl_ray.run", *words, "--progress", "False"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not (folder / REPLACED).exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said == "Interrupted; nothing was measured\n"
    assert content(folder) == old
