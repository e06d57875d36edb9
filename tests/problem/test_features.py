import numpy as np
import pytest
from scipy import stats

from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.errors import ConfigError
from fedirl_ray.problem.family import draw_world
from fedirl_ray.problem.features import rbf_basis
from fedirl_ray.problem.kind import TABULAR


def draw(role="client", index=0, **problem):
    return draw_world(ProblemConfig(**problem), 0, 0, role, index)


def test_bumps_are_normal_densities_up_to_their_height():
    x, y = np.arange(10.0), np.arange(7.0)
    basis = rbf_basis((x, y), centres=4, width=0.7).reshape(10, 7, 4, 4)
    for i, at_x in enumerate([0.0, 3.0, 6.0, 9.0]):
        for j, at_y in enumerate([0.0, 2.0, 4.0, 6.0]):
            density = np.multiply.outer(
                stats.norm.pdf(x, at_x, 0.7 * 3.0), stats.norm.pdf(y, at_y, 0.7 * 2.0)
            )
            np.testing.assert_allclose(basis[:, :, i, j], density / density.max(), atol=1e-14)


def test_the_papers_64_features_need_a_support_of_at_least_64_points():
    assert draw(size=10, features="rbf").features.shape == (100, 1, 64)
    assert draw(size=5, features="rbf").features.shape == (25, 1, 25)


@pytest.mark.parametrize("features", ["rbf", "one-hot"])
@pytest.mark.parametrize("name", TABULAR)
def test_position_features_are_the_same_in_every_world_and_determine_theta(name, features):
    worlds = [
        draw(role, index, name=name, features=features)
        for role, index in [("client", 0), ("client", 1), ("held-out", 0), ("probe", 0)]
    ]
    phi = worlds[0].features[:, 0]
    assert all(np.array_equal(world.features[:, 0], phi) for world in worlds)
    assert np.linalg.matrix_rank(phi) == phi.shape[1]


def test_one_hot_features_name_the_state():
    phi = draw(features="one-hot").features[:, 0]
    assert np.array_equal(phi @ np.arange(25.0), np.arange(25.0))


def test_the_default_features_are_the_problems_own():
    world = draw()
    cells = np.indices((5, 5)).reshape(2, -1).T
    np.testing.assert_allclose(world.features[:, 0, 0], np.linalg.norm(cells - [4, 4], axis=1))


@pytest.mark.parametrize("setting", [{"goal": "centre"}, {"goal_shift": 0.5}])
def test_only_the_grid_worlds_goal_can_be_moved(setting):
    with pytest.raises(ConfigError, match="move GridWorld's goal alone, got Taxi-v4"):
        draw(name="Taxi-v4", **setting)
