"""A run of a kind of world whose judges learn, made up: what its agents come to is drawn."""

import numpy as np

from fedirl_ray.config import EvaluationConfig, RunConfig
from fedirl_ray.config_fusion import BLIND, FusionConfig
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.domain.domain import Channel
from fedirl_ray.engine.result import SeedResult

STEPS = (1000, 2000, 3000)
RULES = ("local", "mean", "arithmetic", "barycenter", "debiased", "self-control", "pooled", "true",
         *BLIND)  # fmt: skip
LEVELS = dict(zip(RULES, (-190, -210, -200, -150, -212, -205, -140, -130, -400, -420, -380, -390),
                  strict=True))  # fmt: skip


class Learning:
    """As much of a kind of world as reports ask of one."""

    kind = "control"
    metric = "return"
    facts = ("demonstrated", "outside", "extrapolated", "unlikeliest", "own")
    varies = "demonstrations, agents and random controls"
    channels = (
        Channel("agent", "return", STEPS[-1]),
        Channel("agent-matched", "return", STEPS[-1]),
        Channel("planner", "return"),
        Channel("planner", "distance"),
        *(Channel("agent", "return", step) for step in STEPS[:-1]),
        *(Channel("agent-matched", "return", step) for step in STEPS[:-1]),
    )

    def __init__(self, seeds=6, rules=RULES, rounds=1):
        self.config = RunConfig(
            clients=3,
            seeds=seeds,
            problem=ProblemConfig(name="CartPole-v1"),
            fusion=FusionConfig(rules=rules),
            evaluation=EvaluationConfig(held_out=2),
        )

    def pooled_bytes(self):
        return 1200

    def exported(self, seed):
        return {"features": np.zeros((9, 4))}


MATCHED = [x for x, one in enumerate(Learning.channels) if one.judge == "agent-matched"]


def results_of(domain, seed=0):
    """Results whose agents get better along their training, nearly as far as LEVELS says."""
    rng = np.random.default_rng(seed)
    return [_result(domain, rng) for _ in range(domain.config.seeds)]


def _result(domain, rng):
    rules, k, d, n = domain.config.fusion.rules, domain.config.clients, 4, 9
    c, x = len(rules), len(domain.channels)
    last = np.array([LEVELS.get(rule, -170) for rule in rules], float)
    grown = np.array([max(channel.step, 3000) / 3000 for channel in domain.channels])
    begun = np.array(
        [1 - channel.step / 3000 if channel.step else 0 for channel in domain.channels]
    )
    scores = last[:, None] * grown - 150 * begun + rng.normal(0, 4, (k + 2, c, x))
    for column, rule in enumerate(rules):
        if rule in BLIND:
            scores[:, column, MATCHED] = np.nan  # at the mean's scale a constant is no reward
    learnt = np.array([rule not in ("local", "true") for rule in rules])
    theta = np.where(learnt[:, None], rng.normal(size=(c, d)), np.nan)
    fused = np.array([rule in ("barycenter", "debiased") for rule in rules])
    own, others = scores[:k], scores[k:]
    means = np.stack([own.mean(axis=0), others.mean(axis=0)])
    everyone = np.ones((1, k), bool)
    return SeedResult(
        client_theta=rng.normal(size=(k, d)),
        theta=theta,
        offset=np.zeros(c),
        reward=np.zeros((c, n)),
        measure=np.full((c, n), 1 / n),
        client_scores=own,
        held_out_scores=others,
        facts=np.array([480.25, 0.002, 0.31, 0.04, np.nan]) * np.arange(1, k + 1)[:, None],
        negative_log_likelihood=np.ones(k),
        fit_iterations=np.ones(k, np.int64),
        fit_converged=np.ones(k, bool),
        asked=everyone,
        admitted=np.broadcast_to(learnt[None, :, None], (1, c, k)).copy(),
        asked_scores=np.zeros((1, c, k), np.int64),
        scores_heard=np.zeros((1, c, k), np.int64),
        chosen=np.full((1, c), -1),
        displacement=np.full((1, c, 3), np.nan),
        adapted_theta=np.full((2, k, d), np.nan),
        own_share=np.full(k, np.nan),
        round_scores=means[None],
        barycenter_iterations=np.where(fused, 40, 0),
        barycenter_converged=np.ones(c, bool),
        seconds=np.full(c, 0.01),
    )
