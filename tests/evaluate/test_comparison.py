import numpy as np
import pytest
from scipy import stats

from fedirl_ray.errors import DataError
from fedirl_ray.evaluate.comparison import compare, split_gain, value_of
from fedirl_ray.evaluate.statistics import interval, paired

RULES = ("local", "mean", "arithmetic", "barycenter", "self-control")


def samples(seeds=6):
    return np.random.default_rng(0).random((seeds, len(RULES)))


def test_every_rule_is_paired_with_the_mean():
    table = samples()
    found = compare(table, RULES)
    for column, rule in zip(table.T, RULES, strict=True):
        assert found[rule].mean == pytest.approx(column.mean())
        assert found[rule].spread == pytest.approx(column.std(ddof=1))
        assert found[rule].difference == paired(column, table[:, 1])
    assert found["mean"].difference[:2] == (0.0, 0.0)
    assert found["mean"].difference.doubt == "tied"


def test_an_even_difference_has_scipys_paired_t_interval():
    table = samples()
    table[:, 3] = table[:, 1] + np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    expected = stats.ttest_rel(table[:, 3], table[:, 1]).confidence_interval(0.95)
    gap = compare(table, RULES)["barycenter"].difference
    assert gap.mean - gap.half_width == pytest.approx(expected.low)


def test_one_seed_has_means_but_no_spread():
    found = compare(samples(1), RULES)
    assert np.isnan(found["local"].spread)
    assert np.isnan(found["local"].difference.half_width)
    assert np.isfinite(found["local"].mean)


def test_the_parts_of_a_gain_add_up():
    table = samples()
    gain = split_gain(table, RULES)
    parts = gain.normalisation.mean + gain.blur.mean + gain.transport.mean
    assert gain.total.mean == pytest.approx(parts)
    assert gain.total.mean == pytest.approx((table[:, 3] - table[:, 1]).mean())
    assert gain.normalisation.mean == pytest.approx((table[:, 2] - table[:, 1]).mean())
    assert gain.blur.mean == pytest.approx((table[:, 4] - table[:, 1]).mean())
    rest = table[:, 3] - table[:, 2] - table[:, 4] + table[:, 1]
    assert gain.transport.half_width == pytest.approx(interval(rest).half_width)


def test_a_barycenter_that_only_blurs_and_normalises_gains_nothing_by_transport():
    table = samples()
    table[:, 3] = table[:, 2] + table[:, 4] - table[:, 1]
    transport = split_gain(table, RULES).transport
    assert transport[:2] == (0.0, 0.0)
    assert not transport.excludes_zero
    large = split_gain(1e9 * table, RULES).transport
    assert large[:2] == (0.0, 0.0)


@pytest.mark.parametrize("absent", ["mean", "arithmetic", "barycenter", "self-control"])
def test_a_gain_is_split_only_if_all_its_parts_were_run(absent):
    kept = [rule for rule in RULES if rule != absent]
    assert split_gain(samples()[:, : len(kept)], kept) is None


def test_value_is_0_at_random_1_at_the_best_and_blind_to_units():
    earned = np.array([-3.0, -1.0, 1.0, 2.0])
    found = value_of(earned, -3.0, 1.0)
    np.testing.assert_allclose(found, [0.0, 0.5, 1.0, 1.25])
    np.testing.assert_allclose(value_of(7.0 * earned + 2.0, -19.0, 9.0), found)
    random, best = np.array([0.0, 1.0]), np.array([2.0, 1.5])
    np.testing.assert_allclose(value_of(np.array([1.0, 1.0]), random, best), [0.5, 0.0])


@pytest.mark.parametrize("best", [-3.0, -4.0, np.nan])
def test_value_of_worlds_where_nothing_can_be_gained_is_refused(best):
    with pytest.raises(DataError, match="the best policy earns more than a random one, got"):
        value_of(np.array([-3.0]), -3.0, best)
