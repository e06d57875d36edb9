import dataclasses
import json
import shutil

import numpy as np
import optuna
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from fedirl_ray.errors import DataError
from fedirl_ray.evaluate.statistics import Interval
from fedirl_ray.report.heterogeneity import (
    draw_map,
    draw_maps,
    map_markdown,
    map_rows,
    map_text,
)
from fedirl_ray.report.measure import SUCCESS, Measure
from fedirl_ray.study.archive import RESULT, pictures, read_study, varied
from fedirl_ray.study.heterogeneity import gain_of_trial, heterogeneity_map


@pytest.fixture(scope="module")
def one(study_folder):
    return read_study(study_folder)


@pytest.fixture(scope="module")
def two(front_folder):
    return read_study(front_folder)


@pytest.fixture(scope="module")
def points(one):
    return heterogeneity_map(one.tried(), one.results)


def figure(archive, title):
    return json.loads(dict(pictures(archive))[title])


def test_a_study_is_read_as_optuna_kept_it(one, two):
    assert (one.objectives, one.directions) == (["held-out success"], ["maximize"])
    assert two.objectives == ["held-out success", "seconds"]
    assert two.directions == ["maximize", "minimize"]
    assert len(one.trials) == 7
    assert sorted(one.tried()) == [0, 1, 2, 3, 4, 5]  # the last had failed
    assert varied(one) == ["problem.goal-shift", "fusion.epsilon"]
    values = {trial["number"]: trial["values.held-out success"] for trial in one.trials[:6]}
    assert one.best == [max(values, key=values.get)]


def test_the_pareto_front_is_that_of_the_definition(two):
    rows = [(t["number"], -t["values.held-out success"], t["values.seconds"])
            for t in two.trials if t["state"] == "COMPLETE"]  # fmt: skip
    front = [
        number
        for number, *own in rows
        if not any(all(np.array(other) <= own) and any(np.array(other) < own) for _, *other in rows)
    ]
    assert two.best == front


def test_importances_mind_the_direction(one, two):
    """The same trials, maximised, matter as much whether or not something else is minimised."""
    alone, beside = (
        figure(archive, "Importances for held-out success")["data"][0] for archive in (one, two)
    )
    assert alone["y"] == beside["y"]
    np.testing.assert_allclose(alone["x"], beside["x"])


def test_the_history_shows_every_trial_that_ended_well(one):
    (dots, *_) = figure(one, "History of held-out success")["data"]
    assert dots["x"] == sorted(one.tried())
    expected = [t["values.held-out success"] for t in one.trials[:6]]
    np.testing.assert_allclose(dots["y"], expected)


def test_a_table_without_its_columns_is_refused(study_folder, tmp_path):
    copied = shutil.copytree(study_folder, tmp_path / "study")
    table = pq.read_table(copied / "results.parquet")
    pq.write_table(table.drop_columns(["seed"]), copied / "results.parquet")
    with pytest.raises(DataError, match=r"results\.parquet must have a column seed"):
        read_study(copied)


def test_a_cell_that_is_not_a_number_is_empty(study_folder, tmp_path):
    copied = shutil.copytree(study_folder, tmp_path / "study")
    rows = pq.read_table(copied / "trials.parquet").to_pylist()
    for row in rows:
        row["params.depth"] = float("nan")
    pq.write_table(pa.Table.from_pylist(rows), copied / "trials.parquet")
    archive = read_study(copied)
    assert {fields["depth"] for fields in archive.tried().values()} == {None}
    assert "depth" not in varied(archive)


def test_a_torn_last_line_of_the_journal_is_passed_over(study_folder, tmp_path):
    copied = shutil.copytree(study_folder, tmp_path / "study")
    with (copied / "journal.log").open("a") as journal:
        journal.write('{"op_code": 6, "worker_id": "x"')
    before = (copied / "journal.log").read_bytes()
    assert len(read_study(copied).study.get_trials()) == 7
    assert (copied / "journal.log").read_bytes() == before  # reading repairs nothing


