import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from fedirl_ray.config import REFERENCES, RULE_NAMES
from fedirl_ray.engine.record import summary
from fedirl_ray.evaluate.comparison import compare
from fedirl_ray.evaluate.planner import policies
from fedirl_ray.report.table import full_text, label_of, main_table
from fedirl_ray.report.wording import signed


def line_of(text, label):
    return next(line for line in text.splitlines() if line.startswith(f" {label} "))


def better(results, rule, config, by=0.2):
    """The same results, with one rule better than the mean by about as much in every seed."""
    mean, own = (config.fusion.rules.index(name) for name in ("mean", rule))
    changed = []
    for seed, result in enumerate(results):
        scores = result.held_out_scores.copy()
        scores[:, own] = scores[:, mean] + by + 0.001 * seed
        changed.append(dataclasses.replace(result, held_out_scores=scores))
    return changed


def test_every_rule_and_reference_has_a_label_and_the_users_own_its_name():
    labels = [label_of(rule) for rule in (*RULE_NAMES, *REFERENCES)]
    assert len(set(labels)) == 17
    assert not set(labels) & {*RULE_NAMES, *REFERENCES}
    assert label_of("mine:rule") == "mine:rule"


def test_the_text_names_the_run_every_rule_and_every_policy(small_run):
    text = full_text(domain_of(small_run[0]), small_run[1])
    assert "GridWorld, 3 clients, 3 seeds: success in %, greedy-0.95 policy" in text
    for label in map(label_of, small_run[0].fusion.rules):
        assert text.count(f"\n {label} ") == 3  # the table, and each split by policy
    for name in policies(small_run[0]):
        assert name in text
    for split in ("in-distribution", "held-out"):
        assert f"{split}: success in % (and difference" in text
    for part in ("normalisation", "blur", "transport", "total"):
        assert text.count(f"barycenter's gain: {part}") == 2


def test_the_numbers_are_those_of_the_comparison(small_run):
    config, results = small_run
    line = line_of(full_text(domain_of(config), results), label_of("trimmed"))
    for split in ("in-distribution", "held-out"):
        samples = np.stack([result.scores(split)[:, 0] for result in results])
        found = compare(samples, config.fusion.rules)["trimmed"]
        assert f"{100 * found.mean:.1f} ± {100 * found.spread:.1f}" in line
        gap = found.difference
        digits = (
            2 if 0.0 < 100 * gap.half_width < 0.05 else 1
        )  # narrow intervals are not rounded away
        assert f"{signed(100 * gap.mean, digits)} ± {100 * gap.half_width:.{digits}f}" in line


def test_a_star_marks_a_difference_that_stands_out(small_run):
    config, results = small_run
    line = line_of(
        full_text(domain_of(config), better(results, "debiased", config)), label_of("debiased")
    )
    assert "+20.1 ± 0.2*" in line
    # By .1 points in two seeds, by -.1 in the third.
    some = better(results, "debiased", config, by=0.001)[:1] * 2
    less = better(results, "debiased", config, by=-0.001)[:1]
    assert " 0.0 ± 0.3=" in line_of(
        full_text(domain_of(config), [*some, *less]), label_of("debiased")
    )


def test_nothing_in_the_text_depends_on_the_clock(small_run):
    config, results = small_run
    slower = [dataclasses.replace(r, seconds=r.seconds + 1000.0) for r in results]
    assert full_text(domain_of(config), slower) == full_text(domain_of(config), results)


def test_demonstrations_that_cannot_be_matched_are_said_to_be(small_run):
    config, results = small_run
    fine = [
        dataclasses.replace(r, negative_log_likelihood=np.abs(r.negative_log_likelihood))
        for r in results
    ]
    assert "negative likelihood" not in full_text(domain_of(config), fine)
    bad = [dataclasses.replace(fine[0], negative_log_likelihood=np.array([-1.0, 2.0, -3.0]))]
    text = full_text(domain_of(config), [*bad, *fine[1:]])
    assert "2 of 9 clients hold demonstrations that no policy" in text
    assert "negative likelihood" in text


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("fit_converged", False, "9 of 9 fits stopped at irl.iterations"),
        ("barycenter_converged", False, "36 barycenters stopped at fusion.iterations"),
    ],
)
def test_what_stopped_early_is_said_to_have(small_run, field, value, said):
    config, results = small_run
    stopped = [
        dataclasses.replace(r, **{field: np.full_like(getattr(r, field), value)}) for r in results
    ]
    assert said in full_text(domain_of(config), stopped)
    assert said not in full_text(domain_of(config), results)


def test_one_seed_makes_a_table_without_intervals(small_run):
    config, results = small_run
    text = full_text(domain_of(dataclasses.replace(config, seeds=1)), results[:1])
    assert "±" not in line_of(text, label_of("barycenter"))
    assert "nan" not in text.lower()


def test_what_seeds_vary_is_said_where_demonstrations_were_recorded(small_run):
    config, results = small_run
    problem = dataclasses.replace(config.problem, demonstrations_file=Path("mine.npz"))
    recorded = dataclasses.replace(config, problem=problem)
    said = "Seeds differ in held-out worlds alone; clients keep their worlds and recorded"
    assert said in full_text(domain_of(recorded), results)
    assert "± says nothing of other demonstrations." in full_text(domain_of(recorded), results)
    assert said not in full_text(domain_of(config), results)
    assert summary(domain_of(recorded), results)["seeds_vary"].startswith("held-out worlds alone")
    assert summary(domain_of(config), results)["seeds_vary"] == "worlds and demonstrations"


@pytest.mark.parametrize(("width", "whole"), [(150, True), (80, False)])
def test_the_whole_table_is_shown_where_it_fits_and_no_cell_is_ever_cut(small_run, width, whole):
    config, results = small_run
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(main_table(domain_of(config), results, width=width), crop=False)
    text = console.file.getvalue()
    assert ("turned" in text) == whole
    assert "…" not in text
