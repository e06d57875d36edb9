"""What privacy costs and hides, small: what is in the rows, and what is shown of them."""

from math import inf

import numpy as np
import pytest

from fedirl_ray.config_engine import EngineConfig
from fedirl_ray.privacy import accountant
from fedirl_ray.report.reproduction.page import compose, draw
from fedirl_ray.report.reproduction.privacy import privacy_text
from fedirl_ray.run import main
from fedirl_ray.study.reproduction.plan import Plan
from fedirl_ray.study.reproduction.privacy import (
    CEILING,
    FUSED,
    KNOWN,
    RULES,
    UPLOAD,
    attacked,
    levels,
    run,
    scene,
    steps,
)

PLAN = Plan(scale="smoke", engine=EngineConfig(backend="local"))


@pytest.fixture(scope="module")
def rows():
    return [row for step in run(PLAN) for row in step]


def values(rows, **wanted):
    return [r["value"] for r in rows if all(r[name] == value for name, value in wanted.items())]


def test_every_seed_has_every_rule_at_every_epsilon(rows):
    assert steps(PLAN) == 2
    assert levels(PLAN) == (0.5, 4.0, inf)
    for epsilon in (0.5, 4.0):
        for rule in RULES:
            asked = {"what": "distance", "epsilon": epsilon, "rule": rule}
            assert len(values(rows, unit="trajectory", **asked)) == 2
            assert len(values(rows, unit="client", **asked)) == 2 * (rule != "precision")
            assert len(values(rows, unit="central", **asked)) == 2 * (rule == "mean")
    assert {row["unit"] for row in rows if row["epsilon"] == inf} == {"none"}
    for name in (UPLOAD, KNOWN, CEILING, *FUSED):
        assert len(values(rows, what="auc", rule=name)) == 6
    assert all(np.isfinite(row["value"]) for row in rows)


def test_nothing_hides_a_demonstration_or_visits_without_noise(rows):
    assert values(rows, what="auc", epsilon=inf, rule=KNOWN) == [1.0, 1.0]
    assert max(values(rows, what="visits", epsilon=inf, rule=UPLOAD)) < 0.01
    assert min(values(rows, what="visits", epsilon=0.5, rule=UPLOAD)) > 0.2
    assert max(values(rows, what="auc", epsilon=0.5, rule=CEILING)) < 0.6


def test_the_same_seed_gives_the_same_rows(rows):
    attacks = ("auc", "visits")
    here = [row for row in rows if row["seed"] == 0 and row["what"] in attacks]
    assert list(attacked(PLAN, 0)) == here


def test_the_attacked_episode_is_the_most_unusual_one():
    here = scene(PLAN, 0)
    away = np.linalg.norm(here.rows[0] - here.rows[0].mean(axis=0), axis=1)
    assert away[here.target] == away.max()
    assert away.max() > 1.5 * np.median(away)


def test_the_page_says_what_was_measured_and_that_it_was_simulated(rows):
    text = "\n".join(privacy_text(rows, PLAN))
    assert "simulation, not private" in text
    for said in ("epsilon 0.5", "none", "one demonstration", "all a client holds", KNOWN):
        assert said in text
    assert "0.54" in text
    pictures = draw("privacy", rows)
    assert pictures["privacy.png"].startswith(b"\x89PNG")
    assert "reproduce privacy --scale smoke" in compose({"privacy": rows}, {}, PLAN)


def test_without_the_extra_it_is_refused_in_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(accountant, "find_spec", lambda name: None)
    assert main(["reproduce", "privacy", "--run-dir", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err
    assert "part must be another without dp-accounting" in told
    assert told.count("\n") == 1
    assert not (tmp_path / "run").exists()
