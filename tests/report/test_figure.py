import dataclasses
import io

import numpy as np
import pytest

from fedirl_ray.config import EvaluationConfig, FusionConfig, ProblemConfig, RunConfig
from fedirl_ray.engine.driver import run_seed
from fedirl_ray.engine.local import Clients
from fedirl_ray.report.figure import reward_maps


def small(name, **settings):
    config = RunConfig(
        clients=2,
        problem=ProblemConfig(name=name, size=4, demonstrations=3),
        fusion=FusionConfig(rules=("local", "mean", "barycenter", "pooled", "expert")),
        evaluation=EvaluationConfig(held_out=1),
    )
    config = dataclasses.replace(config, **settings)
    return config, run_seed(config, Clients(config, range(config.clients)), 0)


@pytest.fixture(scope="module")
def grid():
    return small("GridWorld")


def pixels(png):
    import matplotlib.image

    return matplotlib.image.imread(io.BytesIO(png), format="png")


def test_the_figure_is_a_picture_with_a_panel_for_each_client_and_fusing_rule(grid):
    png = reward_maps(*grid)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    height, width, _ = pixels(png).shape
    # Two clients by three rules (pooled and expert are no maps of a client) at 130 dots an inch.
    assert (width, height) == (int(130 * (2.1 * 3 + 0.6)), int(130 * (2.35 * 2 + 0.7)))
    assert np.ptp(pixels(png)[..., :3]) > 0.9


def test_the_figure_shows_the_rewards_it_is_given(grid):
    config, result = grid
    other = dataclasses.replace(result, theta=-result.theta)
    assert not np.array_equal(
        pixels(reward_maps(config, result)), pixels(reward_maps(config, other))
    )


def test_the_figure_is_the_same_each_time(grid):
    assert reward_maps(*grid) == reward_maps(*grid)


@pytest.mark.parametrize("name", ["FrozenLake-v1", "CliffWalking-v1"])
def test_gymnasiums_grids_have_a_figure_too(name):
    assert reward_maps(*small(name)).startswith(b"\x89PNG")


def test_worlds_that_are_no_grid_have_none():
    assert reward_maps(*small("Taxi-v4")) is None
