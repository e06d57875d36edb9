import itertools

import numpy as np
import pytest

from fedirl_ray.errors import DataError
from fedirl_ray.evaluate.statistics import paired
from fedirl_ray.study.heterogeneity import heterogeneity_map

RULES = ("mean", "median", "arithmetic", "barycenter", "self-control")


def long_table(success, *, split="held-out", judge="greedy"):
    """A long table from success by trial, seed and rule, `[trials, seeds, rules]`."""
    cells = [
        (trial, seed, 1, split, rule, judge, "success", 0, success[trial, seed, c])
        for trial, seed in np.ndindex(success.shape[:2])
        for c, rule in enumerate(RULES)
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
        assert (point.trials, point.seeds, point.balanced) == (len(trials), 6, True)
        by_seed = success[trials].mean(axis=0)
        fused, mean = by_seed[:, RULES.index("barycenter")], by_seed[:, RULES.index("mean")]
        assert point.against_mean == paired(fused, mean)
        best = by_seed[:, [0, 1, 2]].mean(axis=0).argmax()
        assert point.best == RULES[best]
        np.testing.assert_allclose(point.against_best.mean, (fused - by_seed[:, best]).mean())


def test_the_parts_of_a_gain_add_up():
    for point in heterogeneity_map(grid(), long_table(drawn(6))):
        parts = (point.gain.normalisation, point.gain.blur, point.gain.transport)
        np.testing.assert_allclose(sum(part.mean for part in parts), point.against_mean.mean)
        assert point.gain.total == point.against_mean


def test_in_a_star_only_the_centre_stands_for_a_dials_lowest_level():
    trials = {
        0: {"a": 0.0, "b": 0.0},
        1: {"a": 0.5, "b": 0.0},
        2: {"a": 1.0, "b": 0.0},
        3: {"a": 0.0, "b": 0.5},
        4: {"a": 0.0, "b": 1.0},
    }
    points = heterogeneity_map(trials, long_table(drawn(5)))
    assert all(point.trials == 1 and point.balanced for point in points)
    # Without that, the other arm would raise or lower the centre.
    lowest = [point.against_mean for point in points if point.level == "0"]
    assert lowest[0] == lowest[1]


def test_a_block_that_misses_a_level_is_left_out():
    trials = grid()
    del trials[5]  # a = 1, b = 2 failed
    points = heterogeneity_map(trials, long_table(drawn(6)))
    assert [point.trials for point in points if point.dial == "a"] == [1, 1, 1]
    assert [point.trials for point in points if point.dial == "b"] == [2, 2]


def test_a_random_search_is_put_into_bins_of_all_trials():
    rng = np.random.default_rng(1)
    trials = {n: {"a": float(rng.uniform()), "b": float(rng.uniform())} for n in range(23)}
    points = heterogeneity_map(trials, long_table(drawn(23)))
    for dial in "ab":
        own = [point for point in points if point.dial == dial]
        assert sum(point.trials for point in own) == 23
        assert [point.trials for point in own] == [5, 5, 5, 4, 4]
        assert not any(point.balanced for point in own)
        edges = [float(word) for point in own for word in point.level.split(" to ")]
        assert edges == sorted(edges)


def test_equal_values_share_a_bin():
    values = [2] * 7 + list(range(3, 16))
    trials = {n: {"a": value} for n, value in enumerate(values)}
    points = heterogeneity_map(trials, long_table(drawn(len(values))))
    assert [(point.level, point.trials) for point in points] == [
        ("2", 7), ("3", 1), ("4 to 7", 4), ("8 to 11", 4), ("12 to 15", 4),
    ]  # fmt: skip


def test_words_are_levels_and_a_field_that_played_no_part_is_none():
    trials = {
        0: {"kind": "x", "depth": None},
        1: {"kind": "y", "depth": 1},
        2: {"kind": "y", "depth": 2},
    }
    points = heterogeneity_map(trials, long_table(drawn(3)))
    assert [(p.dial, p.level, p.trials) for p in points] == [
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


def test_a_study_without_the_barycenter_has_no_map():
    table = long_table(drawn(2))
    kept = [i for i, rule in enumerate(table["rule"]) if rule != "barycenter"]
    cut = {name: [column[i] for i in kept] for name, column in table.items()}
    with pytest.raises(DataError, match="all ran barycenter"):
        heterogeneity_map({0: {"a": 0}, 1: {"a": 1}}, cut)
