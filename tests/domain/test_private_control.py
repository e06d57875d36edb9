"""Demonstrations on lattices, protected one by one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from actors import make

from fedirl_ray.config import EvaluationConfig, IRLConfig, RunConfig
from fedirl_ray.config_control import ControlConfig
from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.config_privacy import PrivacyConfig
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.domain.control import Control
from fedirl_ray.domain.control_learning import (
    demonstrations,
    model_of,
    named,
    objective_of,
    single,
)
from fedirl_ray.domain.control_settings import Learner, TaskSpec
from fedirl_ray.domain.domain import Columns
from fedirl_ray.domain.job import done
from fedirl_ray.errors import ConfigError
from fedirl_ray.privacy.mechanism import Ball
from fedirl_ray.privacy.protection import MULTIPLIER
from fedirl_ray.problem.control.paper import PENDULUM

CONFIG = RunConfig(
    clients=2,
    seeds=1,
    problem=ProblemConfig(name="Pendulum-v1", demonstrations=4),
    irl=IRLConfig(l2=0.1, discount=0.9),
    fusion=FusionConfig(rules=("mean",)),
    evaluation=EvaluationConfig(held_out=1, discount=0.95, discounts=(), by_round=False),
    control=ControlConfig(
        points=(7, 7), features=8, agents=False, episodes=2, objective="matching"
    ),
    privacy=PrivacyConfig(unit="trajectory", noise="seeded", epsilon=1e4, delta=0.2),
)


LANDER = {"problem": {"name": "LunarLanderContinuous-v3"}, "control": {"points": ()}}


class Seeing:
    """A guard that adds nothing, and keeps what it was given."""

    config = CONFIG

    def counts(self, rows, ball):
        self.rows, self.ball = rows, ball
        return ball.clip(rows).mean(axis=0)


@pytest.fixture(scope="module")
def client():
    task = TaskSpec.of(CONFIG).task()
    learner = Learner.of(CONFIG)
    features = learner.basis(task).at(task.support.points)
    given = named("actor.", make(PENDULUM, seed=0).arrays())
    model = model_of(task, 0.0, {}, CONFIG.seed)
    return task, model, features, demonstrations(task, 0.0, given, 4, CONFIG.seed, 0), learner


def test_without_noise_the_same_counts_are_fitted(client):
    guard = Seeing()
    plain, guarded = objective_of(*client), objective_of(*client, guard)
    theta = np.linspace(-1.0, 1.0, plain.dimension)
    for one, other in zip(plain(theta), guarded(theta), strict=True):
        assert np.allclose(one, other, rtol=1e-10, atol=1e-10)
    assert guard.rows.shape == (4, plain.dimension)
    assert np.isfinite(guard.ball.radius)


def test_no_episode_leaves_the_ball_though_some_end_early(client):
    task, model, features, episodes, learner = client
    early = replace(episodes, terminated=np.array([True, False, True, False]))
    guard = Seeing()
    objective_of(task, model, features, early, learner, guard)
    assert np.allclose(guard.ball.clip(guard.rows), guard.rows, rtol=1e-12)
    short = Ball(guard.ball.centre, 0.2 * guard.ball.radius)
    assert not np.allclose(short.clip(guard.rows), guard.rows)


def test_what_would_need_more_than_counts_is_no_number(client):
    guarded = objective_of(*client, Seeing())
    assert np.isnan(guarded.curvature(np.zeros(guarded.dimension))).all()
    assert len(single(client[3])) == 4


def test_clients_hold_noisy_counts_and_no_facts_are_told():
    config = replace(CONFIG, privacy=replace(CONFIG.privacy, epsilon=1.0))
    domain, open_one = Control(config), Control(replace(CONFIG, privacy=PrivacyConfig()))
    actors = [named("actor.", make(PENDULUM, seed=i).arrays()) for i in range(2)]
    given = [one | {MULTIPLIER: np.array(4.0)} for one in actors]
    start, pull = np.zeros((2, 1, 8)), np.zeros((2, 1))
    thetas = [
        one.learn(one.hold(0, [0, 1], dict(enumerate(laid))), start, pull, curvature=False).theta
        for one, laid in ((domain, given), (domain, given), (open_one, actors))
    ]
    assert np.array_equal(thetas[0], thetas[1])
    assert not np.isclose(thetas[0], thetas[2]).any()

    def work(jobs):
        return [job.work(**job.arguments) for job in jobs]

    columns = {
        split: Columns(("mean",), *(np.zeros((w, 1, *x)) for x in ((8,), (), (8,), ())))
        for split, w in (("in-distribution", 2), ("held-out", 1))
    }
    told = [done(one.judge(0, columns, [*given, {}], 1), work) for one in (domain, open_one)]
    assert np.isnan(told[0].facts).all()
    assert np.isfinite(told[1].facts).any()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"control": {"objective": "likelihood"}}, "control.objective must be matching"),
        ({"control": {"outside": "refuse"}}, "control.outside must be clip"),
        ({"fusion": {"rules": ("mean", "precision")}}, "without precision here"),
        (
            {"problem": {"name": "LunarLanderContinuous-v3"}, "control": {"points": ()}},
            "equations of motion",
        ),
        (
            {
                "seeds": 2,
                "problem": {"demonstrations_file": Path("shown-{client}.npz")},
                "control": {"sensor_offset": 0.3},
            },
            "seeds must be 1 with recorded demonstrations",
        ),
    ],
)
def test_what_would_leak_another_way_is_refused(changed, said):
    config = CONFIG
    for group, more in changed.items():
        if isinstance(more, dict):
            more = replace(getattr(config, group), **more)
        config = replace(config, **{group: more})
    with pytest.raises(ConfigError, match=said):
        Control(config).check()
