"""The conformance suites for worlds and features: ours pass, and each law finds who breaks it."""

import dataclasses
import sys

import numpy as np
import pytest
from worlds import random_world

from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.errors import ConfigError
from fedirl_ray.problem.control.basis import RadialBasis
from fedirl_ray.problem.control.paper import ACROBOT, CARTPOLE, PENDULUM
from fedirl_ray.problem.family import draw_world
from fedirl_ray.problem.features import with_features
from fedirl_ray.problem.kind import TABULAR
from fedirl_ray.testing import check_features, check_world


def drawn(name, **problem):
    """A family of ours, drawn as a user's function is asked."""
    config = ProblemConfig(name=name, size=4, **problem)
    return lambda role, index, rng: draw_world(config, int(rng.integers(9)), 0, role, index)


@pytest.mark.parametrize("name", TABULAR)
def test_our_worlds_pass(name):
    check_world(drawn(name))


@pytest.mark.parametrize("features", ["rbf", "one-hot"])
@pytest.mark.parametrize("name", ["GridWorld", "CliffWalking-v1"])
def test_our_features_pass(name, features):
    config = ProblemConfig(name=name, size=4, features=features, rbf_centres=3)
    worlds = [draw_world(config, 0, 0, role, 0) for role in ("client", "held-out", "probe")]
    check_features(lambda world: with_features(world, config).features, worlds)


def test_both_take_names_as_settings_do(tmp_path, monkeypatch):
    (tmp_path / "own_checked.py").write_text(
        "import gymnasium, numpy as np\n"
        "def world(role, index, rng): return gymnasium.make('FrozenLake-v1')\n"
        "def phi(world): return np.eye(len(world.initial))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        check_world("own_checked:world")
        check_features("own_checked:phi")
        with pytest.raises(ConfigError, match="no such function"):
            check_world("own_checked:nosuch")
        with pytest.raises(ConfigError, match="no such function"):
            check_features("own_checked:nosuch")
    finally:
        sys.modules.pop("own_checked")


def world(role="client", index=0, rng=None, **more):
    return dataclasses.replace(random_world(3), **more)


def of_global_randomness(role, index, rng):
    return world(reward=np.random.random((6, 1)))  # noqa: NPY002


def without_goal(role, index, rng):
    return world(goal=np.zeros(6, dtype=bool))


def ended(role, index, rng):
    return world(initial=np.eye(6)[5])


def wider_probe(role, index, rng):
    return random_world(3, d=3 if role == "probe" else 2)


def no_world(role, index, rng):
    return 3


def raises(role, index, rng):
    raise KeyError(role)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (of_global_randomness, "from the given stream alone: .* client 0, its reward changed"),
        (without_goal, "some policy must reach a goal within 200 steps, none in client 0"),
        (ended, "episodes must begin before they end"),
        (wider_probe, "equally many features, got 2 and 3"),
        (
            no_world,
            "client 0: a world must return a TabularMDP or a Gymnasium environment, got int",
        ),
        (raises, r"client 0: KeyError: 'client', at .*test_testing.py:\d+$"),
    ],
)
def test_a_world_that_breaks_a_law_is_told_which(function, said):
    with pytest.raises(AssertionError, match=said):
        check_world(function)


def of_the_reward(world):
    return np.column_stack([world.reward[:, 0], np.arange(len(world.initial))])


def at_random(world):
    return np.random.random((len(world.initial), 2))  # noqa: NPY002


def spoils(world):
    world.initial[:] = 1.0 / len(world.initial)
    return np.eye(len(world.initial))


def constant(world):
    return np.ones((len(world.initial), 2))


def wider_where_it_slips(world):
    return np.eye(len(world.initial))[:, : 2 + (world.probabilities.max(axis=2).min() < 1.0)]


def no_array(world):
    return [1.0]


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (of_the_reward, "must not depend on the true reward"),
        (at_random, "must be deterministic"),
        (spoils, "must leave the world alone, initial changed"),
        (constant, "must differ somewhere"),
        (wider_where_it_slips, "equally many features, got 3 and 2"),
        (no_array, "a function must return finite numbers of shape .* got a list"),
        (raises, r"TypeError: .* missing 2 required positional arguments"),
    ],
)
def test_features_that_break_a_law_are_told_which(function, said):
    with pytest.raises(AssertionError, match=said):
        check_features(function)


@pytest.mark.parametrize("task", [PENDULUM, CARTPOLE, ACROBOT], ids=lambda task: task.name)
def test_our_radial_features_pass(task):
    def radial(states, actions):
        return RadialBasis(task.support, 9).at(np.concatenate([states, actions], axis=1))

    check_features(radial, problem=task.name)


def at_random_places(states, actions):
    return states + np.random.random(states.shape)  # noqa: NPY002


def beside_the_others(states, actions):
    return states - states.mean(axis=0)


def as_wide_as_many(states, actions):
    return np.tile(states[:, :1], min(len(states), 5))


def constant_anywhere(states, actions):
    return np.ones((len(states), 2))


def too_few(states, actions):
    return states[:-1]


def logarithm(states, actions):
    with np.errstate(all="ignore"):
        return np.log(states)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (at_random_places, "must be deterministic"),
        (beside_the_others, "must not depend on what else is asked for"),
        (as_wide_as_many, "must not depend on what else is asked for, got 5 and 3"),
        (constant_anywhere, "must differ somewhere"),
        (too_few, r"must return finite numbers of shape \(200, d\), got shape \(199, 2\)"),
        (logarithm, "got (nan|-inf) in row"),
        (raises, r"TypeError: .* missing 1 required positional argument"),
    ],
)
def test_features_of_states_and_actions_that_break_a_law_are_told_which(function, said):
    with pytest.raises(AssertionError, match=said):
        check_features(function, problem="Pendulum-v1")


def test_features_of_states_and_actions_are_found_by_name():
    with pytest.raises(ConfigError, match="no such function"):
        check_features("numpy:nosuch", problem="Pendulum-v1")
    with pytest.raises(ConfigError, match="did you mean Pendulum-v1"):
        check_features(constant_anywhere, problem="Pendulm-v1")
