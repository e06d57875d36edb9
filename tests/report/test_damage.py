"""Folders of other hands: whatever is in them, `report` says one line or writes its page."""

import json
import random
import shutil

import pytest
import yaml
from fedirl_ray.report.control_section import control_section

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
        for i in range(4):
            folder = shutil.copytree(source, tmp_path / f"{name}{i}")
            (folder / "report.html").unlink(missing_ok=True)
            data = bytearray((folder / name).read_bytes())
            if i < 2 or not data:
                data = data[: draw.randrange(max(len(data), 1))]
            else:
                for _ in range(3):
                    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
            (folder / name).write_bytes(data)
            refused += reported(folder, capsys)[0] == 2
    assert refused > len(names)


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
    words += " --evaluation.held-out 3 --engine.backend local --record.progress False"
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


@pytest.fixture
def control_folder(tmp_path):
    folder = tmp_path / "control"
    folder.mkdir()
    (folder / "control.yaml").write_text("task: {name: CartPole-v1}\n")
    (folder / "results.md").write_text(
        f"# CartPole-v1: clients 2, seeds 3\n\n`run control`\n\n| reward | return |\n|---|---:|\n"
        f"| mean | 9 ± 1 |\n| {HOSTILE} | <script>alert(1)</script> |\n\n![curves](curves.png)\n"
    )
    return folder


def test_a_control_study_has_a_page_too(control_folder, capsys):
    assert main(["report", str(control_folder)]) == 0
    page = (control_folder / "report.html").read_text()
    assert "<td>mean</td>" in page
    assert "<h1>CartPole-v1: clients 2, seeds 3, control</h1>" in page
    assert "9 ± 1" in page
    assert "<script>alert" not in page
    assert "\x1b" not in page
    assert "curves.png" not in page


def test_a_control_studys_curves_are_in_its_page(control_folder, capsys, tmp_path):
    (control_folder / "curves.png").write_bytes(b"\x89PNG\r\n\x1a\n0123")
    assert "iVBORw0KGgowMTIz" in control_section(control_folder, "r0")["picture"]
    (control_folder / "curves.png").write_bytes(b"GIF")
    assert "curves.png must be a PNG" in reported(control_folder, capsys)[1]


def test_a_control_study_under_way_says_how_to_go_on(control_folder, capsys):
    (control_folder / "results.md").unlink()
    code, line = reported(control_folder, capsys)
    assert code == 2
    assert f"go on with: python -m fedirl_ray.run control --resume {control_folder}" in line


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"no title\n"])
def test_a_control_studys_damaged_page_is_one_line(control_folder, capsys, damage):
    (control_folder / "results.md").write_bytes(damage)
    code, line = reported(control_folder, capsys)
    assert code == 2
    assert "results.md" in line
