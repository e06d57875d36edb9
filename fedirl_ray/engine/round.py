"""One round: clients are asked and answer, the door looks at uploads, every rule fuses its own.

Letters: `m` uploads, `d` features.
"""

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from fedirl_ray.config import RunConfig
from fedirl_ray.domain.domain import Domain
from fedirl_ray.engine.door import Admission, Terms, admit
from fedirl_ray.engine.event import Event, Report
from fedirl_ray.engine.federation import Federation, federated, in_need, require_hidden
from fedirl_ray.engine.fleet import Fleet
from fedirl_ray.engine.polling import Pollster
from fedirl_ray.engine.stopwatch import Stopwatch
from fedirl_ray.engine.sums import fuse_by_sums
from fedirl_ray.engine.upload import Answer, Order, curvatures_of
from fedirl_ray.engine.weights import alpha, given_weights
from fedirl_ray.errors import RunError
from fedirl_ray.fusion.registration import require_lattice
from fedirl_ray.fusion.rules import fuse
from fedirl_ray.fusion.selection import NoScoresError, choices
from fedirl_ray.fusion.spec import Fused, Given, Support
from fedirl_ray.privacy.protection import CentralGuard
from fedirl_ray.problem.dials import seen_support
from fedirl_ray.problem.mdp import Bools, Floats


@dataclass(frozen=True)
class Stage:
    """What all rounds of a seed stand on."""

    support: Support
    """Where rewards are compared."""
    terms: Terms
    """What an upload must keep."""
    seen: Bools | None
    """Support points each client sees, `[k, n]`; None: all."""
    weights: Floats | None
    """How much each client counts, `[k]`; None: no file says so."""
    scoring: tuple[int, ...]
    """Federations whose rules have clients score rewards."""
    guard: CentralGuard | None = None
    """Adds the noise of a trusted server; None: no such noise is asked for."""


def stage_of(domain: Domain, seed: int, guard: CentralGuard | None = None) -> Stage:
    """Draw the shared support of a seed, and what depends on it.

    Raises:
        ConfigError: A rule needs a lattice, and the support is none.
    """
    config, ground = domain.config, domain.ground(seed)
    require_hidden(config)
    terms = Terms(
        d=ground.support.features.shape[1],
        # Who was let in is told, and a trusted server is to tell nothing of a theta: it clips.
        norm_bound=config.federation.norm_bound if guard is None else np.inf,
        curvature_bound=ground.curvature_bound,
        iterations=config.irl.iterations,
        episodes=ground.episodes,
        rules=federated(config),
        curved=in_need(config, "curvature"),
    )
    hidden, everyone = config.heterogeneity.hidden_support, range(config.clients)
    axes = ground.support.axes
    if in_need(config, "lattice"):
        require_lattice(axes)
    seen = seen_support(axes, hidden, everyone, config.seed, seed) if hidden > 0.0 else None
    weights = given_weights(config)
    return Stage(ground.support, terms, seen, weights, in_need(config, "scores"), guard)


def run_round(
    config: RunConfig,
    fleet: Fleet,
    seed: int,
    state: Federation,
    stage: Stage,
    clock: Stopwatch,
    report: Report,
) -> Federation:
    """One round. Every fused rule keeps a federation of its own, beside the clients alone."""
    order = state.order(config, seed)
    out = time.monotonic()
    answers = fleet.learn(order)
    clock.add_exchange(out, answers, time.monotonic())
    with clock.timing("door"):
        admission = receive(config, order, answers, stage.terms, report)
    fused: list[Fused | None] = []
    numbers, polls = itertools.count(), np.zeros((2, len(stage.terms.rules), config.clients), int)
    for q, rule in enumerate(stage.terms.rules):
        with clock.timing(rule):
            here = np.flatnonzero(admission.let_in[:, 1 + q])
            if not _has_quorum(config, order, rule, len(here), admission, report):
                fused.append(None)
                continue
            uploads, row = [admission.uploads[i] for i in here], order.row(q)
            who = [upload.key.client for upload in uploads]
            poll = Pollster(config, fleet, order, numbers, who, report)
            given = Given(
                thetas=np.stack([upload.theta[row] for upload in uploads]),
                weights=alpha(config, uploads, stage.weights),
                support=stage.support,
                config=config.fusion,
                seen=None if stage.seen is None else stage.seen[who],
                curvatures=curvatures_of(uploads, order, row) if q in stage.terms.curved else None,
                barycenter=fleet.barycenter,
                score=poll if q in stage.scoring else None,
            )
            try:
                fused.append(_fuse(config, rule, given, who, order, stage.guard, report))
            except NoScoresError as err:
                _skip(order, rule, str(err), report)
                fused.append(None)
            polls[:, q] = poll.asked, poll.scored
    return state.close(order.clients, admission, fused, polls, choices(config.fusion))


def _fuse(
    config: RunConfig,
    rule: str,
    given: Given,
    who: Sequence[int],
    order: Order,
    guard: CentralGuard | None,
    report: Report,
) -> Fused | None:
    """What a rule makes of uploads, by a server that sees as much of them as it is to."""
    if config.privacy.aggregation != "clear":
        return fuse_by_sums(config, rule, given, who, order.seed, order.round, report)
    if guard is None:
        return fuse(rule, given)
    found = fuse(rule, replace(given, thetas=guard.clip(given.thetas)))
    return replace(found, theta=guard.mean(found.theta, given.weights, order.round))


def receive(
    config: RunConfig, order: Order, answers: Sequence[Answer], terms: Terms, report: Report
) -> Admission:
    """Check uploads at the door, and tell of those refused and missing."""
    admission = admit(answers, terms)
    for client, reason in admission.refused:
        who = () if client is None else (client,)
        report(Event("refused", reason, order.seed, order.round, who))
    heard = np.flatnonzero(np.any(admission.let_in[:, 1:], axis=1))
    came = {admission.uploads[i].key.client for i in heard}
    missing = tuple(client for client in order.clients if client not in came)
    if missing:
        report(Event("missing", "no upload was let in", order.seed, order.round, missing))
    return admission


def _has_quorum(
    config: RunConfig, order: Order, rule: str, count: int, admission: Admission, report: Report
) -> bool:
    """Whether enough uploads were let in to a rule's federation.

    Raises:
        RunError: Too few to that of the mean, which all others are compared to.
    """
    needed = max(1, ceil(config.federation.quorum * len(order.clients) - 1e-9))
    if count >= needed:
        return True
    said = (
        f"federation.quorum {config.federation.quorum:g} needs {needed} of "
        f"{len(order.clients)} uploads"
    )
    if rule == "mean":
        why = next((f"; client {client}: {told}" for client, told in admission.refused), "")
        raise RunError(f"{said} in round {order.round} of seed {order.seed}, got {count}{why}")
    _skip(order, rule, f"{said}, got {count}", report)
    return False


def _skip(order: Order, rule: str, why: str, report: Report) -> None:
    report(Event("skipped", f"{rule}: {why}; it keeps the reward it had", order.seed, order.round))
