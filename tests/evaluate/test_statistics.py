import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedirl_ray.evaluate.statistics import Interval, interval, paired, stand_out


def even(count, mean=0.0):
    """Samples without skewness."""
    return mean + stats.norm.ppf((np.arange(count) + 0.5) / count)


@pytest.mark.parametrize("count", [5, 8, 20])
def test_symmetric_samples_have_scipys_t_interval_and_p_value(count):
    base = np.linspace(3.0, 5.0, count) ** 2
    found = paired(base + even(count, 0.7), base)
    expected = stats.ttest_rel(base + even(count, 0.7), base)
    ends = expected.confidence_interval(0.95)
    np.testing.assert_allclose(found.mean - found.half_width, ends.low)
    np.testing.assert_allclose(found.mean + found.half_width, ends.high)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.method, found.doubt) == ("t", "")


@pytest.mark.parametrize("count", [2, 3, 4])
def test_fewer_than_five_seeds_have_a_t_interval_and_are_said_to_be_few(count):
    samples = np.array([1.0, 2.0, 7.0, 4.0])[:count]
    found = interval(samples)
    ends = stats.ttest_1samp(samples, 0.0).confidence_interval(0.95)
    assert found.mean + found.half_width == pytest.approx(ends.high)
    assert (found.method, found.doubt) == ("t", "few")
    assert interval(even(5)).doubt == ""


@pytest.mark.parametrize("samples", [[0.3], [0.3, float("nan"), 0.1], [float("inf"), 0.1]])
def test_one_seed_or_what_is_no_number_leaves_no_interval(samples):
    found = interval(np.array(samples))
    assert found.mean == pytest.approx(np.mean(samples), nan_ok=True)
    assert np.isnan(found.half_width)
    assert np.isnan(found.p_value)
    assert found.method == "none"
    assert not found.excludes_zero


def exact_bootstrap(samples):
    """Half width and p-value of the studentised bootstrap from every resample there is.

    A resample's spread counts as at least a quarter of the sample's.
    """
    count, off = len(samples), samples - samples.mean()
    error = samples.std(ddof=1) / np.sqrt(count)
    drawn = np.array(list(itertools.product(off, repeat=count)))
    spread = np.maximum(drawn.std(axis=1, ddof=1), samples.std(ddof=1) / 4.0)
    ratios = np.abs(drawn.mean(axis=1)) / (spread / np.sqrt(count))
    half = np.quantile(ratios, 0.95, method="inverted_cdf") * error
    return half, (ratios >= abs(samples.mean()) / error).mean()


@pytest.mark.parametrize(
    "samples",
    [[1.0, 1.3, 0.9, 1.2, 6.0], [0.1, 0.2, 0.4, 3.0, 2.0], [0.2, -0.1, 0.0, 0.1, 5.0, 0.3]],
)  # fmt: skip
def test_skewed_samples_have_the_studentised_bootstraps_interval(samples):
    samples = np.array(samples)
    half, p_value = exact_bootstrap(samples)
    found = interval(samples)
    assert (found.method, found.doubt) == ("bootstrap", "")
    assert found.mean == pytest.approx(samples.mean())
    assert found.half_width == pytest.approx(half, rel=0.1)
    assert found.p_value == pytest.approx(p_value, abs=0.015)


def test_one_seed_far_from_the_rest_does_not_blow_the_interval_up():
    samples = np.append(0.1 * even(19), -10.0)
    student = stats.t.ppf(0.975, 19) * stats.sem(samples)
    found = interval(samples)
    assert found.method == "bootstrap"
    assert student < found.half_width < 3.0 * student


def test_symmetric_samples_of_which_more_than_half_are_equal_are_bootstrapped_too():
    samples = np.array([0.0] * 6 + [-2.0, -1.0, 1.0, 2.0])
    assert (interval(samples).method, interval(samples).doubt) == ("bootstrap", "")
    half = np.array([0.0] * 4 + [-2.0, -1.0, 1.0, 2.0])
    assert interval(half).method == "t"


