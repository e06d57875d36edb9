"""A client's dynamics on the lattice, estimated where only its environment knows them.

Around every (state, action) of the lattice the nearest recorded transitions are fitted by a
weighted linear function, whose value there, kept within what these neighbours did, is the
displacement. Reward and the chance of ending are weighted means of the neighbours', since both
jump: a lander touches the ground or does not. Distances are counted in lattice spacings, so an
axis matters as much as its resolution says.

What this leaves out. Randomness of the environment (wind) enters by its mean. What is not on the
lattice is averaged over: a lander's legs are no axis of its flight lattice, so contact, landing
and crash show only in reward and ending near the ground. Where nobody has flown, the model
extrapolates from the nearest who did; `EmpiricalModel.extrapolated` says how often.

Letters: `t` transitions, `m` places asked for, `k` neighbours, `p` state axes, `q` action axes,
`o` numbers in an observation.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.spatial import cKDTree

from fedirl_ray.errors import DataError
from fedirl_ray.problem.control.arena import Arena, Policy
from fedirl_ray.problem.control.model import LatticeModel, interpolation, occupied
from fedirl_ray.problem.control.task import Task
from fedirl_ray.problem.lattice import Lattice, product
from fedirl_ray.problem.mdp import Bools, Floats, Ints

ROWS = 8
"""Episodes gathered side by side."""
SWITCH = 0.1
"""Chance, each step, that a row's pilot changes: held actions reach farther than jitter."""
NEIGHBOURS = 128
"""Transitions that a displacement is fitted from: contact with the ground kicks a lander in ways
its flight state does not tell, and fewer would fit those kicks."""
NEAREST = 8
"""Transitions whose mean is the reward and the chance of ending."""
ACTION_STRETCH = 3.0
"""How much farther apart actions lie than their spacing: engines switch on at thresholds."""
DISCRETE_STRETCH = 1e3
"""The same where actions have no order: others' transitions count only where an action has none."""
RIDGE = 0.1
"""Weight of flat slopes, in neighbours' weights times squared spacings."""
CHUNK = 8_192
"""Places fitted at once: tens of megabytes."""


@dataclass(frozen=True)
class Transitions:
    """Recorded steps of one client."""

    observations: Floats
    """`[t, o]`."""
    actions: Floats
    """In [-1, 1], `[t, q]`."""
    reached: Floats
    """Next observations, also where the episode ended there, `[t, o]`."""
    reward: Floats
    """The task's own, `[t]`."""
    terminated: Bools
    """`[t]`."""
    first: Floats
    """What episodes began with, `[e, o]`."""

    def __len__(self) -> int:
        """Number of transitions."""
        return len(self.reward)


