import sys
import types

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete

from fedirl_ray.errors import ConfigError, DataError, UserCodeError
from fedirl_ray.problem.control.arena import play
from fedirl_ray.problem.control.brought import task_named
from fedirl_ray.problem.control.paper import ACROBOT, LANDER, PENDULUM
from fedirl_ray.problem.control.task import axes
from fedirl_ray.problem.lattice import place

UNIT = Box(-1.0, 1.0, (2,))
STILL = np.zeros(2)


class Made(gymnasium.Env):
    def __init__(self, observed, acted):
        self.observation_space, self.action_space = observed, acted


def bring(monkeypatch, function):
    module = types.ModuleType("hills")
    module.made = function
    monkeypatch.setitem(sys.modules, "hills", module)
    return "hills:made"


def continuous(i):
    env = gymnasium.make("MountainCarContinuous-v0")
    env.unwrapped.power = 0.0015 * (1.0 + 0.5 * i)
    return env


def along(observations):
    """Push the way the car rolls, which climbs any hill."""
    return np.where(observations[:, 1:] >= 0.0, 1.0, -1.0)


def test_a_brought_continuous_environment_keeps_its_box_limit_and_clients(monkeypatch):
    task = task_named(bring(monkeypatch, continuous))
    space = gymnasium.make("MountainCarContinuous-v0").observation_space
    assert [axis.low for axis in task.state.axes] == pytest.approx(space.low.tolist())
    assert (task.steps, task.expert_return, task.discrete) == (999, 90.0, False)
    episodes = play(task, [0.0, 4.0], along, np.random.default_rng(0))
    assert episodes.terminated.all()
    assert episodes.lengths[1] < episodes.lengths[0]


def test_a_brought_discrete_environment_is_played_by_its_own_numbers(monkeypatch):
    task = task_named(bring(monkeypatch, lambda i: gymnasium.make("MountainCar-v0")))
    assert task.discrete
    assert task.action.shape == (3,)
    assert play(task, [0.0], along, np.random.default_rng(0)).terminated.all()
    idle = play(task, [0.0], lambda seen: 0.0 * seen[:, :1], np.random.default_rng(0))
    assert idle.lengths[0] == 200
    assert not idle.terminated[0]


class Once(Made):
    """Returns what it is told, or raises it."""

    def __init__(self, begun=(STILL, {}), stepped=(STILL, 0.0, False, False, {})):
        super().__init__(UNIT, Discrete(2))
        self.begun, self.stepped = begun, stepped

    def reset(self, **settings):
        return self._tell(self.begun)

    def step(self, action):
        return self._tell(self.stepped)

    def close(self):
        pass

    def _tell(self, what):
        if isinstance(what, BaseException):
            raise what
        return what


def stepped(seen=STILL, reward=0.0):
    return {"stepped": (seen, reward, False, False, {})}


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"begun": np.zeros(2)}, r"must return \(observation, info\) from reset, got array"),
        ({"begun": (np.zeros(3), {})}, r"numbers of its space's shape \(2,\), got array"),
        ({"begun": ZeroDivisionError("by zero")}, "failed: ZeroDivisionError: by zero, at "),
        ({"begun": SystemExit(0)}, "failed: SystemExit: 0, at "),
        ({"stepped": (np.zeros(2), 0.0, True, {})}, r"truncated, info\) from step"),
        ({"stepped": None}, r"truncated, info\) from step, got None"),
        ({"stepped": ValueError("no\nway")}, "failed: ValueError: no way, at "),
        (stepped(reward=np.nan), "must pay a finite reward, got nan"),
        (stepped(reward=None), "must pay a finite reward, got None"),
        (stepped(np.array([0.0, np.inf])), "must show finite numbers"),
        (stepped("north"), "must show finite numbers of .*, got 'north'"),
        (stepped({"x": 1}), "must show finite numbers"),
    ],
)
def test_what_an_environment_raises_or_returns_is_named_as_its_own(monkeypatch, told, said):
    name = bring(monkeypatch, lambda i: Once(**told))
    with pytest.raises(UserCodeError, match=said) as caught:
        play(task_named(name, steps=3), [1.0, 2.0], lambda x: x[:, :1], np.random.default_rng(0))
    assert str(caught.value).startswith("problem.name hills:made: client 1's environment ")
    assert "\n" not in str(caught.value)


class Short(gymnasium.Wrapper):
    """Its truth is the limit below it."""


