import numpy as np
import pytest
from scipy import stats

from fedirl_ray.evaluate.statistics import Interval, interval


@pytest.mark.parametrize("count", [2, 5, 20])
def test_the_interval_is_scipys_paired_t_interval(count):
    rng = np.random.default_rng(count)
    ours, theirs = rng.normal(1.0, 2.0, size=count), rng.normal(size=count)
    found = interval(ours - theirs)
    expected = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    np.testing.assert_allclose(found.mean - found.half_width, expected.low)
    np.testing.assert_allclose(found.mean + found.half_width, expected.high)


def test_one_seed_leaves_no_interval():
    found = interval(np.array([0.3]))
    assert found.mean == 0.3
    assert np.isnan(found.half_width)
    assert not found.excludes_zero


@pytest.mark.parametrize(
    ("found", "excludes"),
    [((0.2, 0.1), True), ((-0.2, 0.1), True), ((0.1, 0.2), False), ((-0.1, 0.2), False),
     ((0.0, 0.0), False)],
)  # fmt: skip
def test_an_interval_excludes_zero_when_it_lies_on_one_side(found, excludes):
    assert Interval(*found).excludes_zero is excludes
