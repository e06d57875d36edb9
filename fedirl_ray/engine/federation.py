"""A seed's federations between two rounds: all the server has to remember, as plain arrays.

Letters: `k` clients, `q` federations (one for each fused rule), `r` rounds in all, `n` support
points, `d` features.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fedirl_ray.config import RunConfig
from fedirl_ray.config_fusion import REFERENCES
from fedirl_ray.engine.door import Admission
from fedirl_ray.engine.identity import name_of
from fedirl_ray.engine.upload import Floats, Order
from fedirl_ray.fusion.rules import rule_named
from fedirl_ray.fusion.spec import Fused, Need, Support
from fedirl_ray.seeds import stream


@dataclass(frozen=True)
class Federation:
    """Where a seed stands. NaN stands where there is nothing yet."""

    done: NDArray[np.int64]
    """Rounds that have ended, a scalar."""
    own: Floats
    """What each client has learnt alone, `[k, d]`."""
    theta: Floats
    """Each federation's reward, `[q, d]`; NaN until a round had its quorum."""
    measure: Floats
    """Each federation's fused measure, `[q, n]`, of the rules that make one."""
    iterations: NDArray[np.int64]
    """Barycenter iterations of the last round that had its quorum, `[q]`."""
    converged: NDArray[np.bool_]
    """Whether it reached its tolerance, `[q]`."""
    negative_log_likelihood: Floats
    """Of each client's own last fit, `[k]`."""
    fit_iterations: NDArray[np.int64]
    """Optimiser steps of that fit, `[k]`."""
    fit_converged: NDArray[np.bool_]
    """Whether it reached its tolerance, `[k]`; True before the first."""
    asked: NDArray[np.bool_]
    """Which clients were asked in which round, `[r, k]`."""
    admitted: NDArray[np.bool_]
    """Whose uploads were let in to which federation, `[r, q, k]`."""
    past_theta: Floats
    """`theta` after each round but the last, `[r - 1, q, d]`; `[0, q, d]` if no round but the last
    is to be judged."""
    past_own: Floats
    """`own` after the same rounds, `[r - 1, k, d]`."""

    @classmethod
    def begin(cls, config: RunConfig, federations: int, support: Support) -> Self:
        """Before the first round."""
        k, (n, d), rounds = config.clients, support.features.shape, config.federation.rounds
        past = rounds - 1 if config.evaluation.by_round else 0
        return cls(
            done=np.array(0),
            own=np.full((k, d), np.nan),
            theta=np.full((federations, d), np.nan),
            measure=np.full((federations, n), np.nan),
            iterations=np.zeros(federations, dtype=np.int64),
            converged=np.ones(federations, dtype=bool),
            negative_log_likelihood=np.full(k, np.nan),
            fit_iterations=np.zeros(k, dtype=np.int64),
            fit_converged=np.ones(k, dtype=bool),
            asked=np.zeros((rounds, k), dtype=bool),
            admitted=np.zeros((rounds, federations, k), dtype=bool),
            past_theta=np.full((past, federations, d), np.nan),
            past_own=np.full((past, k, d), np.nan),
        )

    def order(self, config: RunConfig, seed: int) -> Order:
        """What the next round asks, and of whom."""
        clients = sample(config, seed, int(self.done))
        d = self.theta.shape[1]
        return Order(
            run=name_of(config),
            seed=seed,
            round=int(self.done),
            clients=clients,
            own=np.nan_to_num(self.own[list(clients)], nan=0.0),
            # All federations start from zero, so in the first round they share one fit.
            broadcast=np.nan_to_num(self.theta, nan=0.0) if self.done else np.empty((0, d)),
            hessian=self._curved(config),
        )

    def without_clients(self) -> Self:
        """The same without what clients learnt, which a trusted server keeps to itself."""
        return replace(
            self,
            own=np.full_like(self.own, np.nan),
            negative_log_likelihood=np.full_like(self.negative_log_likelihood, np.nan),
            fit_iterations=np.zeros_like(self.fit_iterations),
            fit_converged=np.ones_like(self.fit_converged),
        )

    def _curved(self, config: RunConfig) -> tuple[int, ...]:
        """Which rewards of the next round's uploads are to come with their curvatures."""
        curved = in_need(config, "curvature")
        return tuple(1 + q for q in curved) if self.done else (1,) * bool(curved)

    def close(
        self, asked: Sequence[int], admission: Admission, fused: Sequence[Fused | None]
    ) -> Self:
        """End a round.

        Args:
            asked: Clients that were asked.
            admission: What was let in.
            fused: What each federation made of it, in their order; None of one that missed its
                quorum, and keeps what it had.
        """
        who = np.array([upload.key.client for upload in admission.uploads], dtype=np.int64)
        now, let_in = self.asked.copy(), self.admitted.copy()
        now[self.done, list(asked)] = True
        let_in[int(self.done)][:, who] = admission.let_in[:, 1:].T
        theta, measure = self.theta.copy(), self.measure.copy()
        iterations, converged = self.iterations.copy(), self.converged.copy()
        for q, one in enumerate(fused):
            if one is not None:
                theta[q], iterations[q], converged[q] = one.theta, one.iterations, one.converged
                measure[q] = np.nan if one.measure is None else one.measure
        own, likelihood = self.own.copy(), self.negative_log_likelihood.copy()
        steps, settled = self.fit_iterations.copy(), self.fit_converged.copy()
        for upload, kept in zip(admission.uploads, admission.let_in[:, 0], strict=True):
            if kept:
                client = upload.key.client
                own[client], steps[client] = upload.theta[0], upload.iterations
                likelihood[client] = upload.negative_log_likelihood
                settled[client] = upload.converged
        past_theta, past_own = self.past_theta.copy(), self.past_own.copy()
        if self.done < len(past_theta):
            past_theta[self.done], past_own[self.done] = theta, own
        return replace(
            self,
            done=self.done + 1,
            own=own,
            theta=theta,
            measure=measure,
            iterations=iterations,
            converged=converged,
            negative_log_likelihood=likelihood,
            fit_iterations=steps,
            fit_converged=settled,
            asked=now,
            admitted=let_in,
            past_theta=past_theta,
            past_own=past_own,
        )


def federated(config: RunConfig) -> tuple[str, ...]:
    """The rules that fuse, each of which keeps a federation of its own, in the table's order."""
    return tuple(rule for rule in config.fusion.rules if rule not in REFERENCES)


def in_need(config: RunConfig, need: Need) -> tuple[int, ...]:
    """Federations whose rules need something, by their place in `federated`.

    Raises:
        ConfigError: A rule of the user's own cannot be found.
    """
    return tuple(q for q, rule in enumerate(federated(config)) if need in rule_named(rule).needs)


def sample(config: RunConfig, seed: int, number: int) -> tuple[int, ...]:
    """Draw the clients a round asks, ascending.

    Args:
        config: Clients and `federation.participation`.
        seed: Which repetition.
        number: Which round, from 0.
    """
    k = config.clients
    count = max(1, round(config.federation.participation * k))
    if count == k:
        return tuple(range(k))
    rng = stream(config.seed, "seed", seed, "round", number, "participants")
    return tuple(sorted(rng.choice(k, size=count, replace=False).tolist()))
