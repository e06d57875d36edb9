"""What a federation owes to every kind of world."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from actors import make
from browser import opened
from engine import killed
from engine.faults import Meddling, misbehaving, outcome

from fedirl_ray.cli import leaves, settings
from fedirl_ray.config import EvaluationConfig, FederationConfig, IRLConfig, RecordConfig, RunConfig
from fedirl_ray.config_control import ControlConfig, PPOConfig
from fedirl_ray.config_engine import EngineConfig
from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.config_problem import HeterogeneityConfig, ProblemConfig
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.engine.client import RayFleet
from fedirl_ray.engine.driver import federate
from fedirl_ray.engine.jobs import Worker
from fedirl_ray.engine.local import Clients
from fedirl_ray.engine.result import SeedResult, judges
from fedirl_ray.engine.tasks import run_seeds
from fedirl_ray.problem.control.arena import play
from fedirl_ray.problem.control.demonstrations import save_episodes
from fedirl_ray.problem.control.paper import CARTPOLE
from fedirl_ray.report.page import write_page
from fedirl_ray.run import main
from fedirl_ray.study.space import read_study_file

KINDS = ("tabular", "recorded control", "trained control")
RULES = (
    "local", "personal", "mean", "median", "precision", "barycenter", "select", "pooled", "expert"
)  # fmt: skip
BUDGET = PPOConfig(
    steps=64, rows=4, rollout=64, batch=64, epochs=1, hidden=(4,), evaluations=1, episodes=2
)
"""One update."""
ROUNDS = 3


@pytest.fixture(scope="session")
def shown(tmp_path_factory):
    """Three episodes a client on a cart, flown by networks of random weights."""
    folder = tmp_path_factory.mktemp("shown")
    for i in range(4):
        rng = np.random.default_rng(i)
        pilot = make(CARTPOLE, seed=i).sampled(rng)
        save_episodes(folder / f"{i}.npz", play(CARTPOLE, [float(i)] * 3, pilot, rng))
    return folder / "{client}.npz"


@pytest.fixture(scope="module", params=KINDS)
def config(request, shown):
    """Three clients, three rounds, in a small world of a kind."""
    shared = {
        "clients": 3,
        "seeds": 1,
        "fusion": FusionConfig(rules=RULES),
        "federation": FederationConfig(rounds=ROUNDS),
        "engine": EngineConfig(backend="local"),
        "record": RecordConfig(figure=False),
    }
    evaluation = EvaluationConfig(held_out=2, discounts=(), by_round=False)
    if request.param == "tabular":
        problem = ProblemConfig(size=3, demonstrations=3)
        return RunConfig(problem=problem, evaluation=evaluation, **shared)
    trained = request.param == "trained control"
    return RunConfig(
        problem=ProblemConfig(
            name="CartPole-v1", demonstrations=3, demonstrations_file=None if trained else shown
        ),
        irl=IRLConfig(l2=0.1, iterations=4, discount=0.8),
        evaluation=replace(evaluation, discount=0.8),
        control=ControlConfig(
            points=(3, 3, 3, 3),
            features=6,
            episodes=2,
            agents=trained,
            judged=(2.0,) if trained else (),
            expert=BUDGET,
            agent=BUDGET,
        ),
        **shared,
    )


def with_federation(config, **changed):
    return replace(config, federation=replace(config.federation, **changed))


def found_by(config, fleet):
    ((_, found),) = federate(config, fleet)
    return found


class Counting:
    """What is asked of clients and workers, while it is done as ever."""

    def __init__(self, patch):
        self.rounds, self.kept = [], 0
        learn, work = Clients.learn, Worker.work

        def learning(clients, order):
            self.rounds.append(order.round)
            return learn(clients, order)

        def working(worker, jobs):
            self.kept += sum(job.kept for job in jobs)
            return work(worker, jobs)

        patch.setattr(Clients, "learn", learning)
        patch.setattr(Worker, "work", working)


class Whole(NamedTuple):
    """A run that nothing befell."""

    file: Path
    """Its settings."""
    folder: Path
    asked: Counting


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """Done in this process, once for all tests that compare with it."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "run.yaml").write_text(yaml.safe_dump(settings(config)))
    with pytest.MonkeyPatch.context() as patch:
        asked = Counting(patch)
        assert main([str(folder / "run.yaml"), "--run-dir", str(folder / "run")]) == 0
    return Whole(folder / "run.yaml", folder / "run", asked)


@pytest.fixture(scope="module")
def alone(whole):
    """What it has found, as `outcome` says it."""
    names = [field.name for field in fields(SeedResult) if field.name != "seconds"]
    with np.load(whole.folder / "arrays.npz") as arrays:
        return {name: arrays[name][0].tobytes() for name in names}


