"""Rewards that clients make their own."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedirl_ray.config import EvaluationConfig, FederationConfig, IRLConfig, RunConfig
from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.domain.adapting import SHARES, adapt, best_blend, blends
from fedirl_ray.domain.job import done
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.engine.driver import federate
from fedirl_ray.engine.local import Clients
from fedirl_ray.irl.block import prepare
from fedirl_ray.irl.maxent import fit
from fedirl_ray.problem.family import horizon

CONFIG = RunConfig(
    clients=3,
    seeds=1,
    problem=ProblemConfig(size=5, goal="centre", goal_shift=1.0, features="rbf", rbf_centres=4,
                          demonstrations=10),
    irl=IRLConfig(l2=0.1),
    federation=FederationConfig(proximal=0.3),
    fusion=FusionConfig(rules=("local", "personal", "fine-tuned", "mean")),
    evaluation=EvaluationConfig(held_out=2, discounts=()),
)  # fmt: skip


def adapted(how, theta, alone, workers=1, config=CONFIG):
    laid = [{} for _ in range(config.clients)]
    plan = adapt(domain_of(config), how, 0, theta, alone, laid, workers)
    return done(plan, lambda jobs: [job.work(**job.arguments) for job in jobs])


@given(seed=st.integers(0, 2**31))
def test_blends_go_from_the_fused_reward_to_the_own(seed):
    rng = np.random.default_rng(seed)
    fused, own = rng.normal(size=4), rng.normal(size=(3, 4))
    tried = blends(fused, own)
    assert tried.shape == (3, 6, 4)
    np.testing.assert_array_equal(tried[:, 0], np.tile(fused, (3, 1)))
    np.testing.assert_array_equal(tried[:, -1], own)
    np.testing.assert_allclose(tried[:, 2], 0.6 * fused + 0.4 * own, rtol=1e-12, atol=1e-12)


def test_the_smaller_share_wins_ties_and_nobody_without_a_reward_has_a_blend():
    own = np.array([[1.0], [2.0], [np.nan]])
    tried = blends(np.zeros(1), np.nan_to_num(own))
    ends = np.array([[0.2, 0.5, 0.5, 0.1, 0.5, 0.0], [0.0, 0, 0, 0, 0, 0.1], [0.0] * 6])
    theta, share = best_blend(tried, ends, own)
    np.testing.assert_array_equal(theta, [[0.2], [2.0], [np.nan]])
    np.testing.assert_array_equal(share, [SHARES[1], 1.0, np.nan])


@pytest.fixture(scope="module")
def result():
    ((_, found),) = federate(CONFIG, Clients(CONFIG, range(3)))
    return found


def test_no_share_does_better_than_the_one_that_is_kept(result):
    mean = result.theta[3]
    found = adapted("personal", mean, result.client_theta)
    np.testing.assert_array_equal(found.theta, result.adapted_theta[0])
    np.testing.assert_array_equal(found.share, result.own_share)
    domain = domain_of(CONFIG)
    tried = blends(mean, result.client_theta)
    ends = domain.score(domain.hold(0, range(3), {}), tried)[..., 1]
    for i in range(3):
        at = SHARES.tolist().index(found.share[i])
        assert ends[i, at] == ends[i].max()
        assert (ends[i, :at] < ends[i, at]).all()
    assert found.share.max() > 0.0  # where goals differ, the own reward is of use


@pytest.mark.parametrize("how", ["personal", "fine-tuned"])
def test_the_number_of_workers_changes_no_byte(how, result):
    mean = result.theta[3]
    one, three = (adapted(how, mean, result.client_theta, workers) for workers in (1, 3))
    assert one.theta.tobytes() == three.theta.tobytes()
    assert one.share.tobytes() == three.share.tobytes()


def test_fine_tuning_is_a_few_steps_from_the_fused_reward(result):
    mean = result.theta[3]
    found = adapted("fine-tuned", mean, result.client_theta).theta
    block = prepare(CONFIG, 0, range(3), aside=CONFIG.federation.aside)
    start = np.tile(mean, (3, 1))
    expected = fit(
        block.worlds,
        block.counts,
        CONFIG.irl,
        horizon(CONFIG.problem),
        start=start,
        iterations=np.full(3, CONFIG.evaluation.fine_tune_steps),
        proximal=np.full(3, 0.3),
    )
    np.testing.assert_array_equal(found, expected.theta)
    assert (expected.iterations <= CONFIG.evaluation.fine_tune_steps).all()
    np.testing.assert_array_equal(found, result.adapted_theta[1])


def test_they_are_judged_in_the_clients_own_worlds_alone(result):
    for column in (1, 2):
        assert np.isfinite(result.client_scores[:, column]).all()
        assert np.isnan(result.held_out_scores[:, column]).all()


def test_in_every_round_it_is_that_rounds_fused_reward_that_clients_make_their_own(monkeypatch):
    config = replace(
        CONFIG,
        federation=FederationConfig(rounds=2),
        fusion=FusionConfig(rules=("personal", "mean", "median")),
        evaluation=replace(CONFIG.evaluation, personal="median"),
    )
    begun, states = [], []

    def watched(domain, how, seed, theta, alone, laid, workers):
        begun.append(np.stack([theta, *alone]))
        return adapt(domain, how, seed, theta, alone, laid, workers)

    monkeypatch.setattr("fedirl_ray.engine.driver.adapt", watched)
    fleet = Clients(config, range(3))
    ((_, found),) = federate(config, fleet, keep=lambda seed, state: states.append(state))
    (between,) = states
    last, first = begun  # earlier rounds are judged when all is learnt
    np.testing.assert_array_equal(last, [found.theta[2], *found.client_theta], strict=True)
    np.testing.assert_array_equal(first, [between.theta[1], *between.own], strict=True)
    assert not np.array_equal(first[0], last[0])


def test_a_personal_reward_of_no_share_is_judged_as_the_fused_one(result):
    same, whole, scores = result.own_share == 0.0, result.own_share == 1.0, result.client_scores
    np.testing.assert_array_equal(scores[same, 1], scores[same, 3])
    np.testing.assert_array_equal(scores[whole, 1], scores[whole, 0])
    assert (same | whole).any()
