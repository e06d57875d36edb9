"""What a command was started with, terminals apart: it says what it can, and ends as it should."""

import os
import shlex
import subprocess
import sys

import pytest

from fedirl_ray.cli import typed
from fedirl_ray.errors import reason

TINY = (
    "--seeds 2 --clients 2 --problem.size 3 --fusion.rules mean,barycenter --evaluation.held-out 2 "
    "--engine.backend local --progress False --record.figure False"
)


def start(folder, redirected="", **environment):
    line = f"exec {shlex.quote(sys.executable)} -m fedirl_ray.run {TINY} --run-dir {folder}"
    return subprocess.run(
        ["sh", "-c", f"{line} {redirected}"],
        capture_output=True,
        env=os.environ | environment,
        timeout=300,
        check=False,
    )


def test_an_encoding_without_some_signs_shows_the_table_all_the_same(tmp_path):
    done = start(tmp_path / "run", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"parameter mean" in done.stdout
    assert b"0.0 ? 0.0" in done.stdout
    assert "±" in (tmp_path / "run" / "table.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("redirected", [">&-", ">&- 2>&- <&-"])
def test_closed_streams_are_no_failure_and_get_no_file_in_their_place(tmp_path, redirected):
    done = start(tmp_path / "run", redirected)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (tmp_path / "run" / "table.txt").is_file()
    assert not list((tmp_path / "run").glob(".*"))


def test_a_full_disk_behind_standard_output_is_one_line_without_a_name(tmp_path):
    done = start(tmp_path / "run", ">/dev/full")
    assert done.returncode == 1
    assert done.stderr.startswith(b"No space left on device; what was finished is kept")
    assert done.stderr.count(b"\n") == 1


def test_what_the_system_says_names_a_file_where_there_is_one():
    assert reason(OSError(28, "No space left on device")) == "No space left on device"
    assert reason(OSError(2, "No such file or directory", "x")) == "No such file or directory: x"
    assert reason(OSError("odd")) == "odd"


def test_commands_that_are_shown_can_be_typed():
    line = typed("report", "a folder/ü", "--seeds", 3)
    assert shlex.split(line)[3:] == ["report", "a folder/ü", "--seeds", "3"]
    assert line.endswith("'a folder/ü' --seeds 3")