@pytest.mark.parametrize("actors", [1, 3])
def test_on_ray_a_run_finds_the_bytes_of_this_process(ray_session, config, alone, actors):
    engine = EngineConfig(clients_per_actor=3 // actors)
    on_ray = replace(config, engine=engine)
    with RayFleet(on_ray) as fleet:
        assert len(fleet.placement.blocks) == actors
        found, told = outcome(on_ray, fleet)
    assert found == alone
    assert not told


def dying_twice(folder):
    """Holders of clients that die over a client in a round, and over the first job."""
    mark = str(folder / "died")

    class Dying(misbehaving("die")):
        def work(self, jobs):
            with contextlib.suppress(FileExistsError):
                os.close(os.open(mark, os.O_CREAT | os.O_EXCL))  # one of them makes it
                os.kill(os.getpid(), signal.SIGKILL)
            return super().work(jobs)

    return Dying


def test_actors_killed_while_they_learn_and_judge_change_nothing(
    ray_session, config, alone, tmp_path
):
    on_ray = replace(config, engine=EngineConfig(clients_per_actor=2))
    told = []
    with RayFleet(on_ray, told.append, holder=dying_twice(tmp_path)) as fleet:
        found, _ = outcome(on_ray, fleet)
    assert found == alone
    assert [event.what for event in told].count("restarted") == 2
    assert not [event for event in told if event.what in ("missing", "refused")]


def bytes_of(folder):
    """Every file of an ended run that does not tell of the machine."""
    machines = {"timings.json", "events.jsonl", "environment.json"}
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name not in machines}


def test_a_killed_run_goes_on_from_its_last_round_and_does_no_kept_job_again(
    config, whole, tmp_path, monkeypatch, capsys
):
    assert whole.asked.rounds == [0, 1, 2]
    run = tmp_path / "run"
    experts = 3 if config.problem.name != "GridWorld" and config.control.agents else 0
    deaths = [("round", 2, [str(whole.file), "--run-dir", str(run)])]
    if whole.asked.kept:
        deaths.append(("job", 2, ["--resume", str(run)]))
    for moment, count, words in deaths:
        done = subprocess.run([sys.executable, killed.__file__, moment, str(count), *words],
                              capture_output=True, check=False)  # fmt: skip
        assert done.returncode == -signal.SIGKILL, done.stderr
    left = Counting(monkeypatch)
    assert main(["--resume", str(run)]) == 0
    assert left.rounds == [2]
    assert left.kept == max(0, whole.asked.kept - experts - 2)
    assert bytes_of(run) == bytes_of(whole.folder)
    assert not (run / "seeds").exists()
    assert "damaged" not in capsys.readouterr().err


def test_the_page_of_a_run_opens_in_a_browser_without_complaint(config, whole, tmp_path):
    dom, said = opened(write_page([whole.folder]), tmp_path)
    assert said == []
    assert config.problem.name in dom
    metric = domain_of(config).metric
    summary = json.loads((whole.folder / "summary.json").read_text())
    assert dom.count('<table class="scores"') == len(summary[metric]["held-out"])
    assert f"<h2>{metric.capitalize()}" in dom


SEARCH = {"fusion.epsilon": [0.1, 1.0], "irl.l2": [0.01, 1.0]}


def planned(config, objective):
    """A study of a run's settings, with all that a trial can do without left out."""
    small = replace(
        with_federation(config, rounds=1),
        fusion=FusionConfig(rules=("mean", "barycenter", "expert")),
        evaluation=replace(config.evaluation, held_out=1),
        control=replace(config.control, agents=config.problem.name == "GridWorld"),
    )
    fixed = {name: value for name, value in leaves(settings(small)) if name not in SEARCH}
    return {"fixed": fixed, "search": SEARCH, "objectives": {objective: "maximize"},
            "sampler": "grid"}  # fmt: skip


def test_a_sweep_of_four_trials_seeks_what_runs_of_their_settings_find(config, tmp_path, capsys):
    metric = domain_of(config).metric
    objective = f"{metric}/held-out/barycenter"
    file, study = tmp_path / "plan.yaml", tmp_path / "s"
    file.write_text(yaml.safe_dump(planned(config, objective)))
    assert main(["sweep", str(file), "--run-dir", str(study), "--progress", "False"]) == 0
    trials = pq.read_table(study / "trials.parquet").to_pylist()
    assert [trial["state"] for trial in trials] == ["COMPLETE"] * 4
    rows = pq.read_table(study / "results.parquet").to_pylist()
    assert {row["trial"] for row in rows} == {trial["number"] for trial in trials}
    last = trials[-1]
    one = read_study_file(study / "study.yaml").config(
        {name: last[f"params.{name}"] for name in SEARCH}
    )
    domain = domain_of(one)
    channel = next(iter(judges(domain).values()))
    (found,) = run_seeds(one)
    column = one.fusion.rules.index("barycenter")
    wanted = found.held_out_scores[:, column, channel].mean()
    assert domain.channels[channel].metric == metric
    assert last[f"values.{objective}"] == pytest.approx(wanted, rel=1e-12)
    assert main(["report", str(study), "--map", str(tmp_path / "map.png")]) == 0
    page, text = (study / "report.html").read_text(), (tmp_path / "map.md").read_text()
    assert objective in page
    values = {trial[f"values.{objective}"] for trial in trials}
    assert ("Importances" in page) == (len(values) > 1)
    assert config.problem.name in page
    assert "fusion.epsilon" in text


