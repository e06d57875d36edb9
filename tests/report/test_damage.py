"""Folders of other hands: whatever is in them, `report` says one line or writes its page."""

import json
import random
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from fedirl_ray.report.page import write_page
from fedirl_ray.run import main

HOSTILE = "[red]\x1b[31m<b>x</b>[/red]"


@pytest.fixture
def copied(run_folder, tmp_path):
    return shutil.copytree(run_folder, tmp_path / "run")


def reported(folder, capsys):
    """Exit code and what was said; no file comes of a refusal."""
    before = {path.name for path in folder.iterdir()}
    code = main(["report", str(folder)])
    said = capsys.readouterr().err
    if code != 0:
        assert code == 2
        assert said.count("\n") == 1
        assert len(said) < 2_500
        assert {path.name for path in folder.iterdir()} == before
    return code, said


@pytest.mark.parametrize("which", ["run_folder", "study_folder"])
def test_files_cut_short_or_with_a_flipped_byte_end_in_one_line_or_in_a_page(
    which, request, tmp_path, capsys, recwarn
):
    source = request.getfixturevalue(which)
    draw = random.Random(5)
    refused = 0
    names = sorted(path.name for path in source.iterdir() if path.is_file())
    for name in (name for name in names if name not in (".lock", "report.html", "figure.png")):
        for i in range(2):
            folder = shutil.copytree(source, tmp_path / f"{name}{i}")
            (folder / "report.html").unlink(missing_ok=True)
            data = bytearray((folder / name).read_bytes())
            if i == 0 or not data:
                data = data[: draw.randrange(max(len(data), 1))]
            else:
                for _ in range(3):
                    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
            (folder / name).write_bytes(data)
            refused += reported(folder, capsys)[0] == 2
    assert refused > len(names) / 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seeds": 7}, "summary.json must be of the run in config.yaml, whose seeds is"),
        ({"clients": 9}, "summary.json must be of the run in config.yaml, whose clients is 9"),
        ({"seed": 4}, "summary.json must be of the run in config.yaml, whose root_seed is 4"),
        ({"fusion": {"rules": ["mean", "barycenter"]}}, "arrays.npz must hold seeds, clients"),
    ],
)
def test_settings_of_another_run_are_told_from_what_it_left(copied, capsys, change, said):
    config = yaml.safe_load((copied / "config.yaml").read_text())
    for name, value in change.items():
        config[name] = config[name] | value if isinstance(value, dict) else value
    (copied / "config.yaml").write_text(yaml.safe_dump(config))
    code, line = reported(copied, capsys)
    assert code == 2
    assert said in line


def test_results_of_another_run_are_told_from_its_arrays(copied, capsys, tmp_path):
    words = "--clients 2 --seeds 3 --problem.size 4 --problem.demonstrations 5 --seed 1"
    words += " --evaluation.held-out 3 --engine.backend local --progress False"
    words += f" --federation.rounds 2 --run-dir {tmp_path / 'other'}"
    assert main(words.split()) == 0
    shutil.copy(tmp_path / "other" / "results.parquet", copied)
    capsys.readouterr()
    code, line = reported(copied, capsys)
    assert code == 2
    assert "results.parquet must hold what arrays.npz holds, got another success" in line


def test_well_formed_files_of_another_shape_are_one_line(copied, capsys):
    summary = json.loads((copied / "summary.json").read_text())
    summary["communication"] = {"rules": 3}
    (copied / "summary.json").write_text(json.dumps(summary))
    code, line = reported(copied, capsys)
    assert code == 2
    assert "got one that cannot be shown: TypeError" in line


def test_names_are_shown_as_they_are_in_every_output(copied):
    event = {"time": "now", "what": "placed", "reason": HOSTILE, "seed": None, "round": None,
             "clients": []}  # fmt: skip
    (copied / "events.jsonl").write_text(json.dumps(event) + "\n")
    page = write_page([copied])
    assert "[red]\\x1b[31m&lt;b&gt;x&lt;/b&gt;[/red]" in page
    assert "\x1b" not in page


def test_a_control_study_of_an_earlier_version_is_refused_and_says_what_to_read(tmp_path, capsys):
    (tmp_path / "control.yaml").write_text("task: {name: CartPole-v1}\n")
    (tmp_path / "environment.json").write_text('{"fedirl_ray": "0.1.0"}')
    code, line = reported(tmp_path, capsys)
    assert code == 2
    assert "got a control study, which fedirl_ray 0.1.0 left; its own page is results.md" in line


def test_a_run_of_an_earlier_version_is_refused_and_says_which(copied, capsys):
    rows = [{"seed": 0, "rule": "mean", "split": "held-out", "policy": "soft",
             "metric": "success", "value": 1.0}]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), copied / "results.parquet")
    written = {"fedirl_ray": "0.0.9", "commit": "0123456789abcdef"}
    (copied / "environment.json").write_text(json.dumps(written))
    code, line = reported(copied, capsys)
    assert code == 2
    assert "of an earlier form that fedirl_ray 0.0.9 (commit 0123456789ab) left" in line
    (copied / "environment.json").unlink()
    assert "form that an earlier version left" in reported(copied, capsys)[1]


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("rules", lambda names: names[::-1], "arrays.npz must hold seeds, clients and rules of"),
        ("judges", lambda names: names[1:], "arrays.npz must name the judge, metric and step"),
        ("judges", lambda names: np.roll(names, 1), "must hold"),
        ("fact_names", None, "arrays.npz must hold fact_names"),
    ],
)
def test_names_that_do_not_fit_the_numbers_beside_them_are_refused(
    learning_folder, tmp_path, capsys, name, change, said
):
    folder = shutil.copytree(learning_folder, tmp_path / "run")
    with np.load(folder / "arrays.npz") as archive:
        arrays = dict(archive)
    if change is None:
        del arrays[name]
    else:
        arrays[name] = change(arrays[name])
    np.savez(folder / "arrays.npz", **arrays)
    code, line = reported(folder, capsys)
    assert code == 2
    assert said in line


def test_returns_of_another_run_are_told_from_its_arrays(learning_folder, tmp_path, capsys):
    folder = shutil.copytree(learning_folder, tmp_path / "run")
    table = pq.read_table(folder / "results.parquet").to_pylist()
    changed = [row | {"value": row["value"] * (1.0 + 1e-6 * (row["metric"] == "return"))}
               for row in table]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(changed), folder / "results.parquet")
    code, line = reported(folder, capsys)
    assert code == 2
    assert "must hold what arrays.npz holds, got another return of local" in line
