"""Maximum causal entropy IRL with a linear reward, for a block of clients at once.

Client i minimises the dual (Ziebart 2010; the paper, section 2.1)

    L_i(theta) = E[V_0(s_0; theta)] - theta . mu_i + lambda / 2 |theta|^2

with V_0 the soft value and mu_i the demonstrations' discounted feature counts. The gradient is
(the soft policy's feature counts) - mu_i + lambda theta. In a federation of several rounds a
proximal term rho / 2 |theta - start|^2 may be added (Li et al. 2020, "Federated optimization in
heterogeneous networks").

Letters: `k` clients, `s` states, `a` actions, `d` features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedirl_ray.config import IRLConfig
from fedirl_ray.irl.descent import Minimum, Objective, adam, lbfgs
from fedirl_ray.problem.mdp import Floats, Stack, TabularMDP, tiles, untile
from fedirl_ray.problem.planning import (
    SoftPolicy,
    feature_covariance,
    occupancy,
    soft_policy,
)

ROUNDING = 1e-9  # relative to the feature counts, what a negative likelihood may be by rounding


@dataclass(frozen=True)
class Fit:
    """Rewards fitted to a block of clients."""

    theta: Floats
    """`[k, d]`."""
    negative_log_likelihood: Floats
    """Causal entropy of the soft policy at theta when features match, without the L2 term,
    `[k]`; negative: the demonstrations' features cannot be achieved in the model."""
    mismatch: Floats
    """Largest entry of the gradient (L2 and proximal terms included), `[k]`."""
    iterations: NDArray[np.int64]
    """Optimiser steps, `[k]`."""
    converged: NDArray[np.bool_]
    """Whether the gradient fell below the tolerance, `[k]`; always False for adam."""
    hessian: Floats | None
    """Feature covariance plus lambda I at theta, `[k, d, d]`: how sure a client is; None where
    nobody asked."""

    @property
    def unachievable(self) -> NDArray[np.bool_]:
        """Clients whose demonstrated features no policy of the model can produce, `[k]`."""
        return self.negative_log_likelihood < 0.0


def dual(
    stack: Stack, theta: Floats, counts: Floats, config: IRLConfig, horizon: int
) -> tuple[Floats, Floats]:
    """Dual value and gradient of every client, without the L2 term.

    Args:
        stack: The clients' worlds.
        theta: `[k, d]`.
        counts: Demonstrated feature counts mu, `[k, d]`.
        config: Discount and temperature of the model.
        horizon: Steps.

    Returns:
        Values `[k]` and gradients `[k, d]`.
    """
    return _dual_of(stack, _learner_policy(stack, theta, config, horizon), theta, counts, config)


def _learner_policy(stack: Stack, theta: Floats, config: IRLConfig, horizon: int) -> SoftPolicy:
    """The policy the learner's model predicts for theta `[k, d]` (shapes: see `SoftPolicy`)."""
    return soft_policy(
        stack,
        stack.rewards(theta),
        horizon=horizon,
        discount=config.discount,
        temperature=config.temperature,
    )


def _dual_of(
    stack: Stack, soft: SoftPolicy, theta: Floats, counts: Floats, config: IRLConfig
) -> tuple[Floats, Floats]:
    first = (stack.initial * soft.value).reshape(stack.k, stack.s).sum(axis=1)
    expected = stack.feature_sums(occupancy(stack, soft.policy, discount=config.discount))
    value: Floats = first - (theta * counts).sum(axis=1)
    return value, expected - counts


def fit(
    worlds: Sequence[TabularMDP],
    counts: Floats,
    config: IRLConfig,
    horizon: int,
    *,
    start: Floats | None = None,
    iterations: NDArray[np.int64] | None = None,
    proximal: Floats | None = None,
    curvature: bool = True,
) -> Fit:
    """Fit each client's reward to its own demonstrations.

    Args:
        worlds: One a client; equal shapes are fitted together.
        counts: Demonstrated feature counts, `[k, d]`.
        config: Optimiser, L2 weight, model.
        horizon: Steps.
        start: First theta, `[k, d]`; default zero.
        iterations: Largest number of steps of each client, `[k]`; default config.iterations.
        proximal: Weight rho of the pull to the start, `[k]`; default 0.
        curvature: Whether to work out hessians, which take longer than the fits with many features.

    Returns:
        The fits, in the clients' order. The same numbers as fitting each client alone.
    """
    start = np.zeros_like(counts) if start is None else start
    if iterations is None:
        iterations = np.full(len(worlds), config.iterations)
    proximal = np.zeros(len(worlds)) if proximal is None else proximal
    cut = tiles(worlds)
    parts = [
        _fit_tile(
            [worlds[i] for i in tile],
            counts[tile],
            config,
            horizon,
            start[tile],
            iterations[tile],
            proximal[tile],
            curvature,
        )
        for tile in cut
    ]
    place = untile(cut)

    def joined(name: str) -> Any:
        found = [getattr(part, name) for part in parts]
        return None if found[0] is None else np.concatenate(found)[place]

    return Fit(*map(joined, Fit.__annotations__))