@pytest.mark.parametrize(
    ("name", "file"), [("GridWorld", "x.npz"), ("CartPole-v1", "{client}.npz")]
)
def test_a_sweep_without_its_demonstrations_is_refused_before_anything_is_written(
    name, file, tmp_path, capsys
):
    fixed = {"problem.name": name, "problem.demonstrations-file": str(tmp_path / file)}
    plan = {"fixed": fixed, "search": SEARCH, "objectives": {"bytes_up/mean": "minimize"}}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    words = [str(tmp_path / "plan.yaml"), "--run-dir", str(tmp_path / "s")]
    assert main(["sweep", *words]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / file.format(client=0)) in said
    assert not (tmp_path / "s").exists()


def test_a_bad_upload_is_refused_and_the_others_are_as_without_it(config, alone):
    def spoil(order, uploads):
        return [uploads[0]._replace(theta=np.full_like(uploads[0].theta, np.inf)), *uploads[1:]]

    spoilt, told = outcome(config, Meddling(config, spoil))
    without, _ = outcome(config, Meddling(config, lambda order, uploads: uploads[1:]))
    assert spoilt == without
    assert spoilt["theta"] != alone["theta"]
    refused = [(one.round, one.clients) for one in told if one.what == "refused"]
    assert refused == [(number, (0,)) for number in range(ROUNDS)]


def test_half_the_clients_take_part_in_each_round_and_the_mean_is_theirs(config):
    halved = with_federation(replace(config, clients=4), participation=0.5)
    came = []

    def watch(order, uploads):
        came.append((order, uploads))
        return uploads

    found = found_by(halved, Meddling(halved, watch))
    assert found.asked.sum(axis=1).tolist() == [2] * ROUNDS
    assert [np.flatnonzero(row).tolist() for row in found.asked] == [
        list(order.clients) for order, _ in came
    ]
    order, uploads = came[-1]
    row, mean = order.row(0), RULES.index("mean")
    last = np.mean([upload.theta[row] for upload in uploads], axis=0)
    np.testing.assert_allclose(found.theta[mean], last, rtol=1e-12)
    heard = found.heard.any(axis=0)
    assert np.isfinite(found.client_theta).all(axis=1).tolist() == heard.tolist()
    assert np.isnan(found.client_theta[~heard]).all()
    assert np.isfinite(found.held_out_scores[:, mean]).any(axis=1).all()


def test_who_uploads_the_opposite_turns_the_mean_and_keeps_its_own_reward(config):
    once = with_federation(config, rounds=1)
    honest = found_by(once, Clients(once, range(3)))
    mean = RULES.index("mean")
    np.testing.assert_allclose(honest.theta[mean], honest.client_theta.mean(axis=0), rtol=1e-9)
    for share, liars in ((0.34, 1), (1.0, 3)):
        lying = replace(once, heterogeneity=HeterogeneityConfig(adversaries=share))
        found = found_by(lying, Clients(lying, range(3)))
        assert found.client_theta.tobytes() == honest.client_theta.tobytes()
        turned = (honest.theta[mean] - found.theta[mean]) * 3 / 2
        each = [honest.client_theta[i] for i in range(3)]
        known = each if liars == 1 else [np.sum(each, axis=0)]
        assert sum(np.allclose(turned, one) for one in known) == 1


MEANINGLESS = {
    "GridWorld": ("--control.features 5", "--control.points 3,3", "--control.agent.steps 64"),
    "CartPole-v1": ("--problem.size 6", "--problem.slip 0", "--heterogeneity.coverage 0.5",
                    "--heterogeneity.expert-temperature 0.5"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "words"), [(name, one) for name, each in MEANINGLESS.items() for one in each]
)
def test_a_setting_that_means_nothing_is_refused_in_one_line(
    name, words, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(["--problem.name", name, *words.split()]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    setting = words.split()[0].removeprefix("--")
    assert line.startswith(f"{setting} means nothing for problem.name {name}, got ")
    assert not list(tmp_path.iterdir())


def test_a_reference_that_there_is_not_is_refused_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["--problem.name", "CartPole-v1", "--fusion.rules", "mean,ceiling"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    law = "fusion.rules of problem.name CartPole-v1 may have, beside rules, local, "
    assert line.startswith(law)
    assert line.endswith("; got ceiling")
    assert not list(tmp_path.iterdir())


def test_every_kind_says_what_the_engine_asks(config):
    domain = domain_of(config)
    assert domain.held_out == 2
    assert domain.metric in {channel.metric for channel in domain.channels}
    assert len(set(domain.channels)) == len(domain.channels)
    assert len(domain.costs()) == 3
    assert min(domain.costs()) > 0.0
    assert 0 < domain.room() < 2**30
    ground = domain.ground(0)
    assert np.isfinite(ground.support.features).all()
    assert ground.episodes == 3
    assert ground.curvature_bound > 0.0
