"""What attacks find, beside what can be known of them beforehand."""

import numpy as np
import pytest
from scipy import stats

from fedirl_ray.config import IRLConfig
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.irl.maxent import dual, fit
from fedirl_ray.privacy.accountant import multiplier_for
from fedirl_ray.privacy.attack import likelihood_ratio, membership, visits_of
from fedirl_ray.privacy.mechanism import Ball, private_mean, seeded
from fedirl_ray.problem.demonstrations import demonstrate, feature_expectation
from fedirl_ray.problem.family import draw_world
from fedirl_ray.problem.mdp import Stack


def test_the_auc_is_mann_whitneys():
    rng = np.random.default_rng(0)
    one, other = rng.integers(5, size=20).astype(float), rng.integers(4, size=30).astype(float)
    statistic = stats.mannwhitneyu(one, other).statistic
    assert membership(one, other).auc == pytest.approx(statistic / 600.0)


@pytest.mark.parametrize("apart", [0.0, 1.0, 2.5])
def test_its_interval_holds_the_truth_about_as_often_as_it_says(apart):
    rng = np.random.default_rng(1)
    truth = stats.norm.cdf(apart / np.sqrt(2.0))
    held = []
    for _ in range(400):
        found = membership(rng.normal(apart, size=40), rng.normal(size=40))
        held.append(found.low <= truth <= found.high)
    assert 0.91 <= np.mean(held) <= 1.0


def test_an_attack_that_never_errs_is_not_taken_for_certain():
    found = membership(np.arange(5.0) + 10.0, np.arange(5.0))
    assert found.auc == found.high == 1.0
    assert found.low < 0.95


def test_shadows_show_the_direction_in_which_worlds_differ():
    rng = np.random.default_rng(2)
    d, apart = 6, np.array([0.0, 0.0, 2.0, 0.0, 0.0, 0.0])
    width = np.array([5.0, 1.0, 1.0, 1.0, 9.0, 1.0])

    def draw(there, count):
        return width * rng.normal(size=(count, d)) + there * apart

    shadows = draw(1.0, 300), draw(0.0, 300)
    scores = [
        np.array([likelihood_ratio(seen, *shadows) for seen in draw(there, 400)])
        for there in (1.0, 0.0)
    ]
    assert membership(*scores).auc == pytest.approx(stats.norm.cdf(2.0 / np.sqrt(2.0)), abs=0.05)


@pytest.mark.parametrize("epsilon", [1.0, 4.0])
def test_no_attack_on_noisy_counts_beats_the_gaussian_mechanisms_ceiling(epsilon):
    z = multiplier_for(epsilon, 1e-5)
    ball, source = Ball(np.zeros(1), 1.0), seeded(np.random.default_rng(3))
    one, other = np.array([[1.0], [0.3]]), np.array([[-1.0], [0.3]])
    scores = [
        np.array([private_mean(rows, ball, z, source)[0] for _ in range(3000)])
        for rows in (one, other)
    ]
    found = membership(*scores)
    assert found.low <= stats.norm.cdf(1.0 / (np.sqrt(2.0) * z)) <= found.high


def test_without_noise_a_reward_gives_all_state_visits_away():
    problem = ProblemConfig(size=3, features="one-hot")
    world = draw_world(problem, 0, 0, "client", 0)
    s, a, d, _ = world.shape
    irl = IRLConfig(tolerance=1e-10, iterations=500)
    data = demonstrate(world, np.full((18, a, s), 1.0 / a), 6, np.random.default_rng(0))
    counts = feature_expectation(world, data, irl.discount)[None]
    theta = fit([world], counts, irl, 18).theta
    _, expected = dual(Stack([world]), theta, np.zeros((1, d)), irl, 18)
    mass = float((irl.discount ** np.arange(18)).sum())
    found = visits_of(irl.l2 * theta[0], expected[0], world.features[:, 0], mass)
    assert np.abs(found - counts[0]).max() < 1e-5
    assert counts.sum() == pytest.approx(mass)
