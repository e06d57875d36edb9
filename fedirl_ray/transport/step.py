"""What the barycenter's loop and its shards say to each other: one `Step`, answered by a `Term`.

Letters: `k` clients of the shard, `n` lattice points, `h` kept steps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from fedirl_ray.transport.backend import Array, namespace_of

Scaling = Literal["plain", "log"]
"""What the iteration holds: scalings, or their logarithms."""


@dataclass(frozen=True)
class Step:
    """Project onto each measure, from the scalings `log v = rescale * (log_b - mix @ kept)`."""

    log_b: Array
    """`[n]`, the barycenter to start from."""
    epsilon: float
    domain: Scaling
    mix: Array | tuple[float, ...] = (1.0,)
    """Weights of the kept `log K'u`, by slot, of sum 1: an array if they blend several; empty at
    the very start."""
    slots: int = 1
    """How many steps are kept from this one on; growing forgets all but the newest."""
    slot: int = 0
    """Which kept step this one replaces."""
    rescale: float = 1.0
    """Old epsilon over new where epsilon changes: the potential `epsilon log v` is kept."""
    measure: bool = False
    """Whether to measure, which costs a few passes over the clients."""
    judge: bool = False
    """Whether to measure the errors alone, of steps that are mixed."""

    @property
    def needs_b(self) -> bool:
        """Whether `b` itself is asked for, and not its logarithm alone."""
        return self.measure or self.judge or (self.domain == "plain" and self.slots == 1)

    @property
    def only(self) -> int | None:
        """The slot that has all the weight, if one has."""
        return alone(self.mix)


def alone(weights: Array | Sequence[float]) -> int | None:
    """Return the place of the only weight that is not zero, if there is just one.

    That of a blend, which is an array, is not looked for: on a GPU it would have to be waited for.
    """
    if not isinstance(weights, tuple):
        return None
    held = [i for i, weight in enumerate(weights) if weight != 0.0]
    return held[0] if len(held) == 1 else None


@dataclass(frozen=True)
class Measured:
    """What a step saw of each client `[k]`; empty arrays where not asked for.

    Products are there whenever steps are kept for mixing.
    """

    errors: Array
    """L1 distance of the plan's second marginal from `b`; its first one is exact."""
    duals: Array
    """`<log u, p>`."""
    margins: Array
    """Plain domain: the smallest sum that matters over the largest term it could have."""
    products: Array
    """`[k, h]`: `<log(q / b), log(q' / b')>` with each kept step, `q` the second marginal."""


@dataclass(frozen=True)
class Term:
    """A shard's part of the next `log_b`, and what it measured."""

    total: Array
    """`sum_k alpha_k log K'u_k` in fixed point, int64 `[n]`: exact, in any order."""
    measured: Measured


Advance = Callable[[Step], Term]
"""Where the shards live is the caller's business: here, or on other machines."""


def gather(terms: Sequence[Term]) -> Term:
    """Join shards' answers, in client order; the sum is exact, so any grouping gives it."""
    total = terms[0].total
    for term in terms[1:]:
        total = total + term.total
    return Term(total, join([term.measured for term in terms]))


def join(parts: Sequence[Measured]) -> Measured:
    """Put measurements of consecutive clients one after the other."""
    if len(parts) == 1:
        return parts[0]
    return Measured(
        _joined([part.errors for part in parts]),
        _joined([part.duals for part in parts]),
        _joined([part.margins for part in parts]),
        _joined([part.products for part in parts]),
    )


def _joined(parts: Sequence[Array]) -> Array:
    return namespace_of(parts[0]).concatenate(parts)
