"""Agents trained side by side: each alone decides what becomes of it."""

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from benchmarks.sb3 import final_return
from fedirl_ray.config_control import PPOConfig
from fedirl_ray.errors import ConfigError, DataError, UserCodeError
from fedirl_ray.evaluate import expert, ppo
from fedirl_ray.evaluate.environments import Environments
from fedirl_ray.evaluate.expert import train_experts
from fedirl_ray.evaluate.training import AgentJob, side_by_side, train_agents
from fedirl_ray.problem.control.arena import play
from fedirl_ray.problem.control.brought import Guarded
from fedirl_ray.problem.control.paper import ACROBOT, CARTPOLE, LANDER, PENDULUM
from fedirl_ray.seeds import stream

SHORT = PPOConfig(
    steps=8_192, rows=32, rollout=2_048, batch=256, learning_rate=3e-3, evaluations=4, episodes=10
)
TINY = PPOConfig(
    steps=480, rows=6, rollout=240, batch=40, epochs=2, hidden=(64, 64), evaluations=2, episodes=3
)
PAPERS = replace(TINY, rows=1, batch=80, hidden=(16, 8))
POLE = replace(CARTPOLE, steps=40)
OWN = replace(POLE, physics=None)
"""The same where only Gymnasium knows how a pole falls."""
TASKS = {
    "pendulum": replace(PENDULUM, steps=50),
    "pole": POLE,
    "acrobot": replace(ACROBOT, steps=50),
    "own": replace(OWN, steps=20),
}


def tilted(seen, done):
    return seen[:, -1] + done[:, 0]


JOBS = (
    AgentJob(0.0, 1),
    AgentJob(3.0, 1),
    AgentJob(3.0, 2, tilted),
    AgentJob(0.0, 1, lambda seen, done: np.full(len(seen), -1e6)),
    AgentJob(6.5, 5, tilted),
    AgentJob(1.0, 4),
)


def bytes_of(training):
    arrays = [array.tobytes() for actor in training.actors for array in actor.arrays().values()]
    return [training.at.tobytes(), training.episodes.tobytes(), *arrays]


def one(task, config, job):
    (found,) = train_agents(task, config, [job])
    return found


@pytest.fixture(scope="module")
def alone():
    """What becomes of each agent that is trained alone, made once."""
    found = {}

    def look_up(name, config, number):
        key = (name, config, number)
        if key not in found:
            found[key] = bytes_of(one(TASKS[name], config, JOBS[number]))
        return found[key]

    return look_up


@pytest.mark.parametrize("config", [TINY, PAPERS], ids=["rows", "one row"])
@pytest.mark.parametrize("name", TASKS)
@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    company=st.lists(st.integers(0, len(JOBS) - 1), min_size=1, max_size=5),
    tile=st.integers(1, 5),
)
def test_an_agent_is_the_same_to_the_byte_in_whatever_company(alone, name, config, company, tile):
    with patch.object(ppo, "MOST_AGENTS", tile):
        found = train_agents(TASKS[name], config, [JOBS[number] for number in company])
    for number, training in zip(company, found, strict=True):
        assert bytes_of(training) == alone(name, config, number)


def test_seeds_clients_and_rewards_make_agents_differ(alone):
    every = [str(alone("pendulum", TINY, number)) for number in range(len(JOBS))]
    assert len(set(every)) == len(JOBS)


@pytest.fixture(scope="module")
def trained():
    return one(CARTPOLE, SHORT, AgentJob(1.0, 3))


def test_training_on_the_true_reward_improves(trained):
    assert trained.at.tolist() == [2_048, 4_096, 6_144, 8_192]
    assert trained.returns[-1] > 2.0 * 22.0  # chance: about 22 steps
    assert trained.returns == pytest.approx(trained.episodes.mean(axis=1))


