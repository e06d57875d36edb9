"""Tabular Markov decision processes as arrays, and many of them stacked into one.

Letters: `k` worlds, `s` states, `a` actions, `b` branches (possible successors of one state and
action), `d` features, `c` columns (several rewards planned at once).

How an episode's end enters: a terminal state is absorbing. Every action in it leads back to it,
and it keeps earning *its own* features (and reward) until the horizon. A short episode and a long
one therefore earn the same number of terms, so that neither dying early nor living long pays by
construction, whatever the sign of the reward; with theta = 0 every state has the same soft value.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.linalg import splu

from fedirl_ray.errors import DataError

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
Bools = NDArray[np.bool_]
Places = NDArray[np.intp]

CACHE_BYTES = 6_000_000  # what a tile of worlds may touch in one step of a sweep
WASTE = 1.6  # times as many entries as there are, up to which rows of one length are quicker


_KINDS = {
    "successors": ("iu", "integers"), "terminal": ("b", "booleans"), "goal": ("b", "booleans")
}  # fmt: skip


@dataclass(frozen=True)
class TabularMDP:
    """One world: dynamics, features, true reward, and the lattice its states lie on.

    Transitions are successor indices with probabilities, never a dense `[s, a, s]` array; rows
    with fewer than `b` successors are padded with probability zero.
    """

    successors: Ints
    """State reached by each branch, `[s, a, b]`."""
    probabilities: Floats
    """Probability of each branch, `[s, a, b]`; sums to one over `b`."""
    initial: Floats
    """Distribution of the first state, `[s]`."""
    terminal: Bools
    """Whether a state ends the episode, `[s]`; such states lead only to themselves."""
    goal: Bools
    """Whether ending here is a success, `[s]`; goals are terminal."""
    features: Floats
    """phi(s, a), `[s, a, d]`, or `[s, 1, d]` where actions do not matter."""
    reward: Floats
    """True reward, `[s, a]` or `[s, 1]`; only the expert and the evaluation see it."""
    axes: tuple[Floats, ...]
    """Shared support: one array per lattice axis, states in C order. 1-D: coordinates, compared
    by squared difference; 2-D and square: that axis' own ground cost (categories)."""
    moves: NDArray[np.float64] | None = None
    """Direction of each action on the last two drawn axes, `[a, 2]` (row, column), for pictures."""

    def __post_init__(self) -> None:
        self._require_arrays()
        s, a, b = self.successors.shape
        _expect("probabilities", self.probabilities.shape, [(s, a, b)])
        for name in ("initial", "terminal", "goal"):
            _expect(name, getattr(self, name).shape, [(s,)])
        d = self.features.shape[-1]
        _expect("features", self.features.shape, [(s, 1, d), (s, a, d)])
        _expect("reward", self.reward.shape, [(s, 1), (s, a)])
        points = int(np.prod([len(axis) for axis in self.axes]))
        if points != s:
            raise DataError(
                f"axes must span as many points as there are states ({s}), got {points}"
            )
        if self.successors.min() < 0 or self.successors.max() >= s:
            raise DataError(f"successors must lie in 0..{s - 1}, got {self.successors.min()} to "
                            f"{self.successors.max()}")  # fmt: skip
        for name, rows in (("probabilities", self.probabilities), ("initial", self.initial)):
            off = float(np.abs(rows.sum(axis=-1) - 1.0).max())
            if not (off < 1e-9 and rows.min() >= 0.0):
                raise DataError(f"{name} must be >= 0 and sum to 1 (to 1e-9), off by {off:.1e}")
        for name in ("features", "reward"):
            if not np.isfinite(getattr(self, name)).all():
                raise DataError(f"{name} must be finite, got NaN or infinity")
        here = np.arange(s)[:, None, None]
        if (self.probabilities[self.terminal] * (self.successors != here)[self.terminal]).any():
            raise DataError("terminal states must lead only to themselves; see `absorb`")
        if (self.goal & ~self.terminal).any():
            raise DataError("goal states must be terminal")

    def _require_arrays(self) -> None:
        for field in fields(self):
            held = getattr(self, field.name)
            kinds, law = _KINDS.get(field.name, ("iuf", "numbers"))
            if field.name == "moves" and held is None:
                continue
            for array in held if field.name == "axes" else [held]:
                if not isinstance(array, np.ndarray) or array.dtype.kind not in kinds:
                    known = isinstance(array, np.ndarray)
                    got = f"one of {array.dtype}" if known else f"a {type(array).__name__}"
                    raise DataError(f"{field.name} must be a NumPy array of {law}, got {got}")
        if self.successors.ndim != 3 or self.features.ndim != 3:
            shapes = f"{self.successors.shape} and {self.features.shape}"
            raise DataError(f"successors and features must have three axes, got shapes {shapes}")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """States, actions, features, and 1 if features ignore the action, else actions."""
        s, a, _ = self.successors.shape
        return s, a, self.features.shape[2], self.features.shape[1]


