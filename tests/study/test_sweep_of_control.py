"""A study of continuous control, its trials' numbers, and the pages of it and of such a run."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.engine.result import judges
from fedirl_ray.engine.tasks import run_seeds
from fedirl_ray.run import main
from fedirl_ray.study.space import read_study_file

NAME = "return/held-out/barycenter"
PLAN = {
    "fixed": {
        "problem": {"name": "CartPole-v1", "demonstrations": 3},
        "clients": 2,
        "seeds": 1,
        "irl.iterations": 20,
        "fusion.rules": ["mean", "barycenter", "expert"],
        "evaluation.held-out": 1,
        "control": {
            "points": [3, 3, 3, 3],
            "features": 6,
            "agents": False,
            "episodes": 1,
            "expert": {"steps": 64, "rollout": 64, "rows": 4, "batch": 32, "epochs": 1,
                       "hidden": [8], "evaluations": 1, "episodes": 2},
        },
        "engine.backend": "local",
    },
    "search": {"fusion.epsilon": [0.1, 1.0], "irl.l2": [0.01, 1.0]},
    "objectives": {NAME: "maximize"},
    "sampler": "grid",
}  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    path = tmp_path_factory.mktemp("control") / "plan.yaml"
    path.write_text(yaml.safe_dump(PLAN))
    folder = path.parent / "s"
    assert main(["sweep", str(path), "--study-dir", str(folder), "--progress", "False"]) == 0
    return folder


def test_an_objective_is_what_a_run_of_the_same_settings_finds(study):
    trials = pq.read_table(study / "trials.parquet").to_pylist()
    assert [trial["state"] for trial in trials] == ["COMPLETE"] * 4
    plan = read_study_file(study / "study.yaml")
    last = trials[-1]
    config = plan.config({name: last[f"params.{name}"] for name in plan.search})
    domain = domain_of(config)
    channel, column = judges(domain)["planner"], config.fusion.rules.index("barycenter")
    assert domain.channels[channel].metric == "return"
    found = [result.held_out_scores[:, column, channel].mean() for result in run_seeds(config)]
    assert last[f"values.{NAME}"] == pytest.approx(np.mean(found), rel=1e-12)
    assert last[f"values.{NAME}"] >= 1.0  # a pole stands for a step at least
    rows = pq.read_table(study / "results.parquet").to_pylist()
    assert {row["trial"] for row in rows} == {trial["number"] for trial in trials}


def test_its_page_is_in_returns(study, capsys):
    capsys.readouterr()
    assert main(["report", str(study), "--map", str(study.parent / "map.png")]) == 0
    page = (study / "report.html").read_text()
    assert NAME in page
    assert "CartPole-v1" in page
    text = (study.parent / "map.md").read_text()
    assert "fusion.epsilon" in text
    assert "points of success" not in text


def test_a_run_of_it_has_a_page_too(study, tmp_path, capsys):
    settings = tmp_path / "run.yaml"
    settings.write_text(yaml.safe_dump({**PLAN["fixed"], "record.progress": False}))
    folder = tmp_path / "run"
    assert main([str(settings), "--run-dir", str(folder)]) == 0
    assert main(["report", str(folder)]) == 0
    page = (folder / "report.html").read_text()
    assert "CartPole-v1" in page
    summary = json.loads((folder / "summary.json").read_text())
    assert "return" in summary
    assert "success" not in summary


def test_a_world_that_no_trial_could_run_in_is_refused_before_anything_is_written(tmp_path, capsys):
    fixed = {**PLAN["fixed"], "problem.demonstrations-file": str(tmp_path / "{client}.npz")}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump({**PLAN, "fixed": fixed}))
    words = [str(tmp_path / "plan.yaml"), "--study-dir", str(tmp_path / "s")]
    assert main(["sweep", *words]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "0.npz") in said
    assert not (tmp_path / "s").exists()
