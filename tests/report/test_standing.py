"""Verdicts beside blind controls, against SciPy's own paired tests."""

import numpy as np
import pytest
from scipy import stats

from fedirl_ray.config import BLIND
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.engine.result import samples
from fedirl_ray.report.measure import SUCCESS, Measure
from fedirl_ray.report.standing import standings, standings_text
from fedirl_ray.report.table import full_text

RULES = ("local", "mean", "barycenter", "mine:rule", "true", "plus-one", "random-1")
RETURN = Measure("return")


def drawn(levels=(0, 0, 0, 0, 9, 0, 0), seeds=7):
    """Returns of every column about its level, `[seeds, c]`."""
    return np.array(levels) + np.random.default_rng(3).normal(size=(seeds, len(RULES)))


def test_a_rule_is_compared_with_the_mean_and_every_control():
    table = drawn((0, 0, 5, 0, 9, 3, 0))
    ours, theirs = standings(table, RULES)
    assert (ours.rule, theirs.rule) == ("barycenter", "mine:rule")
    assert list(ours.over_controls) == ["plus-one", "random-1"]
    own = table[:, RULES.index("barycenter")]
    checked = 0
    for name, found in {"mean": ours.over_mean, **ours.over_controls}.items():
        base = table[:, RULES.index(name)]
        assert found.mean == pytest.approx((own - base).mean())
        if found.method == "t":
            low, high = stats.ttest_rel(own, base).confidence_interval(0.95)
            assert found.half_width == pytest.approx((high - low) / 2)
            checked += 1
    assert checked
    assert ours.closest == "plus-one"
    assert ours.better
    assert not theirs.better


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        ((0, 0, 9, 0, 9, 0, 0), "better than the mean and every control: +"),
        ((0, 0, -9, 0, 9, 0, 0), "worse than the mean: -"),
        ((0, 0, 9, 0, 9, 9, 0), "above the mean, yet not above all that knows nothing: +"),
        ((0, 0, 0, 0, 9, 0, 0), "no difference shown: "),
    ],
)
def test_the_verdict_is_said(levels, said):
    first, second = standings_text({"held-out": drawn(levels)}, RULES, RETURN)
    assert first.startswith(f"held-out, barycenter: {said}")
    assert second.startswith("held-out, mine:rule: ")
    assert ", of 2)." in first


def test_one_seed_gives_no_answer_and_what_was_not_judged_none():
    (first, _) = standings_text({"held-out": drawn(seeds=1)}, RULES, RETURN)
    assert "one seed, which gives no interval and so no answer" in first
    table = drawn()
    table[0, RULES.index("barycenter")] = np.nan
    assert [one.rule for one in standings(table, RULES)] == ["mine:rule"]
    assert standings(drawn() * np.nan, RULES) == []
    known = [rule for rule in RULES if rule not in BLIND]
    assert standings(drawn()[:, : len(known)], known) == []


def test_tables_with_blind_controls_say_it_in_both_splits(small_run):
    config, results = small_run
    domain = domain_of(config)
    text = " ".join(full_text(domain, results).split())
    for split in ("in-distribution", "held-out"):
        table = samples(domain, results, split)[:, :, 0]
        found = {one.rule: one for one in standings(table, config.fusion.rules)}
        assert set(found) == {"median", "trimmed", "precision", "arithmetic", "barycenter",
                              "debiased", "self-control"}  # fmt: skip
        for rule in ("barycenter", "debiased"):
            assert f"{split}, {rule}: " in text
            assert f"{SUCCESS.told(found[rule].over_mean)} over the mean" in text
