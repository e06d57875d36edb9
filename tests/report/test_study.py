import json
import shutil

import numpy as np
import optuna
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from fedirl_ray.errors import DataError
from fedirl_ray.study.archive import RESULT, pictures, read_study, varied
from fedirl_ray.study.heterogeneity import gain_of_trial


@pytest.fixture(scope="module")
def one(study_folder):
    return read_study(study_folder)


@pytest.fixture(scope="module")
def two(front_folder):
    return read_study(front_folder)


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
