"""Rules of the user's own in runs, on Ray, resumed, in sweeps and reports."""

import json
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from fedirl_ray.config import EvaluationConfig, FederationConfig, RunConfig
from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.engine.driver import federate
from fedirl_ray.engine.event import unwatched
from fedirl_ray.engine.fleet import open_fleet
from fedirl_ray.engine.local import Clients
from fedirl_ray.engine.result import sent
from fedirl_ray.engine.upload import traffic
from fedirl_ray.run import main

SOURCE = """
import numpy as np
from fedirl_ray.fusion.rules import RULES
from fedirl_ray.fusion.spec import RuleSpec

def plain(given):
    return given.weights @ given.thetas

def needy(given):
    return RULES["precision"].fuse(given)

precise = RuleSpec(needy, needs=frozenset({"curvature"}))

def moved(given):
    return RULES["barycenter"].fuse(given)

def ask(given):
    own = given.thetas
    scores = given.score(own)
    found = own[np.nanmean(scores, axis=0).argmax()]
    assert scores.shape == (len(own), len(own))
    return found

choosy = RuleSpec(ask, needs=frozenset({"scores"}))

def greedy(given):
    return given.score(given.thetas[:, :1])

wrong = RuleSpec(greedy, needs=frozenset({"scores"}))

def fails(given):
    raise ValueError("no idea")

def late(given):
    if given.thetas[0, 0] != FIRST.setdefault("theta", given.thetas[0, 0]):
        raise ValueError("not again")
    return plain(given)

FIRST = {}
"""
SMALL = [
    "--seeds", "2", "--clients", "2", "--problem.size", "3", "--problem.demonstrations", "3",
    "--evaluation.held-out", "2", "--evaluation.discounts", ".9", "--progress", "False",
    "--engine.backend", "local",
]  # fmt: skip


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "own_rules.py"
    path.write_text(SOURCE)
    sys.modules.pop("own_rules", None)
    yield path
    sys.modules.pop("own_rules", None)


def federation(*rules):
    return RunConfig(
        clients=3,
        seeds=1,
        problem=ProblemConfig(size=4, demonstrations=5),
        fusion=FusionConfig(rules=rules),
        federation=FederationConfig(rounds=3, participation=0.7, proximal=0.5),
        evaluation=EvaluationConfig(held_out=3, discounts=()),
    )


RULES = ("mean", "own_rules:precise", "local", "precision", "own_rules:plain", "own_rules:moved")


def test_a_rule_of_ones_own_that_does_what_one_of_ours_does_finds_its_bytes():
    config = federation(*RULES, "barycenter")
    ((_, found),) = federate(config, Clients(config, range(3)))
    for own, ours in ((1, 3), (4, 0), (5, 6)):
        assert found.theta[own].tobytes() == found.theta[ours].tobytes()
        assert found.round_scores[:, :, own].tobytes() == found.round_scores[:, :, ours].tobytes()
    assert found.measure[5].tobytes() == found.measure[6].tobytes()
    assert not np.array_equal(found.theta[1], found.theta[0])
    assert traffic("own_rules:precise", 2, FusionConfig()) == traffic(
        "precision", 2, FusionConfig()
    )
    assert traffic("own_rules:plain", 2, FusionConfig()) == traffic("mean", 2, FusionConfig())


def test_on_ray_they_find_the_bytes_of_this_process(ray_session):
    # Clients' processes cannot import them here: what clients do must not take that.
    config = federation(*RULES, "own_rules:choosy", "fine-tuned", "pooled")
    ((_, ours),) = federate(config, Clients(config, range(3)))
    with open_fleet(config, [].append, unwatched) as fleet:
        ((_, theirs),) = federate(config, fleet)
    for name in ("theta", "client_theta", "held_out_scores", "round_scores"):
        assert getattr(ours, name).tobytes() == getattr(theirs, name).tobytes()


