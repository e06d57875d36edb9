"""The registered test of auto: its worlds, what is kept of its verdicts, and what is said."""

from collections import Counter

import numpy as np
import pytest

from fedirl_ray.config_engine import EngineConfig
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.problem.family import draw_world
from fedirl_ray.problem.kind import kind_of
from fedirl_ray.report.reproduction.unseen import unseen_text
from fedirl_ray.study.reproduction import objectworld
from fedirl_ray.study.reproduction.plan import Plan
from fedirl_ray.study.reproduction.unseen import (
    AUTO,
    CHOSE,
    FOUND,
    ROOT,
    SEEDS,
    WORLDS,
    run,
    settings,
    steps,
)

PLAN = Plan(scale="smoke", engine=EngineConfig(backend="local"))


@pytest.fixture(scope="module")
def rows():
    return [row for step in run(PLAN) for row in step]


def test_what_was_registered():
    asked = settings(Plan(scale="laptop", seed=ROOT))
    assert (ROOT, SEEDS, len(WORLDS)) == (1000, 60, 15)
    assert sum(one.moved for one in WORLDS) == 6
    assert len({one.name for one in asked}) == 15
    assert {one.seeds for one in asked} == {60}


@pytest.mark.parametrize("world", WORLDS, ids=lambda one: one.title)
def test_maps_are_displaced_where_they_are_said_to_be(world):
    plan = Plan(scale="laptop", seed=7)
    (setting,) = (one for one in settings(plan) if one.title == world.title)
    config = setting.config(plan)
    if kind_of(config.problem.name) == "control":
        assert (config.control.sensor_offset > 0.0) is world.moved
        domain_of(config).check()
        return
    worlds = [draw_world(config.problem, 7, 0, "client", i) for i in range(config.clients)]
    places = [one.goal if one.goal.any() else one.reward[:, 0] > 0.0 for one in worlds]
    alike = all(np.array_equal(one, places[0]) for one in places)
    assert alike is not world.moved


def test_every_seed_has_a_verdict(rows):
    counts = Counter(
        (row["setting"], row["metric"].split()[0])
        for row in rows
        if row["rule"] == AUTO and row["split"] == ""
    )
    for setting in settings(PLAN):
        for name in (FOUND, CHOSE, "J", "rho"):
            assert counts[setting.name, name] == setting.seeds
    assert steps(PLAN) == sum(setting.seeds for setting in settings(PLAN))


def test_the_page_says_whether_the_claim_held_and_what_was_taken(rows):
    text = "\n".join(unseen_text(rows, PLAN))
    assert "A rehearsal: the registered run has --seed 1000." in text
    assert "of 2 worlds auto's value is significantly below the mean's" in text
    for setting in settings(PLAN):
        own = [row for row in rows if row["setting"] == setting.name]
        found = [row["value"] for row in own if row["metric"] == FOUND]
        assert f"| {100 * np.mean(found):.1f} |" in text
        (most, _), *_ = Counter(
            row["metric"].removeprefix(f"{CHOSE} ") for row in own if CHOSE in row["metric"]
        ).most_common(1)
        assert most in text


def test_a_world_in_which_auto_loses_is_named(rows):
    (first, *_) = settings(PLAN)
    found = {
        (row["split"], row["judge"], row["seed"]): row["value"]
        for row in rows
        if (row["setting"], row["rule"], row["metric"]) == (first.name, "mean", "return")
    }
    changed = [
        {**row, "value": found[row["split"], row["judge"], row["seed"]] - 9.0 - 0.01 * row["seed"]}
        if (row["setting"], row["rule"], row["metric"]) == (first.name, AUTO, "return")
        else row
        for row in rows
    ]
    answer = unseen_text(changed, PLAN)[4]
    assert answer.startswith("In 1 of 2 worlds auto's value is significantly below the mean's")
    assert f"interval): {first.title}" in answer


def test_objectworld_pays_near_both_colours_and_fines_near_the_first_alone():
    world = objectworld.still("client", 0, np.random.default_rng(0))
    first, second = objectworld._objects()
    for state, (reward,) in enumerate(world.reward):
        at = np.array(divmod(state, objectworld.SIDE))
        near = [
            any(np.hypot(*(at - place)) <= reach for place in places)
            for places, reach in zip((first, second), objectworld.NEAR, strict=True)
        ]
        assert reward == (0.0 if not near[0] else 1.0 if near[1] else -1.0)
    # Three in ten actions are any of the five: the one intended comes with .7 + .3 / 5.
    stay = world.probabilities[0, 4][world.successors[0, 4] == 0].sum()
    assert stay == pytest.approx(0.7 + 0.3 * 3 / 5)  # in the corner two moves stay, too


def test_objectworld_is_displaced_for_clients_alone():
    made = objectworld.displaced
    truth = objectworld.still("held-out", 0, np.random.default_rng(1)).reward
    for role, same in (("client", False), ("held-out", True), ("probe", True)):
        reward = made(role, 0, np.random.default_rng(2)).reward
        assert np.array_equal(reward, truth) is same
