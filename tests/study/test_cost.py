"""Trials on the same data compose, and a sweep says so."""

import json

import pytest
import yaml

from fedirl_ray.privacy.accountant import multiplier_for, spent
from fedirl_ray.run import main
from fedirl_ray.study.cost import cost_of
from fedirl_ray.study.space import parse_study

PLAN = {
    "fixed": {
        "clients": 2,
        "seeds": 1,
        "problem": {"size": 3, "demonstrations": 4},
        "irl": {"optimizer": "adam", "iterations": 2},
        "fusion.rules": ["mean", "barycenter"],
        "evaluation": {"held-out": 2, "discounts": [0.9]},
        "engine.backend": "local",
        "privacy": {"unit": "trajectory", "noise": "seeded"},
    },
    "search": {"fusion.epsilon": [0.1, 1.0, 5.0]},
    "objectives": {"success/held-out/barycenter": "maximize"},
    "sampler": "grid",
}


def changed(search, **privacy):
    own = PLAN["fixed"]["privacy"] | privacy
    own = {name: value for name, value in own.items() if f"privacy.{name}" not in search}
    fixed = PLAN["fixed"] | {"privacy": own}
    return {**PLAN, "fixed": fixed, "search": search}


def test_trials_of_several_widths_cost_what_their_noise_composes_to():
    study = parse_study(changed({"privacy.epsilon": [1.0, 2.0, 4.0]}))
    found = cost_of(study, study.plan())
    z = [multiplier_for(epsilon, 1e-5) for epsilon in (1.0, 2.0, 4.0)]
    assert found.cost.epsilon == pytest.approx(spent(z, 1e-5).epsilon)
    assert found.cost.epsilon > 4.5
    assert found.dearest == pytest.approx(4.0, rel=1e-6)
    assert found.trials == 3


def test_a_trial_that_promises_nothing_leaves_nothing_of_the_others_promise():
    study = parse_study(changed({"privacy.unit": ["none", "trajectory"]}))
    found = cost_of(study, study.plan())
    assert found.cost is None
    assert "1 of 2 trials promised nothing" in found.in_words()[0]


def test_trials_that_promise_nothing_and_those_that_cannot_be_run_cost_nothing():
    study = parse_study(changed({"fusion.epsilon": [1.0, 2.0]}, unit="none"))
    assert cost_of(study, study.plan()) is None
    study = parse_study(PLAN)
    assert cost_of(study, [{"privacy.delta": 0.9}]) is None


def test_a_sweep_and_its_page_say_what_the_best_trial_cost(tmp_path, capsys):
    path, folder = tmp_path / "plan.yaml", tmp_path / "study"
    path.write_text(yaml.safe_dump(PLAN))
    quiet = ("--progress", "False", "--concurrency", "1")
    assert main(["sweep", str(path), "--run-dir", str(folder), *quiet]) == 0
    told = " ".join(capsys.readouterr().out.split())
    kept = json.loads((folder / "privacy.json").read_text())
    whole = spent([multiplier_for(4.0, 1e-5)] * 3, 1e-5)
    assert kept["cost"]["epsilon"] == pytest.approx(whole.epsilon)
    said = f"cost epsilon {whole.epsilon:.4g} at delta 1e-05"
    assert said in told
    assert "simulation, not private" in told
    assert main(["report", str(folder)]) == 0
    page = (folder / "report.html").read_text()
    assert said in page
    assert "simulation, not private" in page
