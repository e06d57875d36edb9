"""Features of the user's own on a box: where they are asked for, and what they may return."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedirl_ray.errors import ConfigError, UserCodeError
from fedirl_ray.problem.control.basis import LinearReward
from fedirl_ray.problem.control.own_basis import OwnBasis
from fedirl_ray.problem.control.paper import ACROBOT, CARTPOLE, PENDULUM


def basis_of(function, task=PENDULUM):
    return OwnBasis(task.support, len(task.state.axes), "mine:phi", function)


def swing(states, actions):
    angle, speed = states.T
    return np.stack([angle, speed, actions[:, 0]], axis=1) ** 2


def both(states, actions):
    return np.concatenate([states, actions], axis=1)


def test_gymnasiums_pendulum_pays_what_is_linear_in_squares():
    rng = np.random.default_rng(0)
    places = rng.uniform([-np.pi, -8.0], [np.pi, 8.0], (50, 2))
    push = rng.uniform(-1.0, 1.0, (50, 1))
    basis = basis_of(swing)
    assert basis.count == 3
    # -(angle^2 + .1 speed^2 + .001 torque^2), where client 0 pushes with 2 at most.
    reward = LinearReward(basis, np.array([-1.0, -0.1, -0.004]))
    wanted = PENDULUM.physics(0.0).step(places, push).reward
    np.testing.assert_allclose(reward(places, push), wanted, rtol=1e-12)


@pytest.mark.parametrize("task", [PENDULUM, ACROBOT, CARTPOLE], ids=lambda task: task.name)
@given(seed=st.integers(0, 2**31), stretch=st.floats(0.1, 5.0))
def test_the_function_is_asked_within_the_box_alone_and_of_the_same_place(task, seed, stretch):
    axes = task.support.axes
    low, high = (np.array([getattr(axis, side) for axis in axes]) for side in ("low", "high"))
    places = stretch * np.random.default_rng(seed).uniform(low, high, (20, len(axes)))
    asked = basis_of(both, task).at(places)
    assert (asked >= low).all()
    assert (asked <= high).all()
    inside = (places >= low) & (places <= high)
    np.testing.assert_array_equal(asked[inside], places[inside])
    for j, axis in enumerate(axes):
        turns = (asked[:, j] - places[:, j]) / (high[j] - low[j])
        if axis.wraps:
            np.testing.assert_allclose(turns, np.rint(turns), atol=1e-9)
        else:
            nearest = np.clip(places[:, j], low[j], high[j])
            np.testing.assert_array_equal(asked[:, j], nearest)


def test_the_function_cannot_change_what_it_is_asked_of():
    def spoils(states, actions):
        states[:] = actions[:] = 0.0
        return states

    places = PENDULUM.support.points[:9].copy()
    before = places.copy()
    basis_of(spoils).at(places)
    np.testing.assert_array_equal(places, before)


def infinite(states, actions):
    found = np.ones((len(states), 2))
    found[3, 1] = np.inf
    return found


@pytest.mark.parametrize(
    ("function", "got"),
    [
        (lambda states, actions: states[0], r"got shape \(2,\)"),
        (lambda states, actions: states[1:], r"got shape \(8, 2\)"),
        (lambda states, actions: states[:, :0], r"got shape \(9, 0\)"),
        (lambda states, actions: states.tolist(), "got a list"),
        (lambda states, actions: states.astype(complex), "got an array of complex128"),
        (lambda states, actions: states.astype(str), "got an array of <U32"),
        (infinite, "got inf in row 3"),
    ],
)
def test_what_is_no_features_is_refused_with_its_line(function, got):
    law = r"^problem\.features mine:phi must return finite numbers of shape \(9, d\), "
    line = function.__code__.co_firstlineno
    with pytest.raises(ConfigError, match=rf"{law}{got}, at {__file__}:{line}$"):
        basis_of(function).at(PENDULUM.support.points[:9])


def test_what_it_raises_is_told_with_its_line():
    with pytest.raises(UserCodeError, match=r"mine:phi failed: ZeroDivisionError: .*, at .*:\d+$"):
        basis_of(lambda states, actions: 1 // 0).at(PENDULUM.support.points)


@pytest.mark.parametrize("name", ["numpy:nosuch", "nowhere:phi", "numpy:eye.x", "math:sqrt"])
def test_who_cannot_be_called_with_states_and_actions_is_refused(name):
    with pytest.raises(ConfigError, match=r"^problem\.features must be module:function"):
        OwnBasis.named(PENDULUM.support, 2, name)
