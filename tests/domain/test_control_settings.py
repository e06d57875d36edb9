"""Which settings continuous control takes, which it refuses, and demonstrations brought along."""

import itertools
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from actors import make

import fedirl_ray
from fedirl_ray.cli import load, spell
from fedirl_ray.config import EvaluationConfig, RunConfig
from fedirl_ray.config_control import USUAL, ControlConfig, PPOConfig
from fedirl_ray.config_fusion import BLIND, FusionConfig
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.domain.control import Control
from fedirl_ray.domain.control_learning import named, part
from fedirl_ray.domain.control_settings import worlds_of
from fedirl_ray.domain.domain import Columns
from fedirl_ray.domain.job import done
from fedirl_ray.errors import ConfigError, FedirlError
from fedirl_ray.problem.control.arena import play
from fedirl_ray.problem.control.demonstrations import demonstrate, save_episodes
from fedirl_ray.problem.control.paper import CARTPOLE, PENDULUM
from fedirl_ray.problem.lattice import ground_of, product
from fedirl_ray.seeds import stream
from fedirl_ray.yaml_file import read_yaml

PRESETS = Path(fedirl_ray.__file__).parent / "presets"
DOCS = Path(__file__).parents[2] / "docs"
PLAIN = ["--problem.name", "CartPole-v1", "--evaluation.discounts", "",
         "--fusion.rules", "mean,barycenter"]  # fmt: skip
TINY = PPOConfig(steps=64, rows=4, rollout=64, batch=64, epochs=1, hidden=(4,), evaluations=1)


def config_of(*words):
    return load(RunConfig, [*PLAIN, *words], prog="run", description="")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("problem.size", "6"),
        ("problem.obstacles", "0.1"),
        ("problem.layout", "0.5"),
        ("problem.slip", "0"),
        ("problem.slip-to", "anywhere"),
        ("problem.goal", "centre"),
        ("problem.goal-shift", "1"),
        ("problem.sites", "2"),
        ("problem.frame-shift", "1"),
        ("problem.rbf-centres", "3"),
        ("problem.rbf-width", "1"),
        ("problem.expert-temperature", "1"),
        ("problem.expert-discount", "0.9"),
        ("heterogeneity.coverage", "0.5"),
        ("heterogeneity.expert-temperature", "0.5"),
    ],
)
def test_a_setting_of_tables_is_refused(setting, value):
    with pytest.raises(ConfigError) as caught:
        Control(config_of(f"--{setting}", value))
    assert str(caught.value).startswith(f"{setting} means nothing for problem.name CartPole-v1")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--problem.features", "one-hot"], "problem.features must be distance or rbf"),
        (["--control.sensor-offset", "-1"], "control.sensor-offset must be >= 0 and finite"),
        (["--control.sensors", "1"], "control.sensors must be none while control.sensor-offset is"),
        (
            ["--control.sensor-offset", "0.1", "--control.sensors", "0"],
            "control.sensors must be numbers of axes from 1, got 0",
        ),
        (
            ["--control.sensor-offset", "0.1", "--control.sensors", "3,3"],
            "control.sensors must be axes named once each, got 3",
        ),
        (
            ["--control.sensor-offset", "0.1", "--control.sensors", "1,5"],
            "control.sensors must be axes of CartPole-v1's state, from 1 to 4, got 5",
        ),
        (
            ["--control.sensor-offset", "0.3"],
            "control.sensor-offset must be at most 0.2094, half the length of CartPole-v1's axis "
            "angle, got 0.3",
        ),
        (["--evaluation.discounts", "0.9,0.8"], "evaluation.discounts must be empty"),
        (["--irl.discount", "1"], "irl.discount must be below 1"),
        (["--evaluation.discount", "1"], "evaluation.discount must be below 1"),
        (["--control.held-out", "0.5,2"], "control.held-out must be finite, >= 0 and no client's"),
        (["--control.held-out", "0.5,0.5"], "control.held-out must be physics named once each"),
        (["--control.judged", "9.5"], "control.judged must be a client's number or held out"),
        (["--fusion.rules", "mean,ceiling"], "fusion.rules of problem.name CartPole-v1 may have"),
        (["--problem.horizon", "9"], "problem.horizon is for environments of your own"),
        (["--control.limits", "0,1"], "control.limits is for environments of your own"),
        (["--control.points", "3,3,3"], "got 3"),
        (["--control.points", "3,3,3,1"], "axis turn needs at least 2 points, got 1"),
        (["--problem.name", "CartPol-v1"], "did you mean CartPole-v1?"),
        (["--problem.name", "nobody:knows"], "problem.name"),
        (
            ["--problem.demonstrations-file", "shown.npz"],
            "problem.demonstrations-file must be a name with {client} in it, got shown.npz",
        ),
        (
            ["--problem.demonstrations-file", "no/{client}.npz"],
            "no/0.npz must be a readable .npz of plain arrays, got: no such file",
        ),
        (
            ["--problem.demonstrations-file", "no/pole{client}-v0"],
            "problem.demonstrations-file must be a local Minari data set, got no/pole0-v0",
        ),
    ],
)
def test_what_means_nothing_or_cannot_be_is_refused_in_one_line(words, said):
    with pytest.raises(FedirlError) as caught:
        Control(config_of(*words)).check()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--problem.features", "rbf"],
        ["--heterogeneity.demonstrations", "0.5", "--heterogeneity.weak-clients", "0.5"],
        ["--heterogeneity.hidden-support", "0.5", "--heterogeneity.adversaries", "0.3"],
        ["--control.held-out", "0.5", "--control.judged", "0.5,2"],
        ["--fusion.rules", "local,mean,self-control,pooled,expert"],
        ["--control.sensor-offset", "0.3", "--control.sensors", "1"],
    ],
)
def test_what_means_something_is_taken(words):
    Control(config_of(*words)).check()