@pytest.mark.parametrize("apart", [0, 1, 2])
@pytest.mark.parametrize("count", [3, 5, 20])
def test_samples_that_agree_but_for_two_are_marked(count, apart):
    samples = np.full(count, 500.0)
    samples[:apart] = [100.0, 200.0][:apart]
    marked = interval(samples).doubt == "tied"
    assert marked == (count - apart >= 2)


def test_three_that_differ_from_the_rest_are_enough_for_an_interval():
    assert interval(np.array([500.0] * 7 + [100.0, 200.0, 320.0])).method == "bootstrap"


def test_identical_values_claim_no_width_without_a_mark():
    assert interval(np.full(5, 500.0))[:2] == (500.0, 0.0)
    assert interval(np.full(5, 500.0)).doubt == "tied"


@pytest.mark.parametrize(("count", "p_value"), [(5, 2 / 2**5), (6, 2 / 2**6), (20, 2 / 2**20)])
def test_identical_differences_have_the_sign_tests_p_value(count, p_value):
    found = interval(np.full(count, -0.2))
    assert found.p_value == pytest.approx(p_value)
    assert found.excludes_zero == (count > 5)
    mixed = np.array([0.2] * (count - 2) + [-0.2, 0.0])
    expected = stats.binomtest(1, count - 1, 0.5).pvalue
    assert interval(mixed).p_value == pytest.approx(expected)


@given(
    st.lists(st.integers(-3, 3), min_size=2, max_size=20),
    st.sampled_from([1.0, 1e3, 1e-3]),
)
def test_rounding_noise_is_zero_and_draws_no_star(noise, scale):
    own = np.full(len(noise), 0.7 * scale)
    found = paired(own + np.spacing(0.7 * scale) * np.array(noise), own)
    assert found[:2] == (0.0, 0.0)
    assert not np.signbit(found.mean)
    assert found.p_value == 1.0
    assert found.doubt == "tied"
    assert not found.excludes_zero


def test_rounding_is_judged_by_the_values_not_by_their_differences():
    assert not interval(np.full(20, 1.1e-16)).excludes_zero
    small = 1e-12 * even(20, 3.0)
    assert interval(small).p_value == 1.0
    assert interval(small, scale=1e-12).excludes_zero
    large = np.full(20, 1e9)
    assert paired(large + even(20, 0.01) * 0.01, large).p_value == 1.0
    assert interval(-np.zeros(3)).mean == 0.0
    assert not np.signbit(interval(-np.zeros(3)).mean)


def test_what_is_rounding_beside_the_samples_themselves_counts_as_equal():
    assert interval(1e9 + 1e-3 * even(20)).doubt == "tied"


def test_a_real_difference_of_a_millionth_is_kept():
    base = np.full(20, 1.0)
    assert paired(base + 1e-6 * even(20, 3.0), base).mean == pytest.approx(3e-6)


def test_values_that_differ_by_rounding_count_as_equal():
    samples = np.full(20, 0.2) + 1e-16 * np.arange(20)
    assert interval(samples).doubt == "tied"
    assert interval(samples).half_width == 0.0


@given(st.lists(st.floats(-5.0, 5.0), min_size=1, max_size=12), st.randoms())
def test_an_interval_is_a_function_of_the_set_of_samples(samples, random):
    shuffled = list(samples)
    random.shuffle(shuffled)
    one, other = interval(np.array(samples)), interval(np.array(shuffled))
    np.testing.assert_equal(tuple(one), tuple(other))


@given(st.lists(st.floats(-5.0, 5.0).map(lambda x: round(x, 1)), min_size=2, max_size=12))
def test_p_value_and_interval_agree(samples):
    found = interval(np.array(samples))
    if found.doubt != "tied" and abs(abs(found.mean) - found.half_width) > 1e-9:
        assert found.excludes_zero == (abs(found.mean) > found.half_width)
    assert 0.0 <= found.p_value <= 1.0


