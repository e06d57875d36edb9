import numpy as np
import pytest
from scipy.stats import qmc

from fedirl_ray.problem.control.basis import LinearReward, RadialBasis, lattice_reward
from fedirl_ray.problem.control.paper import ACROBOT, PENDULUM


def test_a_bump_is_one_at_its_centre_and_falls_as_a_gaussian():
    basis = RadialBasis(PENDULUM.support, 27, width=0.5)
    low = np.array([axis.low for axis in PENDULUM.support.axes])
    span = np.array([axis.high for axis in PENDULUM.support.axes]) - low
    centre = low + basis.centres[4] * span
    deviation = 0.5 * 27 ** (-1 / 3)
    along = centre + np.outer([0.0, 1.0, 2.0], [0.0, 0.0, deviation * span[2] * 0.5])
    assert basis.at(along)[:, 4] == pytest.approx(np.exp(-0.5 * np.array([0.0, 0.25, 1.0])))


def test_features_wrap_where_axes_do():
    basis = RadialBasis(PENDULUM.support, 64)
    place = np.array([[np.pi - 0.01, 1.0, 0.5]])
    beyond = place + np.array([2 * np.pi, 0.0, 0.0])
    over = np.array([[-np.pi + 0.01, 1.0, 0.5]])
    assert basis.at(beyond) == pytest.approx(basis.at(place))
    assert basis.at(over) == pytest.approx(basis.at(place), abs=0.05)


def test_beyond_a_limit_features_are_the_limits():
    basis = RadialBasis(PENDULUM.support, 64)
    limit, beyond = np.array([[1.0, 8.0, -1.0]]), np.array([[1.0, 11.0, -1.5]])
    assert basis.at(beyond) == pytest.approx(basis.at(limit))


@pytest.mark.parametrize("count", [64, 256])
def test_any_number_of_centres_fills_the_box_more_evenly_than_chance(count):
    basis = RadialBasis(ACROBOT.support, count)
    assert basis.at(ACROBOT.support.points[:10]).shape == (10, count)
    chance = [
        qmc.discrepancy(np.random.default_rng(seed).random(basis.centres.shape))
        for seed in range(20)
    ]
    assert qmc.discrepancy(basis.centres) < np.mean(chance)


def test_a_linear_reward_is_the_same_on_the_lattice_and_off_it():
    support, actions = PENDULUM.support, PENDULUM.action.size
    basis = RadialBasis(support, 16)
    theta = np.random.default_rng(0).normal(size=16)
    reward = LinearReward(basis, theta, 0.7)
    features = basis.at(support.points)
    table = reward.on(features, actions)
    assert table.shape == (actions, PENDULUM.state.size)
    anywhere = reward(support.points[:, :2], support.points[:, 2:])
    assert table.T.ravel() == pytest.approx(anywhere)
    assert lattice_reward(features, theta, actions) + 0.7 == pytest.approx(table)
