"""Rewards of one seed are judged on the same episodes, and agents begin alike."""

from dataclasses import replace

import numpy as np
import pytest

from fedirl_ray.config import IRLConfig
from fedirl_ray.config_control import PPOConfig
from fedirl_ray.domain import control_judging as judging
from fedirl_ray.domain.control_judging import Judging, evaluated_at
from fedirl_ray.domain.control_learning import model_of
from fedirl_ray.domain.control_settings import Learner, TaskSpec
from fedirl_ray.evaluate.agent import LatticeAgent
from fedirl_ray.evaluate.training import AgentJob, Training, train_agents
from fedirl_ray.problem.control.arena import play
from fedirl_ray.problem.control.paper import PENDULUM
from fedirl_ray.problem.control.planning import plan
from fedirl_ray.seeds import stream

TASK = TaskSpec("Pendulum-v1", (16, 15))
LEARNER = Learner(8, 1.0, "likelihood", "clip", IRLConfig())
DISCOUNT = 0.99


def planned_for(thetas, offsets, seed=0, task=TASK):
    """Of rewards in client 1's world, two levels of them."""
    how = Judging(DISCOUNT, 6, ("true",), (), 3, seed)
    return judging.judge_by_planner(task, 1.0, LEARNER, how, {}, 0, thetas, offsets)


@pytest.fixture(scope="module")
def planned():
    """Four columns: one reward twice, and two constants; at half of that. The first, next seed."""
    one = np.random.default_rng(0).normal(size=8)
    thetas = np.stack([one, one, np.zeros(8), np.zeros(8)])
    offsets = np.array([0.5, 0.5, 1.0, -3.0])
    both = np.stack([thetas, 0.5 * thetas]), np.stack([offsets, 0.5 * offsets])
    return planned_for(*both), planned_for(*(x[:1, :1] for x in both), seed=1)


def test_the_same_reward_gives_the_same_returns_in_every_column(planned):
    returns = planned[0]["scores"][..., 0]
    assert returns[0, 0] == returns[0, 1]
    assert returns[0, 2] == returns[0, 3]  # constants, of either sign
    assert returns[0, 0] != returns[0, 2]
    np.testing.assert_array_equal(returns[0], returns[1])  # a plan knows no unit


def test_seeds_are_judged_on_episodes_of_their_own(planned):
    assert planned[0]["scores"][..., 0][0, 0] != planned[1]["scores"][..., 0][0, 0]
    assert planned[0]["true"] != planned[1]["true"]


def test_whose_sensors_are_off_by_whole_cells_plans_as_well_for_the_true_reward(planned):
    off = replace(TASK, sensor=(3 * 2.0 * np.pi / 16, 0.0))
    nothing = np.full((2, 1, 8), np.nan), np.zeros((2, 1))
    assert planned_for(*nothing, task=off)["true"] == pytest.approx(planned[0]["true"], rel=1e-3)


def test_a_reward_is_judged_where_sensors_say_it_is():
    # A learnt reward that stays in the true frame, seen half a turn off, is planned for elsewhere.
    rng = np.random.default_rng(0)
    thetas, offsets = np.tile(rng.normal(size=8), (2, 1, 1)), np.zeros((2, 1))
    right = planned_for(thetas, offsets)
    off = planned_for(thetas, offsets, task=replace(TASK, sensor=(np.pi, 0.0)))
    assert abs(off["scores"][0, 0, 0] - right["scores"][0, 0, 0]) > 100.0
    assert off["distance"][0] != pytest.approx(right["distance"][0], abs=1e-3)


def test_the_true_reward_earns_most(planned):
    for found in planned:
        assert found["true"] > found["scores"][..., 0].max()
        assert (found["distance"] > 0.1).all()
        assert np.isnan(found["expert"])
        assert np.isnan(found["facts"]).all()


def test_a_plan_is_followed_by_looking_one_true_step_ahead(planned):
    task = TASK.task()
    model, physics = model_of(task, 1.0, None, 3), task.physics(1.0)
    found = plan(model, model.reward, discount=DISCOUNT, temperature=0.0)
    name = ("control", task.name, "seed", 0, "world", "1", "planner")

    def reward(places, actions):
        return physics.step(places, actions).reward

    rng = stream(3, *name, "ties")
    agent = LatticeAgent(task, model, found, reward, physics, DISCOUNT, rng)
    played = play(task, [1.0] * 6, agent, stream(3, *name))
    assert planned[0]["true"] == pytest.approx(played.returns.mean())


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
def trained(monkeypatch):
    """What agents are asked for."""
    asked = []

    def train(task, config, jobs, keep_last):
        asked.extend(jobs)
        return [Training(np.array([1]), np.zeros((1, 1)), ()) for _ in jobs]

    monkeypatch.setattr(judging, "train_agents", train)
    return asked


def judge(*agents, offset=0.0):
    """Agents by seed, world and theta."""
    same = {"task": TASK, "learner": LEARNER, "config": None, "offset": offset, "metrics": (),
            "root": 3}  # fmt: skip
    asked = [same | {"seed": one, "world": world, "theta": x} for one, world, x in agents]
    assert len(judging.judge_by_agents(asked)) == len(agents)


def test_agents_of_one_seed_and_world_begin_alike_whatever_they_are_paid(trained):
    judge((0, 1.0, None), (0, 1.0, np.ones(8)), (0, 1.0, np.zeros(8)))
    judge((1, 1.0, None), (0, 2.0, None))
    begun = [job.seed for job in trained]
    assert len(set(begun[:3])) == 1
    assert len({begun[0], *begun[3:]}) == 3
    assert [job.client for job in trained] == [1.0, 1.0, 1.0, 1.0, 2.0]


def test_an_agent_is_paid_what_the_reward_says_of_what_it_sees(trained):
    theta = np.random.default_rng(3).normal(size=8)
    judge((0, 1.0, None), (0, 1.0, theta), offset=0.25)
    own, paid = (job.reward for job in trained)
    assert own is None  # the task's own
    task, angle, speed = TASK.task(), np.array([0.5, -2.0, 3.0]), np.array([1.0, -4.0, 0.0])
    seen = np.stack([np.cos(angle), np.sin(angle), speed], axis=1)
    push = np.array([[0.1], [-1.0], [0.7]])
    features = LEARNER.basis(task).at(np.column_stack([angle, speed, push]))
    np.testing.assert_allclose(paid(seen, push), features @ theta + 0.25)


@pytest.mark.parametrize(("steps", "evaluations"), [(300, 4), (64, 3), (100, 1)])
def test_agents_are_evaluated_after_whole_rollouts(steps, evaluations):
    config = PPOConfig(
        steps=steps, rows=4, rollout=64, batch=64, epochs=1, hidden=(4,),
        evaluations=evaluations, episodes=1,
    )  # fmt: skip
    (found,) = train_agents(PENDULUM, config, [AgentJob(0.0, 1)])
    assert found.at.tolist() == list(evaluated_at(config))
