import io

import gymnasium
import numpy as np
import pytest
from worlds import random_world

from fedirl_ray import preset
from fedirl_ray.config import EvaluationConfig, RunConfig
from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.domain.phi import box_basis
from fedirl_ray.domain.reward import load_reward, packed
from fedirl_ray.engine.driver import federate
from fedirl_ray.engine.local import Clients
from fedirl_ray.engine.record import rewards_of
from fedirl_ray.errors import DataError
from fedirl_ray.problem.control.basis import LinearReward, RadialBasis
from fedirl_ray.problem.control.commands import from_box
from fedirl_ray.problem.control.paper import TASKS
from fedirl_ray.problem.family import draw_world

RULES = ("local", "mean", "barycenter", "pooled", "expert", "plus-one")


@pytest.fixture(scope="module")
def small():
    """A run of two seeds in this process: configuration, results, the file's bytes."""
    config = RunConfig(
        clients=2,
        seeds=2,
        problem=ProblemConfig(size=3, demonstrations=5),
        fusion=FusionConfig(rules=RULES),
        evaluation=EvaluationConfig(held_out=1, discounts=()),
    )
    results = [found for _, found in federate(config, Clients(config, range(2)))]
    return config, results, rewards_of(domain_of(config), results)


@pytest.fixture
def file(small, tmp_path):
    path = tmp_path / "rewards.npz"
    path.write_bytes(small[2])
    return path


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("rule", ["mean", "barycenter", "pooled", "plus-one"])
def test_it_is_the_reward_of_the_run_on_the_shared_support(small, file, rule, seed):
    config, results, _ = small
    reward = load_reward(file, rule, seed)
    wanted = results[seed].reward[config.fusion.rules.index(rule)]
    found = reward(np.arange(9))
    np.testing.assert_allclose(found, wanted, atol=1e-14)
    np.testing.assert_allclose([reward(s) for s in range(9)], found, atol=1e-14)
    assert isinstance(reward(4), float)
    assert reward(np.full((2, 3), 4), 1).shape == (2, 3)
    assert reward.mean == pytest.approx(wanted.mean())
    assert reward.spread == pytest.approx(wanted.std())


def test_matched_it_has_the_means_level(small, file):
    mean = load_reward(file, "mean")(np.arange(9))
    for rule in ("barycenter", "pooled"):
        own, found = load_reward(file, rule)(np.arange(9)), load_reward(file, rule).matched()
        values = found(np.arange(9))
        assert (values.mean(), values.std()) == pytest.approx((mean.mean(), mean.std()))
        assert np.corrcoef(own, values)[0, 1] == pytest.approx(1.0)
        assert (found.mean, found.spread) == pytest.approx((mean.mean(), mean.std()))
    constant = load_reward(file, "plus-one").matched()
    np.testing.assert_allclose(constant(np.arange(9)), mean.mean())


def test_in_a_world_it_sees_that_worlds_own_features(small, file):
    config, results, _ = small
    world = draw_world(config.problem, config.seed, 0, "client", 1)
    reward = load_reward(file, "barycenter")
    np.testing.assert_array_equal(reward.on(world), world.features @ results[0].theta[2])
    with pytest.raises(DataError, match="the reward's 2 features, got 5"):
        reward.on(random_world(0, d=5))


def test_a_folder_does_as_well_and_the_bytes_are_the_same_again(small, file):
    config, results, data = small
    assert load_reward(file.parent)(3) == load_reward(file)(3)
    assert rewards_of(domain_of(config), results) == data


def test_what_all_seeds_share_is_kept_once(tmp_path):
    config = RunConfig(problem=ProblemConfig(size=3, features="one-hot"))
    domain = domain_of(config)
    theta = np.random.default_rng(0).normal(size=(2, 1, 9))
    bases = [domain.exported(seed) for seed in range(2)]
    data = packed("tabular", "GridWorld", ("mean",), theta, np.zeros((2, 1)), theta, bases)
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        assert arrays["basis_features"].shape == (1, 9, 9)
    (tmp_path / "rewards.npz").write_bytes(data)
    np.testing.assert_array_equal(load_reward(tmp_path, "mean", 1)(np.arange(9)), theta[1, 0])


def with_actions(tmp_path):
    theta = np.array([[[1.0, -2.0]]])
    features = np.random.default_rng(0).normal(size=(4, 3, 2))
    basis = {
        "features": features.reshape(12, 2),
        "shape": np.array([4, 3, 3]),
        "horizon": np.array(5),
    }
    reward = (features.reshape(12, 2) @ theta[0, 0])[None, None]
    data = packed("tabular", "mine:world", ("mean",), theta, np.zeros((1, 1)), reward, [basis])
    (tmp_path / "rewards.npz").write_bytes(data)
    return load_reward(tmp_path, "mean"), features @ theta[0, 0]


