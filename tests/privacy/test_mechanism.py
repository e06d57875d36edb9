"""The Gaussian mechanism: how far a neighbour moves, what is added, and what an audit finds."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.privacy.accountant import multiplier_for
from fedirl_ray.privacy.mechanism import (
    FINENESS,
    Ball,
    add_noise,
    counts_ball,
    keyed,
    normal,
    private_mean,
    seeded,
    sensitivity,
)
from fedirl_ray.problem.demonstrations import (
    Demonstrations,
    demonstrate,
    feature_counts,
    feature_expectation,
)
from fedirl_ray.problem.family import draw_world

SEEDS = st.integers(0, 2**32 - 1)


def mass_of(discount, steps):
    return float((discount ** np.arange(steps)).sum())


@given(seed=SEEDS, clip=st.sampled_from([None, 0.3, 1.0]), m=st.sampled_from([1, 2, 3]))
def test_replacing_any_episode_by_any_other_moves_the_mean_by_at_most_two_b_over_m(seed, clip, m):
    features = np.random.default_rng(seed).normal(5.0, size=(3, 2))
    ball = counts_ball(features, mass_of(0.9, 3), clip)
    paths = np.array(list(itertools.product(range(3), repeat=3)))
    rows = ball.clip(np.einsum("t,mtd->md", 0.9 ** np.arange(3), features[paths]))
    # The others cancel, so that all pairs of neighbours are all pairs of episodes.
    others = rows[: m - 1].sum(axis=0)
    means = (rows + others) / m
    moved = np.linalg.norm(means[:, None] - means, axis=2).max()
    assert moved <= sensitivity(ball, m) * (1.0 + 1e-12)
    if clip is not None:
        assert moved > 0.5 * sensitivity(ball, m)  # the bound is no idle one


@given(seed=SEEDS)
def test_no_episode_leaves_the_automatic_ball(seed):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(6, 3))
    paths = rng.integers(6, size=(50, 8))
    paths[:6] = np.arange(6)[:, None]  # staying where it is farthest
    rows = np.einsum("t,mtd->md", 0.95 ** np.arange(8), features[paths])
    ball = counts_ball(features, mass_of(0.95, 8))
    assert np.allclose(ball.clip(rows), rows, rtol=1e-12, atol=1e-12)
    smaller = Ball(ball.centre, 0.99 * ball.radius)
    assert not np.allclose(smaller.clip(rows), rows, rtol=1e-12, atol=1e-12)


def test_the_automatic_ball_is_smaller_than_one_around_zero():
    world = draw_world(ProblemConfig(), 0, 0, "client", 0)
    features = world.features.reshape(-1, world.shape[2])
    ball = counts_ball(features, mass_of(0.99, 30))
    assert ball.radius < 0.75 * mass_of(0.99, 30) * np.linalg.norm(features, axis=1).max()


def test_counts_of_episodes_have_the_mean_that_is_fitted():
    world = draw_world(ProblemConfig(), 0, 0, "client", 0)
    s, a, _, _ = world.shape
    data = demonstrate(world, np.full((30, a, s), 1.0 / a), 7, np.random.default_rng(1))
    each = feature_counts(world, data, 0.97)
    episodes = [Demonstrations(data.states[[i]], data.actions[[i]]) for i in range(7)]
    alone = [feature_expectation(world, one, 0.97) for one in episodes]
    assert np.allclose(each, alone, rtol=1e-12)
    assert np.allclose(each.mean(axis=0), feature_expectation(world, data, 0.97), rtol=1e-12)


def test_noise_is_normal_of_the_width_asked_for():
    source = keyed(b"a key", "noise")
    drawn = normal(source(200_000))
    assert stats.kstest(drawn, "norm").pvalue > 1e-3
    noisy = add_noise(np.zeros(100_000 // 100), 2.0, 3.0, source)
    assert abs(noisy.std() / 6.0 - 1.0) < 0.1
    words = np.array([0, 1, 2**64 - 1, 2**64 - 2], dtype=np.uint64)
    ends = normal(words)
    assert np.isfinite(ends).all()
    assert stats.norm.sf(ends.max()) == pytest.approx(2.0**-65, rel=1e-9)
    assert ends[0] == -ends[1]
    assert ends[2] == -ends[3]
    assert abs(ends[2]) < 1e-18


@given(seed=SEEDS, value=st.floats(-1e3, 1e3))
def test_what_is_released_lies_on_a_grid_that_no_data_decide(seed, value):
    noisy = add_noise(np.array([value, -value]), 0.7, 1.3, seeded(np.random.default_rng(seed)))
    step = 0.7 * 1.3 / (1.0 - 1.3 * np.sqrt(2.0) / FINENESS) / FINENESS
    whole = np.rint(noisy / step)
    assert (whole * step == noisy).all()


def test_rounding_to_the_grid_is_paid_for():
    """Neighbours, once rounded, still lie within the sensitivity that the noise was given."""
    d, moves, z = 64, 1.0, 4.0
    deviation = z * moves / (1.0 - z * np.sqrt(d) / FINENESS)
    step = deviation / FINENESS
    one = np.full(d, 0.4999 * step)
    away = np.full(d, moves / np.sqrt(d))
    rounded = np.linalg.norm(np.rint((one + away) / step) - np.rint(one / step)) * step
    assert rounded <= deviation / z


def test_a_key_and_a_name_repeat_their_words_and_no_others():
    drawn = {
        (key, name): tuple(keyed(key, *name)(4).tolist())
        for key in (b"one", b"two")
        for name in ((1, 2), ("1", 2), (12,), (1,))
    }
    assert len(set(drawn.values())) == len(drawn)
    assert tuple(keyed(b"one", 1, 2)(4).tolist()) == drawn[b"one", (1, 2)]


def test_noise_too_wide_for_its_grid_is_refused():
    with pytest.raises(ValueError, match="too wide"):
        add_noise(np.zeros(100), 1.0, 1e4, keyed(b"", 0))


def epsilon_at_least(epsilon, delta, broken, runs=20_000):
    """Lower bound, at 99.9 %, on what a mechanism leaks, from many runs on two neighbours.

    The neighbours differ in an episode at opposite ends of the ball; the attacker says which one it
    was by a threshold, and may be right as often as epsilon and delta allow.
    """
    ball, m = Ball(np.array([2.0]), 1.0), 5
    one = np.array([[2.0]] * (m - 1) + [[3.0]])
    other = np.array([[2.0]] * (m - 1) + [[1.0]])
    z = multiplier_for(epsilon, delta) / broken
    source = keyed(b"audit", broken)
    words = iter(source(2 * runs).reshape(-1, 1))

    def releases(rows):
        return np.array(
            [private_mean(rows, ball, z, lambda _: next(words))[0] for _ in range(runs)]
        )

    seen, unseen = releases(one), releases(other)
    best = 0.0
    for cut in 2.0 + 0.4 * z * np.array([1.0, 1.5, 2.0]):
        hits, false = int((seen > cut).sum()), int((unseen > cut).sum())
        power = stats.beta.ppf(0.0005, hits, runs - hits + 1) if hits else 0.0
        size = stats.beta.ppf(0.9995, false + 1, runs - false) if false < runs else 1.0
        if power > delta:
            best = max(best, float(np.log((power - delta) / size)))
    return best


@pytest.mark.parametrize("epsilon", [2.0, 4.0])
def test_an_audit_stays_below_the_epsilon_that_is_promised(epsilon):
    assert 0.35 * epsilon < epsilon_at_least(epsilon, 1e-5, 1.0) <= epsilon


def test_an_audit_catches_noise_that_is_three_times_too_small():
    assert epsilon_at_least(1.0, 1e-5, 3.0) > 1.0
