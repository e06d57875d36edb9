"""Clients whose sensors are off learn and are judged in coordinates of their own."""

import math
from dataclasses import replace

import numpy as np
import pytest
from actors import make

from fedirl_ray.config import EvaluationConfig, IRLConfig, RunConfig
from fedirl_ray.config_control import ControlConfig, PPOConfig
from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.domain import control_settings
from fedirl_ray.domain.control import Control
from fedirl_ray.domain.control_judging import judge_by_agents
from fedirl_ray.domain.control_learning import (
    demonstrations,
    model_of,
    named,
    objective_of,
)
from fedirl_ray.domain.control_settings import Learner, TaskSpec, sensor_of
from fedirl_ray.domain.domain import Columns
from fedirl_ray.domain.job import done
from fedirl_ray.problem.control.demonstrations import load_episodes
from fedirl_ray.problem.control.paper import PENDULUM

SPACING = 2.0 * math.pi / 8
PLAIN = RunConfig(
    clients=3,
    seed=5,
    problem=ProblemConfig(name="Pendulum-v1", demonstrations=3),
    irl=IRLConfig(l2=0.01, discount=0.95, temperature=0.7, tolerance=1e-7),
    evaluation=EvaluationConfig(held_out=2, discount=0.95, discounts=(), by_round=False),
    fusion=FusionConfig(rules=("mean", "expert", "true")),
    control=ControlConfig(points=(8, 7), features=8, agents=False, episodes=1),
)
OFF = replace(PLAIN, control=replace(PLAIN.control, sensor_offset=1.2))


def do(jobs):
    return [job.work(**job.arguments) for job in jobs]


@pytest.fixture(scope="module")
def laid():
    """Experts of random weights, and nothing where nobody lives."""
    return [*(named("actor.", make(PENDULUM, seed=i).arrays()) for i in range(3)), {}, {}]


@pytest.fixture
def whole_cells(monkeypatch):
    """Sensors off by a client's number and one of cells, in seed 1 by one more."""

    def off(config, task, seed, client):
        return ((client + 1 + seed) * SPACING, 0.0) if config.control.sensor_offset else ()

    for module in ("control", "control_panel"):
        monkeypatch.setattr(f"fedirl_ray.domain.{module}.sensor_of", off)


def shown(domain, laid, seed):
    held = domain.hold(seed, range(3), dict(enumerate(laid)))
    return [one.objective.shown.steps.reshape(-1, 8, 7) for one in held]


def test_a_client_learns_from_what_it_sees_anew_in_each_seed(whole_cells, laid):
    domain, plain = Control(OFF), Control(PLAIN)
    for seed in (0, 1, 0):
        for i, (here, there) in enumerate(
            zip(shown(plain, laid, seed), shown(domain, laid, seed), strict=True)
        ):
            moved = np.roll(here, i + 1 + seed, axis=1)
            np.testing.assert_allclose(there, moved, atol=1e-12)