@given(st.lists(st.floats(0.1, 5.0).map(lambda x: round(x, 1)), min_size=2, max_size=12))
def test_intervals_keep_their_place_under_sign_and_unit(samples):
    samples = np.array(samples)
    one, other = interval(samples), interval(-100.0 * samples)
    assert other.mean == pytest.approx(-100.0 * one.mean)
    assert other.half_width == pytest.approx(100.0 * one.half_width, abs=1e-6)
    assert other[2:3] + other[4:] == one[2:3] + one[4:]
    assert other.p_value == pytest.approx(one.p_value)


@pytest.mark.parametrize(
    ("found", "excludes"),
    [((0.2, 0.1), True), ((-0.2, 0.1), True), ((0.1, 0.2), False), ((-0.1, 0.2), False),
     ((0.0, 0.0), False), ((0.2, 0.0, "t", 0.06, "tied"), False), ((0.2, 0.1, "t", 0.05), True)],
)  # fmt: skip
def test_an_interval_excludes_zero_when_it_lies_on_one_side(found, excludes):
    assert Interval(*found).excludes_zero is excludes


def drawn(kind, rng, shape):
    match kind:
        case "normal":
            return rng.normal(0.3, 1.0, shape)
        case "skewed":
            return rng.exponential(1.0, shape)
        case "ceiling":
            return np.minimum(500.0, rng.normal(505.0, 10.0, shape))
        case "two-point":
            return 0.1 * (rng.random(shape) < 0.3)


@pytest.mark.parametrize("seeds", [5, 10, 20])
@pytest.mark.parametrize("kind", ["normal", "skewed", "ceiling", "two-point"])
def test_unmarked_intervals_hold_the_mean_in_about_95_percent(kind, seeds):
    rng = np.random.default_rng(7)
    truth = drawn(kind, rng, 1_000_000).mean()
    found = [interval(samples) for samples in drawn(kind, rng, (600, seeds))]
    held = [abs(one.mean - truth) <= one.half_width for one in found if one.doubt != "tied"]
    # benchmarks/intervals.py measures these closer, beside t and BCa, which fall to 83 and 78.
    assert not held or np.mean(held) > 0.88
    if kind == "normal":
        assert np.mean(held) < 0.98
    if kind == "two-point" and seeds == 5:
        assert not held  # five seeds of which most are zero: every one is marked


def test_holm_is_that_of_its_definition():
    def of(*p_values):
        return stand_out([Interval(0.1, 0.1, "t", p) for p in p_values])

    assert of() == []
    assert of(0.05) == [True]
    assert of(0.051) == [False]
    # .05 / 3, .05 / 2, .05 / 1: the second fails, and so must the third.
    assert of(0.04, 0.016, 0.026) == [False, True, False]
    assert of(0.024, 0.016, 0.05) == [True, True, True]
    assert of(0.01, float("nan"), 0.04) == [True, False, True]


def test_a_table_of_noise_has_a_star_in_at_most_one_of_twenty_runs():
    """A run's main table: nine rules in two splits against one mean, 20 seeds."""
    rng = np.random.default_rng(11)
    alone = starred = 0
    runs = 250
    for _ in range(runs):
        values = rng.normal(0.5, 0.1, (2, 20, 1)) + rng.normal(0.0, 0.05, (2, 20, 10))
        found = [paired(split[:, c], split[:, 0]) for split in values for c in range(1, 10)]
        alone += any(one.excludes_zero for one in found)
        starred += any(stand_out(found))
    assert alone / runs > 0.25  # what stars used to stand for
    assert starred / runs < 0.05 + 3.0 * np.sqrt(0.05 * 0.95 / runs)


def test_a_real_difference_keeps_its_star_among_many():
    rng = np.random.default_rng(12)
    found = [interval(rng.normal(0.0, 0.05, 20)) for _ in range(20)]
    found.append(interval(rng.normal(0.1, 0.05, 20)))
    assert stand_out(found)[-1]
