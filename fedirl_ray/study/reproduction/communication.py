"""Bytes by rule and round: as counted, and as they leave a process."""

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from fedirl_ray.config import EvaluationConfig, FederationConfig, RunConfig
from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.engine.driver import lay, run_seed
from fedirl_ray.engine.fleet import open_fleet
from fedirl_ray.engine.jobs import Jobs
from fedirl_ray.engine.result import sent
from fedirl_ray.engine.upload import Answer, Order, traffic
from fedirl_ray.study.reproduction.plan import Plan, Record
from fedirl_ray.study.reproduction.witness import Witness

FEATURES: tuple[Literal["distance", "rbf"], ...] = ("distance", "rbf")
RULES: tuple[str, ...] = ("mean", "barycenter", "precision", "pooled")


def steps(plan: Plan) -> int:
    """One step a kind of features and a rule."""
    return len(FEATURES) * len(RULES)


def run(plan: Plan) -> Iterator[list[Record]]:
    """Federate with each rule beside the mean, and weigh every round; one row a round."""
    rounds = plan.at(smoke=2, laptop=3, paper=3)
    for features in FEATURES:
        for rule in RULES:
            config = RunConfig(
                clients=3,
                seeds=1,
                seed=plan.seed,
                federation=FederationConfig(rounds=rounds),
                evaluation=EvaluationConfig(held_out=1),
                engine=plan.engine,
            )
            config = replace(
                config,
                problem=replace(config.problem, features=features),
                fusion=FusionConfig(rules=("mean",) if rule == "mean" else ("mean", rule)),
            )
            with open_fleet(config) as fleet:
                witness = Witness(fleet)
                domain = domain_of(config)
                jobs = Jobs(witness)
                result = run_seed(domain, witness, jobs, 0, lay(domain, witness, jobs))
            each = traffic(rule, result.theta.shape[1], config.fusion)
            whole = sent(rule, result, domain)
            yield [
                {
                    "features": features,
                    "dimension": result.theta.shape[1],
                    "rule": rule,
                    "round": number,
                    "clients": len(order.clients),
                    "rewards_carried": order.columns,
                    "counted_down": each.down,
                    "counted_up": each.up,
                    "pickled_down": _pickled_down(order),
                    "pickled_up": _pickled_up(answers),
                    "counted_run_down": whole.down,
                    "counted_run_up": whole.up,
                }
                for number, (order, answers) in enumerate(witness.heard, start=1)
            ]


def _pickled_down(order: Order) -> float:
    """Bytes of what one client is sent, on average."""
    return float(np.mean([len(pickle.dumps(order.part([one]))) for one in order.clients]))


def _pickled_up(answers: Sequence[Answer]) -> float:
    """Bytes of what one client sends, on average."""
    uploads = [upload for answer in answers for upload in answer.uploads]
    return float(np.mean([len(pickle.dumps(upload)) for upload in uploads]))
