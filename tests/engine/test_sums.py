"""Runs whose server sees sums alone: the same bytes under masks, and what is on record."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fedirl_ray.api.running import run
from fedirl_ray.config import EvaluationConfig, FederationConfig, RunConfig
from fedirl_ray.config_engine import EngineConfig, RecordConfig
from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.config_privacy import PrivacyConfig
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.engine.driver import federate
from fedirl_ray.engine.fleet import open_fleet
from fedirl_ray.engine.local import Clients
from fedirl_ray.engine.result import stack
from fedirl_ray.engine.sums import lost_in
from fedirl_ray.errors import RunError
from fedirl_ray.run import main

CONFIG = RunConfig(
    clients=8,
    seeds=1,
    problem=ProblemConfig(size=4, demonstrations=4),
    fusion=FusionConfig(rules=("mean", "barycenter"), sigma="client"),
    federation=FederationConfig(rounds=2),
    evaluation=EvaluationConfig(held_out=2, discounts=()),
    engine=EngineConfig(backend="local"),
    record=RecordConfig(figure=False),
)


def summed(aggregation, **changed):
    return replace(CONFIG, privacy=PrivacyConfig(aggregation=aggregation, **changed))


def results(config, fleet=None, report=lambda event: None):
    fleet = fleet or Clients(config, range(config.clients))
    return [result for _, result in federate(config, fleet, report=report)]


def same(one, other):
    a, b = stack(one), stack(other)
    return all(a[name].tobytes() == b[name].tobytes() for name in a)


def losing_one(rule="barycenter"):
    """A chance at which exactly one client is lost to a rule in the first round."""
    for chance in np.linspace(0.02, 0.3, 100):
        config = summed("masked", dropout=float(chance))
        lost = lost_in(config, 0, 0, rule, range(8))
        if len(lost) == 1:
            return float(chance), lost
    raise AssertionError("no such chance")


@pytest.mark.parametrize("loses", [False, True])
def test_a_run_under_masks_has_the_bytes_of_one_without(loses):
    chance = losing_one()[0] if loses else 0.0
    events = []
    masked = results(summed("masked", dropout=chance), report=events.append)
    plain = results(summed("sums", dropout=chance))
    assert same(masked, plain)
    told = [event for event in events if event.what == "summed"]
    assert len(told) == 4  # two rules, two rounds
    assert any(event.clients for event in told) == loses
    clear = results(CONFIG)
    if not loses:
        for one, other in zip(masked, clear, strict=True):
            assert np.abs(one.theta - other.theta).max() < 1e-5


@pytest.mark.ray
def test_so_has_one_on_ray_with_a_client_lost_in_a_step(ray_session):
    chance, lost = losing_one()
    assert len(lost) == 1
    config = replace(summed("masked", dropout=chance), engine=EngineConfig(clients_per_actor=3))
    with open_fleet(config) as fleet:
        on_ray = results(config, fleet)
    assert same(on_ray, results(summed("sums", dropout=chance)))


def test_what_the_server_saw_is_on_record_and_single_clients_rewards_are_not(tmp_path):
    found = run(summed("masked"), folder=tmp_path / "masked")
    plain = run(summed("sums"), folder=tmp_path / "sums")
    words = {}
    for result in (found, plain):
        lines = map(json.loads, (result.folder / "events.jsonl").read_text().splitlines())
        told = [line for line in lines if line["what"] == "summed"]
        assert len(told) == 4
        shown = told[0]["reason"].rpartition(": ")[2].split()
        words[result] = [int(word, 16) for word in shown]
        with np.load(result.folder / "arrays.npz") as arrays:
            assert np.isnan(arrays["client_theta"]).all()
            assert np.isnan(arrays["negative_log_likelihood"]).all()
    # Without masks the message is the client's share of the mean, plain to see.
    clear = results(CONFIG)[0]
    first = np.array(words[plain], dtype=np.uint64).view(np.int64) * 2.0**-40 * 8
    assert np.abs(first).max() < 1e3
    masked = np.array(words[found], dtype=np.uint64).view(np.int64) * 2.0**-40 * 8
    assert np.abs(masked - first).min() > 1.0
    assert np.isfinite(clear.client_theta).all()
    assert "under pairwise masks, simulated" in found.table()
    assert "hides nothing" in plain.table()


def test_too_few_left_end_the_run_for_the_mean_and_a_round_for_others():
    with pytest.raises(RunError, match=r"at least privacy\.min-cohort 8 clients"):
        results(summed("masked", min_cohort=8, dropout=0.9))
    for chance in np.linspace(0.02, 0.5, 200):
        config = summed("masked", min_cohort=8, dropout=float(chance))
        lost = [
            [lost_in(config, 0, r, rule, range(8)) for r in (0, 1)] for rule in CONFIG.fusion.rules
        ]
        if not any(lost[0]) and any(lost[1]):
            break
    events = []
    (found,) = results(config, report=events.append)
    skipped = [event for event in events if event.what == "skipped"]
    assert "barycenter: a sum must be over at least" in skipped[0].reason
    assert np.isfinite(found.theta[0]).all()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--fusion.rules mean,median", "without median here: it needs single uploads"),
        ("--fusion.rules mean,trimmed", "without trimmed here: it needs single uploads"),
        ("--fusion.rules mean,precision", "without precision here: it needs single uploads"),
        ("--fusion.rules mean,local", "without local here: it needs single uploads"),
        ("--fusion.rules mean,json:loads", "without json:loads here: it needs single uploads"),
        ("--fusion.sigma shared --fusion.rules mean,debiased", "shared reads everyone's range"),
        ("--clients 4", "clients asked in a round must be at least privacy.min-cohort 5"),
        ("--federation.participation 0.5", "at least privacy.min-cohort 5 with sums of clients"),
        ("--heterogeneity.hidden-support 0.2", "heterogeneity.hidden-support must be 0"),
        ("--privacy.unit central --privacy.clip 1", "privacy.aggregation must be clear with"),
        ("--privacy.dropout 1", "privacy.dropout must be in [0, 1)"),
    ],
)
def test_what_sums_do_not_cover_is_refused_in_one_line(words, said, tmp_path, capsys):
    base = ["--clients", "8", "--fusion.rules", "mean", "--privacy.aggregation", "masked"]
    folder = tmp_path / "run"
    assert main([*base, *words.split(), "--run-dir", str(folder)]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert not folder.exists()
