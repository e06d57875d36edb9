import dataclasses
import io
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from fedirl_ray.config_fusion import REFERENCES, RULE_NAMES
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.evaluate.comparison import compare, split_gain
from fedirl_ray.evaluate.planner import policies
from fedirl_ray.report.summary import summary
from fedirl_ray.report.table import facts_text, full_text, label_of, main_table
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
    assert len(set(labels)) == len(RULE_NAMES) + len(REFERENCES)
    assert not set(labels) & {*RULE_NAMES, *REFERENCES}
    assert label_of("mine:rule") == "mine:rule"


def test_the_text_names_the_run_every_rule_and_every_policy(small_run):
    text = full_text(domain_of(small_run[0]), small_run[1])
    assert "GridWorld, 3 clients, 3 seeds: success in %, greedy-0.95 policy" in text
    for label in map(label_of, small_run[0].fusion.rules):
        # The table, and each split by policy.
        assert len(re.findall(rf"^ {re.escape(label)}(?: |$)", text, re.M)) == 3
    for name in policies(small_run[0]):
        assert name in text
    for split in ("in-distribution", "held-out"):
        assert f"{split}: success in % (and difference" in text
    for part in ("normalisation", "blur", "transport", "total"):
        assert text.count(f"barycenter's gain: {part}") == 2


def test_the_text_is_the_same_where_rich_would_show_it_in_a_notebook(small_run, monkeypatch):
    config, results = small_run
    domain = domain_of(config)
    plain = full_text(domain, results)
    shown = []
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr("rich.jupyter.display", lambda *given: shown.append(given))
    assert Console().is_jupyter
    assert full_text(domain, results) == plain
    assert not shown


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
        ("barycenter_converged", False, "{all} barycenters stopped at fusion.iterations"),
    ],
)
def test_what_stopped_early_is_said_to_have(small_run, field, value, said):
    config, results = small_run
    stopped = [
        dataclasses.replace(r, **{field: np.full_like(getattr(r, field), value)}) for r in results
    ]
    said = said.format(all=len(config.fusion.rules) * config.seeds)
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


def test_a_table_of_returns_has_their_unit_and_its_judges_names(learning):
    domain, results = learning
    text = full_text(domain, results)
    assert text.startswith("CartPole-v1, 3 clients, 6 seeds: return, judged by agent\n")
    assert "held-out: return (and difference to the parameter mean), by judge" in text
    for word in ("in %", "points", "success", "policy"):
        assert word not in text
    line = line_of(text, label_of("barycenter"))
    each = np.stack([result.scores("held-out")[:, 0] for result in results])
    found = compare(each, domain.config.fusion.rules)["barycenter"]
    assert f"{found.mean:.1f} ± {found.spread:.1f}" in line
    assert f"{found.difference.mean:+.1f} ± {found.difference.half_width:.1f}*" in line
    assert "nan" not in text


def test_what_is_known_of_clients_is_said_and_nothing_else(learning, small_run):
    domain, results = learning
    said = (
        "Clients: mean demonstrated return 960.5; 0.4 % of demonstrated steps beyond the lattice; "
        "62 % of the lattice guessed, beyond recorded steps; least chance of a recorded step 4 %."
    )
    assert said in " ".join(full_text(domain, results).split())
    assert "Clients:" not in full_text(domain_of(small_run[0]), small_run[1])
    assert facts_text(["mine"], np.array([[[1.5], [2.5]]])) == ["Clients: mean mine 2."]


def test_a_gain_is_split_whatever_other_columns_were_not_judged(learning):
    rules = learning[0].config.fusion.rules
    samples = np.random.default_rng(0).normal(size=(8, len(rules)))
    samples[:, rules.index("plus-one")] = np.nan
    gain = split_gain(samples, rules)
    assert gain.transport.doubt == ""
    assert gain.transport.half_width > 0.0
