import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.errors import DataError
from fedirl_ray.problem.family import draw_world
from fedirl_ray.problem.gridworld_env import GridWorldEnv

NAME = "fedirl_ray/GridWorld-v0"


def world(**problem):
    return draw_world(ProblemConfig(**problem), 0, 0, "client", 0)


@pytest.mark.parametrize("mode", [None, "ansi", "rgb_array"])
def test_gymnasium_finds_no_fault(mode):
    check_env(gymnasium.make(NAME, render_mode=mode).unwrapped)


@pytest.mark.parametrize("imports", ["fedirl_ray, gymnasium", "gymnasium, fedirl_ray"])
def test_importing_the_package_is_enough_to_make_it(imports):
    code = f"import {imports}; gymnasium.make('{NAME}', size=4).reset(seed=0)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_it_moves_as_the_tabular_world_says():
    ours = world(size=4, slip=0.9)
    env = GridWorldEnv(ours)
    env.reset(seed=0)
    for _ in range(4000):
        before = env._state
        action = env.np_random.integers(4)
        after, reward, terminated, _, _ = env.step(action)
        possible = ours.successors[before, action][ours.probabilities[before, action] > 0]
        assert after in possible
        assert reward == ours.reward[after, 0]
        assert terminated == ours.terminal[after]
        if terminated:
            env.reset()


def test_rollouts_agree_with_exact_propagation():
    ours = world(size=4, slip=0.4)
    policy = np.random.default_rng(1).dirichlet(np.ones(4), 16)
    horizon = 24
    mass = ours.initial
    for _ in range(horizon):
        flow = (mass[:, None] * policy)[:, :, None] * ours.probabilities
        mass = np.bincount(ours.successors.ravel(), flow.ravel(), minlength=16)
    exact = mass[ours.terminal]
    env = GridWorldEnv(ours, horizon=horizon)
    rng, episodes = np.random.default_rng(2), 3000
    ended = np.zeros(16)
    for episode in range(episodes):
        state, _ = env.reset(seed=0 if episode == 0 else None)
        over = False
        while not over:
            action = rng.choice(4, p=policy[state])
            state, _, terminated, truncated, _ = env.step(action)
            over = terminated or truncated
        ended[state] += terminated
    error = 4 * np.sqrt(exact * (1 - exact) / episodes) + 1e-12
    assert (np.abs(ended[ours.terminal] / episodes - exact) <= error).all()


def test_episodes_are_cut_at_the_horizon():
    env = gymnasium.make(NAME, size=3, obstacles=0.0, slip=0.0)
    env.reset(seed=0)
    cut = [env.step(0)[3] for _ in range(18)]
    assert cut == [False] * 17 + [True]


def test_the_reset_seed_decides_the_episode():
    env = GridWorldEnv(slip=0.9)
    episodes = []
    for _ in range(2):
        env.reset(seed=7)
        episodes.append([env.step(2)[0] for _ in range(10)])
    assert episodes[0] == episodes[1]


def test_text_shows_agent_goal_and_obstacles():
    env = GridWorldEnv(size=5, render_mode="ansi")
    env.reset(seed=0)
    rows = env.render().splitlines()
    assert [len(row) for row in rows] == [5] * 5
    assert (rows[0][0], rows[4][4]) == ("A", "G")
    assert sum(row.count("#") for row in rows) == 6


def test_the_picture_shows_every_obstacle_in_grey():
    env = GridWorldEnv(size=5, render_mode="rgb_array")
    env.reset(seed=0)
    picture = env.render()
    assert picture.dtype == np.uint8
    assert picture.shape == (160, 160, 3)
    grey = (picture[::32, ::32] == 128).all(axis=-1)  # the first pixel of every cell
    np.testing.assert_array_equal(grey, (env.world.terminal & ~env.world.goal).reshape(5, 5))


def test_a_world_that_is_no_grid_is_refused():
    taxi = world(name="Taxi-v4")
    with pytest.raises(DataError, match="world must have two axes of coordinates"):
        GridWorldEnv(taxi)