def read_only(world: TabularMDP) -> TabularMDP:
    """The same world in arrays that refuse to be written to, for code that only looks at it."""
    same = copy.copy(world)
    for field in fields(world):
        held = getattr(world, field.name)
        if held is not None:
            view = tuple(map(locked, held)) if isinstance(held, tuple) else locked(held)
            object.__setattr__(same, field.name, view)
    return same


def locked(array: NDArray[Any]) -> NDArray[Any]:
    """The same array, refusing to be written to."""
    view = array.view()
    view.flags.writeable = False
    return view


def _expect(name: str, got: tuple[int, ...], allowed: list[tuple[int, ...]]) -> None:
    if got not in allowed:
        raise DataError(f"{name} must have shape {' or '.join(map(str, allowed))}, got {got}")


def absorb(successors: Ints, probabilities: Floats, terminal: Bools) -> tuple[Ints, Floats]:
    """Make terminal states lead to themselves under every action.

    Args:
        successors: `[s, a, b]`.
        probabilities: `[s, a, b]`.
        terminal: `[s]`.

    Returns:
        New `(successors, probabilities)`; the arguments are left alone.
    """
    successors, probabilities = successors.copy(), probabilities.copy()
    successors[terminal] = np.flatnonzero(terminal)[:, None, None]
    probabilities[terminal] = 0.0
    probabilities[terminal, :, 0] = 1.0
    return successors, probabilities


def add_slip(
    successors: Ints, probabilities: Floats, slip: float, beside: Sequence[tuple[int, ...]]
) -> tuple[Ints, Floats]:
    """Let the action taken be, with probability `slip`, one of those beside it instead.

    Args:
        successors: `[s, a, b]` without slip.
        probabilities: `[s, a, b]` without slip.
        slip: Probability of slipping, in [0, 1], shared equally by the actions beside.
        beside: For each action, the actions one may slip into; empty: it never slips.

    Returns:
        `(successors, probabilities)` with branches `[s, a, b (1 + widest beside)]`.
    """
    s, a, b = successors.shape
    width = 1 + max(len(others) for others in beside)
    to = np.zeros((s, a, width, b), dtype=np.int32)
    chance = np.zeros((s, a, width, b))
    for action, others in enumerate(beside):
        share = slip / len(others) if others else 0.0
        drawn = [(action, 1.0 - slip if others else 1.0), *((other, share) for other in others)]
        for place, (taken, weight) in enumerate(drawn):
            to[:, action, place] = successors[:, taken]
            chance[:, action, place] = weight * probabilities[:, taken]
    return to.reshape(s, a, width * b), chance.reshape(s, a, width * b)


