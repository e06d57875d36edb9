"""Rewards of one seed are judged on the same episodes, and agents begin alike."""

import numpy as np
import pytest

from fedirl_ray.evaluate.ppo import Training
from fedirl_ray.study.control import judging
from fedirl_ray.study.control.config import LearnerConfig, TaskConfig

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
