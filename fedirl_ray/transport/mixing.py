"""Anderson mixing of barycenter steps, from inner products the shards already return.

A step maps the clients' potentials `log v_k` to `log b - log K'u_k`. Mixing looks for weights of
past steps, of sum 1, whose combined residual is smallest (Walker and Ni 2011, "Anderson
acceleration for fixed-point iterations", section 2). The residual of client `k` is
`e - x_k` with `x_k = log(q_k / b_old)` and `e = log(b / b_old)`; the alpha-weighted mean `c` of the
`x_k` is known to the loop, hence

    sum_k alpha_k <e - x_k, e' - x'_k> = <e - c, e' - c'> + sum_k alpha_k <x_k, x'_k> - <c, c'>,

and no shard ever has to wait for another's `log b`: a step still is a single round.

That residual is linear algebra's, in logarithms and without regard to mass; where the barycenter is
barely determined (debiased, or epsilon far below the lattice's spacing) its least combination can
lie anywhere. So a mixed step counts only if the marginals' L1 error falls, or at least stays near
the least seen so far. Else it is taken back: its slot is written over, and plain steps go on from
the last step that counted, twice as many each time mixing fails. Ten mixed steps without a new
least error are a failure too. (Safeguards of this kind: Zhang, O'Donoghue and Boyd 2020, "Globally
convergent type-I Anderson acceleration for nonsmooth fixed-point iterations", section 3.)

A debiased barycenter whose kernel is as wide as the lattice is judged by the residual in its own
norm instead. There the L1 error misleads both ways: it hardly sees a barycenter of the wrong
width, while a mixed step on the right way can raise it tenfold before it falls.

Letters: `h` kept steps, `n` lattice points.
"""

import numpy as np

from fedirl_ray.transport.axis import Floats
from fedirl_ray.transport.backend import (
    Array,
    asnumpy,
    beside,
    like,
    namespace_of,
    solve_linear,
)
from fedirl_ray.transport.step import alone

RIDGE = 1e-10
"""Share of the trace added to the diagonal: old residuals become nearly dependent."""

RISE = 1.5
"""A mixed step may leave an error above the last one while it is within this factor of the least:
held strictly to falling errors, noise at cost over epsilon 1,000 takes over twice the steps."""

RISE_BY_RESIDUAL = 20.0
"""The same where the residual decides: only a step that would lose the measures is taken back."""

PATIENT = 10
"""Mixed steps that may follow each other without a new least error."""

RESTART = 100.0
"""The history is dropped when the squared residual exceeds the least one kept by this factor."""


