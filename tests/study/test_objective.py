from dataclasses import replace

import numpy as np
import pytest

from fedirl_ray.config import RunConfig
from fedirl_ray.config_fusion import BLIND, FusionConfig
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.engine.result import long_table
from fedirl_ray.errors import ConfigError, DataError
from fedirl_ray.study.objective import Objective


def parse(name, *rules):
    domain = domain_of(RunConfig(fusion=FusionConfig(rules=rules)))
    return Objective.parse(name, domain, rules)


def read(name, config, results):
    domain = domain_of(config)
    return Objective.parse(name, domain, config.fusion.rules).read(results, domain)


def test_success_and_return_are_means_over_the_seeds_of_a_split(small_run):
    config, results = small_run
    column = config.fusion.rules.index("barycenter")
    channels = domain_of(config).channels
    assert channels[0][:2] == ("greedy-0.95", "success")
    success = [result.held_out_scores[:, column, 0].mean() for result in results]
    assert read("success/held-out/barycenter", config, results) == pytest.approx(np.mean(success))
    at = channels.index(("greedy-0.95", "return", 0))
    value = [result.client_scores[:, column, at].mean() for result in results]
    found = read("return/in-distribution/barycenter", config, results)
    assert found == pytest.approx(np.mean(value))


def test_a_difference_is_success_beyond_the_means(small_run):
    config, results = small_run
    levels = [read(f"success/held-out/{rule}", config, results) for rule in ("expert", "mean")]
    assert levels[0] > levels[1]
    found = read("difference/held-out/expert", config, results)
    assert found == pytest.approx(levels[0] - levels[1])


def test_costs_are_those_of_a_seed(small_run):
    config, results = small_run
    column = config.fusion.rules.index("debiased")
    seconds = [result.seconds[column] for result in results]
    assert read("seconds/debiased", config, results) == pytest.approx(np.mean(seconds))
    rows = long_table(results, domain_of(config))
    for way in ("bytes_down", "bytes_up"):
        sent = [row.value for row in rows if (row.rule, row.metric) == ("precision", way)]
        assert read(f"{way}/precision", config, results) == np.mean(sent)


def test_an_objective_that_turns_out_to_be_no_number_is_refused_by_name(small_run):
    config, (first, *others) = small_run
    torn = replace(first, held_out_scores=np.full_like(first.held_out_scores, np.nan))
    with pytest.raises(DataError, match=r"^success/held-out/mean is no finite number, got nan$"):
        read("success/held-out/mean", config, [torn, *others])
    endless = replace(first, seconds=np.full_like(first.seconds, np.inf))
    with pytest.raises(DataError, match=r"^seconds/mean is no finite number, got inf$"):
        read("seconds/mean", config, [endless, *others])


@pytest.mark.parametrize(
    "name",
    ["success/mean", "success/nowhere/mean", "seconds/held-out/mean", "speed/mean", "seconds", 1,
     None, "success/held-out/median/mean", "success/held-out/fastest"],
)  # fmt: skip
def test_what_is_no_objective_is_refused(name):
    with pytest.raises(ConfigError, match=r"^objectives must be success\|return\|difference/"):
        parse(name, "mean", "median")


UNTIMED = ("expert", "ceiling", "true", *BLIND)


@pytest.mark.parametrize("rule", UNTIMED)
def test_what_would_always_be_no_number_is_refused(rule, small_run):
    config, results = small_run
    column = config.fusion.rules.index(rule)
    assert np.isnan([result.seconds[column] for result in results]).all()
    with pytest.raises(ConfigError, match=rf"^objectives must be .*{rule} takes no seconds, got s"):
        parse(f"seconds/{rule}", *config.fusion.rules)


def test_what_is_a_clients_own_has_no_held_out_worlds():
    rules = ("mean", "personal", "fine-tuned")
    with pytest.raises(ConfigError, match="in-distribution of personal, which is a client's"):
        parse("success/held-out/personal", *rules)
    parse("success/in-distribution/personal", *rules)


def test_every_other_rule_takes_seconds(small_run):
    config, results = small_run
    for rule in config.fusion.rules:
        if rule not in UNTIMED:
            assert read(f"seconds/{rule}", config, results) > 0.0


def test_a_difference_that_is_always_nought_is_refused():
    with pytest.raises(ConfigError, match="of a rule that differs from mean, got difference"):
        parse("difference/held-out/mean", "mean", "median")
