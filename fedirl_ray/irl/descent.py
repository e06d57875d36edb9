"""Minimising many small independent problems at once: L-BFGS and Adam over a leading axis.

Letters: `k` problems, `j` of them still running, `d` parameters, `m` remembered steps. Every
operation is row by row, so a problem's path does not depend on the others beside it.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Objective = Callable[[Floats, NDArray[np.intp]], tuple[Floats, Floats]]
"""(theta `[j, d]`, which problems `[j]`) -> (values `[j]`, gradients `[j, d]`)."""

MEMORY = 10
SUFFICIENT = 1e-4  # Armijo's share of the predicted decrease
ROUNDING = 1e-12  # relative change of the value that rounding alone can make


class Minimum(NamedTuple):
    """Where a descent ended."""

    theta: Floats
    """`[k, d]`."""
    iterations: NDArray[np.int64]
    """Steps taken, `[k]`."""
    converged: NDArray[np.bool_]
    """Whether the gradient fell below the tolerance, `[k]`."""


def adam(
    objective: Objective, start: Floats, *, step: float, iterations: NDArray[np.int64]
) -> Minimum:
    """Adam (Kingma & Ba 2015) for a given number of steps a problem.

    Args:
        objective: Values and gradients.
        start: `[k, d]`.
        step: Step size.
        iterations: Steps of each problem, `[k]`; few of them underfit on purpose.

    Returns:
        The last points; nothing is tested for convergence.
    """
    theta = start.copy()
    first, second = np.zeros_like(theta), np.zeros_like(theta)
    for t in range(1, int(iterations.max(initial=0)) + 1):
        which = np.flatnonzero(iterations >= t)
        _, gradient = objective(theta[which], which)
        first[which] = 0.9 * first[which] + 0.1 * gradient
        second[which] = 0.999 * second[which] + 0.001 * gradient**2
        unbiased = np.sqrt(second[which] / (1.0 - 0.999**t))
        theta[which] -= step * first[which] / (1.0 - 0.9**t) / (unbiased + 1e-8)
    return Minimum(theta, iterations.copy(), np.zeros(len(theta), dtype=bool))


def lbfgs(
    objective: Objective, start: Floats, *, tolerance: Floats, iterations: NDArray[np.int64]
) -> Minimum:
    """Limited-memory BFGS (Nocedal & Wright 2006, algorithm 7.4) on convex problems.

    All running problems are evaluated together once a sweep; each keeps its own line search
    (backtracking by interpolation), memory and stopping test.

    Args:
        objective: Values and gradients.
        start: `[k, d]`.
        tolerance: Largest entry of the gradient at which a problem stops, `[k]`.
        iterations: Largest number of accepted steps, `[k]`.

    Returns:
        The last accepted points.
    """
    k, d = start.shape
    every = np.arange(k)
    theta = start.copy()
    value, gradient = objective(theta, every)
    taken = np.zeros(k, dtype=np.int64)
    moves, turns = np.zeros((MEMORY, k, d)), np.zeros((MEMORY, k, d))
    curvature = np.zeros((MEMORY, k))  # 1 / (move . turn), 0 where nothing is remembered
    direction = -gradient
    # The first step has no curvature to go by: it moves by at most one.
    length = 1.0 / np.maximum(1.0, np.sqrt(_dot(gradient, gradient)))
    converged = np.abs(gradient).max(axis=1, initial=0.0) <= tolerance
    running = np.flatnonzero(~converged & (taken < iterations))
    while running.size:
        trial = theta[running] + length[running, None] * direction[running]
        new_value, new_gradient = objective(trial, running)
        slope = _dot(gradient[running], direction[running])
        new_slope = _dot(new_gradient, direction[running])
        drop = new_value - value[running]
        # Close to the optimum the decrease drowns in rounding; then the slope decides
        # (the approximate Wolfe condition of Hager & Zhang 2005).
        drowned = np.abs(drop) <= ROUNDING * np.abs(value[running])
        good = drop <= SUFFICIENT * length[running] * slope
        good |= drowned & (new_slope <= (2.0 * SUFFICIENT - 1.0) * slope)
        stuck = ~good & (length[running] < 1e-12)

        back = running[~good]
        fall = length[back] * slope[~good]
        with np.errstate(divide="ignore", invalid="ignore"):
            share = -fall / (2.0 * (drop[~good] - fall))
        length[back] *= np.where(np.isfinite(share), np.clip(share, 0.1, 0.5), 0.1)

        on = running[good]
        move, turn = trial[good] - theta[on], new_gradient[good] - gradient[on]
        theta[on], value[on], gradient[on] = trial[good], new_value[good], new_gradient[good]
        taken[on] += 1
        bend = _dot(move, turn)
        keep = bend > 1e-14 * _dot(turn, turn)
        for memory, newest in ((moves, move), (turns, turn)):
            memory[:-1, on[keep]] = memory[1:, on[keep]]
            memory[-1, on[keep]] = newest[keep]
        curvature[:-1, on[keep]] = curvature[1:, on[keep]]
        curvature[-1, on[keep]] = 1.0 / bend[keep]
        direction[on] = -_apply_inverse(moves[:, on], turns[:, on], curvature[:, on], gradient[on])
        length[on] = 1.0
        converged[on] = np.abs(gradient[on]).max(axis=1, initial=0.0) <= tolerance[on]
        ended = converged[running] | (taken[running] >= iterations[running]) | stuck
        running = running[~ended]
    return Minimum(theta, taken, converged)


def _dot(left: Floats, right: Floats) -> Floats:
    product: Floats = (left * right).sum(axis=-1)
    return product


def _apply_inverse(moves: Floats, turns: Floats, curvature: Floats, gradient: Floats) -> Floats:
    """Two-loop recursion: the remembered inverse Hessian times the gradient, `[j, d]`."""
    q = gradient.copy()
    shares = np.empty_like(curvature)
    for i in reversed(range(len(moves))):
        shares[i] = curvature[i] * _dot(moves[i], q)
        q -= shares[i][:, None] * turns[i]
    bend = _dot(turns[-1], turns[-1]) * curvature[-1]
    q *= np.where(bend > 0.0, 1.0 / np.where(bend > 0.0, bend, 1.0), 1.0)[:, None]
    for i in range(len(moves)):
        q += (shares[i] - curvature[i] * _dot(turns[i], q))[:, None] * moves[i]
    return q