class Mixer:
    """The kept steps by slot, and the inner products of their residuals.

    A step is kept as rows `[c, n]`: either just `sum_k alpha_k log K'u_k`, which then is the next
    `log_b`; or that, the next `log_b` and the next `log_d` (debiased).
    """

    def __init__(self, slots: int, *, by_residual: bool = False, every: int = 1) -> None:
        """Keep nothing yet.

        Args:
            slots: Most kept steps.
            by_residual: Judge mixed steps by the residual.
            every: Steps from one that is judged to the next, where each look has the host wait for
                a GPU; fewer than there are slots, so that what was judged last is still kept.
        """
        self.slots, self.by_residual = slots, by_residual
        self.every = min(every, max(1, slots - 1))
        self.order: list[int] = []
        """Slots in use, oldest first."""
        self.filled = 0
        """Slots written since the last `clear`; those not in `order` get no weight."""
        self.gram: Array = None
        """`[h, h]`; what belongs to slots that are not in `order` is not read."""
        self.errors: Floats = np.zeros(slots)
        """L1 error seen by each kept step that was judged."""
        self.blended = False
        """Whether the weights returned last were of more than one step."""
        self._tried = False
        """Whether any were, since a step was judged."""
        self._judged: int | None = None
        """Slot of the last step that was judged and counted."""
        self.least = np.inf
        """Least error seen since the last `clear`."""
        self.stale = 0
        """Mixed steps since then."""
        self.failures = 0
        """How often mixing failed, less the new least errors it led to."""
        self.pause = 0
        """Looks at plain steps still to take before steps are mixed again."""
        self._states: Array = None
        self._residuals: Array = None
        self._in_use: Array = None
        """`[h]`, whether a slot is in `order`, where not all are: held beside the states, so that
        nothing has to be sent there."""

    @property
    def judging(self) -> bool:
        """Whether there is a step to judge the next ones against."""
        return self._judged is not None

    def next_slot(self) -> int:
        """Return the slot the next step goes to: a free one, else the oldest."""
        return (self.order[-1] + 1) % self.slots if self.order else 0

    def clear(self) -> None:
        """Forget every step."""
        self._use([])
        self._judged, self._tried = None, False
        self.filled = self.stale = self.failures = self.pause = 0
        self.least = np.inf

    def keep(self, state: Array, residual: Array, products: Array, error: float | None) -> bool:
        """Keep a step in the next slot; return whether it counts.

        Args:
            state: `[c, n]`, what the step leads to.
            residual: `[c, n]`: `c`, then, if the state has three rows, `e - c` and the residual of
                `log_d`. Not read if only one step is kept.
            products: `sum_k alpha_k <x_k, x'_k>` with each slot's step `[h]`.
            error: L1 error of the marginals; `None` if the step is not judged. Not read if only one
                step is kept.

        Mixed steps that do not count leave the last one that did as the newest of all.
        """
        slot = self.next_slot()
        if self.slots == 1:
            self._states, self.order, self.filled = state[None], [0], 1
            return True
        if self._states is None or self._states.shape[1:] != state.shape:
            self._make_room(state)
        self._states[slot], self._residuals[slot] = state, residual
        self.filled = max(self.filled, slot + 1)
        self.order = [*(s for s in self.order if s != slot), slot]
        if len(self.order) < self.filled:
            self._in_use[slot] = True
        row = products - self._residuals[:, 0] @ residual[0]
        for part in range(1, len(residual)):
            row = row + self._residuals[:, part] @ residual[part]
        self.gram[slot], self.gram[:, slot] = row, row
        if error is None:
            return True
        self.errors[slot] = error
        squares = asnumpy(self.gram.diagonal())
        counts = self._judge(slot, error, squares)
        if counts and squares[slot] > RESTART * squares[self.order].min():
            self._use([slot])
        return counts

    def _make_room(self, state: Array) -> None:
        xp, beside_it = namespace_of(state), like(state)
        self._states = xp.zeros((self.slots, *state.shape), dtype=state.dtype, **beside_it)
        self._residuals = xp.zeros_like(self._states)
        self.gram = xp.zeros((self.slots, self.slots), dtype=state.dtype, **beside_it)
        self._in_use = xp.zeros(self.slots, dtype=xp.bool, **beside_it)

    def _use(self, order: list[int]) -> None:
        """Mix only steps of these slots, oldest first."""
        self.order = order
        if self._in_use is not None:
            self._in_use[:] = False
            for slot in order:
                self._in_use[slot] = True

    def _judge(self, slot: int, error: float, squares: Floats) -> bool:
        """Return whether the step just put in `slot` counts, and decide what to do next."""
        counts, better, before = True, error < self.least, self._judged
        if not self._tried or before is None:
            self.pause = max(0, self.pause - 1)
        else:
            # An error that is not a number is not within anything.
            rise = RISE_BY_RESIDUAL if self.by_residual else RISE
            counts = bool(error <= max(self.errors[before], rise * self.least))
            if self.by_residual:
                counts = counts and bool(squares[slot] <= squares[before])
                better = better and counts
            self.stale += self.every
            if better:
                self.failures = max(0, self.failures - 1)
            elif not counts or self.stale > PATIENT * self.every:
                self._use([slot if counts else before])
                self.pause = 2**self.failures
                self.failures, self.stale = self.failures + 1, 0
        if better:
            self.least, self.stale = error, 0
        if counts:
            self._judged = slot
        self._tried = False
        return counts

    def weights(self, *, plain: bool) -> Array | tuple[float, ...]:
        """Return the weight of each filled slot: those whose combined residual is smallest.

        Args:
            plain: Give all weight to the newest step.
        """
        self.blended = False
        if self.filled < 2:
            return (1.0,) * self.filled
        newest = self.order[-1]
        if len(self.order) > 1 and not plain and not self.pause:
            weights = self._blend(newest)
            if weights is not None:
                self.blended = self._tried = True
                return weights
        return tuple(float(slot == newest) for slot in range(self.filled))

    def _blend(self, newest: int) -> Array | None:
        """Solve for the weights `[filled]`; `None` where all steps have the same residual."""
        gram = self.gram[: self.filled, : self.filled]
        # Of each step's residual less the newest one's; that of the newest itself is nothing.
        right = gram[newest, newest] - gram[newest]
        matrix = gram - gram[newest, newest] + (right[:, None] + right[None, :])
        if len(self.order) < self.filled:
            # Slots that are not in use, and the newest, keep the ridge alone: they get nothing.
            xp, used = namespace_of(gram), self._in_use[: self.filled]
            nothing = xp.zeros_like(matrix)
            matrix = xp.where(used[:, None] & used[None, :], matrix, nothing)
            right = xp.where(used, right, nothing[0])
        ridge = RIDGE * matrix.diagonal().sum()
        if self.every == 1 and not (ridge > 0 and np.isfinite(float(ridge))):
            return None
        diagonal = matrix.reshape(-1)[:: self.filled + 1]
        diagonal += ridge
        weights = solve_linear(matrix, right)
        of_newest = weights[newest : newest + 1]
        of_newest += 1.0 - weights.sum()
        return weights

    def mixed(self, weights: Array | tuple[float, ...]) -> Array:
        """Return the weighted sum of the kept states `[c, n]`."""
        only = alone(weights)
        if only is not None:
            return self._states[only]
        states = self._states[: len(weights)]
        row = beside(states, weights)
        return (row @ states.reshape(len(weights), -1)).reshape(states.shape[1:])
