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
from fedirl_ray.transport.backend import Array, asnumpy, like, namespace_of
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

    def __init__(self, slots: int, *, by_residual: bool = False) -> None:
        self.slots, self.by_residual = slots, by_residual
        self.order: list[int] = []
        """Slots in use, oldest first."""
        self.filled = 0
        """Slots written since the last `clear`; those not in `order` get no weight."""
        self.gram: Floats = np.zeros((slots, slots))
        self.errors: Floats = np.zeros(slots)
        """L1 error seen by each kept step."""
        self.blended = False
        """Whether the weights returned last were of more than one step."""
        self.least = np.inf
        """Least error seen since the last `clear`."""
        self.stale = 0
        """Mixed steps since then."""
        self.failures = 0
        """How often mixing failed, less the new least errors it led to."""
        self.pause = 0
        """Plain steps still to take before the next mixed one."""
        self._states: Array = None
        self._residuals: Array = None

    def next_slot(self) -> int:
        """Return the slot the next step goes to: a free one, else the oldest."""
        return (self.order[-1] + 1) % self.slots if self.order else 0

    def clear(self) -> None:
        """Forget every step."""
        self.order.clear()
        self.filled = self.stale = self.failures = self.pause = 0
        self.least = np.inf

    def keep(self, state: Array, residual: Array, products: Floats, error: float) -> bool:
        """Keep a step in the next slot; return whether it counts.

        Args:
            state: `[c, n]`, what the step leads to.
            residual: `[c, n]`: `c`, then, if the state has three rows, `e - c` and the residual of
                `log_d`. Not read if only one step is kept.
            products: `sum_k alpha_k <x_k, x'_k>` with each slot's step `[h]`.
            error: L1 error of the marginals. Not read if only one step is kept.

        A mixed step that does not count leaves the one before it as the newest of all.
        """
        slot = self.next_slot()
        if self.slots == 1:
            self._states, self.order, self.filled = state[None], [0], 1
            return True
        if self._states is None or self._states.shape[1:] != state.shape:
            xp = namespace_of(state)
            self._states = xp.zeros((self.slots, *state.shape), dtype=state.dtype, **like(state))
            self._residuals = xp.zeros_like(self._states)
        self._states[slot], self._residuals[slot] = state, residual
        self.filled = max(self.filled, slot + 1)
        self.order = [*(s for s in self.order if s != slot), slot]
        row = products - asnumpy(self._residuals[:, 0] @ residual[0])
        for part in range(1, len(residual)):
            row = row + asnumpy(self._residuals[:, part] @ residual[part])
        self.gram[slot], self.gram[:, slot] = row, row
        self.errors[slot] = error
        counts = self._judge(slot, error)
        if counts and row[slot] > RESTART * self.gram[self.order, self.order].min():
            self.order = [slot]
        return counts

    def _judge(self, slot: int, error: float) -> bool:
        """Return whether the step just put in `slot` counts, and decide what to do next."""
        counts, better = True, error < self.least
        if not self.blended:
            self.pause = max(0, self.pause - 1)
        else:
            before = self.order[-2]
            # An error that is not a number is not within anything.
            rise = RISE_BY_RESIDUAL if self.by_residual else RISE
            counts = bool(error <= max(self.errors[before], rise * self.least))
            if self.by_residual:
                counts = counts and bool(self.gram[slot, slot] <= self.gram[before, before])
                better = better and counts
            self.stale += 1
            if better:
                self.failures = max(0, self.failures - 1)
            elif not counts or self.stale > PATIENT:
                self.order = [slot if counts else before]
                self.pause = 2**self.failures
                self.failures, self.stale = self.failures + 1, 0
        if better:
            self.least, self.stale = error, 0
        return counts

    def weights(self, *, plain: bool) -> tuple[float, ...]:
        """Return the weight of each filled slot: those whose combined residual is smallest.

        Args:
            plain: Give all weight to the newest step.
        """
        self.blended = False
        if self.filled < 2:
            return (1.0,) * self.filled
        newest, past = self.order[-1], self.order[:-1]
        weights = np.zeros(self.filled)
        weights[newest] = 1.0
        if past and not plain and not self.pause:
            cross = self.gram[past, newest] - self.gram[newest, newest]
            differences = self.gram[np.ix_(past, past)] - self.gram[newest, newest]
            differences -= cross[:, None] + cross[None, :]
            ridge = RIDGE * float(np.trace(differences))
            if ridge > 0 and np.isfinite(ridge):
                differences[np.diag_indices(len(past))] += ridge
                weights[past] = np.linalg.solve(differences, -cross)
                weights[newest] -= weights[past].sum()
                self.blended = True
        return tuple(weights.tolist())

    def mixed(self, weights: tuple[float, ...]) -> Array:
        """Return the weighted sum of the kept states `[c, n]`."""
        only = alone(weights)
        if only is not None:
            return self._states[only]
        states = self._states[: len(weights)]
        xp = namespace_of(states)
        row = xp.asarray(np.array(weights), **like(states))
        return (row @ states.reshape(len(weights), -1)).reshape(states.shape[1:])