@pytest.mark.parametrize("outer", [lambda env: env, Short])
def test_a_time_limit_around_an_unregistered_environment_is_known(monkeypatch, outer):
    def made(i):
        return outer(gymnasium.wrappers.TimeLimit(Once(), max_episode_steps=7))

    assert made(0).spec is None
    task = task_named(bring(monkeypatch, made))
    assert task.steps == 7
    assert play(task, [0.0], lambda x: x[:, :1], np.random.default_rng(0)).lengths.tolist() == [7]


def test_discrete_actions_are_equally_far_and_continuous_ones_on_a_line(monkeypatch):
    brought = task_named(bring(monkeypatch, lambda i: Made(UNIT, Discrete(4))), steps=9)
    assert brought.action.axes[0].ground.tolist() == (1.0 - np.eye(4)).tolist()
    continuous_one = task_named(bring(monkeypatch, lambda i: Made(UNIT, UNIT)), steps=9)
    assert [axis.ground.ndim for axis in continuous_one.action.axes] == [1, 1]
    assert [ACROBOT.action.axes[0].ground.ndim, PENDULUM.action.axes[0].ground.ndim] == [2, 1]


def test_limits_points_and_steps_can_be_given(monkeypatch):
    name = bring(monkeypatch, lambda i: Made(Box(-np.inf, np.inf, (2,)), Discrete(2)))
    task = task_named(name, limits=[(0.0, 2.0), (-1.0, 1.0)], points=[3, 5], steps=40)
    assert task.state.shape == (3, 5)
    assert task.state.axes[0].high == 2.0
    assert task.steps == 40


def test_the_papers_tasks_are_known_by_name():
    assert task_named("Pendulum-v1") is PENDULUM
    assert task_named("Pendulum-v1", points=[8, 9]).state.shape == (8, 9)


@pytest.mark.parametrize(
    ("observed", "acted", "settings", "said"),
    [
        (Discrete(3), Discrete(2), {"steps": 9}, "must observe a Box"),
        (Box(-np.inf, 1.0, (2,)), Discrete(2), {"steps": 9}, "control.limits must be given"),
        (UNIT, Discrete(2), {"steps": 9, "points": [1, 5]}, "at least 2 points, got 1"),
        (UNIT, Discrete(2), {"steps": 9, "points": [5]}, "control.points needs one entry"),
        (UNIT, Discrete(1), {"steps": 9}, "at least 2 points, got 1"),
        (UNIT, MultiDiscrete([2, 2]), {"steps": 9}, "must act in a Box"),
        (UNIT, Dict(a=Discrete(2)), {"steps": 9}, "must act in a Box"),
        (UNIT, Box(-np.inf, np.inf, (1,)), {"steps": 9}, "bounded actions"),
        (UNIT, Discrete(2), {}, "problem.horizon must be given"),
        (UNIT, Discrete(2), {"steps": 0}, "problem.horizon must be >= 1, got 0"),
    ],
)
def test_what_cannot_be_a_task_is_said_in_one_line(monkeypatch, observed, acted, settings, said):
    with pytest.raises(ConfigError, match=said) as caught:
        task_named(bring(monkeypatch, lambda i: Made(observed, acted)), **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda i: 1 / 0, "failed: ZeroDivisionError"),
        (lambda i: 7, "must return a gymnasium.Env, got int"),
        (lambda: None, "called with"),
    ],
)
def test_a_function_that_makes_no_environment_is_refused(monkeypatch, function, said):
    with pytest.raises(ConfigError, match=said):
        task_named(bring(monkeypatch, function))


def test_a_mistyped_name_is_corrected():
    with pytest.raises(ConfigError, match="did you mean Pendulum-v1"):
        task_named("Pendulun-v1")
    with pytest.raises(ConfigError, match="can be imported"):
        task_named("no_such_module:made")


def test_a_missing_box2d_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "Box2D", None)
    monkeypatch.delitem(sys.modules, "gymnasium.envs.box2d.lunar_lander", raising=False)
    monkeypatch.delitem(sys.modules, "gymnasium.envs.box2d", raising=False)
    with pytest.raises(ConfigError, match="needs Box2D"):
        LANDER.environment(0.0)


def test_demonstrations_beyond_the_lattice_are_counted_clipped_or_refused():
    lattice = axes(("x", 0.0, 1.0, 3), ("turn", -1.0, 1.0, 4, True))
    places = np.array([[0.5, 7.0], [2.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    within, share = place(lattice, places)
    assert share == 0.25
    assert within.tolist() == [[0.5, 7.0], [1.0, 0.0], [0.0, 0.0], [1.0, 1.0]]
    with pytest.raises(DataError, match=r"25\.0% of 4 .* axis x reaches from 0 to 1, got 2"):
        place(lattice, places, "refuse")
    with pytest.raises(DataError, match="2 numbers a step"):
        place(lattice, places[:, :1])
