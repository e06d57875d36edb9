"""Which rewards are judged where, and at what level."""

from dataclasses import replace

import numpy as np
import pytest

from fedirl_ray.config import EvaluationConfig, RunConfig
from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.domain.domain import SPLITS, Columns
from fedirl_ray.domain.job import done
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.engine.columns import blind_controls, columns_of
from fedirl_ray.engine.federation import Federation
from fedirl_ray.engine.jobs import Jobs
from fedirl_ray.engine.local import Clients
from fedirl_ray.evaluate.planner import judge, judge_references
from fedirl_ray.problem.family import draw_world

RULES = ("local", "mean", "barycenter", "expert", "median")
RUN = RunConfig(
    clients=3,
    seeds=1,
    problem=ProblemConfig(size=4),
    fusion=FusionConfig(rules=RULES),
    evaluation=EvaluationConfig(held_out=5, discounts=()),
)
NONE = np.full(2, np.nan)
THETA = np.array([NONE, [-3.0, 4.0], [-1.0, 0.5], NONE, [0.0, -8.0]])
ALONE = np.array([[-1.0, 0.0], [-0.5, 0.5], [0.0, -1.5]])
SUPPORT = domain_of(RUN).ground(0).support


def columns(alone=ALONE, theta=THETA, offset=(0.0,) * 5, config=RUN):
    return columns_of(domain_of(config), SUPPORT, theta, np.array(offset), alone, {})


def judged(asked, workers=1, config=RUN):
    domain, fleet = domain_of(config), Clients(config, range(3))
    return done(domain.judge(0, asked, [{}] * 3, workers), Jobs(fleet).all).scores


def test_local_is_each_clients_own_reward_at_home_and_takes_turns_in_held_out_worlds():
    home, away = (columns()[split].theta[:, 0] for split in SPLITS)
    np.testing.assert_array_equal(home, ALONE)
    np.testing.assert_array_equal(away, ALONE[[0, 1, 2, 0, 1]])
    late = ALONE.copy()
    late[1] = np.nan
    home, away = (columns(late)[split].theta[:, 0] for split in SPLITS)
    np.testing.assert_array_equal(home, late)
    np.testing.assert_array_equal(away, ALONE[[0, 2, 0, 2, 0]])


def test_how_many_lie_in_memory_at_once_changes_no_byte(monkeypatch):
    whole, clients = judged(columns()), Clients(RUN, range(3))
    order = Federation.begin(RUN, 2, SUPPORT).order(RUN, 0)
    fitted = clients.fit(order)
    monkeypatch.setattr("fedirl_ray.domain.tabular.BATCH", 2)
    parts = judged(columns())
    for split in SPLITS:
        assert parts[split].tobytes() == whole[split].tobytes()
    for one, other in zip(Clients(RUN, range(3)).fit(order), fitted, strict=True):
        assert one.theta.tobytes() == other.theta.tobytes()


def test_the_other_columns_have_one_reward_everywhere():
    for own in columns(offset=(0.0, 0.0, 1.5, 0.0, 0.0)).values():
        assert own.names == RULES
        for c in range(1, 5):
            np.testing.assert_array_equal(
                own.theta[:, c], np.broadcast_to(THETA[c], own.theta[:, c].shape)
            )
        assert (own.offset == [0.0, 0.0, 1.5, 0.0, 0.0]).all()


def test_matched_rewards_have_mean_and_spread_of_the_parameter_means_and_their_own_shape():
    mean = SUPPORT.features @ THETA[1]
    for own in columns().values():
        rewards = own.theta @ SUPPORT.features.T
        matched = own.matched_theta @ SUPPORT.features.T + own.matched_offset[:, :, None]
        for c in (0, 1, 2, 4):
            np.testing.assert_allclose(matched[:, c].mean(axis=1), mean.mean())
            np.testing.assert_allclose(matched[:, c].std(axis=1), mean.std())
            for one, other in zip(rewards[:, c], matched[:, c], strict=True):
                np.testing.assert_allclose(np.corrcoef(one, other)[0, 1], 1.0)
        np.testing.assert_allclose(matched[:, 1], np.broadcast_to(mean, matched[:, 1].shape))
        assert np.isnan(own.matched_theta[:, 3]).all()


