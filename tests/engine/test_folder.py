"""Folders that one process at a time works in."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from engine import things
from engine.things import KIND, content, fill, overwrite, taking
from hypothesis import given
from hypothesis import strategies as st

from fedirl_ray.engine.folder import (
    LOCK,
    REMOVED,
    REPLACED,
    REPLACING,
    claim,
    end,
    failing_late,
    fresh,
    hold,
    reopen,
    slug,
)
from fedirl_ray.errors import ConfigError, RunError
from fedirl_ray.run import main

ROOT = Path(__file__).parents[2]
LONG = ["--engine.backend", "local", "--seeds", "10000", "--clients", "2", "--problem.size", "3",
        "--progress", "False"]  # fmt: skip


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


def test_a_lock_that_is_anothers_by_now_is_left_to_it(tmp_path):
    with hold(tmp_path, "resume"):
        (tmp_path / LOCK).unlink()  # somebody tidied up
        other = hold(tmp_path, "resume")
        other.__enter__()
    with pytest.raises(ConfigError, match="no other process works in"):
        hold(tmp_path, "resume").__enter__()
    other.__exit__(None, None, None)
    assert not list(tmp_path.iterdir())


def test_only_what_the_command_writes_is_overwritten_and_only_when_asked_to(tmp_path):
    fill(tmp_path)
    before = content(tmp_path)
    with pytest.raises(ConfigError, match=r"must be a new or empty folder, .*; so be it"):
        taking(tmp_path).__enter__()
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"nothing but what is to be overwritten, .*letter"):
        taking(tmp_path, overwrite=True).__enter__()
    assert content(tmp_path) == before | {"letter.txt": "mine"}


def test_what_is_overwritten_is_kept_until_what_replaces_it_has_ended(tmp_path, capsys):
    fill(tmp_path)
    old = content(tmp_path)
    with taking(tmp_path, overwrite=True):
        assert {path.name for path in tmp_path.iterdir()} == {LOCK, REPLACED}
        fill(tmp_path, "new")
        assert content(tmp_path / REPLACED) == old
        assert capsys.readouterr().err == ""
    told = f"what {tmp_path} replaces is kept in {tmp_path / REPLACED} until this has ended\n"
    assert capsys.readouterr().err == told
    with reopen(tmp_path, KIND, "resume"):
        (tmp_path / "table.txt").write_text("new")
    assert capsys.readouterr().err == told
    with reopen(tmp_path, KIND, "resume"):
        end(tmp_path)
    assert capsys.readouterr().err == ""
    names = ("settings.yaml", "diary.txt", "pieces/one", "table.txt")
    assert content(tmp_path) == dict.fromkeys(names, "new")


@pytest.mark.parametrize("failure", [ConfigError("no"), KeyboardInterrupt(), RuntimeError("bug")])
def test_what_cannot_begin_leaves_everything_as_it_was(tmp_path, failure):
    fill(tmp_path / "there")
    (tmp_path / "empty").mkdir()
    old = content(tmp_path)
    for name in ("there", "empty", "new", "far/below/new"):
        folder = tmp_path / name
        with pytest.raises(type(failure)):
            overwrite(folder, failure, work=False)
    assert content(tmp_path) == old
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "there"]


def test_a_folder_that_holds_work_is_never_removed(tmp_path, capsys):
    fill(tmp_path / "there")
    old = content(tmp_path / "there")
    for name in ("there", "new"):
        folder = tmp_path / name
        with pytest.raises(ConfigError):
            overwrite(folder, ConfigError("too late"))
        assert (folder / "pieces" / "one").read_text() == "new"
    assert content(tmp_path / "there" / REPLACED) == old
    assert capsys.readouterr().err.count("\n") == 1


def test_work_is_whatever_is_not_known_to_be_none(tmp_path):
    assert KIND.work(tmp_path / "nowhere") == frozenset()
    fill(tmp_path)
    (tmp_path / ".table.txt.part").write_text("half")
    (tmp_path / "pieces" / ".two.part").write_text("half")
    (tmp_path / "empty").mkdir()
    (tmp_path / REPLACED).mkdir()
    (tmp_path / REPLACED / "other").write_text("")
    assert KIND.work(tmp_path) == {tmp_path / "pieces" / "one"}
    (tmp_path / "pieces" / "diary.txt").write_text("")  # blank at the top only
    (tmp_path / "letter").symlink_to(tmp_path / "nowhere")
    assert {path.name for path in KIND.work(tmp_path)} == {"one", "diary.txt", "letter"}


def test_what_was_refused_late_is_a_failure_of_the_run(tmp_path):
    fill(tmp_path)

    @failing_late(tmp_path, KIND)
    def fail(*pieces):
        for name in pieces:
            (tmp_path / "pieces" / name).write_text("")
        raise ConfigError("no")

    with pytest.raises(ConfigError, match="no"):
        fail()
    with pytest.raises(RunError, match="no"):
        fail("two")
    with pytest.raises(ConfigError, match="no"):
        fail("two")  # had been there before


def test_a_folder_begun_twice_in_vain_keeps_both(tmp_path, capsys):
    fill(tmp_path, "first")
    with taking(tmp_path, overwrite=True):
        fill(tmp_path, "second")
    with taking(tmp_path, overwrite=True):
        (tmp_path / "settings.yaml").write_text("third")
    assert (tmp_path / REPLACED / "pieces" / "one").read_text() == "second"
    assert (tmp_path / REPLACED / REPLACED / "pieces" / "one").read_text() == "first"
    with reopen(tmp_path, KIND, "resume"):
        end(tmp_path)
    assert content(tmp_path) == {"settings.yaml": "third"}


def test_one_that_cannot_be_gone_on_with_is_nothing_without_work(tmp_path):
    kind = replace(KIND, settings=None, made=KIND.made | {"settings.yaml"})
    fill(tmp_path)
    old = content(tmp_path)
    with claim(tmp_path, kind, "run-dir", overwrite=True, hint=""):
        (tmp_path / "diary.txt").write_text("new")
    assert content(tmp_path) == old
    with claim(tmp_path, kind, "run-dir", overwrite=True, hint=""):
        (tmp_path / "table.txt").write_text("new")
    with pytest.raises(ConfigError, match="must be a new or empty folder"):
        claim(tmp_path, kind, "run-dir", hint="").__enter__()
    assert (tmp_path / "table.txt").read_text() == "new"
    assert content(tmp_path / REPLACED) == old


@pytest.mark.parametrize("ends", [True, False])
def test_a_process_killed_between_any_two_steps_loses_nothing(tmp_path, ends):
    outcomes = set()
    for step in range(1, 100):
        folder = tmp_path / str(step)
        fill(folder)
        old = content(folder)
        words = [sys.executable, things.__file__, str(folder), str(step), str(ends)]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        if done.returncode == 0:
            break
        with reopen(folder, KIND, "resume"):
            pass
        found = content(folder)
        if found == old:  # back in its place
            outcomes.add("old")
        else:  # begun, with the old one aside; or ended
            assert found["settings.yaml"] == found["diary.txt"] == "new"
            aside = folder / REPLACED
            assert content(aside) == old if aside.exists() else found["pieces/one"] == "new"
            outcomes.add("aside" if aside.exists() else "new")
        assert {path.name for path in folder.iterdir()} <= {
            "settings.yaml", "diary.txt", "pieces", ".table.txt.part", REPLACED
        }  # fmt: skip
    assert step > 10
    assert outcomes == ({"old", "aside", "new"} if ends else {"old", "aside"})


def test_what_the_next_process_finds_it_says_in_one_line(tmp_path, capsys):
    fill(tmp_path / REPLACING)
    with reopen(tmp_path, KIND, "resume"):
        pass
    assert capsys.readouterr().err == (
        f"{tmp_path} was about to be overwritten when that stopped; all is back in its place\n"
    )
    for name in ("settings.yaml", "diary.txt", "pieces"):
        (tmp_path / REPLACED).mkdir(exist_ok=True)
        (tmp_path / name).rename(tmp_path / REPLACED / name)
    with pytest.raises(ConfigError, match="must be a new or empty folder"):
        taking(tmp_path).__enter__()
    assert capsys.readouterr().err == (
        f"what overwrote {tmp_path} never began; what was there before is back in its place\n"
    )
    assert (tmp_path / "pieces" / "one").read_text() == "old"


def test_what_a_killed_process_was_removing_is_gone_with_the_next(tmp_path, capsys):
    fill(tmp_path, "new")
    fill(tmp_path / REMOVED)
    with reopen(tmp_path, KIND, "resume"):
        assert set(content(tmp_path).values()) == {"new", ""}  # the lock is empty
    assert not (tmp_path / REMOVED).exists()
    assert capsys.readouterr().err == ""


def test_what_died_before_it_began_is_cleared_but_nothing_of_anybody_elses(tmp_path, capsys):
    (tmp_path / "pieces").mkdir()
    (tmp_path / ".settings.yaml.part").write_text("half")
    with taking(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [LOCK]
    (tmp_path / "mine").mkdir()
    with pytest.raises(ConfigError, match="must be a new or empty folder"):
        taking(tmp_path).__enter__()
    assert (tmp_path / "mine").is_dir()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("link", [False, True])
def test_the_current_folder_and_links_are_overwritten_like_others(tmp_path, monkeypatch, link):
    fill(tmp_path / "there")
    (tmp_path / "link").symlink_to("there")
    monkeypatch.chdir(tmp_path / "there")
    folder = Path("../link" if link else ".")
    with pytest.raises(ConfigError):
        overwrite(folder, ConfigError("no"), work=False)
    assert content(Path())["diary.txt"] == "old"
    overwrite(folder)
    assert set(content(Path()).values()) == {"new"}


def test_what_is_no_folder_of_its_kind_is_not_touched(tmp_path):
    (tmp_path / "letter.txt").write_text("mine")
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ConfigError, match=r"resume must be the folder of a thing \(with set"):
            reopen(folder, KIND, "resume").__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_a_folder_of_no_name_is_one_that_is_not_there(tmp_path):
    made = []
    for _ in range(3):  # two of them at least within one second
        made.append(fresh(str(tmp_path), "run"))
        made[-1].mkdir()
    assert len(set(made)) == 3
    assert all(re.fullmatch(r"\d{8}-\d{6}-run(-[23])?", path.name) for path in made)


@given(st.text())
def test_a_slug_is_one_plain_folder_name(name):
    part = slug(name)
    assert 0 < len(part) <= 60
    assert part.isascii()
    assert not set(part) & set("/\\: \n\0")
    assert part[0] not in ".-_"
    assert part[-1] not in ".-_"


def test_slugs_stay_readable():
    assert [slug(name) for name in ("FrozenLake-v1", "my.worlds:draw", "../..", "")] == [
        "FrozenLake-v1", "my.worlds-draw", "problem", "problem"
    ]  # fmt: skip
