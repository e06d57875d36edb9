"""A seed's federations between two rounds: all the server has to remember, as plain arrays.

Letters: `k` clients, `q` federations (one for each fused rule), `r` rounds in all, `n` support
points, `d` features.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fedirl_ray.config import RunConfig
from fedirl_ray.config_fusion import fusing
from fedirl_ray.engine.door import Admission
from fedirl_ray.engine.identity import name_of
from fedirl_ray.engine.upload import Floats, Order
from fedirl_ray.fusion.rules import needs_of
from fedirl_ray.fusion.spec import Fused, Need, Support
from fedirl_ray.laws import require
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
    asked_scores: NDArray[np.int64]
    """How many rewards each client was asked to score for which federation, `[r, q, k]`."""
    scores: NDArray[np.int64]
    """How many scores were let in, `[r, q, k]`."""
    chosen: NDArray[np.int64]
    """Whose answer each federation took, by its place in `choices`, `[r, q]`; -1: its own."""
    displacement: Floats
    """What told whether maps are displaced, `[r, q, 3]`, of the fields of `Evidence`."""
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
            asked_scores=np.zeros((rounds, federations, k), dtype=np.int64),
            scores=np.zeros((rounds, federations, k), dtype=np.int64),
            chosen=np.full((rounds, federations), -1),
            displacement=np.full((rounds, federations, 3), np.nan),
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
        """The same without what single clients learnt, which nobody else is to see."""
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
        self,
        asked: Sequence[int],
        admission: Admission,
        fused: Sequence[Fused | None],
        polls: NDArray[np.int64],
        names: Sequence[str],
    ) -> Self:
        """End a round.

        Args:
            asked: Clients that were asked.
            admission: What was let in.
            fused: What each federation made of it, in their order; None of one that missed its
                quorum, and keeps what it had.
            polls: Rewards that each federation asked each client to score, and scores let in,
                `[2, q, k]`.
            names: Rules that others may choose, see `choices`.
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
        asked_scores, scores = self.asked_scores.copy(), self.scores.copy()
        asked_scores[self.done], scores[self.done] = polls
        chosen, displacement = self.chosen.copy(), self.displacement.copy()
        for q, one in enumerate(fused):
            if one is not None and one.chosen in names:
                chosen[self.done, q] = names.index(one.chosen)
            if one is not None and one.displacement is not None:
                displacement[self.done, q] = astuple(one.displacement)
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
            asked_scores=asked_scores,
            scores=scores,
            chosen=chosen,
            displacement=displacement,
            past_theta=past_theta,
            past_own=past_own,
        )


def federated(config: RunConfig) -> tuple[str, ...]:
    """The rules that fuse, each of which keeps a federation of its own, in the table's order."""
    return fusing(config.fusion.rules)


def in_need(config: RunConfig, need: Need) -> tuple[int, ...]:
    """Federations whose rules need something, by their place in `federated`.

    Raises:
        ConfigError: A rule of the user's own cannot be found.
    """
    each = (needs_of(rule, config.fusion) for rule in federated(config))
    return tuple(q for q, needs in enumerate(each) if need in needs)


def require_hidden(config: RunConfig) -> None:
    """Refuse rules of the user's own that read what privacy hides; settings tell of all others.

    Raises:
        ConfigError: Names the first.
    """
    unit, rules = config.privacy.unit, federated(config)
    read: dict[Need, bool] = {"scores": unit != "none", "curvature": unit == "client"}
    for need, hidden in read.items():
        for q in in_need(config, need) if hidden else ():
            law = f"without {rules[q]} here: it needs {need}, which have no noise of their own"
            require(False, "fusion.rules", law, ",".join(config.fusion.rules))


def sample(config: RunConfig, seed: int, number: int) -> tuple[int, ...]:
    """Draw the clients a round asks, ascending.

    Args:
        config: Clients and `federation.participation`.
        seed: Which repetition.
        number: Which round, from 0.
    """
    k, count = config.clients, config.asked
    if count == k:
        return tuple(range(k))
    rng = stream(config.seed, "seed", seed, "round", number, "participants")
    return tuple(sorted(rng.choice(k, size=count, replace=False).tolist()))
