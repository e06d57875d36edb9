import itertools

import numpy as np
import pytest

from fedirl_ray.errors import DataError
from fedirl_ray.evaluate.statistics import interval, paired
from fedirl_ray.study.heterogeneity import gain_of_trial, heterogeneity_map, mapped_metrics

RULES = ("mean", "median", "arithmetic", "barycenter", "local")
FUSING = ("median", "arithmetic", "barycenter")


def long_table(values, *, split="held-out", judge="greedy", rules=RULES, metric="success"):
    """A long table from values by trial, seed and rule, `[trials, seeds, rules]`."""
    cells = [
        (trial, seed, 1, split, rule, judge, metric, 0, values[trial, seed, c])
        for trial, seed in np.ndindex(values.shape[:2])
        for c, rule in enumerate(rules)
    ]
    columns = ("trial", "seed", "round", "split", "rule", "judge", "metric", "step", "value")
    return dict(zip(columns, zip(*cells, strict=True), strict=True))


def drawn(trials, seeds=6, seed=0):
    return np.random.default_rng(seed).uniform(0.2, 0.9, size=(trials, seeds, len(RULES)))


def grid(first=(0.0, 0.5, 1.0), second=(1, 2)):
    pairs = itertools.product(first, second)
    return {n: {"a": a, "b": b} for n, (a, b) in enumerate(pairs)}


def test_a_points_interval_is_that_of_the_paired_seed_averages():
    success = drawn(6)
    points = heterogeneity_map(grid(), long_table(success))
    assert [(p.dial, p.level) for p in points] == [
        ("a", "0"), ("a", "0.5"), ("a", "1"), ("b", "1"), ("b", "2"),
    ]  # fmt: skip
    for point, trials in zip(points, [[0, 1], [2, 3], [4, 5], [0, 2, 4], [1, 3, 5]], strict=True):
        assert (point.trials, point.seeds, point.balanced) == (tuple(trials), 6, True)
        by_seed = dict(zip(RULES, success[trials].mean(axis=0).T, strict=True))
        assert tuple(point.differences) == FUSING  # a reference is nothing to compare
        assert tuple(point.means) == ("mean", *FUSING)
        for rule in FUSING:
            assert point.differences[rule] == paired(by_seed[rule], by_seed["mean"])
            assert point.means[rule] == interval(by_seed[rule])
    assert [p.number for p in points] == [0.0, 0.5, 1.0, 1.0, 2.0]


def returns(trials=2, seeds=5):
    """Returns of the rules, a constant reward and the true one: the last two stay apart."""
    rng = np.random.default_rng(3)
    least = rng.uniform(-9.0, -5.0, size=(trials, seeds, 1))
    reach = rng.uniform(1.0, 4.0, size=(trials, seeds, 1))
    share = rng.uniform(-0.2, 1.1, size=(trials, seeds, 3))
    share = np.concatenate([share, np.zeros_like(reach), np.ones_like(reach)], axis=2)
    return least + reach * share, share


MEASURED = ("mean", "median", "barycenter", "plus-one", "true")
TWO = {0: {"a": 0}, 1: {"a": 1}}


def test_value_is_the_share_of_what_lies_between_a_constant_and_the_true_reward():
    earned, share = returns()
    table = long_table(earned, rules=MEASURED, metric="return")
    assert mapped_metrics(table) == ("value", "return")
    for trial, point in enumerate(heterogeneity_map(TWO, table)):
        assert tuple(point.means) == ("mean", "median", "barycenter")
        for c, rule in enumerate(MEASURED[:3]):
            np.testing.assert_allclose(point.means[rule].mean, share[trial, :, c].mean())
        wanted = paired(share[trial, :, 2], share[trial, :, 0])
        np.testing.assert_allclose(point.differences["barycenter"][:2], wanted[:2])
    plain = heterogeneity_map(TWO, table, metric="return")
    np.testing.assert_allclose(plain[0].means["mean"].mean, earned[0, :, 0].mean())


def test_value_needs_worlds_where_the_true_reward_earns_more_than_chance():
    earned, _ = returns()
    earned[1, 2, 4] = earned[1, 2, 3]
    table = long_table(earned, rules=MEASURED, metric="return")
    with pytest.raises(DataError, match=r"^trial 1, seed 2: value needs worlds where .* got \+0"):
        heterogeneity_map(TWO, table)
    without = long_table(earned[:, :, :4], rules=MEASURED[:4], metric="return")
    assert mapped_metrics(without) == ("return",)
    with pytest.raises(DataError, match="value needs plus-one and true in every trial"):
        heterogeneity_map(TWO, without, metric="value")


