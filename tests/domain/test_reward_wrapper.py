import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from fedirl_ray.config import RunConfig
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.domain.phi import box_basis
from fedirl_ray.domain.reward import load_reward, packed
from fedirl_ray.domain.reward_wrapper import RewardWrapper
from fedirl_ray.problem.control.basis import RadialBasis
from fedirl_ray.problem.control.paper import TASKS
from fedirl_ray.problem.gridworld_env import GridWorldEnv

GRID = "fedirl_ray/GridWorld-v0"


@pytest.fixture
def grid_reward(tmp_path):
    """A reward of every cell its own of the 4x4 grid-world."""
    config = RunConfig(problem=ProblemConfig(size=4, features="one-hot"))
    theta = np.random.default_rng(0).normal(size=(1, 1, 16))
    bases = [domain_of(config).exported(0)]
    data = packed("tabular", "GridWorld", ("mean",), theta, np.zeros((1, 1)), theta, bases)
    (tmp_path / "rewards.npz").write_bytes(data)
    return load_reward(tmp_path, "mean")


@pytest.fixture
def pendulum_reward(tmp_path):
    task = TASKS["Pendulum-v1"]
    basis, theta = RadialBasis(task.support, 10), np.ones(10)
    values = (basis.at(task.support.points) @ theta)[None, None]
    theta = theta[None, None]
    data = packed(
        "control", task.name, ("mean",), theta, np.zeros((1, 1)), values, [box_basis(task, basis)]
    )
    (tmp_path / "rewards.npz").write_bytes(data)
    return load_reward(tmp_path, "mean")


@pytest.mark.filterwarnings("ignore:.*different from the unwrapped version")
@pytest.mark.filterwarnings("ignore:.*symmetric and normalized")  # Pendulum's own
@pytest.mark.parametrize("name", [GRID, "Pendulum-v1"])
def test_gymnasium_finds_no_fault(name, grid_reward, pendulum_reward):
    env, reward = (
        (gymnasium.make(name, size=4), grid_reward)
        if name == GRID
        else (gymnasium.make(name), pendulum_reward)
    )
    check_env(RewardWrapper(env, reward), skip_render_check=True)


def test_a_step_pays_for_the_state_left_and_tells_the_true_reward(grid_reward):
    env = RewardWrapper(GridWorldEnv(size=4, obstacles=0.0, slip=0.0), grid_reward)
    plain = GridWorldEnv(size=4, obstacles=0.0, slip=0.0)
    before, _ = env.reset(seed=3)
    plain.reset(seed=3)
    for action in (2, 1, 2):
        seen, paid, terminated, _, info = env.step(action)
        same, true, *_ = plain.step(action)
        assert not terminated
        assert paid == grid_reward(int(before))
        assert (seen, info["true_reward"]) == (same, true)
        before = seen


@pytest.mark.parametrize("discount", [0.9, 1.0])
def test_its_return_is_the_tabular_models(grid_reward, discount):
    """Whoever ends an episode earns there until the horizon, as in the model."""
    env = GridWorldEnv(size=4, slip=0.0)
    world, horizon = env.world, env.horizon
    table = grid_reward(np.arange(16))
    ways = np.random.default_rng(5).integers(4, size=(30, horizon))
    ended, wrapped = 0, RewardWrapper(env, grid_reward, discount=discount)
    for way in ways:
        state, _ = wrapped.reset(seed=0)
        earned, model, here = 0.0, 0.0, int(state)
        over = False
        for t, action in enumerate(way):
            model += discount**t * table[here]
            here = int(world.successors[here, action][world.probabilities[here, action].argmax()])
            if not over:
                _, paid, terminated, truncated, _ = wrapped.step(action)
                earned += discount**t * paid
                over = terminated or truncated
                ended += terminated
        assert earned == pytest.approx(model)
    assert ended > 5


def test_a_task_of_control_earns_nothing_after_its_end(pendulum_reward):
    env = RewardWrapper(gymnasium.make("Pendulum-v1"), pendulum_reward)
    seen, _ = env.reset(seed=0)
    action = env.action_space.sample()
    _, paid, *_ = env.step(action)
    assert paid == pytest.approx(pendulum_reward(seen, action))


def test_a_clients_own_limits_of_actions_count(pendulum_reward):
    strong = TASKS["Pendulum-v1"].environment(4.0)
    most = strong.action_space.high
    assert most > gymnasium.make("Pendulum-v1").action_space.high
    env = RewardWrapper(strong, pendulum_reward)
    seen, _ = env.reset(seed=0)
    _, paid, *_ = env.step(most)
    assert paid == pytest.approx(pendulum_reward(seen, np.array([2.0], dtype=np.float32)))


def test_it_can_be_vectorised(grid_reward):
    envs = gymnasium.vector.SyncVectorEnv(
        [lambda: RewardWrapper(gymnasium.make(GRID, size=4, obstacles=0.0), grid_reward)] * 3
    )
    before, _ = envs.reset(seed=0)
    _, paid, _, _, info = envs.step(np.array([1, 2, 1]))
    np.testing.assert_allclose(paid, grid_reward(before))
    assert info["true_reward"].shape == (3,)
