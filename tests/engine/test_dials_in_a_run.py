"""The dials of heterogeneity from one end of a run to the other."""

import numpy as np
import pytest

from fedirl_ray.config import (
    EvaluationConfig,
    FusionConfig,
    HeterogeneityConfig,
    IRLConfig,
    ProblemConfig,
    RunConfig,
)
from fedirl_ray.engine.driver import federate
from fedirl_ray.engine.local import Clients

RULES = ("local", "mean", "median", "arithmetic", "barycenter", "self-control", "pooled", "expert")


def result(clients=4, irl=None, problem=None, **dials):
    config = RunConfig(
        clients=clients,
        seeds=1,
        problem=problem or ProblemConfig(size=4, demonstrations=10),
        heterogeneity=HeterogeneityConfig(**dials),
        irl=irl or IRLConfig(),
        fusion=FusionConfig(rules=RULES),
        evaluation=EvaluationConfig(held_out=2, discounts=()),
    )
    ((_, found),) = federate(config, Clients(config, range(clients)))
    return found


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
    assert np.isfinite(found.held_out_success).all()


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


def test_weak_clients_stop_before_the_others():
    found = result(
        clients=8, irl=IRLConfig(optimizer="adam", iterations=30, step=0.1), weak_clients=0.5
    )
    assert (found.fit_iterations < 30).sum() == 4
    assert (found.fit_iterations == 30).sum() == 4


def test_everybody_is_weak_at_1():
    found = result(irl=IRLConfig(optimizer="adam", iterations=30, step=0.1), weak_clients=1.0)
    assert (found.fit_iterations < 30).all()
