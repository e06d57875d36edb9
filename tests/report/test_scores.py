"""Rows of a long table, read by judge, rule and split."""

import numpy as np
import pytest

from fedirl_ray.report.reproduction.scores import by_seed, columns_of, curves_of, samples_of

INSIDE, OUTSIDE = "in-distribution", "held-out"


def rows(rule, values, *, judge="agent", split=INSIDE, metric="return", step=1):
    return [
        {"seed": seed, "round": 1, "split": split, "rule": rule, "judge": judge,
         "metric": metric, "step": step, "value": float(value)}
        for seed, value in enumerate(values)
    ]  # fmt: skip


def test_columns_are_those_that_were_judged():
    found = [*rows("local", [1.0], judge="", metric="theta_norm"), *rows("mean", [1.0]),
             *rows("pooled", [np.nan]), *rows("plus-one", [1.0], judge="planner"),
             *rows("mean", [2.0], judge="planner")]  # fmt: skip
    assert columns_of(found) == ["mean", "plus-one"]


def test_a_seed_is_what_its_judge_comes_to_in_the_end():
    found = [
        *rows("mean", [3.0, 5.0], step=5), *rows("mean", [100.0, 100.0], step=1),
        *rows("mean", [7.0], split=OUTSIDE), *rows("mean", [8.0], judge="planner", step=0),
        *rows("mean", [9.0], metric="distance"), *rows("plus-one", [7.0]),
    ]  # fmt: skip
    np.testing.assert_array_equal(by_seed(found[::-1], "agent", "mean", INSIDE), [3.0, 5.0])
    np.testing.assert_array_equal(by_seed(found, "agent", "mean", OUTSIDE), [7.0])
    np.testing.assert_array_equal(by_seed(found, "planner", "mean", INSIDE), [8.0])
    np.testing.assert_array_equal(by_seed(found, "agent", "mean", INSIDE, "distance"), [9.0])
    assert by_seed(found, "agent", "median", INSIDE).size == 0


def test_what_a_seed_lacks_no_seed_has():
    found = [*rows("mean", [3.0, 5.0, 4.0]), *rows("barycenter", [1.0, np.nan, 2.0])]
    assert by_seed(found, "agent", "barycenter", INSIDE).size == 0
    samples = samples_of(found, "agent", INSIDE, ["mean", "barycenter"])
    np.testing.assert_array_equal(samples, [[3.0, np.nan], [5.0, np.nan], [4.0, np.nan]])
    elsewhere = samples_of(found, "agent", OUTSIDE, ["mean"])
    np.testing.assert_array_equal(elsewhere, np.full((3, 1), np.nan))


@pytest.mark.parametrize("turn", [1, -1])
def test_a_curve_has_a_row_a_seed_and_a_column_a_step(turn):
    found = [*rows("mean", [1.0, 2.0], step=2), *rows("mean", [3.0, 4.0], step=4),
             *rows("barycenter", [5.0, 6.0], step=2, judge="agent-matched"),
             *rows("mean", [9.0, 9.0], judge="planner", step=0)]  # fmt: skip
    curves = {one.judge: one for one in curves_of(found[::turn], INSIDE, ["mean", "barycenter"])}
    assert set(curves) == {"agent", "agent-matched"}
    np.testing.assert_array_equal(curves["agent"].steps, [2.0, 4.0])
    np.testing.assert_array_equal(curves["agent"].values[:, 0], [[1.0, 3.0], [2.0, 4.0]])
    assert np.isnan(curves["agent"].values[:, 1]).all()
    np.testing.assert_array_equal(curves["agent-matched"].values[:, 1], [[5.0], [6.0]])
    assert curves_of(found, OUTSIDE, ["mean"]) == []
