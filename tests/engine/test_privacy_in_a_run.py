"""Privacy, from the settings to what leaves a client, a server, a folder."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from fedirl_ray.api.running import run
from fedirl_ray.config import (
    EvaluationConfig,
    FederationConfig,
    RunConfig,
)
from fedirl_ray.config_engine import EngineConfig, RecordConfig
from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.config_privacy import PrivacyConfig
from fedirl_ray.config_problem import HeterogeneityConfig, ProblemConfig
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.engine.driver import federate, lay
from fedirl_ray.engine.fleet import open_fleet
from fedirl_ray.engine.jobs import Jobs
from fedirl_ray.engine.local import Clients
from fedirl_ray.engine.result import stack
from fedirl_ray.errors import ConfigError, RunError
from fedirl_ray.fusion.spec import RuleSpec
from fedirl_ray.irl.block import counts_ball_of, prepare
from fedirl_ray.privacy.accountant import multiplier_for, spent
from fedirl_ray.privacy.mechanism import sensitivity
from fedirl_ray.privacy.protection import KEY, MULTIPLIER, Guard, promise_of, releases
from fedirl_ray.run import main

SEEDED = PrivacyConfig(unit="trajectory", noise="seeded")
CONFIG = RunConfig(
    clients=3,
    seeds=2,
    problem=ProblemConfig(size=4, demonstrations=8),
    fusion=FusionConfig(rules=("local", "mean", "barycenter")),
    evaluation=EvaluationConfig(held_out=2, discounts=()),
    engine=EngineConfig(backend="local"),
    record=RecordConfig(figure=False),
)
CENTRAL = FusionConfig(rules=("mean", "expert"))


def private(unit, **changed):
    """A small run that protects so; further settings of `privacy`."""
    clip = {} if unit == "trajectory" else {"clip": 2.0}
    privacy = PrivacyConfig(unit=unit, **({"noise": "seeded"} | clip | changed))
    fusion = CENTRAL if unit == "central" else CONFIG.fusion
    return replace(CONFIG, fusion=fusion, privacy=privacy)


def results(config, fleet=None):
    fleet = fleet or Clients(config, range(config.clients))
    return [result for _, result in federate(config, fleet)]


def same(one, other):
    a, b = stack(one), stack(other)
    return all(a[name].tobytes() == b[name].tobytes() for name in a)


def test_settings_of_a_privacy_that_is_off_change_no_byte():
    other = replace(CONFIG, privacy=PrivacyConfig(epsilon=0.1, delta=0.5, clip=3.0, min_cohort=9))
    assert same(results(CONFIG), results(other))


def test_counts_are_the_demonstrations_own_with_noise_of_the_width_promised():
    config = replace(
        private("trajectory"), clients=200, heterogeneity=HeterogeneityConfig(demonstrations=0.5)
    )
    z = multiplier_for(config.privacy.epsilon, config.privacy.delta)
    given = {client: {MULTIPLIER: np.array(z)} for client in range(200)}
    raw, noisy = (prepare(config, 0, range(200), laid) for laid in (None, given))
    width = [
        z * sensitivity(counts_ball_of(config, world), m)
        for world, m in zip(raw.worlds, raw.episodes, strict=True)
    ]
    off = (noisy.counts - raw.counts) / np.array(width)[:, None]
    assert abs(off.mean()) < 0.2
    assert 0.9 < off.std() < 1.1
    assert len(set(raw.episodes)) > 1


def test_what_is_uploaded_is_fitted_to_noisy_counts_and_noise_is_drawn_once():
    """As many rounds and beginnings as there are: every fit of a client is to the same counts."""
    config = replace(private("trajectory"), federation=FederationConfig(rounds=3))
    fleet = Clients(config, range(3))
    domain = domain_of(config)
    lay(domain, fleet, Jobs(fleet))
    held = []
    for _ in range(2):
        fleet.prepare(0)
        held.append([counts for _, counts, *_ in fleet._held.values()])
        fleet.prepare(1)  # forgets seed 0
        held.append([counts for _, counts, *_ in fleet._held.values()])
    assert np.array_equal(held[0], held[2])
    assert not np.isclose(held[0], held[1]).any()
    assert not np.isclose(held[0], prepare(config, 0, range(3)).counts).any()


def test_noise_of_one_width_is_not_reused_at_another():
    """Else the difference of two releases would show what both hide."""
    rows = np.random.default_rng(0).normal(size=(8, 2))
    ball = counts_ball_of(CONFIG, prepare(CONFIG, 0, [0]).worlds[0])
    scale, drawn = [], []
    for z in (1.0, 2.0):
        guard = Guard(private("trajectory"), {MULTIPLIER: np.array(z)}, 0, 0)
        scale.append(z)
        drawn.append(guard.counts(rows, ball))
    solved = (drawn[0] * scale[1] - drawn[1] * scale[0]) / (scale[1] - scale[0])
    assert not np.allclose(solved, ball.clip(rows).mean(axis=0), atol=1e-2)


def test_noise_of_the_operating_system_differs_between_runs_and_survives_an_interruption(tmp_path):
    config = private("trajectory", noise="os")
    fleet = Clients(config, range(3))
    domain = domain_of(config)
    first, other = (lay(domain, fleet, Jobs(fleet)) for _ in range(2))
    assert first[0][KEY].tobytes() != first[1][KEY].tobytes()
    assert first[0][KEY].tobytes() != other[0][KEY].tobytes()
    kept = [lay(domain, fleet, Jobs(fleet, tmp_path)) for _ in range(2)]
    assert [one[KEY].tobytes() for one in kept[0]] == [one[KEY].tobytes() for one in kept[1]]


def test_a_run_whose_keys_are_lost_is_not_gone_on_with(tmp_path):
    """Else the clients' data would be shown under a second noise."""
    config = private("trajectory", noise="os")
    fleet = Clients(config, range(3))
    jobs = Jobs(fleet, tmp_path)
    first = next(federate(config, fleet, jobs=jobs))[1]
    (key,) = tmp_path.glob("job-noise-keys-*")
    again = dict(federate(config, fleet, {1}, begun={0: None}, jobs=Jobs(fleet, tmp_path)))
    assert np.array_equal(again[0].client_theta, first.client_theta)
    key.unlink()
    with pytest.raises(RunError, match="keys of this run's noise are lost"):
        next(federate(config, fleet, {0}, jobs=Jobs(fleet, tmp_path)))


