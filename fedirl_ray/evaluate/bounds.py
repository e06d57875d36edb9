"""The paper's bounds, measured: both sides of theorems 1 and 2 and of the lemmas behind them.

Section 3 bounds how far a fused reward can be from the truth by how far the clients' rewards are.
All of it is about the *exact* 2-Wasserstein barycenter on a finite support, so that one is here
too, by linear programming; an entropic barycenter is another measure, and may break the bounds.

Rewards become measures by r -> (r + sigma) / Z(r) with Z(r) = sum(r + sigma), one sigma for all.
Letters: `k` clients, `n` support points, `d` features; D the support's diameter, delta its least
spacing, both in the unit of its axes; eps_i = |r_i - r*|_1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import spsolve

from fedirl_ray.errors import NotConvergedError, in_short
from fedirl_ray.problem.greedy import greedy_policy
from fedirl_ray.problem.mdp import Floats, Stack, TabularMDP
from fedirl_ray.transport.simplex import exact_transport

ROUNDING = 1e-9  # what solvers and sums may add to a measured side, relative and absolute


class Bound(NamedTuple):
    """An inequality with its two sides as numbers."""

    measured: float
    """Left side: what happened."""
    bound: float
    """Right side: what the theorem allows."""

    @property
    def holds(self) -> bool:
        """Whether the left side is no larger than the right, up to rounding."""
        return self.measured <= self.bound * (1.0 + ROUNDING) + ROUNDING

    @property
    def ratio(self) -> float:
        """Bound / measured: how loose, below 1 a violation; infinite where nothing happened."""
        return self.bound / self.measured if self.measured > 0.0 else float("inf")


@dataclass(frozen=True)
class Ground:
    """A finite support and the squared distances between its points."""

    cost: Floats
    """d(x, y)^2, `[n, n]`, symmetric, zero on its diagonal alone."""

    @property
    def diameter(self) -> float:
        """D, the largest distance."""
        return float(np.sqrt(self.cost.max()))

    @property
    def spacing(self) -> float:
        """Delta, the least distance between two points."""
        return float(np.sqrt(self.cost[~np.eye(len(self.cost), dtype=bool)].min()))

    def squared_distance(self, p: Floats, q: Floats) -> float:
        """W2^2(p, q), exactly, by POT's network simplex.

        Raises:
            NotConvergedError: The simplex did not end with an optimal plan.
        """
        here, there = np.flatnonzero(p > 0.0), np.flatnonzero(q > 0.0)
        found = exact_transport(p[here], q[there], self.cost[np.ix_(here, there)])
        if found.flaw is not None:
            raise NotConvergedError(f"an exact distance was not reached: {found.flaw}")
        return found.cost


def lattice_ground(axes: Sequence[Floats]) -> Ground:
    """The ground cost of a product lattice, written out.

    Args:
        axes: Coordinates `[m]`, compared by squared difference, or costs `[m, m]`.
    """
    total = np.zeros((1, 1))
    for axis in axes:
        own = axis if axis.ndim == 2 else (axis[:, None] - axis) ** 2
        m, n = len(own), len(total)
        total = (total[:, None, :, None] + own[None, :, None, :]).reshape(n * m, n * m)
    return Ground(total)


def exact_barycenter(measures: Floats, weights: Floats, ground: Ground) -> Floats:
    """A 2-Wasserstein barycenter on the support itself, by POT's linear program.

    Args:
        measures: `[k, n]`, rows sum to one.
        weights: `[k]`, sum to one.
        ground: The support; n k n variables, so tens of points rather than hundreds.

    Returns:
        `[n]`; one of them, where there are several.

    Raises:
        NotConvergedError: The linear program was not solved.
    """
    import ot

    try:
        found, program = ot.lp.barycenter(measures.T, ground.cost, weights, log=True)
    except TypeError as err:
        # POT slices the solution before it looks whether there is one.
        raise NotConvergedError("the exact barycenter's linear program has no solution") from err
    if not program.success:
        said = in_short(program.message)
        raise NotConvergedError(f"the exact barycenter's linear program was not solved: {said}")
    density: Floats = np.maximum(np.asarray(found, dtype=np.float64), 0.0)
    density /= density.sum()
    return density


@dataclass(frozen=True)
class Fusion:
    """Clients' rewards, the truth they miss, and where all of them live."""

    rewards: Floats
    """r_i, `[k, n]`."""
    truth: Floats
    """r*, `[n]`."""
    weights: Floats
    """alpha, `[k]`, sum to one."""
    sigma: float
    """The one shift; r_i + sigma and r* + sigma are non-negative."""
    ground: Ground
    """The support."""

    @property
    def masses(self) -> Floats:
        """Z(r_i), `[k]`."""
        masses: Floats = (self.rewards + self.sigma).sum(axis=1)
        return masses

    @property
    def true_mass(self) -> float:
        """Z(r*)."""
        return float((self.truth + self.sigma).sum())

    @property
    def least_mass(self) -> float:
        """Zmin, over the clients and the truth."""
        return min(float(self.masses.min()), self.true_mass)

    @property
    def measures(self) -> Floats:
        """p_i, `[k, n]`."""
        measures: Floats = (self.rewards + self.sigma) / self.masses[:, None]
        return measures

    @property
    def true_measure(self) -> Floats:
        """p*, `[n]`."""
        measure: Floats = (self.truth + self.sigma) / self.true_mass
        return measure

    @property
    def local_errors(self) -> Floats:
        """eps_i = |r_i - r*|_1, `[k]`."""
        errors: Floats = np.abs(self.rewards - self.truth).sum(axis=1)
        return errors

    @property
    def mean_error(self) -> float:
        """sum_i alpha_i eps_i, which every bound of theorem 1 depends on."""
        return float(self.weights @ self.local_errors)

    def reward(self, fused: Floats) -> Floats:
        """r_bar = Z(r*) p_bar - sigma, the way back that theorem 1 takes, `[n]`."""
        return self.true_mass * fused - self.sigma