def test_rewards_are_followed_and_the_true_return_recorded():
    def constant(number):
        return lambda seen, done: np.full(len(seen), number)

    glad, angry = train_agents(
        CARTPOLE, SHORT, [AgentJob(1.0, 3, constant(1e3)), AgentJob(1.0, 3, constant(-1.0))]
    )
    assert glad.returns[-1] > 2.0 * 22.0
    assert angry.returns[-1] < 15.0


def test_an_agent_is_paid_for_where_it_stood_and_what_it_did_there(monkeypatch):
    told, lived = [], []

    def reward(seen, done):
        told.append((seen.copy(), done.copy()))
        return seen[:, 2]

    step = Environments.step

    def watched(self, actions):
        lived.append((self.observations.copy(), actions.copy()))
        return step(self, actions)

    monkeypatch.setattr(Environments, "step", watched)
    train_agents(PENDULUM, replace(TINY, steps=240, evaluations=1), [AgentJob(2.0, 0, reward)])
    ((seen, done),) = told
    lived = lived[:40]  # then it is judged
    np.testing.assert_array_equal(seen, np.concatenate([before[0] for before, _ in lived]))
    np.testing.assert_array_equal(done, np.concatenate([taken[0] for _, taken in lived]))
    assert np.abs(done).max() == 1.0
    assert np.abs(done).min() < 0.5


@pytest.mark.parametrize("task", [CARTPOLE, PENDULUM], ids=lambda task: task.name)
def test_evaluations_are_episodes_of_the_agent_as_it_is_kept(task):
    config = replace(TINY, steps=240, evaluations=1, episodes=4)
    found = one(task, config, AgentJob(2.0, 9))
    (actor,) = found.actors
    environments = Environments(task, [2.0], 4, [stream(9, "judge", 1)])
    returns, running = np.zeros(4), np.ones(4, dtype=bool)
    for _ in range(task.steps):
        move = environments.step(actor(environments.observations[0])[None])
        returns += np.where(running, move.reward[0], 0.0)
        running &= ~(move.terminated | move.truncated)[0]
    assert not running.any()
    np.testing.assert_allclose(found.episodes[0], returns, rtol=1e-3)
    played = play(task, [2.0] * 50, actor, np.random.default_rng(0)).returns
    wide = 4.0 * played.std() / 2.0
    assert abs(found.returns[0] - played.mean()) < wide


def test_an_agent_whose_reward_is_not_finite_is_ended_alone():
    paid = []

    def broken(seen, done):
        paid.append(len(seen))
        return np.where(len(paid) > 1, np.nan, seen[:, 0])

    jobs = [JOBS[1], AgentJob(2.0, 7, broken), JOBS[2]]
    first, error, last = train_agents(POLE, replace(TINY, steps=960), jobs)
    assert isinstance(error, DataError)
    assert str(error) == (
        "the reward must be finite, got one that is not for an agent in client 2's physics within "
        "480 steps"
    )
    assert len(paid) == 2  # nobody asks it again
    for job, training in ((JOBS[1], first), (JOBS[2], last)):
        assert bytes_of(training) == bytes_of(one(POLE, replace(TINY, steps=960), job))


def test_agents_whose_parameters_leave_all_bounds_are_ended():
    found = train_agents(POLE, replace(TINY, learning_rate=1e35), JOBS[:2])
    assert all(isinstance(error, ConfigError) for error in found)
    assert "learning-rate must be one at which agents' numbers stay finite, got 1e+35" in str(
        found[0]
    )


class Breaking:
    """A client's environment that raises once its pole has been up for some steps in all."""

    def __init__(self, at):
        self.at = at

    def __call__(self, client):
        env, left = CARTPOLE.environment(client), self.at
        step = env.step

        def breaking(action):
            nonlocal left
            left -= 1
            if client == 1.0 and left < 0:
                raise ZeroDivisionError("no such luck")
            return step(action)

        env.step = breaking
        return Guarded(env, f"client {client:g}'s environment")


