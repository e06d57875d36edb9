"""Rewards of one seed are judged on the same episodes, and agents begin alike."""

from dataclasses import replace

import numpy as np
import pytest

from fedirl_ray.errors import DataError
from fedirl_ray.evaluate.agent import LatticeAgent
from fedirl_ray.evaluate.ppo import PPOConfig
from fedirl_ray.evaluate.training import Training
from fedirl_ray.problem.control.arena import play
from fedirl_ray.problem.control.planning import plan
from fedirl_ray.seeds import stream
from fedirl_ray.study.control import judging
from fedirl_ray.study.control.config import LearnerConfig, TaskConfig
from fedirl_ray.study.control.learning import model_of

TASK = TaskConfig(name="Pendulum-v1")
LEARNER = LearnerConfig(features=8)
TINY = PPOConfig(steps=512, rows=8, rollout=256, batch=64, evaluations=2, episodes=2)


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


@pytest.fixture
def asked(monkeypatch):
    """The agents that judging asks for; none is trained."""
    jobs = []

    def train_agents(task, config, more):
        jobs.extend(more)
        return [Training(np.array([1]), np.zeros((1, 1)), ()) for _ in more]

    monkeypatch.setattr(judging, "train_agents", train_agents)
    return jobs


def agent(world, theta, seed, offset=0.0):
    return {"task": TASK, "world": world, "learner": LEARNER, "config": TINY, "theta": theta,
            "offset": offset, "root": 3, "seed": seed}  # fmt: skip


def test_agents_of_one_seed_and_world_begin_alike_whatever_they_are_paid(asked):
    rewards = (None, np.ones(8), np.zeros(8))
    judging.judge_by_agents([agent(1.0, theta, 0) for theta in rewards])
    judging.judge_by_agents([agent(1.0, None, 1), agent(2.0, None, 0)])
    assert [job.client for job in asked] == [1.0, 1.0, 1.0, 1.0, 2.0]
    begun = [job.seed for job in asked]
    assert len(set(begun[:3])) == 1
    assert len({begun[0], *begun[3:]}) == 3


def test_an_agent_is_paid_what_the_reward_says_of_what_it_sees(asked):
    theta = np.random.default_rng(3).normal(size=8)
    judging.judge_by_agents([agent(1.0, None, 0), agent(1.0, theta, 0, 0.25)])
    own, paid = (job.reward for job in asked)
    assert own is None  # the task's own
    task, angle, speed = TASK.task(), np.array([0.5, -2.0, 3.0]), np.array([1.0, -4.0, 0.0])
    seen = np.stack([np.cos(angle), np.sin(angle), speed], axis=1)
    push = np.array([[0.1], [-1.0], [0.7]])
    features = LEARNER.basis(task).at(np.column_stack([angle, speed, push]))
    np.testing.assert_allclose(paid(seen, push), features @ theta + 0.25)


def test_who_is_judged_together_changes_no_byte_and_a_reward_that_is_none_stands_alone():
    theta = np.random.default_rng(3).normal(size=8)
    many = [agent(1.0, theta, 0), agent(1.0, np.full(8, np.nan), 0), agent(4.0, theta, 1)]
    first, error, last = judging.judge_by_agents(many)
    assert isinstance(error, DataError)
    assert str(error).startswith("the reward must be finite")
    for found, wanted in ((first, many[0]), (last, many[2])):
        (alone,) = judging.judge_by_agents([wanted])
        assert alone.keys() == {"at", "returns"}
        assert all(found[name].tobytes() == alone[name].tobytes() for name in alone)