def test_where_features_see_actions_so_does_the_reward(tmp_path):
    reward, table = with_actions(tmp_path)
    states, actions = np.indices((4, 3))
    np.testing.assert_allclose(reward(states, actions), table)
    np.testing.assert_allclose(reward(2, np.arange(3)), table[2])
    with pytest.raises(DataError, match="actions must be given"):
        reward(0)


@pytest.mark.parametrize(
    ("states", "actions", "said"),
    [
        (9, None, r"states must lie in 0..8, got 9"),
        (-1, None, r"states must lie in 0..8, got -1"),
        (0.5, None, "states must be integers, got float64"),
        (0, 4, r"actions must lie in 0..3, got 4"),
        ([0, 1], [0, 1, 2], "of one shape"),
    ],
)
def test_what_is_no_state_or_action_is_refused(file, states, actions, said):
    with pytest.raises(DataError, match=said):
        load_reward(file)(states, actions)


@pytest.mark.parametrize(
    ("rule", "seed", "said"),
    [
        ("nosuch", 0, "rule must be one of mean, barycenter, pooled, plus-one in"),
        ("local", 0, "rule must be one of"),
        ("expert", 0, "rule must be one of"),
        ("mean", 2, "seed must be one of 0 to 1 in"),
    ],
)
def test_a_reward_that_is_not_there_is_refused(file, rule, seed, said):
    with pytest.raises(DataError, match=said):
        load_reward(file, rule, seed)


def test_files_that_are_none_are_refused(file, tmp_path):
    with pytest.raises(DataError, match="no such file"):
        load_reward(tmp_path / "nosuch.npz")
    other = tmp_path / "other.npz"
    np.savez(other, theta=np.zeros(2))
    with pytest.raises(DataError, match="missing format"):
        load_reward(other)
    with np.load(file) as arrays:
        np.savez(other, **{**arrays, "rules": np.array([{}], dtype=object)})
    with pytest.raises(DataError, match="no plain numbers"):
        load_reward(other)
    with np.load(file) as arrays:
        np.savez(other, **{**arrays, "format": np.array(3)})
    with pytest.raises(DataError, match="must be of format 1 or 2, got 3"):
        load_reward(other)
    other.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"readable \.npz"):
        load_reward(other)


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1", "Acrobot-v1"])
def test_in_control_tasks_it_takes_what_the_environment_shows_and_takes(name, tmp_path):
    task = TASKS[name]
    basis = RadialBasis(task.support, 20, 1.3)
    theta = np.random.default_rng(1).normal(size=20)
    values = basis.at(task.support.points) @ theta + 0.5
    data = packed(
        "control", name, ("mean",), theta[None, None], np.array([[0.5]]), values[None, None],
        [box_basis(task, basis)],
    )  # fmt: skip
    (tmp_path / "rewards.npz").write_bytes(data)
    reward = load_reward(tmp_path, "mean")
    wanted = LinearReward(basis, theta, 0.5)
    env = gymnasium.make(name)
    env.reset(seed=0)
    env.action_space.seed(0)
    seen, taken = [], []
    for _ in range(15):
        taken.append(env.action_space.sample())
        seen.append(env.step(taken[-1])[0])
    places = task.locate(np.array(seen, dtype=np.float64))
    if task.discrete:
        shares = task.action.points[np.array(taken)]
    else:
        shares = from_box(np.array(taken), env.action_space.low, env.action_space.high)
    rows = wanted(places, shares)
    # Client 0 is the standard task, so that its limits are the environment's.
    np.testing.assert_allclose(reward(np.array(seen), np.array(taken)), rows, atol=1e-12)
    assert reward(seen[3], taken[3]) == pytest.approx(rows[3], abs=1e-12)
    with pytest.raises(DataError, match="actions must be given"):
        reward(seen[0])
    with pytest.raises(DataError, match=f"observations of {name}"):
        reward(np.zeros(9), taken[0])


def test_a_control_runs_reward_is_that_of_its_own_lattice(tmp_path):
    config = preset("CartPole-v1", control={"features": 12})
    domain, theta = domain_of(config), np.random.default_rng(0).normal(size=12)
    on_support = domain.ground(0).support.features @ theta
    data = packed(
        "control", "CartPole-v1", ("mean",), theta[None, None], np.zeros((1, 1)),
        on_support[None, None], [domain.exported(0)],
    )  # fmt: skip
    (tmp_path / "rewards.npz").write_bytes(data)
    states = TASKS["CartPole-v1"].state.resized(config.control.points or (5, 5, 7, 5)).points
    # What CartPole shows are places as they are, and its two actions the lattice's.
    seen, taken = np.repeat(states, 2, axis=0), np.tile([0, 1], len(states))
    np.testing.assert_allclose(load_reward(tmp_path, "mean")(seen, taken), on_support, atol=1e-9)
