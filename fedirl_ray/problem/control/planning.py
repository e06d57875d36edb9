"""Stationary planning on a client's lattice: soft and greedy policies of the discounted problem.

Policy iteration: each step solves the linear equations of the current policy's value, which is
Newton's method on the (soft) Bellman equation and takes some five steps where sweeps of
value iteration would take a thousand. The linear systems are factorised on small lattices of up to
two axes and go through GMRES on others. On larger ones of two axes, where a chain crosses many
cells before it mixes, it is preconditioned by an incomplete factorisation; with more axes fill-in
is large, mixing quick, and none is needed.

Letters: `s` lattice states, `a` lattice actions.
"""

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, Literal, NamedTuple

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as linalg

from fedirl_ray.errors import RunError
from fedirl_ray.problem.control.model import LatticeModel
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.problem.ties import as_good

SETTLED = 1e-9
"""Share at which a plan is final: of a state's own values; at a temperature, or where rounding lets
it come no closer, of the reward's scale times the effective horizon."""
STEPS = 200
"""Most Newton steps; a plan takes 5 to 30."""
PATIENCE = 30
"""Newton steps after which a greedy plan need not settle by each state's own values."""
TIED = 1e-10
"""Share of a state's own values within which actions are equally good: rounding, at any scale."""
PRECISION = 1e-10
"""Residual, as a share of the right side, at which GMRES stops."""
RESTART = 40
"""Vectors that GMRES keeps."""
FLAT, SMALL = 2, 5_000
"""Most axes, and most states, of a lattice whose chains are factorised."""


class LatticePlan(NamedTuple):
    """A stationary optimal policy, and what it is worth."""

    value: Floats
    """`[s]`."""
    advantage: Floats
    """Q - V, `[a, s]`; at a temperature, that times log(a pi)."""
    policy: Floats
    """pi(a | s), `[a, s]`."""


class Chain:
    """The lattice's Markov chain under one policy: (I - discount P_pi) and its transpose."""

    def __init__(self, model: LatticeModel, policy: Floats, discount: float) -> None:
        a, s = policy.shape
        choose = sp.csr_array(
            (
                policy.T.ravel(),
                (np.arange(s)[:, None] + s * np.arange(a)).ravel(),
                np.arange(0, a * s + 1, a),
            ),
            shape=(s, a * s),
        )
        self._chain: sp.csr_array = discount * (choose @ model.expect)
        self._flat = len(model.state.axes) <= FLAT
        self._small = self._flat and s <= SMALL

    @cached_property
    def _system(self) -> sp.csc_array:
        """I - discount P_pi."""
        system: sp.csc_array = (sp.eye_array(self._chain.shape[0]) - self._chain).tocsc()
        return system

    @cached_property
    def _factor(self) -> Any:  # SuperLU, incomplete where the lattice is not small
        if self._small:
            return linalg.splu(self._system)
        # An M-matrix: pivots on its diagonal cannot vanish whatever is dropped; others can.
        return linalg.spilu(
            self._system,
            drop_tol=1e-2,
            fill_factor=5,
            diag_pivot_thresh=0.0,
            permc_spec="NATURAL",
        )

    def value(self, reward: Floats, start: Floats | None = None) -> Floats:
        """Solve v = reward + discount P_pi v.

        Args:
            reward: `[s]`.
            start: First guess, `[s]`.

        Returns:
            `[s]`.
        """
        return self._solve(self._chain, reward, start, "N")

    def visits(self, source: Floats) -> Floats:
        """Solve m = source + discount P_pi^T m: discounted visits of mass that enters at `source`.

        Args:
            source: `[s]`, may be signed.

        Returns:
            `[s]`.
        """
        return self._solve(self._chain.T.tocsr(), source, None, "T")

    def _solve(
        self, chain: sp.csr_array, right: Floats, start: Floats | None, side: Literal["N", "T"]
    ) -> Floats:
        """Solve x = right + chain x."""
        if self._small:
            return np.asarray(self._factor.solve(right, trans=side), dtype=np.float64)
        roughly = partial(self._factor.solve, trans=side) if self._flat else None
        return _krylov(chain, right, start, roughly)