def test_held_out_physics_follow_the_number_of_clients():
    six = config_of("--clients", "6", "--evaluation.held-out", "3")
    assert worlds_of(six)[6:] == (2.5, 6.0, 7.0)
    for clients in range(1, 12):
        config = replace(six, clients=clients, evaluation=EvaluationConfig(held_out=4))
        own, new = range(clients), worlds_of(config)[clients:]
        assert not set(new) & set(own)
        assert 0.0 < new[0] < max(1, clients - 1)
        assert new[1:] == (clients, clients + 1, clients + 2)
    named_ones = config_of("--clients", "3", "--control.held-out", "0.5,9")
    assert worlds_of(named_ones) == (0.0, 1.0, 2.0, 0.5, 9.0)


@pytest.mark.parametrize("file", sorted(PRESETS.glob("*.yaml")), ids=lambda file: file.stem)
def test_a_preset_is_a_run(file, monkeypatch):
    words = ["--problem.name", "hilly:hilly"] if file.stem == "control" else []
    monkeypatch.syspath_prepend(str(DOCS))
    config = load(RunConfig, [str(file), *words], prog="run", description="")
    rules = ["local", "mean", "arithmetic", "barycenter", "debiased", "pooled"]
    assert list(config.fusion.rules) == [*rules, "true", *BLIND]
    assert (config.clients, config.seeds, config.evaluation.held_out) == (6, 5, 3)
    assert (config.irl.l2, config.irl.iterations, config.evaluation.discounts) == (0.01, 60, ())
    if file.stem == "control":
        assert (config.control.expert, config.control.agent) == (USUAL, USUAL)
        return
    if "lander" in file.stem:
        pytest.importorskip("Box2D")
    Control(config).check()


@pytest.mark.parametrize("file", sorted(PRESETS.glob("*-paper.yaml")), ids=lambda file: file.stem)
def test_the_papers_budgets_are_its_tables(file):
    steps = {"pendulum": (50_000, 500_000), "cartpole": (200_000, 30_000),
             "acrobot": (5_000, 25_000), "lander": (300_000, 2_000_000)}  # fmt: skip
    words = list(spell(read_yaml(file)))
    said = dict(itertools.pairwise(words))
    task = file.stem.removesuffix("-paper")
    for who, wanted in zip(("expert", "agent"), steps[task], strict=True):
        got = {name: said[f"--control.{who}.{name}"] for name in
               ("steps", "rows", "batch", "learning-rate")}  # fmt: skip
        assert got == {"steps": str(wanted), "rows": "1", "batch": "64", "learning-rate": "0.003"}


def test_ground_cost_in_the_papers_spacings_does_not_change_with_resolution():
    finer = product(PENDULUM.state.resized((64, 41)), PENDULUM.action)
    fine, coarse = ground_of(finer, PENDULUM.support), ground_of(PENDULUM.support)
    assert fine[0][0, 2] == pytest.approx(coarse[0][0, 1])  # two fine cells are one coarse one
    assert fine[1][2] == pytest.approx(coarse[1][1])
    assert fine[2] == pytest.approx(coarse[2])