def test_a_trials_gain_needs_its_barycenter():
    success = drawn(2)
    gap, seeds = gain_of_trial(1, long_table(success))
    assert (gap, seeds) == (paired(success[1, :, 3], success[1, :, 0]), 6)
    with pytest.raises(DataError, match="nothing of barycenter in trial 0"):
        gain_of_trial(0, long_table(success[:, :, :3], rules=RULES[:3]))


def test_in_a_star_only_the_centre_stands_for_a_dials_lowest_level():
    trials = {
        0: {"a": 0.0, "b": 0.0},
        1: {"a": 0.5, "b": 0.0},
        2: {"a": 1.0, "b": 0.0},
        3: {"a": 0.0, "b": 0.5},
        4: {"a": 0.0, "b": 1.0},
    }
    points = heterogeneity_map(trials, long_table(drawn(5)))
    assert all(len(point.trials) == 1 and point.balanced for point in points)
    # Without that, the other arm would raise or lower the centre.
    lowest = [point.differences for point in points if point.level == "0"]
    assert lowest[0] == lowest[1]


def test_a_block_that_misses_a_level_is_left_out():
    trials = grid()
    del trials[5]  # a = 1, b = 2 failed
    points = heterogeneity_map(trials, long_table(drawn(6)))
    assert [len(point.trials) for point in points if point.dial == "a"] == [1, 1, 1]
    assert [len(point.trials) for point in points if point.dial == "b"] == [2, 2]


def test_a_random_search_is_put_into_bins_of_all_trials():
    rng = np.random.default_rng(1)
    trials = {n: {"a": float(rng.uniform()), "b": float(rng.uniform())} for n in range(23)}
    points = heterogeneity_map(trials, long_table(drawn(23)))
    for dial in "ab":
        own = [point for point in points if point.dial == dial]
        assert sum(len(point.trials) for point in own) == 23
        assert [len(point.trials) for point in own] == [5, 5, 5, 4, 4]
        assert not any(point.balanced for point in own)
        edges = [float(word) for point in own for word in point.level.split(" to ")]
        assert edges == sorted(edges)


def test_equal_values_share_a_bin():
    values = [2] * 7 + list(range(3, 16))
    trials = {n: {"a": value} for n, value in enumerate(values)}
    points = heterogeneity_map(trials, long_table(drawn(len(values))))
    assert [(point.level, len(point.trials)) for point in points] == [
        ("2", 7), ("3", 1), ("4 to 7", 4), ("8 to 11", 4), ("12 to 15", 4),
    ]  # fmt: skip


def test_words_are_levels_and_a_field_that_played_no_part_is_none():
    trials = {
        0: {"kind": "x", "depth": None},
        1: {"kind": "y", "depth": 1},
        2: {"kind": "y", "depth": 2},
    }
    points = heterogeneity_map(trials, long_table(drawn(3)))
    assert [(p.dial, p.level, len(p.trials)) for p in points] == [
        ("kind", "x", 1), ("kind", "y", 2), ("depth", "1", 1), ("depth", "2", 1),
    ]  # fmt: skip


def test_what_never_varies_is_no_dial():
    assert heterogeneity_map({0: {"a": 1}, 1: {"a": 1}}, long_table(drawn(2))) == []


def test_seeds_that_some_trial_lacks_are_left_out():
    table = long_table(drawn(2))
    kept = [i for i in range(len(table["seed"])) if (table["trial"][i], table["seed"][i]) != (0, 5)]
    cut = {name: [column[i] for i in kept] for name, column in table.items()}
    points = heterogeneity_map({0: {"a": 0}, 1: {"a": 1}}, cut)
    assert [point.seeds for point in points] == [5, 6]


def test_another_split_or_judge_is_asked_for_by_name():
    trials = {0: {"a": 0}, 1: {"a": 1}}
    table = long_table(drawn(2), split="in-distribution", judge="soft")
    with pytest.raises(DataError, match="no success of split held-out"):
        heterogeneity_map(trials, table)
    assert heterogeneity_map(trials, table, split="in-distribution", judge="soft")
    with pytest.raises(DataError, match="judge greedy"):
        heterogeneity_map(trials, table, split="in-distribution", judge="greedy")


@pytest.mark.parametrize("missing", [("mean",), ("median", "arithmetic", "barycenter")])
def test_a_study_without_the_mean_or_a_rule_beside_it_has_no_map(missing):
    table = long_table(drawn(2))
    kept = [i for i, rule in enumerate(table["rule"]) if rule not in missing]
    cut = {name: [column[i] for i in kept] for name, column in table.items()}
    with pytest.raises(DataError, match=r"trials all ran mean and another rule, got .*local$"):
        heterogeneity_map({0: {"a": 0}, 1: {"a": 1}}, cut)
