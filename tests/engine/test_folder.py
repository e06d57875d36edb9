"""Folders that one process at a time works in."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedirl_ray.engine.folder import LOCK, claim, hold
from fedirl_ray.errors import ConfigError
from fedirl_ray.run import main

ROOT = Path(__file__).parents[2]
LONG = ["--engine.backend", "local", "--seeds", "10000", "--clients", "2", "--problem.size", "3",
        "--record.progress", "False"]  # fmt: skip


@pytest.fixture
def run_under_way(tmp_path):
    """The folder of a run in another process that will not end by itself, and that process."""
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "fedirl_ray.run", *LONG, "--run-dir", folder], cwd=ROOT
    )
    deadline = time.monotonic() + 60.0
    while not list(folder.glob("seeds/seed-*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield folder, process
    process.kill()
    process.wait()


def test_a_run_under_way_is_neither_resumed_nor_overwritten_by_another(run_under_way, capsys):
    folder, process = run_under_way
    for words in (["--resume", folder], [*LONG, "--run-dir", folder, "--overwrite", "True"]):
        assert main([str(word) for word in words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"must be a folder that no other process works in, got {folder}" in line
    assert process.poll() is None
    assert list(folder.glob("seeds/seed-*"))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert (folder / LOCK).is_file()  # left behind, and in nobody's way
    with hold(folder, "resume"):
        assert (folder / LOCK).is_file()
    assert not (folder / LOCK).exists()


def test_a_folder_is_held_once_and_again_when_it_has_been_let_go(tmp_path):
    for _ in range(2):
        with hold(tmp_path, "resume"):
            with pytest.raises(ConfigError, match="no other process works in"):
                hold(tmp_path, "resume").__enter__()
            assert [path.name for path in tmp_path.iterdir()] == [LOCK]
        assert not list(tmp_path.iterdir())


def test_a_folder_that_may_be_overwritten_is_cleared_and_no_other(tmp_path):
    (tmp_path / "table.txt").write_text("old")
    (tmp_path / "seeds").mkdir()
    own = {"table.txt", "seeds"}.__contains__
    with (
        pytest.raises(ConfigError, match=r"run-dir must be a new or empty folder, .*; so be it"),
        claim(tmp_path, "run-dir", own=own, hint="so be it"),
    ):
        pass
    with claim(tmp_path, "run-dir", own=own, overwrite=True, hint=""):
        assert [path.name for path in tmp_path.iterdir()] == [LOCK]
        (tmp_path / "letter.txt").write_text("mine")
    with (
        pytest.raises(ConfigError, match=r"nothing but what is to be overwritten, got .*letter"),
        claim(tmp_path, "run-dir", own=own, overwrite=True, hint=""),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
