"""The dials of heterogeneity from one end of a run to the other."""

import numpy as np
import pytest

from fedirl_ray.config import EvaluationConfig, FederationConfig, IRLConfig, RunConfig
from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.config_problem import HeterogeneityConfig, ProblemConfig
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.engine.driver import federate
from fedirl_ray.engine.federation import Federation
from fedirl_ray.engine.local import Clients
from fedirl_ray.engine.round import stage_of
from fedirl_ray.problem.dials import seen_support
from fedirl_ray.problem.family import draw_world

RULES = ("local", "mean", "median", "arithmetic", "barycenter", "self-control", "pooled", "expert")


def run(clients=4, irl=None, problem=None, federation=None, rules=RULES, **dials):
    config = RunConfig(
        clients=clients,
        seeds=1,
        problem=problem or ProblemConfig(size=4, demonstrations=10),
        heterogeneity=HeterogeneityConfig(**dials),
        irl=irl or IRLConfig(),
        fusion=FusionConfig(rules=rules),
        federation=federation or FederationConfig(),
        evaluation=EvaluationConfig(held_out=2, discounts=()),
    )
    told = []
    ((_, found),) = federate(config, Clients(config, range(clients)), report=told.append)
    return found, told


def result(**settings):
    return run(**settings)[0]


@pytest.mark.parametrize("features", ["distance", "rbf", "one-hot"])
@pytest.mark.parametrize(
    "dial",
    [
        {"demonstrations": 1.0},
        {"weak_clients": 1.0},
        {"expert_temperature": 1.0},
        {"coverage": 1.0},
        {"hidden_support": 0.9},
        {"adversaries": 1.0, "attack": "noise"},
    ],
    ids=lambda dial: next(iter(dial)),
)
def test_every_rule_has_an_answer_with_a_dial_far_up(features, dial):
    found = result(problem=ProblemConfig(size=4, demonstrations=10, features=features), **dial)
    fused = [RULES.index(rule) for rule in RULES if rule not in ("local", "expert")]
    assert np.isfinite(found.theta[fused]).all()
    assert np.isfinite(found.held_out_scores).all()


def test_adversaries_change_what_is_fused_but_nobodys_own_reward():
    honest, attacked = result(), result(adversaries=0.5)
    assert np.array_equal(honest.client_theta, attacked.client_theta)
    mean = RULES.index("mean")
    assert not np.array_equal(honest.theta[mean], attacked.theta[mean])
    expected = 0.25 * (attacked.theta[mean] - honest.theta[mean]) * 4 / -2
    liars = [
        subset
        for subset in ([0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3])
        if np.allclose(honest.client_theta[subset].sum(axis=0) / 4, expected)
    ]
    assert len(liars) == 1


def test_when_all_uploads_are_flipped_the_mean_is_too():
    honest, attacked = result(), result(adversaries=1.0)
    mean = RULES.index("mean")
    np.testing.assert_array_equal(attacked.theta[mean], -honest.theta[mean])


def test_the_door_sees_what_adversaries_send():
    honest = result()
    largest = np.linalg.norm(honest.client_theta, axis=1).max()
    bound = FederationConfig(rounds=2, norm_bound=1.05 * largest)
    found, told = run(adversaries=0.25, attack="scale", federation=bound)
    (liar,) = np.flatnonzero(~found.heard[0])
    assert not found.heard[:, liar].any()
    refusals = [event for event in told if event.what == "refused"]
    assert [event.clients for event in refusals] == [(liar,)] * 2
    assert "beyond federation.norm-bound" in refusals[0].reason
    assert found.client_theta[liar].tobytes() == honest.client_theta[liar].tobytes()
    mean = RULES.index("mean")
    others = np.delete(honest.client_theta, liar, axis=0)
    fused = np.full(3, 1 / 3) @ others
    first = run(adversaries=0.25, attack="scale", federation=FederationConfig(norm_bound=2e6))[0]
    assert first.heard.all()
    assert np.linalg.norm(first.theta[mean]) > 10.0 * np.linalg.norm(fused)
    alone = run(
        adversaries=0.25, attack="scale", federation=FederationConfig(norm_bound=1.05 * largest)
    )[0]
    np.testing.assert_allclose(alone.theta[mean], fused, rtol=1e-12)


def test_every_client_is_blind_to_what_is_hidden_from_itself():
    problem = ProblemConfig(size=4, demonstrations=10, features="one-hot")
    found = result(problem=problem, hidden_support=0.6, rules=("mean", "median", "arithmetic"))
    axes = draw_world(problem, 0, 0, "probe", 0).axes
    seen = seen_support(axes, 0.6, range(4), 0, 0)
    assert len({row.tobytes() for row in seen}) > 1
    # One feature a point: of the points seen, theta is what it was; of others, nothing.
    sent = np.where(seen, found.client_theta, 0.0)
    np.testing.assert_allclose(found.theta[0], sent.mean(axis=0), atol=1e-10)
    np.testing.assert_allclose(found.theta[1], np.median(sent, axis=0), atol=1e-10)
    # As a map: where the client sees nothing, the mean of those who do; else its own mean.
    known, own = seen.sum(axis=0), sent.sum(axis=1) / seen.sum(axis=1)
    others = np.where(known, sent.sum(axis=0) / np.maximum(known, 1), own[:, None])
    filled = np.where(seen, sent, others)
    wide = np.ptp(filled)
    shifted = filled - filled.min() + 0.01 * wide
    measures = shifted / shifted.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.measure[2], measures.mean(axis=0), rtol=0.02)


def test_what_is_hidden_is_missing_in_what_a_client_sends_and_not_in_what_it_knows():
    problem = ProblemConfig(size=4, demonstrations=10, features="one-hot")
    whole, part = result(problem=problem), result(problem=problem, hidden_support=0.9)
    assert np.array_equal(whole.client_theta, part.client_theta)
    mean = RULES.index("mean")
    assert (part.theta[mean] == 0.0).sum() > (whole.theta[mean] == 0.0).sum()


@pytest.mark.parametrize("cut", [[[0, 1, 2, 3]], [[0, 3], [1, 2]], [[0], [1], [2], [3]]], ids=str)
def test_however_clients_are_spread_they_send_the_same_bytes(cut):
    config = RunConfig(
        clients=4,
        problem=ProblemConfig(size=4, demonstrations=5, features="one-hot"),
        heterogeneity=HeterogeneityConfig(adversaries=0.5, attack="noise", hidden_support=0.7),
        fusion=FusionConfig(rules=("mean", "precision")),
    )
    everyone = Clients(config, range(4))
    order = Federation.begin(config, 2, stage_of(domain_of(config), 0).support).order(config, 0)
    whole = {one.key.client: one for one in everyone.fit(order)}
    for members in cut:
        for one in Clients(config, members).fit(order.part(members)):
            same = whole[one.key.client]
            assert one.theta.tobytes() == same.theta.tobytes()
            assert one.hessian.tobytes() == same.hessian.tobytes()
            assert one._replace(theta=None, hessian=None) == same._replace(theta=None, hessian=None)


def test_weak_clients_stop_before_the_others():
    found = result(
        clients=8, irl=IRLConfig(optimizer="adam", iterations=30, step=0.1), weak_clients=0.5
    )
    assert (found.fit_iterations < 30).sum() == 4
    assert (found.fit_iterations == 30).sum() == 4


def test_everybody_is_weak_at_1():
    found = result(irl=IRLConfig(optimizer="adam", iterations=30, step=0.1), weak_clients=1.0)
    assert (found.fit_iterations < 30).all()
