"""Client actors that misbehave on order, and the run they misbehave in."""

import os
import signal
import time
from pathlib import Path

import numpy as np

from fedirl_ray.config import EvaluationConfig, FederationConfig, RunConfig
from fedirl_ray.config_engine import EngineConfig
from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.engine.driver import federate
from fedirl_ray.engine.local import Clients

ROUNDS = 2


def small(**engine):
    """Four clients in two actors, two rounds; `round_timeout` and `quorum` go to the federation."""
    federation = {name: engine.pop(name) for name in ("round_timeout", "quorum") if name in engine}
    return RunConfig(
        clients=4,
        seeds=1,
        problem=ProblemConfig(size=4, demonstrations=5),
        fusion=FusionConfig(rules=("local", "mean", "precision", "barycenter")),
        evaluation=EvaluationConfig(held_out=2, discounts=()),
        federation=FederationConfig(rounds=ROUNDS, **federation),
        engine=EngineConfig(**{"clients_per_actor": 2, **engine}),
    )


def outcome(config, fleet, told=None):
    """Bytes of everything a run has found, and what it told on the way."""
    told = [] if told is None else told
    ((_, result),) = federate(config, fleet, report=told.append)
    return {name: a.tobytes() for name, a in vars(result).items() if name != "seconds"}, told


def misbehaving(fault, *, round=1, client=2, attempts=1, folder=None):
    """A holder of clients that does `fault` when it is asked for a client in a round.

    A class made here travels to the actors by value: they cannot import the tests.
    """

    marks = None if folder is None else str(folder)

    class Misbehaving(Clients):
        def learn(self, order):
            due = order.round == round and client in order.clients and order.attempt < attempts
            if due and marks is not None:
                Path(marks, f"attempt-{order.attempt}").write_text(str(os.getpid()))
            if due and fault == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            if due and fault == "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            if due and fault == "hang":
                time.sleep(3600)
            if due and isinstance(fault, float):
                time.sleep(fault)
            (answer,) = super().learn(order)
            if due and fault == "upload":
                return [answer._replace(uploads=_spoilt(answer.uploads, client))]
            if due and fault == "stale":
                stale = [
                    one._replace(key=one.key._replace(round=one.key.round - 1))
                    for one in answer.uploads
                ]
                return [answer._replace(uploads=[*stale, *answer.uploads])]
            return [answer]

    def _spoilt(uploads, client):
        by_client = {one.key.client: one for one in uploads}
        bad = by_client[client]
        return [
            *(one for who, one in by_client.items() if who != client),
            bad._replace(theta=np.full_like(bad.theta, np.nan)),
            bad,
        ]

    return Misbehaving


class Meddling(Clients):
    """Clients whose uploads are tampered with on the way."""

    def __init__(self, config, tamper):
        super().__init__(config, range(config.clients))
        self.tamper = tamper

    def learn(self, order):
        return [
            answer._replace(uploads=self.tamper(order, answer.uploads))
            for answer in super().learn(order)
        ]
