"""The command, from a name on the command line to the page it leaves."""

import json
import os
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest

import fedirl_ray.command.reproduce as reproduce
from fedirl_ray.engine.folder import hold
from fedirl_ray.run import main
from fedirl_ray.study.reproduction.parts import GRID, PARTS

QUICK = ("--scale", "smoke", "--progress", "False")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "all"
    assert main(["reproduce", "all", *QUICK, "--run-dir", str(folder)]) == 0
    return folder


def test_every_part_leaves_its_rows_and_its_chapter(whole):
    text = (whole / "results.md").read_text()
    for name in GRID:
        assert pq.read_table(whole / f"{name}.parquet").num_rows > 0
        assert f"## {PARTS[name].title}" in text
        assert f"`python -m fedirl_ray.run reproduce {name} --scale smoke`" in text


def test_every_picture_of_the_page_is_there(whole):
    drawn = {path.name for path in whole.glob("*.png")}
    text = (whole / "results.md").read_text()
    assert {"theorem1.png", "theorem1-ratio.png", "gaussians.png"} <= drawn
    for name in drawn:
        assert f"]({name})" in text
        assert (whole / name).read_bytes().startswith(b"\x89PNG")


def test_a_finished_part_is_not_run_again(whole, monkeypatch, capsys):
    before = {path.name: path.read_bytes() for path in whole.glob("*.parquet")}

    def refuse(plan):
        raise AssertionError("ran again")

    again = {name: reproduce.PARTS[name].__class__(*list(vars(part).values())[:3], refuse)
             for name, part in PARTS.items()}  # fmt: skip
    monkeypatch.setattr(reproduce, "PARTS", again)
    assert main(["reproduce", "--resume", str(whole), "--progress", "False"]) == 0
    assert {path.name: path.read_bytes() for path in whole.glob("*.parquet")} == before
    assert "Kept from before: table1" in capsys.readouterr().err


def test_a_part_run_alone_finds_the_same_bytes(whole, tmp_path):
    folder = tmp_path / "one"
    assert main(["reproduce", "communication", *QUICK, "--run-dir", str(folder)]) == 0
    name = "communication.parquet"
    assert (folder / name).read_bytes() == (whole / name).read_bytes()


def test_another_root_seed_finds_other_numbers(whole, tmp_path):
    folder = tmp_path / "seed"
    words = ["reproduce", "gaussians", *QUICK, "--seed", "1", "--run-dir", str(folder)]
    assert main(words) == 0
    name = "gaussians.parquet"
    assert (folder / name).read_bytes() != (whole / name).read_bytes()
    assert "--seed 1`" in (folder / "results.md").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tabel1"], "no part is called tabel1; did you mean table1?"),
        (["xyz"], "no part is called xyz; parts: table1"),
        (["table1", "--scale", "laptp"], "scale must be smoke, laptop or paper, got 'laptp'"),
        (["table1", "--scael", "smoke"], "no setting is called --scael; did you mean --scale?"),
        (["table1", "--seed", "-1"], "seed must be an integer >= 0, got -1"),
        (
            ["--resume", "nowhere"],
            "resume must be the folder of a reproduction (with reproduce.yaml)",
        ),
    ],
)
def test_a_mistake_is_told_in_one_line(words, said, capsys):
    assert main(["reproduce", *words]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(said)


def test_a_folder_goes_on_with_what_it_was_begun_with_alone(whole, capsys):
    assert main(["reproduce", "--resume", str(whole), "--seed", "3"]) == 2
    assert capsys.readouterr().err == (
        "seed must stay 0 when a reproduction is resumed, got 3; only part and engine.* "
        "may change\n"
    )


def edited(folder, **more):
    path = folder / "identity.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def test_settings_that_were_edited_are_refused_by_name(tmp_path, capsys):
    words = ["reproduce", "gaussians", *QUICK, "--run-dir", "run"]
    assert main(words) == 0
    file = tmp_path / "run" / "reproduce.yaml"
    file.write_text(file.read_text().replace("scale: smoke", "scale: laptop"))
    assert main(["reproduce", "--resume", "run"]) == 2
    assert "scale must stay smoke when a reproduction is resumed" in capsys.readouterr().err
    (tmp_path / "run" / "identity.json").unlink()  # an earlier version's: what its file says
    assert main(["reproduce", "--resume", "run", "--seed", "3"]) == 2
    assert "seed must stay 0 when" in capsys.readouterr().err


def test_other_code_adds_no_part_to_finished_ones_but_draws_their_page(tmp_path, capsys):
    assert main(["reproduce", "gaussians", *QUICK, "--run-dir", "run"]) == 0
    edited(tmp_path / "run", version="0.0.1", source="0123")
    capsys.readouterr()
    resume = ["reproduce", "--resume", "run", "--progress", "False"]
    assert main([*resume, "--part", "communication"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "got run of fedirl_ray 0.0.1 (source 0123); go on with that, or begin anew" in line
    assert "reproduce communication --scale smoke --seed 0" in line
    assert main(resume) == 0
    rows = tmp_path / "run" / "gaussians.parquet"
    kept = rows.read_bytes()
    rows.unlink()
    assert main(resume) == 0
    assert "was begun by fedirl_ray 0.0.1 (source 0123), and nothing in" in capsys.readouterr().err
    assert rows.read_bytes() == kept
    assert main([*resume, "--part", "communication"]) == 0


def test_a_folder_that_holds_something_is_not_written_to(tmp_path, capsys):
    (tmp_path / "mine").write_text("")
    assert main(["reproduce", "gaussians", *QUICK, "--run-dir", str(tmp_path)]) == 2
    assert "must be a new or empty folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_reproduction_is_overwritten_where_that_is_asked_for(tmp_path, capsys):
    words = ["reproduce", "gaussians", *QUICK, "--run-dir", "run"]
    assert main(words) == 0
    kept = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    assert main(words) == 2
    assert capsys.readouterr().err.endswith("; --overwrite true replaces a reproduction\n")
    assert main([*words, "--overwrite", "yes"]) == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == kept


def test_a_folder_that_another_process_works_in_is_left_to_it(whole, capsys):
    with hold(whole, "resume"):
        assert main(["reproduce", "--resume", str(whole)]) == 2
    assert "resume must be a folder that no other process works in" in capsys.readouterr().err


def test_a_laptops_estimate_is_told_before_anything_is_run(tmp_path, monkeypatch, capsys):
    def stop(name, plan, bar):
        raise KeyboardInterrupt

    monkeypatch.setattr(reproduce, "_rows", stop)
    words = ["reproduce", "theorem1", "--run-dir", str(tmp_path / "x"), "--progress", "False"]
    assert main(words) == 130
    told = capsys.readouterr().err.splitlines()
    assert told[0].endswith("min of one core: theorem1")
    assert f"reproduce --resume {tmp_path / 'x'}" in told[1]


def test_ctrl_c_ends_with_130_and_leaves_what_can_be_resumed(tmp_path):
    folder = tmp_path / "stopped"
    words = ["reproduce", "table2", "--progress", "False", "--run-dir", str(folder)]
    process = subprocess.Popen(
        [sys.executable, "-m", "fedirl_ray.run", *words],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ},
    )
    while not (folder / "reproduce.yaml").exists():
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"go on with: python -m fedirl_ray.run reproduce --resume {folder}" in told
    assert "Traceback" not in told
    assert not (folder / "table2.parquet").exists()
