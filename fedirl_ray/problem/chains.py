"""Markov chains that follow fixed policies in stacked worlds, and their linear equations.

Letters: `n` chains, `k` worlds, `s` states, `m` right sides.
"""

from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu

from fedirl_ray.problem.mdp import Floats, Places, Stack

DENSE = 64
"""Most states of a world whose equations are eliminated as dense arrays."""


class Chains:
    """The systems I - discount P of several policies, each solved by itself.

    Elimination never pivots, which these matrices (M-matrices) do not need: what a state cannot
    reach does not touch its value, not even by rounding.
    """

    def __init__(self, stack: Stack, actions: Places, world: Places, discount: float) -> None:
        """Write the equations down.

        Args:
            stack: Worlds.
            actions: What each chain's policy does, `[n, s]`.
            world: Where, `[n]`.
            discount: In (0, 1).
        """
        n, s = actions.shape
        self._discount = discount
        self._order = np.tile(np.arange(s), (n, 1)) if s <= DENSE else stack.elimination[world]
        state = world[:, None] * s + self._order
        taken = np.take_along_axis(actions, self._order, axis=1)
        moves = stack.expect[(taken * (stack.k * s) + state).ravel()]
        chain = np.repeat(np.arange(n), np.diff(moves.indptr[::s]))
        to = np.argsort(self._order, axis=1)[chain, moves.indices - s * world[chain]]
        self._moves = sp.csr_array((discount * moves.data, to, moves.indptr), shape=(n * s, s))

    def solve(self, right: Floats) -> Floats:
        """Solve x = right + discount P x.

        Args:
            right: `[n, s, m]`.

        Returns:
            `[n, s, m]`.
        """
        n, s, _ = right.shape
        if s <= DENSE:
            moves = self._moves.toarray().reshape(n, s, s).transpose(1, 2, 0)
            return _eliminate(np.ascontiguousarray(moves), right, 1.0 - self._discount)
        found = np.empty_like(right)
        for factor, order, own, x in zip(self._factors, self._order, right, found, strict=True):
            x[order] = factor.solve(own[order], trans="T")
        return found

    @cached_property
    def _factors(self) -> list[Any]:  # SuperLU
        count, s = self._order.shape
        rows = np.arange(count * s)
        stay = sp.csr_array((np.ones(rows.size), rows % s, np.arange(rows.size + 1)))
        system = (stay - self._moves).tocsr()
        factors = []
        for first in range(0, count * s, s):
            ends = system.indptr[first : first + s + 1]
            inside = slice(ends[0], ends[-1])
            # Rows as columns: its transpose.
            own = (system.data[inside], system.indices[inside], ends - ends[0])
            factors.append(
                splu(
                    sp.csc_array(own, shape=(s, s)),
                    permc_spec="NATURAL",  # the states are in order already
                    diag_pivot_thresh=0.0,
                    relax=1,
                    panel_size=1,
                    options={"Equil": False, "SymmetricMode": True},
                )
            )
        return factors


def _eliminate(moves: Floats, right: Floats, leave: float) -> Floats:
    """Solve (I - moves) x = right where every row of `moves` sums to 1 - leave.

    By the elimination of Grassmann, Taksar & Heyman (1985), which adds and never subtracts: the
    inverse is right in every entry, however small `leave` is.

    Args:
        moves: Not negative, `[s, s, n]`; overwritten. Its diagonal is not read.
        right: `[n, s, m]`.
        leave: > 0.

    Returns:
        `[n, s, m]`.
    """
    s, _, n = moves.shape
    x = np.ascontiguousarray(right.transpose(1, 2, 0))  # [s, m, n]
    left = np.full((s, n), leave)
    out = np.empty((s, n))
    # Entry by entry, never by a sum whose order numpy chooses: it would depend on n.
    for j in range(s):
        out[j] = left[j]
        if j + 1 < s:
            out[j] += np.add.accumulate(moves[j, j + 1 :], axis=0)[-1]
        share = moves[j + 1 :, j] / out[j]
        moves[j + 1 :, j + 1 :] += share[:, None] * moves[j, j + 1 :]
        left[j + 1 :] += share * left[j]
        x[j + 1 :] += share[:, None] * x[j]
    for j in reversed(range(s)):
        x[j] /= out[j]
        x[:j] += moves[:j, j, None] * x[j]
    return x.transpose(2, 0, 1)