def normalisation_lemma(reward: Floats, other: Floats, sigma: float) -> Bound:
    """|p - q|_1 <= 2 / Zmin |r - s|_1, for the measures p, q of rewards r, s `[n]`."""
    mass, other_mass = float((reward + sigma).sum()), float((other + sigma).sum())
    p, q = (reward + sigma) / mass, (other + sigma) / other_mass
    error = float(np.abs(reward - other).sum())
    return Bound(float(np.abs(p - q).sum()), 2.0 / min(mass, other_mass) * error)


def diameter_lemma(p: Floats, q: Floats, ground: Ground) -> Bound:
    """W2^2(p, q) <= D^2 TV(p, q), with TV half the L1 distance."""
    variation = 0.5 * float(np.abs(p - q).sum())
    return Bound(ground.squared_distance(p, q), ground.diameter**2 * variation)


def stability_lemma(fusion: Fusion, fused: Floats) -> Bound:
    """W2^2(p_bar, p*) <= 4 sum_i alpha_i W2^2(p_i, p*), for a barycenter p_bar `[n]`."""
    truth, ground = fusion.true_measure, fusion.ground
    each = np.array([ground.squared_distance(p, truth) for p in fusion.measures])
    return Bound(ground.squared_distance(fused, truth), 4.0 * float(fusion.weights @ each))


def spacing_lemma(p: Floats, q: Floats, ground: Ground) -> Bound:
    """|p - q|_2 <= sqrt(2) W2(p, q) / delta."""
    distance = np.sqrt(ground.squared_distance(p, q))
    return Bound(float(np.linalg.norm(p - q)), float(np.sqrt(2.0) * distance / ground.spacing))


def transport_bound(fusion: Fusion, fused: Floats) -> Bound:
    """Equation (13): W2(p_bar, p*) <= 2 D / sqrt(Zmin) sqrt(sum_i alpha_i eps_i)."""
    distance = np.sqrt(fusion.ground.squared_distance(fused, fusion.true_measure))
    scale = 2.0 * fusion.ground.diameter / np.sqrt(fusion.least_mass)
    return Bound(float(distance), float(scale * np.sqrt(fusion.mean_error)))


def reward_bound(fusion: Fusion, fused: Floats) -> Bound:
    """Equation (14): |r_bar - r*|_2 <= sqrt(2) Z(r*) / delta times the right side of (13)."""
    error = float(np.linalg.norm(fusion.reward(fused) - fusion.truth))
    scale = np.sqrt(2.0) * fusion.true_mass / fusion.ground.spacing
    return Bound(error, float(scale * transport_bound(fusion, fused).bound))


def parameter_bound(fusion: Fusion, fused: Floats, features: Floats) -> Bound:
    """Equation (15): |theta_hat - theta*|_2 <= kappa times the right side of (14).

    Args:
        fusion: Rewards and truth, both linear in the features up to rounding.
        fused: p_bar, `[n]`.
        features: Phi, `[n, d]`, of full column rank; kappa = 1 / its least singular value.
    """
    inverse = np.linalg.pinv(features)
    error = inverse @ (fusion.reward(fused) - fusion.truth)
    kappa = float(np.linalg.norm(inverse, 2))
    return Bound(float(np.linalg.norm(error)), kappa * reward_bound(fusion, fused).bound)


def value_bound(world: TabularMDP, reward: Floats, other: Floats, discount: float) -> Bound:
    """Equation (18): J(pi_r; r) - J(pi_s; r) <= 2 / (1 - gamma) |r - s|_inf in one world.

    J is the expected discounted return over an infinite horizon, pi_r optimal for r.

    Args:
        world: Dynamics and first states; its own reward and features are not read.
        reward: r, by state or state and action, `[s]` or `[s a]`.
        other: s, of the same shape.
        discount: gamma, in (0, 1).
    """
    loss = policy_value(world, reward, reward, discount) - policy_value(
        world, other, reward, discount
    )
    return Bound(loss, 2.0 / (1.0 - discount) * float(np.abs(reward - other).max()))


def end_to_end_bound(world: TabularMDP, fusion: Fusion, fused: Floats, discount: float) -> Bound:
    """Equation (19): (18) for r* and r_bar, with the right side of (14) for |r_bar - r*|_inf."""
    loss = value_bound(world, fusion.truth, fusion.reward(fused), discount).measured
    return Bound(loss, 2.0 / (1.0 - discount) * reward_bound(fusion, fused).bound)


def policy_value(world: TabularMDP, planned: Floats, earned: Floats, discount: float) -> float:
    """Return of the policy that is optimal for one reward, counted in another; both `[s (a)]`."""
    stack = Stack([world])
    shape = (stack.s, -1)
    by_action = planned.reshape(shape).T
    policy = greedy_policy(stack, by_action[:, :, None], discount=discount)[:, :, 0]  # [a, s]
    pay = (policy * earned.reshape(shape).T).sum(axis=0)
    weighted = sp.diags_array(policy.ravel()) @ stack.expect
    step = sp.csr_array(sum(weighted[a * stack.s : (a + 1) * stack.s] for a in range(stack.a)))
    value = spsolve(sp.csc_array(sp.eye_array(stack.s) - discount * step), pay)
    return float(world.initial @ value)