def test_it_stands_under_its_own_name_in_all_that_a_run_leaves(tmp_path, capsys):
    words = [*SMALL, "--fusion.rules", "own_rules:moved,mean,ceiling", "--run-dir", "run"]
    assert main(words) == 0
    assert "\n own_rules:moved " in capsys.readouterr().out
    run = tmp_path / "run"
    table = (run / "table.txt").read_text()
    assert table.index("own_rules:moved") < table.index("parameter mean") < table.index("ceiling")
    named = set(pq.read_table(run / "results.parquet")["rule"].to_pylist())
    assert named == {"own_rules:moved", "mean", "ceiling"}
    said = json.loads((run / "summary.json").read_text())
    assert "own_rules:moved" in said["success"]["held-out"]["greedy-0.95"]
    assert "own_rules:moved" in said["communication"]["rules"]
    again = yaml.safe_load((run / "config.yaml").read_text())
    assert again["fusion"]["rules"] == ["own_rules:moved", "mean", "ceiling"]
    # A page is made without the user's module.
    (tmp_path / "own_rules.py").unlink()
    sys.modules.pop("own_rules")
    assert main(["report", "run"]) == 0
    page = (run / "report.html").read_text()
    assert "own_rules:moved" in page
    assert "own_rules:moved: 2 of 2 converged" in page


