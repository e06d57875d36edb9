import numpy as np
import pytest
from fedirl_ray.study.control.verdict import (
    Standing,
    by_seed,
    columns_of,
    curve,
    is_above,
    is_control,
    is_rule,
    standings,
)
from scipy import stats

from fedirl_ray.evaluate.statistics import Interval

UP = Interval(2.0, 1.0, "t", 0.01)
DOWN = Interval(-2.0, 1.0, "t", 0.01)
LEVEL = Interval(2.0, 3.0, "t", 0.2)


def rows(column, values, *, kind="agent", held_out=False, name="return", client=0.0, step=1):
    return [
        {"kind": kind, "column": column, "name": name, "held_out": held_out, "seed": seed,
         "client": client, "step": step, "value": float(value)}
        for seed, value in enumerate(values)
    ]  # fmt: skip


def even(mean, count=8):
    return mean + stats.norm.ppf((np.arange(count) + 0.5) / count)


@pytest.mark.parametrize(
    ("mean", "controls", "better"),
    [
        (UP, {"+1": UP, "-1": UP}, True),
        (UP, {"+1": UP, "-1": LEVEL}, False),
        (UP, {"+1": LEVEL, "-1": UP}, False),
        (UP, {"+1": UP, "-1": UP, "random 1": DOWN}, False),
        (LEVEL, {"+1": UP}, False),
        (DOWN, {"+1": UP}, False),
    ],
)
def test_better_is_above_the_mean_and_every_single_control(mean, controls, better):
    assert Standing("barycenter", mean, controls).better is better


def test_worse_is_below_the_mean_whatever_the_controls():
    assert Standing("barycenter", DOWN, {"+1": UP}).worse
    assert not Standing("barycenter", UP, {"+1": DOWN}).worse
    assert not Standing("barycenter", Interval(-2.0, 3.0, "t", 0.2), {"+1": UP}).worse


def test_the_control_with_the_smallest_margin_is_where_an_interval_reaches_lowest():
    near, sure = Interval(2.0, 0.5, "t", 0.01), Interval(2.5, 2.0, "t", 0.02)
    assert Standing("barycenter", UP, {"+1": near, "-1": sure}).closest == "-1"
    assert Standing("barycenter", UP, {"-1": sure, "+1": near}).closest == "-1"
    one = {"+1": Interval(2.0, float("nan")), "-1": Interval(1.0, float("nan"))}
    assert Standing("barycenter", UP, one).closest == "-1"


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
    assert Standing("barycenter", above, {"+1": above}).better
    assert Standing("barycenter", below, {"+1": above}).worse


def test_every_rule_but_the_mean_is_paired_with_the_mean_and_all_controls():
    found = [
        *rows("mean", even(0.0)), *rows("barycenter", even(3.0)[::-1]),
        *rows("debiased as mean", even(9.0)), *rows("local", even(9.0)),
        *rows("+1", even(1.0)), *rows("random 1", even(2.0)[::-1]),
    ]  # fmt: skip
    (one,) = standings(found, "agent", False)
    assert one.rule == "barycenter"
    assert list(one.over_controls) == ["+1", "random 1"]
    expected = stats.ttest_rel(even(3.0)[::-1], even(1.0)).confidence_interval(0.95)
    assert one.over_controls["+1"].mean - one.over_controls["+1"].half_width == pytest.approx(
        expected.low
    )
    assert one.over_controls["random 1"][:2] == (1.0, 0.0)
    assert one.over_mean.mean == pytest.approx(3.0)


def test_without_a_mean_or_a_control_there_is_no_verdict():
    assert standings([*rows("barycenter", even(1.0)), *rows("+1", even(0.0))], "agent", False) == []
    assert (
        standings([*rows("barycenter", even(1.0)), *rows("mean", even(0.0))], "agent", False) == []
    )


def test_a_rule_no_better_than_one_of_many_controls_is_seldom_called_better():
    """It is level with one control, far above the mean and all others."""
    rng = np.random.default_rng(3)
    called = {}
    for count in (1, 16):
        better = 0
        for _ in range(200):
            found = [*rows("mean", rng.normal(-9.0, 1.0, 5)), *rows("+1", rng.normal(0.0, 1.0, 5)),
                     *rows("barycenter", rng.normal(0.0, 1.0, 5))]  # fmt: skip
            for k in range(count):
                found += rows(f"random {k}", rng.normal(-9.0, 1.0, 5))
            better += standings(found, "agent", False)[0].better
        called[count] = better / 200
    assert max(called.values()) < 0.025 + 3.0 * np.sqrt(0.025 * 0.975 / 200)


def test_kinds_of_columns_are_told_apart():
    assert [name for name in ("+1", "-1", "random 3", "mean") if is_control(name)] == [
        "+1", "-1", "random 3",
    ]  # fmt: skip
    names = ("mean", "barycenter", "barycenter as mean", "local", "pooled", "true reward", "+1")
    assert [name for name in names if is_rule(name)][:2] == ["mean", "barycenter"]
    assert not is_rule("local")
    assert not is_rule("pooled")
    assert not is_rule("random 1")


def test_columns_are_those_that_were_judged():
    found = [*rows("local", [1.0], kind="client"), *rows("mean", [1.0]),
             *rows("+1", [1.0], kind="planner"), *rows("mean", [2.0], kind="planner")]  # fmt: skip
    assert columns_of(found) == ["mean", "+1"]


def test_a_seed_is_the_mean_of_its_worlds_last_values():
    found = [
        *rows("mean", [1.0, 2.0], client=0.0, step=5),
        *rows("mean", [5.0, 8.0], client=1.0, step=5),
        *rows("mean", [100.0, 100.0], client=0.0, step=1),
        *rows("mean", [7.0], held_out=True), *rows("mean", [7.0], kind="planner"),
        *rows("mean", [7.0], name="distance"), *rows("+1", [7.0]),
    ]  # fmt: skip
    np.testing.assert_allclose(by_seed(found, "agent", "mean", False), [3.0, 5.0])
    np.testing.assert_allclose(by_seed(found, "agent", "mean", True), [7.0])
    np.testing.assert_allclose(by_seed(found, "agent", "mean", False, "distance"), [7.0])


def test_a_curve_has_a_row_a_seed_and_a_column_a_step():
    found = [*rows("mean", [1.0, 2.0], step=2), *rows("mean", [3.0, 4.0], step=4),
             *rows("mean", [3.0, 4.0], step=2, client=1.0)]  # fmt: skip
    found += rows("mean", [3.0, 4.0], step=4, client=1.0)
    at, returns = curve(found, "mean", False)
    np.testing.assert_allclose(at, [2.0, 4.0])
    np.testing.assert_allclose(returns, [[2.0, 3.0], [3.0, 4.0]])