def test_recorded_demonstrations_have_one_noise_whatever_the_seed(tmp_path):
    path = tmp_path / "shown.npz"
    results(replace(CONFIG, record=RecordConfig(demonstrations=str(path))))
    problem = replace(CONFIG.problem, demonstrations_file=path)
    config = replace(private("trajectory"), problem=problem)
    one, two = results(config)
    assert np.array_equal(one.client_theta, two.client_theta)
    with pytest.raises(ConfigError, match="seeds must be 1 with recorded demonstrations"):
        replace(private("client"), problem=problem)
    with pytest.raises(ConfigError, match="without expert, whose recorded episodes"):
        replace(
            private("trajectory", noise="os"),
            problem=problem,
            fusion=FusionConfig(rules=("mean", "expert")),
        )


def test_a_client_that_hides_all_it_holds_uploads_noisy_thetas_and_nothing_else():
    config = replace(private("client"), federation=FederationConfig(rounds=2))
    found = results(config)
    clear = results(replace(CONFIG, federation=config.federation))
    for one, other in zip(found, clear, strict=True):
        assert not one.negative_log_likelihood.any()
        assert not one.fit_iterations.any()
        assert one.fit_converged.all()
        assert other.negative_log_likelihood.any()
    # Of rounds 1 and 2: one theta, then alone and for each of two rules.
    assert releases(config) == 4
    z = multiplier_for(4.0, 1e-5, 4)
    off = np.array([one.client_theta for one in found])
    assert 0.5 < off.std() / (z * 4.0) < 1.5


def test_a_trusted_server_adds_noise_to_the_mean_and_keeps_the_rest_to_itself():
    config = replace(private("central"), clients=20)
    clear = replace(config, privacy=PrivacyConfig())
    ours, theirs = results(config), results(clear)
    moves = 2.0 * 2.0 / 20
    z = multiplier_for(4.0, 1e-5)
    for one, other in zip(ours, theirs, strict=True):
        thetas = other.client_theta
        length = np.linalg.norm(thetas, axis=1, keepdims=True)
        clipped = (thetas * np.minimum(1.0, 2.0 / length)).mean(axis=0)
        assert np.abs(one.theta[0] - clipped).max() < 5.0 * z * moves
        assert not np.isclose(one.theta[0], clipped, rtol=1e-6).any()
        for name in ("client_theta", "negative_log_likelihood"):
            assert np.isnan(getattr(one, name)).all()
        assert not one.fit_iterations.any()


def test_who_is_let_in_by_a_trusted_server_tells_nothing_of_a_theta():
    """Else the record of who was let in would say, without noise, whose theta is long."""
    events = []
    config = replace(
        private("central"), seeds=1, federation=FederationConfig(norm_bound=1.0, quorum=0.1)
    )
    assert not results(replace(config, privacy=PrivacyConfig()))[0].admitted[:, 0].all()
    ((_, found),) = federate(config, Clients(config, range(3)), report=events.append)
    assert found.admitted[:, 0].all()
    assert not events


def test_rounds_of_a_trusted_server_compose():
    config = replace(private("central"), federation=FederationConfig(rounds=5))
    found = promise_of(config)
    assert found.cost.releases == 5
    assert found.cost.epsilon == pytest.approx(4.0, rel=1e-6)
    alone = promise_of(private("central"))
    assert found.multiplier == pytest.approx(np.sqrt(5.0) * alone.multiplier)
    assert spent([alone.multiplier] * 5, 1e-5).epsilon > 9.0