def _krylov(
    chain: sp.csr_array,
    right: Floats,
    start: Floats | None,
    roughly: Callable[[Floats], Floats] | None,
) -> Floats:
    """Solve x = right + chain x by GMRES, preconditioned where a rough solver is given."""

    def apply(vector: Floats) -> Floats:
        flat = vector.ravel()
        moved: Floats = flat - chain @ flat
        return moved

    def operator(act: Callable[[Floats], Floats]) -> linalg.LinearOperator:
        return linalg.LinearOperator(chain.shape, matvec=act, dtype=np.float64)

    found, failed = linalg.gmres(
        operator(apply),
        right,
        x0=start,
        M=None if roughly is None else operator(roughly),
        rtol=PRECISION,
        atol=0.0,
        restart=RESTART,
        maxiter=200,
    )
    if failed:
        raise RunError("a policy's value on the lattice did not converge")
    solution: Floats = found
    return solution


def plan(
    model: LatticeModel,
    reward: Floats,
    *,
    discount: float,
    temperature: float,
    start: Floats | None = None,
) -> LatticePlan:
    """Plan for ever, discounted; an episode that ends earns nothing more.

    V = temperature log mean_a exp(Q / temperature), Q = r + discount E[V]; at temperature 0 the
    maximum, ties shared. The mean, not the sum: a policy pays for departing from the uniform one
    instead of being paid for its entropy. The policies are those of a reward that is lower by
    temperature log a. But where episodes end, entropy would be a wage for living, and a reward
    learned under it may make dying pay for whoever plans without it.

    Args:
        model: The client's lattice.
        reward: `[a, s]`.
        discount: In (0, 1).
        temperature: Of the policy's entropy, >= 0.
        start: First guess of the value, `[s]`, which saves steps where a similar plan is known.

    Returns:
        The plan.

    Raises:
        RunError: It did not settle.
    """
    size = max(float(np.abs(reward).max()), temperature, 1e-300)
    scale = size / (1.0 - discount)
    value = np.zeros(reward.shape[1]) if start is None else start
    for step in range(STEPS):
        q, policy, better, own = _improve(model, reward, value, discount, temperature)
        # A reward that is huge somewhere says nothing of other states.
        allowed = own if temperature == 0.0 and step < PATIENCE else scale
        if (np.abs(better - value) <= SETTLED * allowed).all():
            return LatticePlan(better, q - better, policy)
        earned = (policy * (q - discount * _ahead(model, value))).sum(axis=0)
        if temperature > 0.0:
            earned -= temperature * _departure(policy)
        value = Chain(model, policy, discount).value(earned, better)
    raise RunError(f"a plan on a lattice of {reward.shape[1]} states did not settle")


def _ahead(model: LatticeModel, value: Floats) -> Floats:
    expected: Floats = (model.expect @ value).reshape(model.reward.shape)
    return expected


def _improve(
    model: LatticeModel, reward: Floats, value: Floats, discount: float, temperature: float
) -> tuple[Floats, Floats, Floats, Floats]:
    """Q `[a, s]`, its policy `[a, s]`, the value that promises `[s]`, and its size `[s]`."""
    q = reward + discount * _ahead(model, value)
    best = q.max(axis=0)
    if temperature == 0.0:
        size = np.abs(reward) + discount * _ahead(model, np.abs(value))
        own = np.take_along_axis(size, q.argmax(axis=0)[None], axis=0)[0]
        ties = as_good(q, TIED * size)
        return q, ties / ties.sum(axis=0), best, own
    weight = np.exp((q - best) / temperature)
    total = weight.sum(axis=0)
    value = best + temperature * np.log(total / len(q))
    return q, weight / total, value, np.abs(value)


def _departure(policy: Floats) -> Floats:
    """Relative entropy to the uniform policy, `[s]`, in nats."""
    ratio = np.maximum(policy, 1e-300) * len(policy)
    departure: Floats = (policy * np.log(ratio)).sum(axis=0)
    return departure
