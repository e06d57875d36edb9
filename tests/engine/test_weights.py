"""alpha: equal, by demonstrations, or from a file."""

import json
from dataclasses import replace

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fedirl_ray.config import EvaluationConfig, FederationConfig, RunConfig
from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.config_problem import HeterogeneityConfig, ProblemConfig
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.engine.door import admit
from fedirl_ray.engine.driver import lay, run_seed
from fedirl_ray.engine.event import unwatched
from fedirl_ray.engine.federation import Federation
from fedirl_ray.engine.fleet import open_fleet
from fedirl_ray.engine.identity import identify
from fedirl_ray.engine.jobs import Jobs
from fedirl_ray.engine.local import Clients
from fedirl_ray.engine.round import stage_of
from fedirl_ray.engine.upload import Key, Upload
from fedirl_ray.engine.weights import alpha, read_weights
from fedirl_ray.errors import ConfigError
from fedirl_ray.run import main

CONFIG = RunConfig(
    clients=4,
    seeds=1,
    problem=ProblemConfig(size=4, demonstrations=8),
    heterogeneity=HeterogeneityConfig(demonstrations=0.9),
    fusion=FusionConfig(rules=("mean", "median", "precision", "barycenter")),
    evaluation=EvaluationConfig(held_out=3, discounts=()),
)
SMALL = [
    "--seeds", "1", "--clients", "2", "--problem.size", "3", "--problem.demonstrations", "3",
    "--evaluation.held-out", "2", "--progress", "False", "--record.figure", "False",
    "--engine.backend", "local", "--fusion.rules", "mean,barycenter",
]  # fmt: skip


def weighted(weights, **changed):
    return replace(CONFIG, federation=FederationConfig(weights=weights, **changed))


def run_on(config, fleet):
    domain, jobs = domain_of(config), Jobs(fleet)
    return run_seed(domain, fleet, jobs, 0, lay(domain, fleet, jobs))


def seed_of(config):
    return run_on(config, Clients(config, range(config.clients)))


def uploads(*episodes):
    return [
        Upload(Key("", 0, 0, i, 0), np.zeros((2, 2)), None, 0.0, 0, True, count)
        for i, count in enumerate(episodes)
    ]


@given(
    counts=st.lists(st.integers(1, 10**9), min_size=1, max_size=6), scale=st.floats(1e-300, 1e290)
)
def test_weights_are_in_the_proportions_asked_for_and_sum_to_one(counts, scale):
    exact = np.array(counts) / sum(counts)
    by_data = alpha(weighted("demonstrations"), uploads(*counts), None)
    np.testing.assert_allclose(by_data, exact, rtol=1e-12)
    by_file = alpha(CONFIG, uploads(*counts), scale * np.array(counts, dtype=float))
    np.testing.assert_allclose(by_file, exact, rtol=1e-12)
    equal = alpha(CONFIG, uploads(*counts), None)
    assert equal.tolist() == [1.0 / len(counts)] * len(counts)


def test_a_file_speaks_of_clients_whoever_is_let_in():
    of_file = np.array([1.0, 100.0, 3.0])
    some = [one for one in uploads(9, 9, 9) if one.key.client != 1]
    assert alpha(CONFIG, some, of_file).tolist() == [0.25, 0.75]


def test_clients_say_how_many_demonstrations_they_hold():
    fleet = Clients(CONFIG, range(4))
    order = Federation.begin(CONFIG, 4, stage_of(domain_of(CONFIG), 0).support).order(CONFIG, 0)
    said = [one.episodes for one in fleet.fit(order)]
    assert len(set(said)) > 1
    assert max(said) <= 8
    assert not admit(fleet.learn(order), stage_of(domain_of(CONFIG), 0).terms).refused


def test_the_mean_is_weighted_by_demonstrations():
    fleet = Clients(CONFIG, range(4))
    order = Federation.begin(CONFIG, 4, stage_of(domain_of(CONFIG), 0).support).order(CONFIG, 0)
    sent = fleet.fit(order)
    counts = [one.episodes for one in sent]
    wanted = np.average([one.theta[1] for one in sent], axis=0, weights=counts)
    found = seed_of(weighted("demonstrations"))
    np.testing.assert_allclose(found.theta[0], wanted, rtol=1e-12)


