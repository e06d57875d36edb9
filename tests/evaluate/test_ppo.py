from dataclasses import replace

import numpy as np
import pytest

from fedirl_ray.config_control import PPOConfig
from fedirl_ray.errors import ConfigError
from fedirl_ray.evaluate import expert
from fedirl_ray.evaluate.expert import train_expert
from fedirl_ray.evaluate.ppo import _actor, _environments, _learner, _one_thread, train
from fedirl_ray.problem.control.arena import Arena
from fedirl_ray.problem.control.paper import CARTPOLE, PENDULUM
from fedirl_ray.seeds import stream

SHORT = PPOConfig(
    steps=8_192, rows=32, rollout=2_048, batch=256, learning_rate=3e-3, evaluations=4, episodes=10
)


@pytest.fixture(scope="module")
def trained():
    return train(CARTPOLE, 1.0, SHORT, 3)


def test_training_on_the_true_reward_improves(trained):
    assert trained.at.tolist() == [2_048, 4_096, 6_144, 8_192]
    assert trained.returns[-1] > 2.0 * 22.0  # chance: about 22 steps
    assert trained.returns == pytest.approx(trained.episodes.mean(axis=1))


def test_the_same_seed_trains_the_same_agent_to_the_byte(trained):
    again = train(CARTPOLE, 1.0, SHORT, 3)
    assert (again.episodes == trained.episodes).all()
    for name, array in trained.actors[-1].arrays().items():
        assert (again.actors[-1].arrays()[name] == array).all()
    other = train(CARTPOLE, 1.0, replace(SHORT, steps=2_048, evaluations=1), 4)
    assert (other.actors[0].weights[0] != trained.actors[0].weights[0]).any()


def test_a_large_positive_constant_is_enough_for_a_pole():
    paid = train(CARTPOLE, 1.0, SHORT, 3, lambda seen, done: np.full(len(seen), 1e3))
    assert paid.returns[-1] > 2.0 * 22.0


def test_a_reward_for_falling_is_followed_and_the_true_return_recorded():
    angry = train(CARTPOLE, 1.0, SHORT, 3, lambda seen, done: np.full(len(seen), -1.0))
    assert angry.returns[-1] < 15.0


@pytest.mark.parametrize("task", [CARTPOLE, PENDULUM], ids=lambda task: task.name)
def test_an_actor_does_what_its_network_does(task):
    arena = Arena(task, [2.0] * 32, stream(0, "arena"))
    learner = _learner(_environments(arena, None), SHORT, 1)
    with _one_thread():
        learner.learn(2_048)
    actor = _actor(task, learner)
    seen = arena.observations
    normalised = learner.env.normalize_obs(seen.astype(np.float32))
    theirs, _ = learner.policy.predict(normalised, deterministic=True)
    wanted = task.action.points[theirs] if task.discrete else np.clip(theirs, -1.0, 1.0)
    assert actor(seen) == pytest.approx(wanted, abs=1e-5)


def test_environments_tell_ends_and_cuts_apart():
    task = replace(CARTPOLE, steps=12)
    rows = _environments(Arena(task, [0.0] * 64, stream(5, "arena")), None)
    rows.reset()
    cut = ended = 0
    rng = np.random.default_rng(0)
    for _ in range(40):
        rows.step_async((rng.random(64) < 0.85).astype(int))  # most fall within twelve steps
        seen, paid, over, infos = rows.step_wait()
        assert seen.dtype == paid.dtype == np.float32
        for row in np.flatnonzero(over):
            last = infos[row]["terminal_observation"]
            fallen = np.abs(last[2]) > 0.2095 or np.abs(last[0]) > 2.4
            assert infos[row]["TimeLimit.truncated"] != fallen
            cut += infos[row]["TimeLimit.truncated"]
            ended += fallen
        assert all(not infos[row] for row in np.flatnonzero(~over))
    assert cut > 0
    assert ended > 0


def test_an_agent_is_paid_for_where_it_stands_and_what_it_does_there():
    told = []

    def reward(seen, done):
        told.append((seen.copy(), done.copy()))
        return seen[:, 2] + 10.0 * done[:, 0]

    rows = _environments(Arena(PENDULUM, [1.0] * 8, stream(5, "arena")), reward)
    stands = rows.reset()
    rng = np.random.default_rng(0)
    for _ in range(5):
        push = rng.uniform(-1.0, 1.0, size=(8, 1)).astype(np.float32)
        rows.step_async(push)
        arrives, paid, _, _ = rows.step_wait()
        assert paid == pytest.approx(stands[:, 2] + 10.0 * push[:, 0], abs=1e-5)
        assert np.abs(arrives[:, 2] - stands[:, 2]).min() > 1e-3
        assert told[-1][0] == pytest.approx(stands, abs=1e-6)
        stands = arrives


def test_of_an_experts_checkpoints_the_best_is_kept_though_later_ones_are_worse(monkeypatch):
    def backwards(*arguments):
        found = train(*arguments)
        return replace(found, episodes=found.episodes[::-1], actors=found.actors[::-1])

    monkeypatch.setattr(expert, "train", backwards)
    found = train_expert(CARTPOLE, 0.0, SHORT, 7)
    assert found.training.returns.argmax() < 3
    assert found.actor is found.training.actors[int(found.training.returns.argmax())]
    assert found.reached > 2.0 * found.training.returns[-1]


def test_an_expert_is_the_best_checkpoint_judged_anew():
    found = train_expert(CARTPOLE, 0.0, SHORT, 7)
    best = int(found.training.returns.argmax())
    assert found.actor is found.training.actors[best]
    assert 40.0 < found.reached <= CARTPOLE.steps  # a mean of episodes that earn one a step
    assert found.reached == train_expert(CARTPOLE, 0.0, SHORT, 7).reached


def test_rollouts_that_do_not_divide_are_refused():
    with pytest.raises(ConfigError, match="rollout must be a multiple of rows and of batch"):
        PPOConfig(rollout=1_000, rows=16, batch=64)


@pytest.mark.parametrize("name", ["steps", "rows", "batch", "epochs", "evaluations", "episodes"])
def test_a_budget_of_nothing_is_refused(name):
    with pytest.raises(ConfigError, match=f"{name} must be an integer >= 1, got 0"):
        PPOConfig(**{name: 0})


def test_experts_do_not_share_a_few_seeds(monkeypatch):
    asked = []

    def learnt(task, client, config, seed, reward=None):
        asked.append(seed)
        raise ConfigError("asked for a seed, which is all that is wanted here")

    monkeypatch.setattr(expert, "train", learnt)
    for client in range(200):
        with pytest.raises(ConfigError, match="asked"):
            train_expert(CARTPOLE, float(client), SHORT, 7)
    assert len(set(asked)) == 200  # of 2^31: two alike once in a hundred thousand
    assert max(asked) > 2**30


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "stable_baselines3", None)
    with pytest.raises(ConfigError, match=r"pip install 'fedirl-ray\[control\]'"):
        train(CARTPOLE, 0.0, SHORT, 0)
