"""Rewards of one seed are judged on the same episodes, and agents begin alike."""

from dataclasses import replace

import numpy as np
import pytest
from fedirl_ray.study.control.config import LearnerConfig, TaskConfig
from fedirl_ray.study.control.learning import model_of

from fedirl_ray.evaluate.agent import LatticeAgent
from fedirl_ray.evaluate.ppo import Training
from fedirl_ray.problem.control.arena import play
from fedirl_ray.problem.control.planning import plan
from fedirl_ray.seeds import stream
from fedirl_ray.study.control import judging

TASK = TaskConfig(name="Pendulum-v1")
LEARNER = LearnerConfig(features=8)


@pytest.fixture(scope="module")
def planned():
    """Two seeds, three columns: one reward twice, another, and none."""
    one = np.random.default_rng(0).normal(size=8)
    thetas = np.stack([[one, one, np.zeros(8), np.zeros(8)]] * 2)
    offsets = np.array([[0.5, 0.5, 1.0, -3.0]] * 2)
    return judging.judge_by_planner(TASK, 1.0, LEARNER, None, thetas, offsets, 6, 3)


def test_the_same_reward_gives_the_same_returns_in_every_column(planned):
    returns = planned["returns"]
    np.testing.assert_array_equal(returns[:, 0], returns[:, 1])
    np.testing.assert_array_equal(returns[:, 2], returns[:, 3])  # constants, of either sign
    assert (returns[:, 0] != returns[:, 2]).all()


def test_seeds_are_judged_on_episodes_of_their_own(planned):
    assert (planned["returns"][0] != planned["returns"][1]).all()


def test_the_true_reward_is_the_last_column_and_no_distance_from_itself(planned):
    assert (planned["returns"][:, -1] > planned["returns"][:, :-1].max(axis=1)).all()
    np.testing.assert_array_equal(planned["distance"][:, -1], 0.0)
    assert (planned["distance"][:, :-1] > 0.1).all()


def test_a_plan_is_followed_by_looking_one_true_step_ahead(planned):
    task, discount = TASK.task(), LEARNER.irl.discount
    model, physics = model_of(task, 1.0, None, 3), task.physics(1.0)
    found = plan(model, model.reward, discount=discount, temperature=0.0)
    name = ("control", task.name, "seed", 0, "world", "1", "planner")

    def reward(places, actions):
        return physics.step(places, actions).reward

    rng = stream(3, *name, "ties")
    agent = LatticeAgent(task, model, found, reward, physics, discount, rng)
    played = play(task, [1.0] * 6, agent, stream(3, *name))
    assert planned["returns"][0, -1] == pytest.approx(played.returns.mean())


def test_a_plan_knows_no_unit_of_reward():
    one = np.random.default_rng(1).normal(size=8)
    thetas, offsets = np.stack([[one, one / 1024.0]]), np.array([[0.5, 0.5 / 1024.0]])
    found = judging.judge_by_planner(TASK, 1.0, LEARNER, None, thetas, offsets, 4, 3)
    assert found["returns"][0, 0] == found["returns"][0, 1]


def test_the_tasks_own_reward_is_known_where_its_equations_are():
    task, rng = TASK.task(), np.random.default_rng(2)
    places = np.stack([rng.uniform(-3.0, 3.0, 9), rng.uniform(-8.0, 8.0, 9)], axis=1)
    push = rng.uniform(-1.0, 1.0, (9, 1))
    # Gymnasium's Pendulum-v1; client 1 can push a tenth harder than its torque of 2.
    wanted = -(places[:, 0] ** 2 + 0.1 * places[:, 1] ** 2 + 0.001 * (2.2 * push[:, 0]) ** 2)
    reward = judging.true_reward(task, 1.0)
    np.testing.assert_allclose(reward(places, push), wanted)
    assert judging.true_reward(replace(task, physics=None), 1.0) is None


def test_agents_of_one_seed_and_world_begin_alike_whatever_they_are_paid(monkeypatch):
    begun = []

    def train(task, world, config, seed, reward=None):
        begun.append(seed)
        return Training(np.array([1]), np.zeros((1, 1)), ())

    monkeypatch.setattr(judging, "train", train)
    for seed, world, theta in (
        (0, 1.0, None), (0, 1.0, np.ones(8)), (0, 1.0, np.zeros(8)), (1, 1.0, None), (0, 2.0, None),
    ):  # fmt: skip
        judging.judge_by_agent(TASK, world, LEARNER, None, theta, 0.0, 3, seed)
    assert len(set(begun[:3])) == 1
    assert len({begun[0], *begun[3:]}) == 3


def test_an_agent_is_paid_what_the_reward_says_of_what_it_sees(monkeypatch):
    paid = []

    def train(task, world, config, seed, reward=None):
        paid.append(reward)
        return Training(np.array([1]), np.zeros((1, 1)), ())

    monkeypatch.setattr(judging, "train", train)
    theta = np.random.default_rng(3).normal(size=8)
    for one in (None, theta):
        judging.judge_by_agent(TASK, 1.0, LEARNER, None, one, 0.25, 3, 0)
    assert paid[0] is None  # the task's own
    task, angle, speed = TASK.task(), np.array([0.5, -2.0, 3.0]), np.array([1.0, -4.0, 0.0])
    seen = np.stack([np.cos(angle), np.sin(angle), speed], axis=1)
    push = np.array([[0.1], [-1.0], [0.7]])
    features = LEARNER.basis(task).at(np.column_stack([angle, speed, push]))
    np.testing.assert_allclose(paid[1](seen, push), features @ theta + 0.25)
