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

from dataclasses import dataclass, field

import numpy as np

from fedirl_ray.transport.axis import Floats
from fedirl_ray.transport.backend import Array

RIDGE = 1e-10
"""Share of the trace added to the diagonal: old residuals become nearly dependent."""

RESTART = 100.0
"""The history is dropped when the squared residual exceeds the least one kept by this factor."""


@dataclass(frozen=True)
class Kept:
    """What the loop keeps of one step; vectors `[n]`."""

    total: Array
    """`sum_k alpha_k log K'u_k`."""
    log_b: Array
    """The next `log_b`, before mixing."""
    log_d: Array
    """The next `log_d` of the debiased barycenter; zeros otherwise."""
    centre: Array = None
    """`c`, the mean of the clients' `log(q_k / b_old)`."""
    excess: Array = None
    """`e - c`: zero unless debiased."""
    moved_d: Array = None
    """How far the step moves `log_d`."""


@dataclass
class Mixer:
    """The kept steps by slot, and the inner products of their residuals."""

    slots: int
    kept: list[Kept] = field(default_factory=list)
    order: list[int] = field(default_factory=list)
    """Slots in use, oldest first."""
    gram: Floats = field(init=False)
    """`[h, h]`."""

    def __post_init__(self) -> None:
        self.gram = np.zeros((self.slots, self.slots))

    def next_slot(self) -> int:
        """Return the slot the next step goes to: a free one, else the oldest."""
        if not self.order:
            return 0
        return (self.order[-1] + 1) % self.slots

    def clear(self) -> None:
        """Forget every step."""
        self.kept.clear()
        self.order.clear()

    def keep(self, step: Kept, products: Floats) -> None:
        """Keep a step in the next slot.

        Args:
            step: The loop's vectors.
            products: `sum_k alpha_k <x_k, x'_k>` with each slot's step `[h]`.
        """
        slot = self.next_slot()
        if slot == len(self.kept):
            self.kept.append(step)
        else:
            self.kept[slot] = step
        self.order = [*(s for s in self.order if s != slot), slot]
        if self.slots == 1:
            return
        for other in self.order:
            past = self.kept[other]
            product = products[other] - _dot(step.centre, past.centre)
            product += _dot(step.excess, past.excess) + _dot(step.moved_d, past.moved_d)
            self.gram[slot, other] = self.gram[other, slot] = product
        squares = [self.gram[s, s] for s in self.order]
        if squares[-1] > RESTART * min(squares):
            self.order = [slot]

    def weights(self) -> tuple[float, ...]:
        """Return the weight of each filled slot: those whose combined residual is smallest."""
        if not self.order:
            return ()
        newest, past = self.order[-1], self.order[:-1]
        weights = np.zeros(len(self.kept))
        weights[newest] = 1.0
        if past:
            cross = self.gram[past, newest] - self.gram[newest, newest]
            differences = self.gram[np.ix_(past, past)] - self.gram[newest, newest]
            differences -= cross[:, None] + cross[None, :]
            ridge = RIDGE * np.trace(differences)
            if ridge > 0 and np.isfinite(ridge):
                share = np.linalg.solve(differences + ridge * np.eye(len(past)), -cross)
                weights[past] = share
                weights[newest] -= share.sum()
        return tuple(weights.tolist())

    def mixed(self, weights: tuple[float, ...]) -> Kept:
        """Return the weighted sum of the kept steps' `total`, `log_b` and `log_d`."""
        if len(weights) == 1:
            return self.kept[0]
        pairs = [pair for pair in zip(weights, self.kept, strict=True) if pair[0] != 0.0]
        total, log_b, log_d = (
            sum(w * getattr(step, name) for w, step in pairs)
            for name in ("total", "log_b", "log_d")
        )
        return Kept(total, log_b, log_d)


def _dot(one: Array, two: Array) -> float:
    return float(one @ two)
