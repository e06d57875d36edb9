"""Which clients share an actor. Pure; never changes a result."""

import heapq
from collections.abc import Sequence
from typing import Literal, NamedTuple

ROOMY = 8  # clients a CPU up to which each gets an actor of its own


class Placement(NamedTuple):
    """Clients by actor."""

    blocks: tuple[tuple[int, ...], ...]
    """Client numbers of each actor, ascending."""
    reason: str
    """What was chosen and why, for the record."""


def place(costs: Sequence[float], asked: Literal["auto"] | int, cpus: int) -> Placement:
    """Share clients out over actors so that the actors have about equally much to do.

    Args:
        costs: Expected work of each client, in any unit, > 0.
        asked: Clients an actor, or `auto`.
        cpus: The cluster's CPUs.

    Returns:
        Blocks; none is empty.
    """
    clients = len(costs)
    if asked != "auto":
        count, why = -(-clients // asked), f"engine.clients-per-actor {asked}"
    elif clients <= ROOMY * cpus:
        count, why = clients, f"auto: at most {ROOMY} clients a CPU get one actor each"
    else:
        count, why = min(cpus, clients), f"auto: more than {ROOMY} clients a CPU share one a CPU"
    blocks: list[list[int]] = [[] for _ in range(count)]
    # The largest first, each to the actor with least to do so far.
    idle = [(0.0, i) for i in range(count)]
    for client in sorted(range(clients), key=lambda i: -costs[i]):
        load, i = heapq.heappop(idle)
        blocks[i].append(client)
        heapq.heappush(idle, (load + costs[client], i))
    loads = [sum(costs[i] for i in block) for block in blocks]
    spread = f", loads {min(loads):g} to {max(loads):g}" if len(set(costs)) > 1 else ""
    return Placement(
        tuple(tuple(sorted(block)) for block in blocks if block),
        f"{clients} clients in {count} actors on {cpus} CPUs ({why}{spread})",
    )
