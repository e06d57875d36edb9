"""Displaced maps: their settings, the value they are judged by, and what is shown of them."""

import numpy as np
import pytest

from fedirl_ray.config_engine import EngineConfig
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.evaluate.planner import judge, judge_references
from fedirl_ray.irl.block import demonstrators
from fedirl_ray.problem.family import draw_world
from fedirl_ray.report.reproduction.displaced import (
    EXPERT,
    OUTSIDE,
    RANDOM,
    Judged,
    displaced_figure,
    displaced_text,
)
from fedirl_ray.study.reproduction.displaced import MAP, TRUTH, run, settings, steps
from fedirl_ray.study.reproduction.plan import Plan

PLAN = Plan(scale="smoke", engine=EngineConfig(backend="local"))


@pytest.fixture(scope="module")
def rows():
    return [row for step in run(PLAN) for row in step]


def test_there_is_a_step_a_seed(rows):
    asked = settings(PLAN)
    assert {(row["setting"], row["seed"]) for row in rows} == {
        (setting.name, seed) for setting in asked for seed in range(setting.seeds)
    }
    assert steps(PLAN) == sum(setting.seeds for setting in asked)


@pytest.mark.parametrize("scale", ["laptop", "paper"])
def test_every_setting_has_a_name_of_its_own_and_can_be_run(scale):
    plan = Plan(scale=scale, engine=EngineConfig(backend="local"))
    asked = settings(plan)
    assert len({setting.name for setting in asked}) == len(asked) == 14
    for setting in asked:
        config = setting.config(plan)
        assert (config.clients, config.seeds) == (setting.clients, setting.seeds)
        world = draw_world(config.problem, 0, 0, "client", 0)
        assert not np.array_equal(
            world.reward, draw_world(config.problem, 0, 0, "held-out", 0).reward
        ) or setting.title.startswith("not displaced")


def test_value_is_nought_for_a_random_policy_and_a_hundred_for_the_expert(rows):
    setting = settings(PLAN)[0]
    found = Judged(rows, setting)
    for split in ("in-distribution", "held-out"):
        np.testing.assert_array_equal(found.value(RANDOM, split), 0.0)
        np.testing.assert_array_equal(found.value(EXPERT, split), 1.0)
    # By hand, of the first seed, from worlds drawn anew.
    config = setting.config(PLAN)
    worlds = [draw_world(config.problem, 0, 0, "held-out", i) for i in range(20)]
    d = worlds[0].shape[2]
    least = judge(worlds, np.zeros((20, 1, d)), np.zeros((20, 1, d)), config).value[:, 0, 0].mean()
    most = (
        judge_references(
            worlds, config, temperatures=demonstrators(config, 0, [0] * 20), recorded=None
        )
        .value[:, 0]
        .mean()
    )
    maps = {row["step"]: row["value"] for row in rows
            if row["metric"] == MAP and row["rule"] == "signed"}  # fmt: skip
    theta = np.array([maps[i] for i in range(d)])  # one feature a cell
    rule = np.tile(theta, (20, 1, 1))
    own = judge(worlds, rule, rule, config).value[:, 0, 0].mean()
    np.testing.assert_allclose(
        found.value("signed", OUTSIDE)[0], (own - least) / (most - least), atol=1e-9
    )


def test_maps_are_the_first_seeds_rewards(rows):
    setting = settings(PLAN)[0]
    config = setting.config(PLAN)
    kept = [row for row in rows if row["metric"] == MAP]
    assert {row["seed"] for row in kept} == {0}
    assert {row["setting"] for row in kept} == {setting.name}
    truth = [row["value"] for row in kept if row["rule"] == TRUTH]
    held_out = draw_world(config.problem, 0, 0, "held-out", 3)
    np.testing.assert_array_equal(truth, held_out.reward[:, 0])
    mean = np.array([row["value"] for row in kept if row["rule"] == "mean"])
    clients = [
        [row["value"] for row in kept if row["rule"] == f"client {i}"]
        for i in range(config.clients)
    ]
    np.testing.assert_allclose(mean, np.mean(clients, axis=0), atol=1e-12)
    assert len(mean) == len(domain_of(config).ground(0).support.features)


def test_every_rule_stands_beside_the_mean_and_signed_beside_every_other(rows):
    text = "\n".join(displaced_text(rows, PLAN))
    assert text.count("### ") == 4
    for label in ("mean of registered maps", "blurred mean", "self control of signed"):
        assert text.count(f"| {label} |") >= 3 or text.count(f" {label} |") >= 3
        assert f"signed - {label}" in text
    assert "Holm" in text
    found = Judged(rows, settings(PLAN)[0])
    gap = 100.0 * (found.value("signed", OUTSIDE) - found.value("mean", OUTSIDE)).mean()
    assert f"{gap:+.1f} ±" in text


def test_the_picture_needs_the_maps(rows):
    assert displaced_figure(rows)[:8] == b"\x89PNG\r\n\x1a\n"
    assert displaced_figure([row for row in rows if row["metric"] != MAP]) is None