class Stack:
    """Worlds of equal shape as one sparse operator, so that one call advances all of them.

    Rows of the operator are ordered `(a, k, s)`: an action's values over all worlds are
    contiguous, and reductions over actions run along whole rows. Every row has its own fixed
    order of summation, so a world's numbers do not depend on which others are stacked with it.
    """

    def __init__(self, worlds: Sequence[TabularMDP]) -> None:
        shapes = {world.shape for world in worlds}
        if len(shapes) != 1:
            raise DataError(f"stacked worlds must share (s, a, d, feature actions), got {shapes}")
        self.k = len(worlds)
        self.s, self.a, self.d, self.feature_actions = worlds[0].shape
        self.worlds = tuple(worlds)
        self.initial: Floats = np.concatenate([world.initial for world in worlds])
        self.features: Floats = np.stack(
            [world.features.reshape(-1, self.d) for world in worlds]
        )  # [k, s x feature actions, d]
        self._even = self._operator(worlds)
        self.terminal: Bools = np.concatenate([world.terminal for world in worlds])
        self.goal: Bools = np.concatenate([world.goal for world in worlds])

    def _operator(self, worlds: Sequence[TabularMDP]) -> sp.csr_array:
        """Conditional expectation over successors, with zeros that make all rows equally long.

        A processor guesses right where every row ends, which makes a product with one vector twice
        as quick as without the zeros.
        """
        width = max(world.successors.shape[2] for world in worlds)
        rows = (self.k, self.s, self.a, width)
        to, chance = np.zeros(rows, dtype=np.int32), np.zeros(rows)
        for i, world in enumerate(worlds):
            b = world.successors.shape[2]
            to[i, ..., :b] = world.successors
            to[i] += i * self.s
            chance[i, ..., :b] = world.probabilities
        to, chance = to.transpose(2, 0, 1, 3), chance.transpose(2, 0, 1, 3)
        edges = np.arange(0, to.size + 1, width, dtype=np.int32)
        shape = (self.a * self.k * self.s, self.k * self.s)
        return sp.csr_array((chance.ravel(), to.ravel(), edges), shape=shape)

    @cached_property
    def expect(self) -> sp.csr_array:
        """Conditional expectation over successors: values `[k s]` to `[a k s]`."""
        expect = self._even.copy()
        expect.eliminate_zeros()
        return expect

    @cached_property
    def ahead(self) -> sp.csr_array:
        """The same, for products: in whichever form they are quicker."""
        entries = np.count_nonzero(self._even.data)
        return self._even if self._even.nnz <= WASTE * entries else self.expect

    @cached_property
    def push(self) -> sp.csc_array:
        """Mass pushed forward, the transpose of `expect`: `[a k s]` to `[k s]`."""
        return self.ahead.T

    @cached_property
    def elimination(self) -> Places:
        """Each world's states in an order whose elimination fills little in, `[k, s]`."""
        orders = []
        edge = self.k * self.s
        for first in range(0, edge, self.s):
            live = first + np.flatnonzero(~self.terminal[first : first + self.s])
            ends = np.setdiff1d(np.arange(self.s), live - first)
            # Any system of this pattern would do; this one can be factorised.
            system = 2.0 * self.a * sp.eye_array(live.size, format="csr")
            for action in range(self.a):
                system = system - self.expect[live + action * edge][:, live]
            factor = splu(
                system.tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}
            )
            orders.append(np.concatenate([ends, live[np.argsort(factor.perm_c)] - first]))
        return np.stack(orders)

    def rewards(self, theta: Floats) -> Floats:
        """R = theta . phi for each world.

        Args:
            theta: `[k, d]`.

        Returns:
            `[feature actions, k s]`, which broadcasts over actions.
        """
        # One matrix-vector product per world: its bytes do not depend on the other worlds.
        flat = np.matmul(self.features, theta[:, :, None])[:, :, 0]
        return self._action_first(flat)

    def true_rewards(self) -> Floats:
        """The worlds' true rewards, `[a or 1, k s]`."""
        width = max(world.reward.shape[1] for world in self.worlds)
        rows = [np.broadcast_to(world.reward, (self.s, width)) for world in self.worlds]
        return np.ascontiguousarray(np.concatenate(rows).T)

    def _action_first(self, flat: Floats) -> Floats:
        """`[k, s x feature actions]` to `[feature actions, k s]`."""
        return np.ascontiguousarray(flat.reshape(self.k * self.s, self.feature_actions).T)

    def feature_sums(self, occupancy: Floats) -> Floats:
        """Feature expectations of an occupancy measure.

        Args:
            occupancy: `[feature actions, k s]`, summed over actions where features ignore them.

        Returns:
            `[k, d]`.
        """
        flat = np.ascontiguousarray(occupancy.T).reshape(self.k, 1, self.s * self.feature_actions)
        sums: Floats = np.matmul(flat, self.features)[:, 0, :]
        return sums


def tiles(worlds: Sequence[TabularMDP], columns: int = 1) -> list[Places]:
    """Cut worlds into tiles of equal shape, small enough that one step of a sweep stays cached.

    Args:
        worlds: Of any shapes.
        columns: Rewards planned side by side in each world.

    Returns:
        Which worlds stand in each tile; every world in one. Worlds of one shape keep their order.
    """
    alike: dict[tuple[int, int, int, int], list[int]] = {}
    for i, world in enumerate(worlds):
        alike.setdefault(world.shape, []).append(i)
    cut: list[Places] = []
    for members in alike.values():
        s, a, b = worlds[members[0]].successors.shape
        # The operator and its transpose (index and weight), and about five vectors over (s, a).
        touched = s * a * (2 * 12 * b + 5 * 8 * columns)
        size = max(1, CACHE_BYTES // touched)
        cut += [np.array(members[i : i + size]) for i in range(0, len(members), size)]
    return cut


def untile(cut: Sequence[Places]) -> Places:
    """Where each world's result stands once the tiles' results are joined, `[k]`."""
    return np.argsort(np.concatenate(cut), kind="stable")