def gather(
    task: Task, i: float, policies: Sequence[Policy], rng: np.random.Generator, steps: int
) -> Transitions:
    """Record one client's steps, of experts and of chance.

    The first half of the rows (all, without policies) take random actions of the task's lattice,
    each held for ten steps on average; the others take turns between a policy and such held
    actions, and whenever a row's policy takes over, it is the next one's turn. Lattice actions
    because only they are asked for later; a policy because chance alone never learns to stay aloft.

    Args:
        task: The task.
        i: The client.
        policies: Any number.
        rng: Everything random.
        steps: Transitions to record, rounded up to a multiple of `ROWS`.

    Raises:
        DataError: No steps asked for.
    """
    if steps < 1:
        raise DataError(f"steps to gather must be >= 1, got {steps}")
    arena = Arena(task, [i] * ROWS, rng)
    guided = np.arange(ROWS) >= ROWS // 2 if policies else np.zeros(ROWS, dtype=bool)
    choices = task.action.points
    held = choices[rng.integers(len(choices), size=ROWS)]
    flown = guided.copy()
    turns = itertools.cycle(range(max(1, len(policies))))
    pilot = np.array([next(turns) if own else 0 for own in guided])
    first, parts = [arena.observations.copy()], []
    for _ in range(-(-steps // ROWS)):
        switch = rng.random(ROWS) < SWITCH
        taken = switch & guided & (rng.random(ROWS) < 0.5)
        pilot[taken] = [next(turns) for _ in range(taken.sum())]
        flown = np.where(switch, taken, flown)
        held = np.where(switch[:, None], choices[rng.integers(len(choices), size=ROWS)], held)
        seen, actions = arena.observations.copy(), held.copy()
        for number, policy in enumerate(policies):
            rows = np.flatnonzero(flown & (pilot == number))
            if rows.size:
                actions[rows] = np.clip(policy(seen)[rows], -1.0, 1.0)
        move = arena.step(actions)
        parts.append((seen, actions, move.last.copy(), move.reward, move.terminated))
        first.append(move.observations[move.terminated | move.truncated])
    seen, actions, last, reward, terminated = (np.concatenate(x) for x in zip(*parts, strict=True))
    return Transitions(seen, actions, last, reward, terminated, np.concatenate(first))


class Guess(NamedTuple):
    """What a step from each place is expected to do."""

    displacement: Floats
    """Of the state, `[m, p]`."""
    reward: Floats
    """`[m]`."""
    ends: Floats
    """Chance that the episode ends, `[m]`."""
    distance: Floats
    """To the nearest recorded transition, in spacings along its farthest axis, `[m]`."""


class Neighbourhood:
    """Recorded transitions, to be asked what happens near them."""

    def __init__(
        self, task: Task, state: Lattice, action: Lattice, transitions: Transitions
    ) -> None:
        """Sort transitions into a tree.

        Args:
            task: How observations are located; whether actions have an order.
            state: Lattice whose spacings measure distances.
            action: The same for actions.
            transitions: At least one.

        Raises:
            DataError: There are none, or some number is not finite.
        """
        if len(transitions) == 0:
            raise DataError("an empirical model needs at least one transition, got none")
        self._axes = product(state, action).axes
        stretch = DISCRETE_STRETCH if task.discrete else ACTION_STRETCH
        scale = [axis.spacing for axis in state.axes]
        scale += [axis.spacing / stretch for axis in action.axes]
        self._scale = np.array(scale)
        self._period = np.array(
            [axis.points if axis.wraps else 0.0 for axis in self._axes]
        )  # in spacings; 0: an axis without end, as the tree has it
        before = task.locate(transitions.observations)
        after = task.locate(transitions.reached)
        self._at = self._scaled(before, transitions.actions)
        self._moved = state.shortest(after - before)
        self._reward = transitions.reward
        self._ended = transitions.terminated.astype(np.float64)
        if not all(np.isfinite(x).all() for x in (self._at, self._moved, self._reward)):
            raise DataError("recorded transitions must be finite")
        # Where a step that ended an episode led is off the lattice, so it moves nobody.
        going = np.flatnonzero(~transitions.terminated)
        self._goes = (
            going.astype(np.int32) if going.size else np.arange(len(self._at), dtype=np.int32)
        )
        self._tree = cKDTree(self._at, boxsize=self._period)
        self._going = cKDTree(self._at[self._goes], boxsize=self._period)

    def guess(self, places: Floats, actions: Floats) -> Guess:
        """Fit around every place.

        Args:
            places: States, `[m, p]`.
            actions: `[m, q]`.
        """
        parts = [
            self._fit(self._scaled(places[cut], actions[cut]))
            for cut in (slice(j, j + CHUNK) for j in range(0, len(places), CHUNK))
        ]
        return Guess(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _fit(self, at: Floats) -> Guess:
        """Weighted linear fit for the displacement, weighted means for the rest."""
        near, distance = self._nearest(self._going, at, NEIGHBOURS)
        near = self._goes[near]
        offset = self._offset(near, at)
        moved = _kept_linear(offset, _weights(distance), self._moved[near])
        near, distance = self._nearest(self._tree, at, NEAREST)
        weight = _weights(distance)
        offset = self._offset(near[:, :1], at)
        return Guess(
            moved,
            np.einsum("mk,mk->m", weight, self._reward[near]),
            np.einsum("mk,mk->m", weight, self._ended[near]),
            self._farthest(offset),
        )

    @staticmethod
    def _nearest(tree: cKDTree, at: Floats, count: int) -> tuple[Ints, Floats]:
        """The nearest points of a tree to each place and how far they are, `[m, k]`."""
        distance, near = tree.query(at, k=range(1, min(count, tree.n) + 1))
        return np.asarray(near, dtype=np.int32), np.asarray(distance, dtype=np.float64)

    def _offset(self, near: Ints, at: Floats) -> Floats:
        """From places to transitions, in scaled coordinates, `[m, k, p + q]`."""
        offset: Floats = self._at[near] - at[:, None]
        for j in np.flatnonzero(self._period):
            offset[..., j] -= self._period[j] * np.rint(offset[..., j] / self._period[j])
        return offset

    def _farthest(self, offset: Floats) -> Floats:
        """Spacings to the nearest neighbour along the axis where it is farthest, `[m]`."""
        spacing = np.array([axis.spacing for axis in self._axes])
        farthest: Floats = np.abs(offset[:, 0] * self._scale / spacing).max(axis=1)
        return farthest

    def _scaled(self, places: Floats, actions: Floats) -> Floats:
        """Coordinates in spacings, wrapping axes within their period."""
        low = np.array([axis.low for axis in self._axes])
        at: Floats = (np.concatenate([places, actions], axis=1) - low) / self._scale
        for j in np.flatnonzero(self._period):
            at[:, j] = np.mod(at[:, j], self._period[j]) % self._period[j]
        return at


def _weights(distance: Floats) -> Floats:
    """Weights of neighbours `[m, k]`, rows sum to one: a Gaussian as wide as their middle."""
    width = np.maximum(np.median(distance, axis=1, keepdims=True), 1e-9)
    weight = np.exp(-0.5 * ((distance - distance[:, :1]) / width) ** 2)
    shares: Floats = weight / weight.sum(axis=1, keepdims=True)
    return shares


def _kept_linear(offset: Floats, weight: Floats, values: Floats) -> Floats:
    """Ridge fit of values on offsets, read at offset zero, kept within the values' range.

    Args:
        offset: `[m, k, d]`.
        weight: `[m, k]`, rows sum to one.
        values: `[m, k, c]`.

    Returns:
        `[m, c]`.
    """
    middle = np.einsum("mk,mkd->md", weight, offset)
    mean = np.einsum("mk,mkc->mc", weight, values)
    centred = offset - middle[:, None]
    weighted = np.swapaxes(centred * weight[:, :, None], 1, 2)
    gram = weighted @ centred
    spread = np.trace(gram, axis1=1, axis2=2)[:, None, None] / gram.shape[1]
    gram += (RIDGE * spread + 1e-12) * np.eye(gram.shape[1])
    slope = np.linalg.solve(gram, weighted @ (values - mean[:, None]))
    fitted = mean - np.einsum("md,mdc->mc", middle, slope)
    kept: Floats = np.clip(fitted, values.min(axis=1), values.max(axis=1))
    return kept


@dataclass(frozen=True)
class EmpiricalModel(LatticeModel):
    """A lattice model that was estimated."""

    extrapolated: float
    """Share of (state, action) pairs farther than one spacing, along some axis, from every recorded
    transition: there the model is a guess."""


def model_from_transitions(
    task: Task, transitions: Transitions, state: Lattice, action: Lattice
) -> EmpiricalModel:
    """Ask recorded transitions for a step from every lattice point under every lattice action.

    Args:
        task: How observations are located.
        transitions: The client's, see `gather`.
        state: Lattice of states.
        action: Lattice of actions.

    Returns:
        The model; steps beyond a limit of the lattice end on it.

    Raises:
        DataError: There are no transitions, or they are not finite.
    """
    s, a = state.size, action.size
    neighbourhood = Neighbourhood(task, state, action, transitions)
    blocks, reward, distance = [], np.empty((a, s)), np.empty((a, s))
    for number, act in enumerate(action.points):
        guess = neighbourhood.guess(state.points, np.tile(act, (s, 1)))
        reward[number], distance[number] = guess.reward, guess.distance
        reached = state.points + guess.displacement
        going = np.clip(1.0 - guess.ends, 0.0, 1.0)  # means are off by rounding
        blocks.append(interpolation(state, reached, going))
    initial = occupied(state, task.locate(transitions.first))
    expect = sp.vstack(blocks).tocsr()
    far = float((distance > 1.0).mean())
    return EmpiricalModel(state, action, expect, reward, initial, far)