@pytest.mark.parametrize("ground", ["cells", "paper"])
def test_a_support_is_the_lattice_of_states_and_actions(ground):
    words = ["--problem.name", "Pendulum-v1", "--control.points", "16,41", "--control.features"]
    domain = Control(config_of(*words, "8", "--control.ground", ground))
    support = domain.ground(0).support
    lattice = product(PENDULUM.state.resized((16, 41)), PENDULUM.action)
    assert support.features.shape == (lattice.size, 8)
    base = None if ground == "cells" else PENDULUM.support
    for own, wanted in zip(support.axes, ground_of(lattice, base), strict=True):
        np.testing.assert_array_equal(own, wanted)


def test_memory_grows_with_every_size_that_is_named():
    usual = config_of("--control.points", "9,9,9,9")
    domain = Control(usual)
    grown = {"clients": "9", "control.points": "19,9,9,9", "problem.horizon": "5000",
             "problem.demonstrations": "5000", "control.features": "640",
             "control.gather": "900000", "control.episodes": "900", "seeds": "900",
             "evaluation.held-out": "900"}  # fmt: skip
    assert set(grown) == set(domain.sizes)
    for name, value in grown.items():
        words = ["--control.points", "9,9,9,9", f"--{name}", value]
        assert Control(config_of(*words)).room() > domain.room()


def test_every_worlds_recorded_steps_are_counted_where_lattices_are_estimated():
    rooms = [
        Control(config_of("--problem.name", "LunarLanderContinuous-v3", *more)).room()
        for more in (["--control.gather", "1000"], ["--control.gather", "1001000"])
    ]
    worlds = 6 + 3
    assert rooms[1] - rooms[0] == 1_000_000 * worlds * 8 * (2 * 8 + 2 + 2)


def test_all_clients_are_one_cost_and_pooling_counts_what_is_sent():
    domain = Control(config_of("--clients", "4"))
    assert domain.costs() == [1.0] * 4
    network = make(CARTPOLE).arrays()  # 4 observations, 8 hidden units, 2 actions
    shape = config_of("--clients", "4", "--control.expert.hidden", "8")
    wanted = sum(array.size for array in network.values())
    assert Control(shape).pooled_bytes() == 4 * 8 * wanted


def do(jobs):
    return [
        job.work([job.arguments])[0] if job.together else job.work(**job.arguments) for job in jobs
    ]


@pytest.fixture
def brought(tmp_path):
    """A run of recorded demonstrations, and these."""
    shown = [demonstrate(CARTPOLE, float(i), make(CARTPOLE, seed=i), 2, stream(i, "shown"))
             for i in range(2)]  # fmt: skip
    for i, episodes in enumerate(shown):
        save_episodes(tmp_path / f"{i}.npz", episodes)
    config = config_of("--clients", "2", "--control.points", "3,3,3,3", "--control.features", "6",
                       "--control.agents", "False", "--control.episodes", "2",
                       "--control.held-out", "0.5", "--fusion.rules", "mean,expert",
                       "--problem.demonstrations-file", str(tmp_path / "{client}.npz"))  # fmt: skip
    return config, shown


def test_recorded_demonstrations_are_read_once_and_shown_whatever_the_seed(brought, tmp_path):
    config, shown = brought
    domain = Control(config)
    domain.check()
    content = b"".join(domain.recorded())
    laid = done(domain.lay(), do)
    for path in tmp_path.glob("*.npz"):
        path.unlink()  # another machine does not see them
    assert len(laid) == 3
    elsewhere = pickle.loads(pickle.dumps(domain))
    fits = [
        elsewhere.learn(
            elsewhere.hold(seed, [0, 1], dict(enumerate(laid))),
            np.zeros((2, 1, 6)), np.zeros((2, 1)),
        )
        for seed in range(2)
    ]  # fmt: skip
    np.testing.assert_array_equal(fits[0].theta, fits[1].theta)
    assert domain.pooled_bytes() >= sum(array.nbytes for one in laid for array in one.values()) / 2
    theta = np.stack([fits[0].theta[0, 0], np.full(6, np.nan)])
    own = {
        split: Columns(("mean", "expert"), *(np.tile(x, (count, *[1] * x.ndim))
               for x in (theta, np.zeros(2), theta, np.zeros(2))))
        for split, count in (("in-distribution", 2), ("held-out", 1))
    }  # fmt: skip
    judged = done(domain.judge(1, own, laid, 1), do)
    experts = judged.scores["in-distribution"][:, 1, 0]
    assert experts == pytest.approx([one.returns.mean() for one in shown])
    assert np.isnan(judged.scores["held-out"][:, 1]).all()
    assert np.isfinite(judged.scores["held-out"][:, 0]).all()
    np.testing.assert_allclose(judged.facts[:, 0], experts)
    assert np.isnan(judged.facts[:, 3]).all()  # the equations are known, and were kept to
    save_episodes(tmp_path / "0.npz", shown[0])
    save_episodes(tmp_path / "1.npz", replace(shown[1], returns=shown[1].returns + 1.0))
    assert b"".join(Control(config).recorded()) != content


