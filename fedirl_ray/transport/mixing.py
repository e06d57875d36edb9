"""Anderson mixing of barycenter steps, from inner products the shards already return.

A step maps the clients' potentials `log v_k` to `log b - log K'u_k`. Mixing looks for weights of
past steps, of sum 1, whose combined residual is smallest (Walker and Ni 2011, "Anderson
acceleration for fixed-point iterations", section 2). The residual of client `k` is
`e - x_k` with `x_k = log(q_k / b_old)` and `e = log(b / b_old)`; the alpha-weighted mean `c` of the
`x_k` is known to the loop, hence

    sum_k alpha_k <e - x_k, e' - x'_k> = <e - c, e' - c'> + sum_k alpha_k <x_k, x'_k> - <c, c'>,

and no shard ever has to wait for another's `log b`: a step still is a single round.

Letters: `h` kept steps, `n` lattice points.
"""

import numpy as np

from fedirl_ray.transport.axis import Floats
from fedirl_ray.transport.backend import Array, asnumpy, like, namespace_of

RIDGE = 1e-10
"""Share of the trace added to the diagonal: old residuals become nearly dependent."""

RESTART = 100.0
"""The history is dropped when the squared residual exceeds the least one kept by this factor."""


class Mixer:
    """The kept steps by slot, and the inner products of their residuals.

    A step is kept as rows `[c, n]`: either just `sum_k alpha_k log K'u_k`, which then is the next
    `log_b`; or that, the next `log_b` and the next `log_d` (debiased).
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.order: list[int] = []
        """Slots in use, oldest first."""
        self.filled = 0
        """Slots written since the last `clear`; those not in `order` get no weight."""
        self.gram: Floats = np.zeros((slots, slots))
        self._states: Array = None
        self._residuals: Array = None

    def next_slot(self) -> int:
        """Return the slot the next step goes to: a free one, else the oldest."""
        return (self.order[-1] + 1) % self.slots if self.order else 0

    def clear(self) -> None:
        """Forget every step."""
        self.order.clear()
        self.filled = 0

    def keep(self, state: Array, residual: Array, products: Floats) -> None:
        """Keep a step in the next slot.

        Args:
            state: `[c, n]`, what the step leads to.
            residual: `[c, n]`: `c`, then, if the state has three rows, `e - c` and the residual of
                `log_d`. Not read if only one step is kept.
            products: `sum_k alpha_k <x_k, x'_k>` with each slot's step `[h]`.
        """
        slot = self.next_slot()
        if self.slots == 1:
            self._states, self.order, self.filled = state[None], [0], 1
            return
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
        if row[slot] > RESTART * self.gram[self.order, self.order].min():
            self.order = [slot]

    def weights(self) -> tuple[float, ...]:
        """Return the weight of each filled slot: those whose combined residual is smallest."""
        if self.filled < 2:
            return (1.0,) * self.filled
        newest, past = self.order[-1], self.order[:-1]
        weights = np.zeros(self.filled)
        weights[newest] = 1.0
        if past:
            cross = self.gram[past, newest] - self.gram[newest, newest]
            differences = self.gram[np.ix_(past, past)] - self.gram[newest, newest]
            differences -= cross[:, None] + cross[None, :]
            ridge = RIDGE * float(np.trace(differences))
            if ridge > 0 and np.isfinite(ridge):
                differences[np.diag_indices(len(past))] += ridge
                weights[past] = np.linalg.solve(differences, -cross)
                weights[newest] -= weights[past].sum()
        return tuple(weights.tolist())

    def mixed(self, weights: tuple[float, ...]) -> Array:
        """Return the weighted sum of the kept states `[c, n]`."""
        if len(weights) == 1:
            return self._states[0]
        states = self._states[: len(weights)]
        xp = namespace_of(states)
        row = xp.asarray(np.array(weights), **like(states))
        return (row @ states.reshape(len(weights), -1)).reshape(states.shape[1:])