@pytest.mark.parametrize("constant", [0.0, 1e-3, 1e6])
def test_a_constant_reward_is_matched_by_the_means_average(constant):
    theta = THETA.copy()
    theta[2] = 0.0
    own = columns(theta=theta, offset=(0.0, 0.0, constant, 0.0, 0.0))["held-out"]
    assert (own.matched_theta[:, 2] == 0.0).all()
    average = (SUPPORT.features @ THETA[1]).mean()
    np.testing.assert_allclose(own.matched_offset[:, 2], average)


def test_blind_controls_are_constants_and_directions_as_long_as_the_mean():
    names = ("mean", "plus-one", "minus-one", "random-1", "random-2")
    config = replace(RUN, fusion=FusionConfig(rules=names))
    made = blind_controls(config, 0, THETA[1])
    assert set(made) == set(names[1:])
    assert [made[name][1] for name in names[1:]] == [1.0, -1.0, 0.0, 0.0]
    assert not made["plus-one"][0].any()
    one, two = made["random-1"][0], made["random-2"][0]
    np.testing.assert_allclose([np.linalg.norm(one), np.linalg.norm(two)], 5.0)
    assert not np.allclose(one, two)
    assert not np.allclose(one, blind_controls(config, 1, THETA[1])["random-1"][0])
    assert not blind_controls(RUN, 0, THETA[1])


def test_a_columns_scores_are_its_own_rewards_judged_alone_whatever_the_cut():
    asked = columns()
    found = judged(asked)
    for workers in (2, 7):
        again = judged(asked, workers)
        assert all(again[split].tobytes() == found[split].tobytes() for split in SPLITS)
    for split, own in asked.items():
        role = "client" if split == SPLITS[0] else split
        worlds = [draw_world(RUN.problem, 0, 0, role, i) for i in range(len(own.theta))]
        for c in (0, 1, 2, 4):
            alone = judge(worlds, own.theta[:, [c]], own.matched_theta[:, [c]], RUN)
            both = np.concatenate([alone.success[:, 0], alone.value[:, 0]], axis=1)
            np.testing.assert_array_equal(found[split][:, c], both)
        shown = judge_references(worlds, RUN)
        count = found[split].shape[2] // 2
        for x in range(count):
            np.testing.assert_array_equal(found[split][:, 3, x], shown.success[:, 0])
            np.testing.assert_array_equal(found[split][:, 3, count + x], shown.value[:, 0])


def test_where_there_is_no_reward_there_is_no_score():
    late, theta = ALONE.copy(), THETA.copy()
    late[1] = theta[4] = np.nan
    whole, found = judged(columns()), judged(columns(late, theta))
    home = found["in-distribution"]
    assert np.isnan(home[1, 0]).all()
    np.testing.assert_array_equal(home[[0, 2], 0], whole["in-distribution"][[0, 2], 0])
    assert not np.isnan(found["held-out"][:, 0]).any()
    for split in SPLITS:
        assert np.isnan(found[split][:, 4]).all()
        np.testing.assert_array_equal(found[split][:, 1:4], whole[split][:, 1:4])


def test_what_else_is_judged_changes_nothing():
    asked = columns()
    few = {
        split: Columns(
            own.names[1:3], own.theta[:, 1:3], own.offset[:, 1:3], own.matched_theta[:, 1:3],
            own.matched_offset[:, 1:3],
        )
        for split, own in asked.items()
    }  # fmt: skip
    found, alone = judged(asked), judged(few)
    for split in SPLITS:
        np.testing.assert_array_equal(alone[split], found[split][:, 1:3])