@pytest.fixture
def hilly(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    yield RunConfig(
        clients=2,
        problem=ProblemConfig(name="hilly:hilly", demonstrations=2),
        fusion=FusionConfig(rules=("mean",)),
        evaluation=EvaluationConfig(discounts=()),
        control=ControlConfig(points=(7, 7), features=8, gather=400, held_out=(5.0,), episodes=2,
                              agents=False, expert=TINY),
    )  # fmt: skip
    sys.modules.pop("hilly", None)


def test_a_world_of_ones_own_has_one_lattice_in_which_its_own_expert_has_flown(hilly):
    stages = []

    def watched(jobs):
        stages.append(list(jobs))
        return do(jobs)

    domain = Control(hilly)
    domain.check()
    laid = done(domain.lay(), watched)
    assert [[job.kind for job in stage] for stage in stages] == [["expert"] * 2, ["steps"] * 3]
    steps = stages[1]
    assert [job.arguments["world"] for job in steps] == [0.0, 1.0, 5.0]
    networks = [part("actor.", one) for one in laid[:2]]
    flown = [job.arguments["pilots"] for job in steps]
    for pilots, wanted in zip(flown, (networks[:1], networks[1:], networks), strict=True):
        assert len(pilots) == len(wanted)
        for pilot, network in zip(pilots, wanted, strict=True):
            assert all((pilot[name] == network[name]).all() for name in network)
    assert all(len(part("steps.", one)["reward"]) == 400 for one in laid)
    held = domain.hold(0, [0, 1], dict(enumerate(laid)))
    found = domain.learn(held, np.zeros((2, 1, 8)), np.zeros((2, 1)))
    assert np.isfinite(found.theta).all()
    theta = np.ones((1, 8))
    own = {
        split: Columns(("mean",), *(np.tile(x, (count, *[1] * x.ndim))
               for x in (theta, np.zeros(1), theta, np.zeros(1))))
        for split, count in (("in-distribution", 2), ("held-out", 1))
    }  # fmt: skip
    judged = done(domain.judge(0, own, laid, 1), do)
    assert (judged.facts[:, 2] > 0.0).all()
    assert (judged.facts[:, 2] < 1.0).all()
    assert np.isnan(judged.facts[:, 3]).all()


def test_the_least_likely_recorded_step_is_told_where_the_lattice_is_a_guess(hilly, tmp_path):
    domain = Control(hilly)
    task = domain._task
    for client in range(2):
        rng = stream(client, "shown")
        choices = task.action.points

        def drunk(seen, rng=rng, choices=choices):
            return choices[rng.integers(len(choices), size=len(seen))]

        save_episodes(tmp_path / f"{client}.npz", play(task, [float(client)] * 2, drunk, rng))
    file = replace(hilly.problem, demonstrations_file=tmp_path / "{client}.npz")
    domain = Control(replace(hilly, problem=file))
    domain.check()
    laid = done(domain.lay(), do)
    theta = np.full((1, 8), np.nan)
    own = {
        split: Columns(("mean",), *(np.tile(x, (count, *[1] * x.ndim))
               for x in (theta, np.zeros(1), theta, np.zeros(1))))
        for split, count in (("in-distribution", 2), ("held-out", 1))
    }  # fmt: skip
    judged = done(domain.judge(0, own, laid, 1), do)
    assert ((judged.facts[:, 3] >= 0.0) & (judged.facts[:, 3] <= 1.0)).all()
    assert all(np.isnan(scores).all() for scores in judged.scores.values())
    assert named("shown.", part("shown.", laid[0])).keys() == part("", laid[0]).keys() - {
        name for name in laid[0] if name.startswith("steps.")
    }