@pytest.mark.parametrize("at", [0, 10, 60])
def test_an_agent_whose_own_environment_breaks_down_is_ended_alone(at):
    task = replace(OWN, environment=Breaking(at))
    fellow, error, last = train_agents(task, TINY, [JOBS[0], AgentJob(1.0, 0), JOBS[2]])
    assert isinstance(error, UserCodeError)
    assert "client 1's environment" in str(error)
    assert "no such luck" in str(error)
    assert bytes_of(fellow) == bytes_of(one(OWN, TINY, JOBS[0]))
    assert bytes_of(last) == bytes_of(one(OWN, TINY, JOBS[2]))


def test_nobody_is_trained_if_nobody_is_asked_for():
    assert train_agents(PENDULUM, TINY, []) == []


def test_final_returns_are_those_of_stable_baselines3():
    """Coarse: benchmarks/ppo.py compares 32 of each at the real budgets."""
    config = replace(SHORT, steps=6_144, evaluations=1, episodes=20)
    theirs = [final_return(CARTPOLE, 0.0, config, seed) for seed in range(6)]
    jobs = [AgentJob(0.0, seed) for seed in range(16)]
    # The second shows that the test can tell.
    for own, alike in ((config, True), (replace(config, learning_rate=1e-5, steps=2_048), False)):
        ours = [training.returns[-1] for training in train_agents(CARTPOLE, own, jobs)]
        assert (mannwhitneyu(ours, theirs).pvalue > 0.05) == alike


@pytest.mark.parametrize(("task", "rows", "wanted"), [
    (PENDULUM, 32, 8), (PENDULUM, 1, 32), (PENDULUM, 1_000, 1), (LANDER, 1, 8),
])  # fmt: skip
def test_agents_are_bundled_by_their_rows(task, rows, wanted):
    assert side_by_side(task, PPOConfig(rows=rows, rollout=rows * 64)) == wanted


def test_of_an_experts_checkpoints_the_best_is_kept_though_later_ones_are_worse(monkeypatch):
    def backwards(*arguments):
        return [
            replace(found, episodes=found.episodes[::-1], actors=found.actors[::-1])
            for found in train_agents(*arguments)
        ]

    monkeypatch.setattr(expert, "train_agents", backwards)
    (found,) = train_experts(CARTPOLE, [0.0], SHORT, 7)
    assert found.training.returns.argmax() < 3
    assert found.actor is found.training.actors[int(found.training.returns.argmax())]
    assert found.reached > 2.0 * found.training.returns[-1]


def test_an_expert_is_the_best_checkpoint_judged_anew_whoever_learns_beside_it():
    (found,) = train_experts(CARTPOLE, [0.0], SHORT, 7)
    best = int(found.training.returns.argmax())
    assert found.actor is found.training.actors[best]
    assert 40.0 < found.reached <= CARTPOLE.steps  # a mean of episodes that earn one a step
    other, again = train_experts(CARTPOLE, [3.0, 0.0], SHORT, 7)
    assert again.reached == found.reached
    assert bytes_of(again.training) == bytes_of(found.training)
    assert bytes_of(other.training) != bytes_of(found.training)


def test_an_expert_whose_training_was_ended_is_none():
    (found,) = train_experts(POLE, [0.0], replace(TINY, learning_rate=1e35), 7)
    assert isinstance(found, ConfigError)


def test_experts_do_not_share_a_few_seeds(monkeypatch):
    asked = []

    def learnt(task, config, jobs):
        asked.extend(job.seed for job in jobs)
        return [ConfigError("all that is wanted here is the seed") for _ in jobs]

    monkeypatch.setattr(expert, "train_agents", learnt)
    train_experts(CARTPOLE, [float(client) for client in range(200)], SHORT, 7)
    assert len(set(asked)) == 200  # of 2^31: two alike once in a hundred thousand
    assert max(asked) > 2**30
