"""A fused reward that every client makes its own: blended with its own, or learnt on from.

Both happen on the client's side and are used there: nothing of it is uploaded.

Letters: `k` clients, `m` clients of a block, `l` shares, `d` features.
"""

import itertools
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from fedirl_ray.config import RunConfig
from fedirl_ray.domain.domain import Domain
from fedirl_ray.domain.job import Arrays, Job, Plan
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.fusion.rules import share_aside
from fedirl_ray.problem.mdp import Floats

Adaptation = Literal["personal", "fine-tuned"]
ADAPTATIONS: tuple[Adaptation, Adaptation] = ("personal", "fine-tuned")
"""References that clients make of a fused reward."""
SHARES = np.linspace(0.0, 1.0, 6)
"""Of the client's own reward in a blend that are tried, ascending."""


class Adapted(NamedTuple):
    """A reward that clients made their own."""

    theta: Floats
    """`[k, d]`; of a blend NaN of clients that never delivered a reward of their own."""
    share: Floats
    """Of the own reward in a blend, `[k]`; else NaN."""


def adapt(
    domain: Domain,
    how: Adaptation,
    seed: int,
    theta: Floats,
    alone: Floats,
    laid: Sequence[Arrays],
    workers: int,
) -> Plan[Adapted]:
    """Have every client make one reward its own, in as many jobs as there are workers.

    Args:
        domain: The kind of world, and the run.
        how: personal: blend it with the own reward, by the demonstrations kept aside; fine-tuned:
            take a few optimiser steps from it on the client's data.
        seed: Which repetition.
        theta: What is made one's own, `[d]`.
        alone: The clients' own rewards, `[k, d]`; NaN of those that never delivered one.
        laid: See `Domain.lay`.
        workers: How many jobs can be done at once.
    """
    aside = share_aside(domain.config)
    shared = {"config": domain.config, "aside": aside, "how": how, "seed": seed, "theta": theta}
    edges = np.linspace(0, len(alone), workers + 1).astype(int).tolist()
    found = yield [
        Job(
            how,
            adapt_clients,
            shared | {"alone": alone[first:last], "first": first, "laid": list(laid[first:last])},
        )
        for first, last in itertools.pairwise(edges)
        if first < last
    ]
    return Adapted(*(np.concatenate([one[name] for one in found]) for name in Adapted._fields))


def adapt_clients(
    config: RunConfig,
    aside: float,
    how: Adaptation,
    seed: int,
    theta: Floats,
    alone: Floats,
    first: int,
    laid: Sequence[Arrays],
) -> Arrays:
    """Have some clients, `m` from `first` on, make a reward their own; a job.

    Returns:
        The fields of `Adapted`, of these clients.
    """
    domain, m = domain_of(config, aside), len(alone)
    clients = range(first, first + m)
    held = domain.hold(seed, clients, dict(zip(clients, laid, strict=True)))
    if how == "personal":
        tried = blends(theta, np.nan_to_num(alone))
        return Adapted(*best_blend(tried, domain.score(held, tried)[..., 1], alone))._asdict()
    start = np.broadcast_to(theta, (m, 1, theta.size))
    pull = np.full((m, 1), config.federation.proximal)
    found = domain.learn(held, start, pull, most=config.evaluation.fine_tune_steps, curvature=False)
    return Adapted(found.theta[:, 0], np.full(m, np.nan))._asdict()


def blends(fused: Floats, own: Floats) -> Floats:
    """(1 - l) fused + l own for every share l: of `[d]` and `[m, d]`, `[m, l, d]`."""
    share = SHARES[:, None]
    return (1.0 - share) * fused + share * own[:, None]


def best_blend(tried: Floats, ends: Floats, own: Floats) -> tuple[Floats, Floats]:
    """Take each client's blend of the largest overlap, of the smaller share where they tie.

    Args:
        tried: What `blends` made, `[m, l, d]`.
        ends: Overlap of its plans' last states with those that the client kept aside, `[m, l]`.
        own: `[m, d]`; NaN of a client that never delivered a reward, and so is its blend.

    Returns:
        The blends, `[m, d]`, and the own reward's share in them, `[m]`.
    """
    best = ends.argmax(axis=1)  # the first of equals
    theta = np.take_along_axis(tried, best[:, None, None], axis=1)[:, 0]
    known = np.asarray(np.isfinite(own).all(axis=1))
    return np.where(known[:, None], theta, np.nan), np.where(known, SHARES[best], np.nan)
