import numpy as np
import pytest
from scipy import stats

from fedirl_ray.evaluate.statistics import Interval
from fedirl_ray.report.measure import measure_of
from fedirl_ray.report.standing import Standing, is_above, standings, standings_text

UP = Interval(2.0, 1.0, "t", 0.01)
DOWN = Interval(-2.0, 1.0, "t", 0.01)
LEVEL = Interval(2.0, 3.0, "t", 0.2)


def even(mean, count=8):
    return mean + stats.norm.ppf((np.arange(count) + 0.5) / count)


@pytest.mark.parametrize(
    ("mean", "controls", "better"),
    [
        (UP, {"plus-one": UP, "minus-one": UP}, True),
        (UP, {"plus-one": UP, "minus-one": LEVEL}, False),
        (UP, {"plus-one": LEVEL, "minus-one": UP}, False),
        (UP, {"plus-one": UP, "minus-one": UP, "random-1": DOWN}, False),
        (LEVEL, {"plus-one": UP}, False),
        (DOWN, {"plus-one": UP}, False),
    ],
)
def test_better_is_above_the_mean_and_every_single_control(mean, controls, better):
    assert Standing("barycenter", mean, controls).better is better


def test_worse_is_below_the_mean_whatever_the_controls():
    assert Standing("barycenter", DOWN, {"plus-one": UP}).worse
    assert not Standing("barycenter", UP, {"plus-one": DOWN}).worse
    assert not Standing("barycenter", Interval(-2.0, 3.0, "t", 0.2), {"plus-one": UP}).worse


def test_the_control_with_the_smallest_margin_is_where_an_interval_reaches_lowest():
    near, sure = Interval(2.0, 0.5, "t", 0.01), Interval(2.5, 2.0, "t", 0.02)
    assert Standing("barycenter", UP, {"plus-one": near, "minus-one": sure}).closest == "minus-one"
    assert Standing("barycenter", UP, {"minus-one": sure, "plus-one": near}).closest == "minus-one"
    one = {"plus-one": Interval(2.0, float("nan")), "minus-one": Interval(1.0, float("nan"))}
    assert Standing("barycenter", UP, one).closest == "minus-one"


def test_above_is_above_zero_by_the_interval():
    assert is_above(UP)
    assert not is_above(DOWN)
    assert not is_above(LEVEL)
    assert not is_above(Interval(2.0, float("nan")))


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_a_verdict_does_not_depend_on_the_unit_of_the_returns(unit):
    above, below = Interval(unit, 0.5 * unit, "t", 0.01), Interval(-unit, 0.5 * unit, "t", 0.01)
    assert is_above(above)
    assert not is_above(below)
    assert Standing("barycenter", above, {"plus-one": above}).better
    assert Standing("barycenter", below, {"plus-one": above}).worse


def table(**columns):
    """Samples `[seeds, c]`, and the columns' names."""
    names = tuple(name.replace("_", "-") for name in columns)
    return np.stack(list(columns.values()), axis=1), names


def test_every_rule_but_the_mean_is_paired_with_the_mean_and_all_controls():
    found = table(
        mean=even(0.0), barycenter=even(3.0)[::-1], local=even(9.0), pooled=even(9.0),
        true=even(9.0), plus_one=even(1.0), random_1=even(2.0)[::-1],
        debiased=np.full(8, np.nan),
    )  # fmt: skip
    (one,) = standings(*found)
    assert one.rule == "barycenter"
    assert list(one.over_controls) == ["plus-one", "random-1"]
    expected = stats.ttest_rel(even(3.0)[::-1], even(1.0)).confidence_interval(0.95)
    over = one.over_controls["plus-one"]
    assert over.mean - over.half_width == pytest.approx(expected.low)
    assert one.over_controls["random-1"][:2] == (1.0, 0.0)
    assert one.over_mean.mean == pytest.approx(3.0)


def test_without_a_mean_or_a_control_there_is_no_verdict():
    assert standings(*table(barycenter=even(1.0), plus_one=even(0.0))) == []
    assert standings(*table(barycenter=even(1.0), mean=even(0.0))) == []


def test_a_rule_no_better_than_one_of_many_controls_is_seldom_called_better():
    """It is level with one control, far above the mean and all others."""
    rng = np.random.default_rng(3)
    called = {}
    for count in (1, 4):
        better = 0
        for _ in range(200):
            found = {"mean": rng.normal(-9.0, 1.0, 5), "plus_one": rng.normal(0.0, 1.0, 5),
                     "barycenter": rng.normal(0.0, 1.0, 5)}  # fmt: skip
            for name in ("minus_one", "random_1", "random_2")[: count - 1]:
                found[name] = rng.normal(-9.0, 1.0, 5)
            better += standings(*table(**found))[0].better
        called[count] = better / 200
    assert max(called.values()) < 0.025 + 3.0 * np.sqrt(0.025 * 0.975 / 200)


@pytest.mark.parametrize(
    ("mean", "barycenter", "blind", "said"),
    [
        (0.0, 3.0, 1.0, "better than the mean and every control"),
        (3.0, 0.0, 1.0, "worse than the mean"),
        (0.0, 3.0, 4.0, "above the mean, yet not above all that knows nothing"),
    ],
)
def test_the_answer_is_one_plain_sentence(mean, barycenter, blind, said):
    ramp = np.sqrt(np.arange(8.0))
    samples, names = table(
        mean=mean + 0.1 * even(0.0), barycenter=barycenter + 0.1 * ramp, plus_one=blind + 0.0 * ramp
    )
    (line,) = standings_text({"held-out": samples}, names, measure_of("return"))
    assert line.startswith(f"held-out, barycenter: {said}: ")
    assert "(plus-one, of 1)" in line
    (one,) = standings_text({"held-out": samples[:1]}, names, measure_of("return"))
    assert "one seed, which gives no interval and so no answer" in one
