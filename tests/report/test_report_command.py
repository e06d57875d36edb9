import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fedirl_ray.run import main


@pytest.fixture
def copied(run_folder, tmp_path):
    return shutil.copytree(run_folder, tmp_path / "run")


def refusal(capsys, *words):
    """The one line a bad request is answered with."""
    assert main(["report", *map(str, words)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_the_page_goes_into_the_folder_or_where_it_is_wanted(copied, capsys, tmp_path):
    assert main(["report", str(copied)]) == 0
    page = copied / "report.html"
    assert capsys.readouterr().out == f"Page: {page}\n"
    assert page.read_text().startswith("<!doctype html>")
    other = tmp_path / "other.html"
    assert main(["report", str(copied), str(copied), "--output", str(other)]) == 0
    assert other.stat().st_size > page.stat().st_size


def test_a_run_with_a_page_can_still_be_overwritten(copied):
    assert main(["report", str(copied)]) == 0
    words = "--seeds 1 --problem.size 3 --engine.backend local --progress False"
    assert main([*words.split(), "--run-dir", str(copied), "--overwrite", "True"]) == 0
    assert not (copied / "report.html").exists()


def test_one_seed_makes_a_page_without_intervals(tmp_path):
    words = "--seeds 1 --problem.size 3 --engine.backend local --progress False"
    assert main([*words.split(), "--run-dir", str(tmp_path / "one")]) == 0
    assert main(["report", str(tmp_path / "one")]) == 0
    page = (tmp_path / "one" / "report.html").read_text()
    assert "no interval, no verdict" in page
    assert ">nan" not in page


def test_without_a_folder_it_says_what_it_needs(capsys):
    assert "report must be given folders" in refusal(capsys)


def test_a_folder_that_is_neither_is_refused(capsys, tmp_path):
    assert f"{tmp_path} must be the folder of a run" in refusal(capsys, tmp_path)
    assert "must be the folder of a run" in refusal(capsys, tmp_path / "nowhere")


def test_a_run_under_way_is_refused_with_how_to_go_on(capsys, copied):
    (copied / "table.txt").unlink()
    assert f"--resume {copied}" in refusal(capsys, copied)


@pytest.mark.parametrize(
    "name", ["results.parquet", "summary.json", "arrays.npz", "timings.json", "figure.png"]
)
def test_a_damaged_file_of_a_run_is_named(capsys, copied, name):
    (copied / name).write_bytes(b"\x00damaged")
    assert name in refusal(capsys, copied)


@pytest.mark.parametrize("name", ["results.parquet", "summary.json", "events.jsonl"])
def test_a_missing_file_of_a_run_is_named(capsys, copied, name):
    (copied / name).unlink()
    assert name in refusal(capsys, copied)


def test_a_summary_of_another_program_is_refused(capsys, copied):
    (copied / "summary.json").write_text('{"success": {}}')
    assert "summary.json must hold communication" in refusal(capsys, copied)


def test_nothing_is_unpickled(capsys, copied):
    np.savez(copied / "arrays.npz", theta=np.array([{"a": 1}], dtype=object))
    assert "without pickles" in refusal(capsys, copied)


def test_a_page_that_cannot_be_written_is_refused(capsys, copied, tmp_path):
    said = refusal(capsys, copied, "--output", tmp_path / "nowhere" / "page.html")
    assert "output must be a file that can be written" in said


@pytest.mark.parametrize("name", ["results.parquet", "trials.parquet", "journal.log"])
def test_a_damaged_or_missing_file_of_a_study_is_named(capsys, study_folder, tmp_path, name):
    copied = shutil.copytree(study_folder, tmp_path / "study")
    (copied / name).write_bytes(b"damaged\n")
    assert name in refusal(capsys, copied)
    (copied / name).unlink()
    assert name in refusal(capsys, copied)


def test_a_studys_map_and_curves_are_written_on_demand(study_folder, run_folder, capsys, tmp_path):
    words = ["report", str(study_folder), "--output", str(tmp_path / "page.html")]
    pictures = [tmp_path / "map.png", tmp_path / "curves.png"]
    assert main([*words, "--map", str(pictures[0]), "--curves", str(pictures[1])]) == 0
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)
    text = (tmp_path / "map.md").read_text()
    assert text.startswith("## success in %, held-out worlds\n\n- coordinate median minus ")
    assert "\n## success in %, in-distribution worlds\n" in text
    assert text.count("\n| ") == 2 * (2 + 5)  # head, rule, points; in both splits
    capsys.readouterr()
    assert "map must be a .svg, .pdf or .png file" in refusal(capsys, study_folder, "--map", "m.md")
    assert "curves must be a .svg, .pdf or " in refusal(capsys, study_folder, "--curves", "x.md")
    for option in ("map", "curves"):
        said = refusal(capsys, run_folder, f"--{option}", tmp_path / "no.png")
        assert f"{option} must be asked for with studies only, got" in said
    said = refusal(capsys, study_folder, study_folder, "--curves", tmp_path / "no.png")
    assert "curves must be asked for with one study, got 2" in said


STARTS = {"svg": b"<?xml", "pdf": b"%PDF-", "png": b"\x89PNG"}


@pytest.mark.parametrize("form", STARTS)
@pytest.mark.parametrize("folder", ["run_folder", "learning_folder", "study_folder"])
def test_a_figure_is_written_alone_to_the_same_bytes(request, capsys, tmp_path, folder, form):
    words = ["report", str(request.getfixturevalue(folder)), "--output"]
    files = [tmp_path / f"{name}.{form}" for name in ("one", "two")]
    for file in files:
        assert main([*words, str(file)]) == 0
        assert capsys.readouterr().out == f"Figure: {file}\n"
    one, two = (file.read_bytes() for file in files)
    assert one == two
    assert one.startswith(STARTS[form])
    assert sorted(path.name for path in tmp_path.iterdir()) == [file.name for file in files]


@pytest.mark.parametrize("folder", ["run_folder", "learning_folder"])
def test_a_figure_drawn_anew_is_the_runs_own(request, tmp_path, folder):
    path = request.getfixturevalue(folder)
    assert main(["report", str(path), "--output", str(tmp_path / "again.png")]) == 0
    assert (tmp_path / "again.png").read_bytes() == (path / "figure.png").read_bytes()


def test_a_figure_of_what_has_none_is_refused(run_folder, study_folder, capsys, tmp_path):
    output = ("--output", tmp_path / "out.pdf")
    for other in (run_folder, study_folder):
        assert "output must be a .html file for anything but one run, or studies, got" in refusal(
            capsys, run_folder, other, *output
        )
    said = refusal(capsys, run_folder, "--output", "out.doc")
    assert "output must be a .html, .svg, .pdf or .png file, got out.doc" in said
    shutil.copytree(run_folder, tmp_path / "mine")
    file = tmp_path / "mine" / "config.yaml"
    file.write_text(file.read_text().replace("name: GridWorld", "name: mine:world"))
    assert "output must be a .html file for a run without a figure" in refusal(
        capsys, tmp_path / "mine", *output
    )
    assert not output[1].exists()


def test_the_maps_of_two_studies_stand_side_by_side(study_folder, front_folder, capsys, tmp_path):
    words = ["report", str(study_folder), str(front_folder), "--map", str(tmp_path / "map.png")]
    assert main([*words, "--output", str(tmp_path / "page.html")]) == 0
    text = (tmp_path / "map.md").read_text()
    assert text.count("\n### one\n") == text.count("\n### two\n") == 2
    assert "no difference shown at" in text
    assert " of 10." in text  # five rows each
    capsys.readouterr()
    assert "map must be asked for with studies of different names, got one" in refusal(
        capsys, study_folder, study_folder, "--map", tmp_path / "no.png"
    )


def changed_study(folder, path, change):
    """A copy of a study whose results have been changed."""
    copied = shutil.copytree(folder, path)
    rows = pq.read_table(copied / "results.parquet").to_pylist()
    pq.write_table(pa.Table.from_pylist(list(change(rows))), copied / "results.parquet")
    return copied


def test_studies_that_one_map_cannot_show_are_refused(study_folder, capsys, tmp_path):
    def refused(name, change):
        other = changed_study(study_folder, tmp_path / name, change)
        target = tmp_path / "no.png"
        said = refusal(capsys, study_folder, other, "--map", target)
        assert not target.exists()
        return said

    def without(rule):
        return lambda rows: (row for row in rows if row["rule"] != rule)

    assert (
        "map must be asked for with studies that compare the same rules, got median in one or few "
        "alone" in refused("few", without("median"))
    )
    assert "trials all ran mean and another rule" in refused("base", without("mean"))
    assert (
        "map must be asked for with studies of one metric, or that all ran true and plus-one, got "
        "success and return"
        in refused("paid", lambda rows: (r for r in rows if r["metric"] != "success"))
    )