STUDY = {
    "fixed": {"seeds": 1, "clients": 2, "problem.size": 3, "problem.demonstrations": 3,
              "evaluation.held-out": 2, "engine.backend": "local"},
    "objectives": {"success/held-out/mean": "maximize"},
    "sampler": "grid",
}  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("own_rules:none", "no such function in own_rules"),
        ("nowhere:rule", "ModuleNotFoundError: No module named 'nowhere'"),
    ],
)
@pytest.mark.parametrize("command", ["run", "stress", "sweep", "control"])
def test_what_cannot_be_found_is_one_line_and_leaves_no_folder(
    tmp_path, capsys, rule, why, command
):
    rules = f"mean,{rule}"
    (tmp_path / "study.yaml").write_text(
        yaml.safe_dump({**STUDY, "search": {"fusion.rules": ["mean,median", rules]}})
    )
    words = {
        "run": [*SMALL, "--fusion.rules", rules, "--run-dir", "out"],
        "stress": ["stress", "--clients", "2", "--rules", rules, "--run-dir", "out"],
        "sweep": ["sweep", "study.yaml", "--run-dir", "out"],
        "control": ["cartpole", "--fusion.rules", rules, "--run-dir", "out"],
    }
    assert main(words[command]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    law = "fusion.rules must be module:function that can be imported from here"
    where = "study.yaml: " if command == "sweep" else ""
    assert line == f"{where}{law}, got '{rule}' ({why})"
    assert not (tmp_path / "out").exists()


def line_of(module, text):
    return next(i for i, line in enumerate(module.read_text().splitlines(), 1) if text in line)


def test_what_fails_at_once_is_one_line_and_leaves_no_folder(tmp_path, module, capsys):
    words = [*SMALL, "--fusion.rules", "mean,own_rules:fails", "--run-dir", "out"]
    assert main(words) == 2
    where = f"{module}:{line_of(module, 'no idea')}"
    said = f"fusion.rules own_rules:fails failed: ValueError: no idea, at {where}\n"
    assert capsys.readouterr().err == said
    assert not (tmp_path / "out").exists()


def test_a_rule_that_fails_later_keeps_the_seeds_before_it(tmp_path, module, capsys):
    words = [*SMALL, "--fusion.rules", "mean,own_rules:late", "--run-dir", "run"]
    assert main(words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    where = f"{module}:{line_of(module, 'not again')}"
    assert f"fusion.rules own_rules:late failed: ValueError: not again, at {where}" in line
    begin = "once your code is mended, begin anew with: python -m fedirl_ray.run run/config.yaml"
    assert line.endswith(f"--resume run; {begin}")
    assert len(list((tmp_path / "run" / "seeds").glob("seed-*"))) == 1
    module.write_text(SOURCE.replace("not again", "never"))
    assert main(["--resume", "run"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("fusion.rules ['mean', 'own_rules:late'] must hold what it did when a ")


def test_a_sweep_searches_over_them_and_remembers_their_code(tmp_path, module, capsys):
    study = {
        **STUDY,
        "search": {"fusion.rules": ["mean,own_rules:plain", "mean,own_rules:plain,median"]},
        "objectives": {"success/held-out/own_rules:plain": "maximize"},
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    words = ["sweep", "study.yaml", "--run-dir", "out", "--progress", "False"]
    assert main(words) == 0
    rows = pq.read_table(tmp_path / "out" / "trials.parquet").to_pylist()
    assert [row["state"] for row in rows] == ["COMPLETE"] * 2
    module.unlink()
    sys.modules.pop("own_rules")
    assert main(["report", "out"]) == 0  # without the user's module
    assert "success/held-out/own_rules:plain" in (tmp_path / "out" / "report.html").read_text()
    capsys.readouterr()
    module.write_text(SOURCE + "\n")
    assert main(["sweep", "--resume", "out"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("search.fusion.rules ")
    assert "must hold what it did when a study was begun" in line


CART = [
    "--problem.name", "CartPole-v1", "--seeds", "1", "--clients", "2", "--irl.iterations", "4",
    "--problem.demonstrations", "2", "--evaluation.held-out", "1", "--control.points", "3,3,3,3",
    "--control.features", "6", "--control.episodes", "1", "--control.agents", "False",
    "--control.expert.steps", "64", "--control.expert.rows", "4", "--control.expert.rollout", "64",
    "--control.expert.batch", "64", "--control.expert.evaluations", "1", "--record.figure", "False",
    "--control.expert.hidden", "4", "--engine.backend", "local", "--progress", "False",
]  # fmt: skip


def test_before_anything_but_jobs_is_kept_a_mended_rule_goes_on_with_them(
    tmp_path, module, capsys, monkeypatch
):
    rules = ["--fusion.rules", "mean,own_rules:fails"]
    assert main([*CART, *rules, "--run-dir", "run"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("go on with: python -m fedirl_ray.run --resume run")
    kept = {path.name for path in (tmp_path / "run" / "seeds").iterdir()}
    assert [name.split("-")[1] for name in sorted(kept)] == ["expert"] * 2
    failing = 'raise ValueError("no idea")'
    for mended, code in (('raise ValueError("no luck")', 2), ("return plain(given)", 0)):
        module.write_text(SOURCE.replace(failing, mended))
        sys.modules.pop("own_rules")
        with monkeypatch.context() as patch:
            patch.setattr("fedirl_ray.domain.control_learning.train_experts", None)
            assert main(["--resume", "run"]) == code
        left = {path.name for path in (tmp_path / "run").glob("seeds/*")}
        assert left == (kept if code else set())
    assert main([*CART, *rules, "--run-dir", "anew"]) == 0
    for name in ("results.parquet", "identity.json", "rewards.npz"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "anew" / name).read_bytes()


def test_a_rule_of_ones_own_can_ask_clients_for_scores():
    config = RunConfig(
        clients=3,
        seeds=1,
        problem=ProblemConfig(size=4, demonstrations=5),
        fusion=FusionConfig(rules=("mean", "own_rules:choosy")),
        evaluation=EvaluationConfig(held_out=2, discounts=()),
    )
    ((_, found),) = federate(config, Clients(config, range(3)))
    assert found.asked_scores.tolist() == [[[0] * 3, [3] * 3]]
    assert found.scores_heard.tolist() == found.asked_scores.tolist()
    assert (found.theta[1] == found.client_theta).all(axis=1).sum() == 1
    assert (found.chosen == -1).all()  # it took nobody else's answer
    d = found.theta.shape[1]
    heard = sent("own_rules:choosy", found, domain_of(config))
    assert heard == (8 * 3 * (d + 3 * d), 8 * 3 * (d + 3))


def test_who_asks_for_scores_is_no_candidate(tmp_path, capsys):
    argv = [*SMALL, "--fusion.rules", "mean,auto", "--fusion.candidates", "mean,own_rules:choosy"]
    assert main([*argv, "--run-dir", "run"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    law = "and none that asks clients for scores, got own_rules:choosy"
    assert line.startswith("fusion.candidates must be rules that fuse uploads by themselves, ")
    assert line.endswith(law)
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_scored_is_told_in_one_line(tmp_path, capsys):
    argv = [*SMALL, "--fusion.rules", "mean,own_rules:wrong", "--run-dir", "run"]
    assert main(argv) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    law = "a rule must have finite rewards of shape [c, 2] or [2, c, 2], c >= 1, scored"
    assert f"{law}, got (2, 1)" in line