def test_a_file_of_the_same_counts_finds_the_same_rewards_and_one_of_equals_equal_ones(tmp_path):
    fleet = Clients(CONFIG, range(4))
    order = Federation.begin(CONFIG, 4, stage_of(domain_of(CONFIG), 0).support).order(CONFIG, 0)
    path = tmp_path / "alpha.txt"
    path.write_text("".join(f"{one.episodes}\n" for one in fleet.fit(order)))
    of_file, of_data = seed_of(weighted(path)), seed_of(weighted("demonstrations"))
    assert of_file.theta.tobytes() == of_data.theta.tobytes()
    path.write_text("# all alike\n2\n\n2.0  # the second\n2e0\n2\n")
    assert seed_of(weighted(path)).theta.tobytes() == seed_of(CONFIG).theta.tobytes()
    for c, rule in enumerate(CONFIG.fusion.rules):
        assert not np.allclose(of_file.theta[c], seed_of(CONFIG).theta[c], rtol=1e-6), rule


def test_on_ray_weights_find_the_bytes_of_this_process(ray_session):
    config = weighted("demonstrations", rounds=2, participation=0.75)
    ours = seed_of(config)
    with open_fleet(config, [].append, unwatched) as fleet:
        theirs = run_on(config, fleet)
    for name in ("theta", "client_theta", "held_out_scores"):
        assert getattr(ours, name).tobytes() == getattr(theirs, name).tobytes()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0\n0\n", "federation.weights {} line 1 must be a number > 0 and finite, got '0'"),
        ("1\n\n-1", "federation.weights {} line 3 must be a number > 0 and finite, got '-1'"),
        ("1\nnan", "federation.weights {} line 2 must be a number > 0 and finite, got 'nan'"),
        ("1\ninf", "federation.weights {} line 2 must be a number > 0 and finite, got 'inf'"),
        ("1 2", "federation.weights {} line 1 must be a number > 0 and finite, got '1 2'"),
        ("1\n2\n3", "federation.weights {} must be 2 numbers, one a client, got 3"),
        ("# none", "federation.weights {} must be 2 numbers, one a client, got 0"),
        (b"\xff", "federation.weights must be equal, demonstrations or a file of one number a "
         "client, got {}, which is no text in UTF-8"),
        (None, "federation.weights must be equal, demonstrations or a file of one number a client, "
         "got {}: No such file or directory"),
    ],
)  # fmt: skip
def test_a_file_of_something_else_is_refused_in_one_line(tmp_path, capsys, text, said):
    path = tmp_path / "alpha.txt"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as error:
        read_weights(path, 2)
    assert str(error.value) == said.format(path)
    study = {
        "fixed": {"clients": 2, "seeds": 1, "federation.weights": str(path)},
        "search": {"fusion.epsilon": [0.5]},
        "objectives": {"success/held-out/mean": "maximize"},
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    for words in (
        [*SMALL, "--federation.weights", str(path), "--run-dir", str(tmp_path / "out")],
        ["sweep", str(tmp_path / "study.yaml"), "--run-dir", str(tmp_path / "out")],
    ):
        assert main(words) == 2
        assert capsys.readouterr().err == f"{said.format(path)}\n"
        assert not (tmp_path / "out").exists()


def test_a_run_says_how_clients_count_and_remembers_the_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "alpha.txt"
    path.write_text("1\n9\n")
    assert main([*SMALL, "--federation.weights", "alpha.txt", "--run-dir", "run"]) == 0
    assert "Clients count by alpha.txt, not equally." in capsys.readouterr().out
    assert json.loads((tmp_path / "run/summary.json").read_text())["weights"] == "alpha.txt"
    assert "weights: alpha.txt" in (tmp_path / "run/config.yaml").read_text()
    path.write_text("9\n1\n")
    assert main(["--resume", "run"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("federation.weights alpha.txt must hold what it did when a run was ")
    assert main([*SMALL, "--run-dir", "equal"]) == 0
    assert "weights" not in json.loads((tmp_path / "equal/summary.json").read_text())
    assert "not equally" not in (tmp_path / "equal/table.txt").read_text()
    config = weighted(path)
    before = identify(config).inputs["federation.weights"]
    path.write_text("1\n9\n")
    assert identify(config).inputs["federation.weights"] != before
