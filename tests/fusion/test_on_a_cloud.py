"""Fusion where rewards are compared on a cloud of points."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from fedirl_ray import FusionConfig, Support, fuse
from fedirl_ray.config_fusion import RULE_NAMES
from fedirl_ray.errors import ConfigError, DataError
from fedirl_ray.transport.cloud import Cloud

RNG = np.random.default_rng(0)
THETAS = RNG.normal(size=(3, 4))
POINTS = RNG.normal(size=(60, 5))
FEATURES = np.cos(POINTS @ RNG.normal(size=(5, 4)))
CLOUD = Support(FEATURES, points=POINTS)
AXES = (np.arange(7.0), np.arange(6.0))
GRID = np.stack(np.meshgrid(*AXES, indexing="ij"), -1).reshape(-1, 2)
ON_GRID = np.cos(GRID @ RNG.normal(size=(2, 4)))
CELL = Cloud.of(GRID, "none").epsilon
ELSEWHERE = ("precision", "select", "auto", "register")


@pytest.mark.parametrize("rule", ["barycenter", "gibbs", "signed", "signed-median", "blur"])
def test_a_rule_on_a_cloud_laid_on_a_lattice_gives_what_it_gives_there(rule):
    there = fuse(
        thetas=THETAS,
        support=Support(ON_GRID, AXES),
        rule=rule,
        config=FusionConfig(epsilon=0.5, gibbs_epsilon=1.0, blur_width=1.5, tolerance=1e-9),
    )
    # A cloud's cell is its neighbourhood.
    here = fuse(
        thetas=THETAS,
        support=Support(ON_GRID, points=GRID),
        rule=rule,
        config=FusionConfig(
            epsilon=0.5 / CELL,
            gibbs_epsilon=1.0 / CELL,
            blur_width=1.5 / np.sqrt(CELL),
            tolerance=1e-9,
        ),
    )
    assert there.converged
    assert here.converged
    # The lattice's blur stops at its border by cells; both weigh what is there alone.
    np.testing.assert_allclose(here.theta, there.theta, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("rule", [name for name in RULE_NAMES if name not in ELSEWHERE])
def test_rules_work_on_a_cloud(rule):
    found = fuse(thetas=THETAS, support=CLOUD, rule=rule)
    assert found.theta.shape == (4,)
    assert np.isfinite(found.theta).all()
    if found.measure is not None:
        assert found.measure.shape == (60,)
        assert found.measure.sum() == pytest.approx(1.0)


def test_the_blur_is_the_gaussian_mean_of_what_is_around():
    rewards = RNG.normal(size=(1, 60))
    config = FusionConfig(blur_width=0.8)
    found = fuse(rewards=rewards, support=CLOUD, rule="blur", config=config)
    cell = Cloud.of(POINTS, "none").epsilon
    near = np.exp(-cdist(POINTS, POINTS, "sqeuclidean") / cell / (2 * 0.8**2))
    np.testing.assert_allclose(found.theta, near @ rewards[0] / near.sum(axis=1), rtol=1e-9)


@pytest.mark.parametrize("rule", ["register", "auto"])
def test_rules_that_need_a_lattice_say_so(rule):
    config = FusionConfig(candidates=("mean",))
    asked = {"score": lambda thetas: np.zeros((3, len(thetas)))} if rule == "auto" else {}
    law = f"rule {rule} needs a lattice, and the support is a cloud of 60 points"
    with pytest.raises(ConfigError, match=law):
        fuse(thetas=THETAS, support=CLOUD, rule=rule, config=config, **asked)


def test_what_does_not_suit_a_cloud_is_refused():
    with pytest.raises(ConfigError, match=r"fusion\.cost-scale must be none on a cloud"):
        fuse(thetas=THETAS, support=CLOUD, config=FusionConfig(cost_scale="max"))
    with pytest.raises(DataError, match="a Support must have axes or points, got both"):
        Support(FEATURES, AXES, POINTS)
    with pytest.raises(DataError, match="a row of features for each of its 60 points, got 59"):
        fuse(thetas=THETAS, support=Support(FEATURES[1:], points=POINTS))
    spoilt = np.where(np.arange(60)[:, None] == 3, np.nan, POINTS)
    with pytest.raises(ValueError, match=r"points\[3\] must be finite"):
        fuse(thetas=THETAS, support=Support(FEATURES, points=spoilt))
