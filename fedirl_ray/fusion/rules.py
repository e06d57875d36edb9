"""The fusion rules: many clients' rewards into one.

To add one: write its case in `fuse`, add its name to `Rule` in `config.py`, and the conformance
tests apply to it. Letters: `k` clients, `n` support points, `d` features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from fedirl_ray.config import FusionConfig, Rule
from fedirl_ray.fusion.measure import to_measures, to_reward
from fedirl_ray.fusion.recover import recover_theta
from fedirl_ray.problem.mdp import Bools, Floats, TabularMDP
from fedirl_ray.transport.axis import CostScale
from fedirl_ray.transport.barycenter import BarycenterResult, barycenter

BLIND: tuple[Rule, ...] = ("plus-one", "minus-one", "random-1", "random-2")
"""References that know nothing: constant rewards, and random theta."""
REFERENCES: tuple[Rule, ...] = ("local", "pooled", "expert", "ceiling", "true", *BLIND)
"""Rows that fuse nothing: a client alone, all data in one place, the expert, the best policy."""


@dataclass(frozen=True)
class Support:
    """The shared support: where rewards are compared and fused."""

    features: Floats
    """Phi of the probe, `[n, d]`."""
    axes: tuple[Floats, ...]
    """Lattice axes whose lengths multiply to n (see `TabularMDP.axes`)."""


@dataclass(frozen=True)
class Fused:
    """One rule's answer."""

    theta: Floats
    """`[d]`."""
    measure: Floats | None = None
    """Fused probability measure `[n]`, of the rules that make one."""
    iterations: int = 0
    """Barycenter iterations."""
    converged: bool = True
    """Whether the barycenter reached its tolerance."""


class Barycenter(Protocol):
    """What `fuse` needs of `fedirl_ray.barycenter`, wherever it is computed."""

    def __call__(
        self,
        measures: Floats,
        axes: Sequence[Floats],
        *,
        weights: Floats,
        epsilon: float,
        cost_scale: CostScale,
        debiased: bool = False,
        tol: float,
        max_iters: int,
    ) -> BarycenterResult:
        """Return the barycenter."""
        ...


def support_of(probe: TabularMDP) -> Support:
    """Read the shared support off the probe.

    Features that ignore the action make rewards that are constant along it; the action axis then
    changes no barycenter and is left out.
    """
    _, actions, d, feature_actions = probe.shape
    # Different actions are all equally far apart.
    action_axis = (1.0 - np.eye(actions),) if feature_actions > 1 else ()
    return Support(probe.features.reshape(-1, d), (*probe.axes, *action_axis))


def fuse(
    rule: Rule,
    thetas: Floats,
    hessians: Floats | None,
    weights: Floats,
    support: Support,
    config: FusionConfig,
    seen: Bools | None = None,
    solver: Barycenter = barycenter,
) -> Fused:
    """Fuse the clients' rewards by one rule.

    Args:
        rule: Any rule but the references.
        thetas: `[k, d]`.
        hessians: Feature covariances at the clients' optima, `[k, d, d]`; only
            `precision` needs them.
        weights: alpha, `[k]`, non-negative, sum to one.
        support: Where rewards are compared.
        config: Settings of the rules.
        seen: Support points each client's reward is known at, `[k, n]`; None: all. Read by the
            rules that go through measures, and not by `self-control`, whose copies hide nothing.
        solver: Computes barycenters.

    Returns:
        The fused reward.
    """
    match rule:
        case "mean":
            return Fused(weights @ thetas)
        case "median":
            return Fused(_trimmed_mean(thetas, weights, trim=0.5))
        case "trimmed":
            return Fused(_trimmed_mean(thetas, weights, trim=config.trim))
        case "precision":
            if hessians is None:
                raise ValueError("precision needs the clients' hessians, got None")
            total = np.einsum("k,kij->ij", weights, hessians)
            pull = np.einsum("k,kij,kj->i", weights, hessians, thetas)
            return Fused(np.linalg.lstsq(total, pull, rcond=None)[0])
        case "arithmetic":
            return _through_measures(thetas, weights, support, config, seen, None)
        case "barycenter":
            return _through_measures(thetas, weights, support, config, seen, solver)
        case "debiased":
            debiased = partial(solver, debiased=True)
            return _through_measures(thetas, weights, support, config, seen, debiased)
        case "self-control":
            copies = np.broadcast_to(weights @ thetas, thetas.shape)
            return _through_measures(copies, weights, support, config, None, solver)
        case reference if reference in REFERENCES:
            raise ValueError(f"{reference} is a reference, not a fusion rule")
        case other:
            raise ValueError(f"no rule is called {other}")


def _trimmed_mean(thetas: Floats, weights: Floats, *, trim: float) -> Floats:
    """Mean of each coordinate without the outer `trim` of the weight at either end.

    At trim = 1/2 nothing but the weighted median is left: the midpoint of all values at which
    the cumulated weight passes one half.
    """
    order = np.argsort(thetas, axis=0, kind="stable")
    ranked = np.take_along_axis(thetas, order, axis=0)
    upper = np.cumsum(weights[order], axis=0)
    lower = upper - weights[order]
    if trim >= 0.5:
        # A hair of slack, so that weights which sum to one half in exact arithmetic count so.
        kept = ((lower <= 0.5 + 1e-12) & (upper >= 0.5 - 1e-12)).astype(np.float64)
        kept *= weights[order] > 0.0
    else:
        kept = np.clip(np.minimum(upper, 1.0 - trim) - np.maximum(lower, trim), 0.0, None)
    mean: Floats = (kept * ranked).sum(axis=0) / kept.sum(axis=0)
    return mean


def _through_measures(
    thetas: Floats,
    weights: Floats,
    support: Support,
    config: FusionConfig,
    seen: Bools | None,
    solver: Barycenter | None,
) -> Fused:
    """Rewards to measures, their mean (by transport, or entry by entry), and back to theta."""
    # A client without weight must not set the shared sigma either.
    counted = weights > 0.0
    rewards, weights = thetas[counted] @ support.features.T, weights[counted]
    if seen is not None:
        known = seen[counted]
        least = np.where(known, rewards, np.inf).min(axis=1, keepdims=True)
        rewards = np.where(known, rewards, least)
    measures = to_measures(rewards, config)
    iterations, converged = 0, True
    if solver is None:
        density: Floats = weights @ measures.density
    else:
        found = solver(
            measures.density,
            support.axes,
            weights=weights,
            epsilon=config.epsilon,
            cost_scale=config.cost_scale,
            tol=config.tolerance,
            max_iters=config.iterations,
        )
        density = found.measure.ravel()
        iterations, converged = found.iterations, found.converged
    reward = to_reward(density, measures, weights, config)
    theta = recover_theta(support.features, reward, intercept=config.intercept)
    return Fused(theta, density, iterations, converged)