def test_a_study_without_a_finished_trial_has_no_pictures(tmp_path, study_folder):
    copied = shutil.copytree(study_folder, tmp_path / "study")
    (copied / "journal.log").unlink()
    backend = optuna.storages.journal.JournalFileBackend(str(copied / "journal.log"))
    optuna.create_study(study_name="new", storage=optuna.storages.JournalStorage(backend))
    archive = read_study(copied)
    archive.trials.clear()
    assert (pictures(archive), archive.best) == ([], [])


def test_the_map_is_a_picture(points):
    png = draw_map(points, SUCCESS)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert png == draw_map(points, SUCCESS)


def test_maps_of_several_studies_need_not_have_the_same_dials_or_parts(points):
    fewer = [dataclasses.replace(point, gain=None) for point in points if point.level != "0.5"][:2]
    assert draw_maps({"one": points}, SUCCESS) == draw_map(points, SUCCESS)
    together = draw_maps({"one": points, "two": fewer}, SUCCESS)
    assert together.startswith(b"\x89PNG\r\n\x1a\n")
    assert together not in (
        draw_maps({"one": points, "two": points}, SUCCESS),
        draw_map(points, SUCCESS),
    )


def test_what_one_trial_gained_is_a_paired_t_test(one):
    gap, seeds = gain_of_trial(3, one.results)
    rows = [
        dict(zip(RESULT, row, strict=True))
        for row in zip(*(one.results[n] for n in RESULT), strict=True)
    ]
    judge = one.results["judge"][one.results["metric"].index("success")]
    key = {"trial": 3, "split": "held-out", "judge": judge, "metric": "success"}
    found = {(r["seed"], r["rule"]): r["value"] for r in rows if key.items() <= r.items()}
    fused, mean = ([found[s, rule] for s in range(seeds)] for rule in ("barycenter", "mean"))
    expected = stats.ttest_rel(fused, mean).confidence_interval(0.95)
    np.testing.assert_allclose(
        [gap.mean - gap.half_width, gap.mean + gap.half_width], expected, atol=1e-15
    )
    with pytest.raises(DataError, match="nothing of trial 99"):
        gain_of_trial(99, one.results)


def test_the_map_is_a_markdown_table(points):
    head, rule, *rows, _, legend = map_markdown(points, SUCCESS).splitlines()
    assert "± of a difference: 95 % interval of the paired difference over 2 seeds" in legend
    assert head.count("|") == rule.count("|") == 11
    assert len(rows) == len(points) == 5
    for row, point in zip(rows, points, strict=True):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[:2] == [point.dial, point.level]
        assert cells[4].rstrip("\\*=") == SUCCESS.difference(point.against_mean).rstrip(" =")
        assert cells[9].rstrip("\\*=") == SUCCESS.difference(point.gain.transport).rstrip(" =")


def test_a_map_of_returns_is_in_their_own_unit(points):
    assert draw_map(points, Measure("return")) != draw_map(points, SUCCESS)
    rows = map_rows(points, Measure("return"))
    for row, point in zip(rows, points, strict=True):
        assert row[4].rstrip("*=") == Measure("return").difference(point.against_mean).rstrip(" =")
    # What stands out does not depend on the unit.
    stars = [["*" in cell for cell in row] for row in rows]
    assert stars == [["*" in cell for cell in row] for row in map_rows(points, SUCCESS)]


def test_the_maps_text_counts_what_stands_out(points):
    up, down = Interval(0.2, 0.1, "t", 1e-6), Interval(-0.2, 0.1, "t", 1e-6)
    flat, alone = Interval(0.2, 0.3, "t", 0.3), Interval(0.2, 0.19, "t", 0.04)
    gaps = [up, down, flat, alone, Interval(0.2, float("nan"))]
    changed = [
        dataclasses.replace(point, against_mean=gap)
        for point, gap in zip(points, gaps, strict=True)
    ]
    assert map_text(changed)[0] == (
        "Barycenter minus parameter mean: above zero at 1 (problem.goal-shift 0), below at "
        "1 (problem.goal-shift 0.5), no difference shown at 3 of 5."
    )
    without = [dataclasses.replace(point, gain=None) for point in points]
    assert (len(map_text(points)), len(map_text(without))) == (6, 3)
    assert draw_map(without, SUCCESS) != draw_map(points, SUCCESS)