def fit_pooled(
    worlds: Sequence[TabularMDP], counts: Floats, config: IRLConfig, horizon: int
) -> Floats:
    """Fit one reward to all clients' demonstrations at once (which no server may do).

    Minimises the mean of the clients' duals plus the L2 term.

    Args:
        worlds: One a client.
        counts: Demonstrated feature counts, `[k, d]`.
        config: Optimiser, L2 weight, model.
        horizon: Steps.

    Returns:
        theta `[d]`.
    """
    parts = [(Stack([worlds[i] for i in tile]), counts[tile]) for tile in tiles(worlds)]

    def objective(theta: Floats, _: NDArray[np.intp]) -> tuple[Floats, Floats]:
        total, slope = 0.0, np.zeros(theta.shape[1])
        for stack, part in parts:
            everywhere = np.repeat(theta, stack.k, axis=0)
            value, gradient = dual(stack, everywhere, part, config, horizon)
            # One client at a time, so that the sum's order does not depend on the tiles.
            for one_value, one_gradient in zip(value, gradient, strict=True):
                total += float(one_value)
                slope += one_gradient
        value = np.array([total / len(worlds)]) + 0.5 * config.l2 * (theta**2).sum(axis=1)
        return value, slope[None] / len(worlds) + config.l2 * theta

    start = np.zeros((1, counts.shape[1]))
    scale = np.abs(counts).max(initial=1.0)
    found = _descend(objective, start, config, np.array([scale]), np.array([config.iterations]))
    theta: Floats = found.theta[0]
    return theta


def _fit_tile(
    worlds: Sequence[TabularMDP],
    counts: Floats,
    config: IRLConfig,
    horizon: int,
    start: Floats,
    iterations: NDArray[np.int64],
    proximal: Floats,
    curvature: bool,
) -> Fit:
    whole = Stack(worlds)
    held: tuple[NDArray[np.intp], Stack] = (np.arange(len(worlds)), whole)

    def objective(theta: Floats, which: NDArray[np.intp]) -> tuple[Floats, Floats]:
        nonlocal held
        if 2 * which.size <= held[0].size:  # half have stopped: worth a smaller operator
            held = (which, Stack([worlds[i] for i in which]))
        members, stack = held
        place = np.searchsorted(members, which)
        padded = np.zeros((members.size, theta.shape[1]))
        padded[place] = theta
        value, gradient = dual(stack, padded, counts[members], config, horizon)
        value, gradient = value[place], gradient[place]
        value, gradient = (
            value + 0.5 * config.l2 * (theta**2).sum(axis=1),
            gradient + config.l2 * theta,
        )
        if not pulled:
            return value, gradient
        pull, away = proximal[which], theta - start[which]
        return value + 0.5 * pull * (away**2).sum(axis=1), gradient + pull[:, None] * away

    pulled = bool(proximal.any())
    scale = np.abs(counts).max(axis=1, initial=1.0)
    found = _descend(objective, start, config, scale, iterations)
    theta = found.theta
    soft = _learner_policy(whole, theta, config, horizon)
    value, gradient = _dual_of(whole, soft, theta, counts, config)
    hessian = None
    if curvature:
        hessian = feature_covariance(
            whole, soft.policy, discount=config.discount, temperature=config.temperature
        ) + config.l2 * np.eye(theta.shape[1])
    pull = proximal[:, None] * (theta - start)
    settled = np.abs(value) <= ROUNDING * scale * (1.0 + np.abs(theta).sum(axis=1))
    return Fit(
        theta=theta,
        negative_log_likelihood=np.where(settled, 0.0, value / config.temperature),
        mismatch=np.abs(gradient + config.l2 * theta + pull).max(axis=1),
        iterations=found.iterations,
        converged=found.converged,
        hessian=hessian,
    )


def _descend(
    objective: Objective,
    start: Floats,
    config: IRLConfig,
    scale: Floats,
    iterations: NDArray[np.int64],
) -> Minimum:
    match config.optimizer:
        case "adam":
            return adam(objective, start, step=config.step, iterations=iterations)
        case "lbfgs":
            tolerance = config.tolerance * scale
            return lbfgs(objective, start, tolerance=tolerance, iterations=iterations)