@pytest.mark.ray
def test_actors_upload_what_clients_in_process_do(ray_session):
    config = replace(private("trajectory"), engine=EngineConfig(clients_per_actor=1))
    with open_fleet(config) as fleet:
        on_ray = results(config, fleet)
    assert same(on_ray, results(config))


@pytest.mark.parametrize("noise", ["os", "seeded"])
def test_every_report_says_what_is_promised(noise, tmp_path):
    result = run(private("trajectory", noise=noise), folder=tmp_path / "run")
    assert main(["report", str(result.folder)]) == 0
    table, page = result.table(), (result.folder / "report.html").read_text()
    told = json.loads((result.folder / "summary.json").read_text())["privacy"]
    assert told["epsilon"] == pytest.approx(4.0, rel=1e-6)
    assert told["delta"] == 1e-5
    assert told["rho"] == pytest.approx(0.428, abs=1e-3)
    for line in ("epsilon 4, delta 1e-05", "one demonstration", "Trusted: nobody"):
        assert line in table
        assert line in page
    marked = [("simulation, not private" in text) for text in (table, page, str(told))]
    assert marked == [noise == "seeded"] * 3


def test_a_run_that_promises_nothing_says_nothing_of_it(tmp_path):
    result = run(CONFIG, folder=tmp_path / "run")
    assert "privacy" not in json.loads((result.folder / "summary.json").read_text())
    assert "Privacy" not in result.table()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--privacy.epsilon 0", "privacy.epsilon must be > 0"),
        ("--privacy.epsilon inf", "privacy.epsilon must be > 0 and finite"),
        ("--privacy.delta 0", "privacy.delta must be in (0, 1)"),
        ("--privacy.delta 1", "privacy.delta must be in (0, 1)"),
        ("--privacy.unit trajectory --privacy.delta 0.03", "at most 1/50, of 50 demonstrations"),
        ("--privacy.unit central --privacy.clip 1 --privacy.delta 0.4", "1/3, of 3 clients"),
        ("--privacy.clip 0", "privacy.clip must be > 0"),
        ("--privacy.unit client", "privacy.clip must be a number with privacy.unit client"),
        ("--privacy.min-cohort 2", "privacy.min-cohort must be an integer >= 3"),
        ("--privacy.dropout 0.1", "privacy.dropout must be 0 with privacy.aggregation clear"),
        ("--privacy.unit trajectory --fusion.rules mean,pooled", "without pooled here: it is"),
        (
            "--privacy.unit central --privacy.clip 1 --fusion.rules mean,barycenter",
            "without barycenter here: privacy.unit central adds noise to the mean alone",
        ),
        (
            "--privacy.unit trajectory --fusion.rules mean,barycenter,select",
            "without select here: it scores rewards by demonstrations kept aside",
        ),
        (
            "--privacy.unit client --privacy.clip 1 --fusion.rules mean,precision",
            "without precision here: curvatures have no noise",
        ),
        (
            "--privacy.unit trajectory --fusion.rules mean --record.demonstrations all.npz",
            "record.demonstrations must be None with privacy.noise os",
        ),
        (
            "--privacy.unit trajectory --fusion.rules mean --problem.name CartPole-v1",
            "control.objective must be matching with privacy.unit trajectory",
        ),
    ],
)  # fmt: skip
def test_what_would_leak_another_way_is_refused_in_one_line(words, said, tmp_path, capsys):
    if "fusion.rules" not in words:
        words += " --fusion.rules mean"
    folder = tmp_path / "run"
    assert main([*words.split(), "--run-dir", str(folder)]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert not folder.exists()


def curious(given):
    return given.weights @ given.thetas


SCORING = RuleSpec(curious, needs=frozenset({"scores"}))
BENT = RuleSpec(curious, needs=frozenset({"curvature"}))


@pytest.mark.parametrize(
    ("unit", "name", "said"),
    [("trajectory", "SCORING", "needs scores"), ("client", "BENT", "needs curvature")],
)
def test_a_rule_of_ones_own_that_reads_what_is_hidden_is_refused(
    unit, name, said, tmp_path, monkeypatch
):
    rule = f"privacy_rules:{name}"
    monkeypatch.setitem(sys.modules, "privacy_rules", sys.modules[__name__])
    fusion = FusionConfig(rules=("mean", rule))
    with pytest.raises(ConfigError, match=f"without {rule} here: it {said}"):
        run(replace(private(unit), fusion=fusion), folder=tmp_path / "run")
    with pytest.raises(ConfigError, match=f"without {rule} here: it {said}"):
        results(replace(private(unit), fusion=fusion))


def test_recorded_demonstrations_bound_delta_too(tmp_path):
    path = tmp_path / "shown.npz"
    results(replace(CONFIG, record=RecordConfig(demonstrations=str(path))))
    problem = replace(CONFIG.problem, demonstrations_file=path)
    loose = PrivacyConfig(unit="trajectory", delta=0.2)
    config = replace(CONFIG, problem=problem, privacy=loose)
    with pytest.raises(ConfigError, match="at most 1/8, of 8 demonstrations"):
        run(config, folder=tmp_path / "run")