def test_what_a_client_minimises_is_the_true_worlds_under_features_moved_the_other_way(
    whole_cells, laid
):
    domain, task = Control(OFF), TaskSpec.of(PLAIN).task()
    learner = Learner.of(PLAIN)
    episodes = demonstrations(task, 2.0, laid[2], 3, 5, 0)
    features = learner.basis(task).at(task.support.points).reshape(8, -1, 8)
    moved = np.roll(features, -3, axis=0).reshape(-1, 8)
    model = model_of(task, 2.0, None, 5)
    true = objective_of(task, model, moved, episodes, learner)
    own = domain.hold(0, [2], {2: laid[2]})[0].objective
    theta = np.random.default_rng(0).normal(size=8)
    for found, wanted in zip(own(theta), true(theta), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_a_seeds_lattices_are_not_anothers(whole_cells, laid):
    used, fresh = Control(OFF), Control(OFF)
    used.hold(0, [1], {1: laid[1]})
    begin = np.zeros((1, 1, 8)), np.zeros((1, 1))
    one, other = (d.learn(d.hold(1, [1], {1: laid[1]}), *begin).theta for d in (used, fresh))
    np.testing.assert_array_equal(one, other)


def test_all_data_in_one_place_are_every_clients_own(whole_cells, laid):
    domain = Control(OFF)
    theta = done(domain.pool(1, laid), do)
    slopes = [one.objective(theta)[1] for one in domain.hold(1, range(3), dict(enumerate(laid)))]
    assert np.abs(np.mean(slopes, axis=0) + 0.01 * theta).max() < 1e-4


NAMES = ("mean", "true", "expert")


def judged(config, laid, seed=0):
    columns = {}
    for split, count in (("in-distribution", 3), ("held-out", 2)):
        theta = np.full((count, 3, 8), np.nan)
        theta[:, 0] = np.random.default_rng(0).normal(size=8)
        offset = np.zeros((count, 3))
        columns[split] = Columns(NAMES, theta, offset, theta, offset)
    return done(Control(config).judge(seed, columns, laid, 1), do)


@pytest.fixture(scope="module")
def plain(laid):
    return judged(PLAIN, laid)


def test_worlds_of_nobody_are_seen_as_they_are_and_clients_by_their_own_sensors(plain, laid):
    off = judged(OFF, laid)
    np.testing.assert_array_equal(off.scores["held-out"], plain.scores["held-out"])
    own, true = (found.scores["in-distribution"] for found in (off, plain))
    assert (own[:, 0] != true[:, 0]).any()
    # An expert acts on what the environment gives.
    np.testing.assert_allclose(own[:, 2, 0], true[:, 2, 0], rtol=1e-6)


def test_off_by_whole_cells_the_true_reward_is_planned_for_as_well_as_ever(
    plain, whole_cells, laid
):
    off = judged(OFF, laid)
    own, true = (found.scores["in-distribution"][:, 1, 0] for found in (off, plain))
    np.testing.assert_allclose(own, true, rtol=1e-3)


def test_agents_of_one_call_earn_what_their_own_sensors_see():
    budget = PPOConfig(
        steps=64, rows=4, rollout=64, batch=64, epochs=1, hidden=(4,), evaluations=1, episodes=2
    )
    theta = np.random.default_rng(0).normal(size=8)

    learner = Learner(8, 1.0, "likelihood", "clip", IRLConfig())
    same = {"world": 1.0, "learner": learner, "config": budget, "theta": theta, "offset": 0.0}

    def returns(*sensors):
        specs = [TaskSpec("Pendulum-v1", sensor=one) for one in sensors]
        asked = [same | {"task": spec, "metrics": (), "root": 0, "seed": 0} for spec in specs]
        return [one["returns"] for one in judge_by_agents(asked)]

    found = returns((1.0, 0.0), (), (2.0 * math.pi, 0.0))
    (alone,) = returns((1.0, 0.0))
    np.testing.assert_array_equal(found[0], alone)
    assert (found[0] != found[1]).all()
    np.testing.assert_allclose(found[2], found[1], rtol=1e-6)


def test_kept_demonstrations_are_what_the_environment_gave(laid, tmp_path):
    for name, config in (("off", OFF), ("plain", PLAIN)):
        Control(config).keep_demonstrations(laid, str(tmp_path / f"{name}-{{client}}.npz"))
    files = (tmp_path / f"{name}-2.npz" for name in ("off", "plain"))
    one, other = (load_episodes(file, PENDULUM, 2.0) for file in files)
    np.testing.assert_array_equal(one.observations, other.observations)


def test_sensors_are_off_on_axes_that_are_no_velocities_or_those_that_are_named():
    assert sensor_of(PLAIN, PENDULUM, 0, 0) == ()
    angle, speed = sensor_of(OFF, PENDULUM, 0, 0)
    assert angle != 0.0
    assert speed == 0.0
    chosen = replace(OFF, control=replace(OFF.control, sensors=(2,)))
    assert sensor_of(chosen, PENDULUM, 0, 0)[0] == 0.0
    assert sensor_of(chosen, PENDULUM, 0, 0)[1] != 0.0
    unknown = replace(PENDULUM, positions=())
    assert 0.0 not in sensor_of(OFF, unknown, 0, 0)
    assert sensor_of(OFF, PENDULUM, 1, 0) != sensor_of(OFF, PENDULUM, 0, 0)
    assert control_settings.drawn_offset(PENDULUM, 1.2, [0], 5, 0, 0) == (angle, speed)
