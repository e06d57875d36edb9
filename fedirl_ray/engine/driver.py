"""The server's side of a run: the method, written down.

Letters: `k` clients, `w` held-out worlds, `q` fused rules (each keeps its own federation), `c`
rules, `d` features.
"""

import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from typing import Protocol

import numpy as np

from fedirl_ray.config import RunConfig
from fedirl_ray.engine.door import Admission, Terms, admit
from fedirl_ray.engine.event import Event, Report, ignore
from fedirl_ray.engine.federation import Federation, federated, in_need
from fedirl_ray.engine.result import SeedResult, mean_over_worlds
from fedirl_ray.engine.upload import Answer, Order, curvatures_of
from fedirl_ray.engine.weights import alpha, given_weights
from fedirl_ray.errors import ConfigError, RunError
from fedirl_ray.evaluate.planner import UNLEARNT, Judgement
from fedirl_ray.fusion.rules import fuse
from fedirl_ray.fusion.spec import Barycenter, Fused, Given, Support, support_of
from fedirl_ray.irl.block import most_episodes
from fedirl_ray.problem.dials import seen_support
from fedirl_ray.problem.family import Role, draw_world, horizon
from fedirl_ray.problem.mdp import Bools, Floats
from fedirl_ray.problem.planning import Outcome

LONGER = 10.0
"""How much longer a world's features may be than the longest of the probe's."""


class Fleet(Protocol):
    """All clients, wherever they run (see `engine.local.Clients` for the arguments)."""

    def prepare(self, seed: int) -> None:
        """Draw every client's data, which `learn` else does on the way."""
        ...

    def learn(self, order: Order) -> list[Answer]:
        """Have clients learn; those that give no answer are left out."""
        ...

    def pool(self, seed: int) -> Floats:
        """Fit one reward to everybody's data."""
        ...

    def judge(
        self, seed: int, role: Role, indices: Sequence[int], thetas: Floats, matched: Floats
    ) -> tuple[Judgement, Outcome]:
        """Judge rewards in some worlds."""
        ...

    @property
    def barycenter(self) -> Barycenter:
        """Computes barycenters, with the bytes of `fedirl_ray.barycenter`."""
        ...


class Stopwatch:
    """Wall seconds by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def timing(self, name: str) -> Iterator[None]:
        """Add the time spent inside to a name."""
        began = time.perf_counter()
        yield
        self.add(name, time.perf_counter() - began)

    def add(self, name: str, seconds: float) -> None:
        """Add time that was measured elsewhere."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def add_exchange(self, out: float, answers: Sequence[Answer], back: float) -> None:
        """Add `local`, the time from orders to answers, and its three parts.

        They are those of the actor that was done last: `broadcast` until it began, `work` while
        it learnt, `upload` until its answer, and thereby every answer, was here. Processes of one
        machine share the monotonic clock; the split means nothing where actors run on another.

        Args:
            out: When the driver began to send orders, on its monotonic clock (seconds).
            answers: What came.
            back: When the driver had them all.
        """
        self.add("local", back - out)
        last = max(answers, key=lambda answer: answer.began + answer.seconds, default=None)
        if last is not None:
            self.add("broadcast", last.began - out)
            self.add("work", last.seconds)
            self.add("upload", back - last.began - last.seconds)


Keep = Callable[[int, Federation], None]
"""Told a seed and where it stands after each round but the last."""


def federate(
    config: RunConfig,
    fleet: Fleet,
    done: Container[int] = (),
    *,
    begun: Mapping[int, Federation] | None = None,
    keep: Keep = lambda seed, state: None,
    report: Report = ignore,
) -> Iterator[tuple[int, SeedResult]]:
    """Run the seeds one after the other on the same clients.

    Args:
        config: The run.
        fleet: Its clients.
        done: Seeds to leave out.
        begun: Where to go on with seeds that were interrupted.
        keep: Told where a seed stands after a round.
        report: Told of uploads refused and missing.

    Yields:
        Each seed with its result.

    Raises:
        ConfigError: The first seed cannot be run under these settings.
        RunError: A round missed its quorum, or a later seed cannot be run; the others stay.
    """
    begun = begun or {}
    started = bool(begun)
    for seed in range(config.seeds):
        if seed in done:
            started = True
            continue
        try:
            found = run_seed(config, fleet, seed, begun.get(seed), keep, report)
        except ConfigError as err:
            if started:
                raise RunError(f"seed {seed} cannot be run: {err}") from err
            raise
        started = True
        yield seed, found


def run_seed(
    config: RunConfig,
    fleet: Fleet,
    seed: int,
    state: Federation | None = None,
    keep: Keep = lambda seed, state: None,
    report: Report = ignore,
    clock: Stopwatch | None = None,
) -> SeedResult:
    """One repetition: learn, fuse and broadcast as often as there are rounds; then judge.

    Args:
        config: The run.
        fleet: Its clients.
        seed: Which repetition.
        state: Where to go on; None: from the beginning.
        keep: Told where the seed stands after a round.
        report: Told of uploads refused and missing.
        clock: Filled with the seconds of `round`, of its parts `local` (see
            `Stopwatch.add_exchange`), `door` and each rule, and of `evaluate`; a fresh one by
            default.

    Returns:
        What the seed has found.
    """
    rules = config.fusion.rules
    fused = [rules.index(rule) for rule in federated(config)]
    ground = ground_of(config, seed)
    support = ground.support
    clock = clock or Stopwatch()
    state = state or Federation.begin(config, len(fused), support)
    while state.done < config.federation.rounds:
        with clock.timing("round"):
            state = run_round(config, fleet, seed, state, ground, clock, report)
        if state.done < config.federation.rounds:
            keep(seed, state)

    shape = (len(rules),)
    theta = np.full((*shape, support.features.shape[1]), np.nan)
    measure = np.full((*shape, len(support.features)), np.nan)
    iterations, converged = np.zeros(shape, dtype=np.int64), np.ones(shape, dtype=bool)
    admitted = np.zeros((config.federation.rounds, len(rules), config.clients), dtype=bool)
    admitted[:, fused] = state.admitted
    theta[fused], measure[fused] = state.theta, state.measure
    iterations[fused], converged[fused] = state.iterations, state.converged
    if "pooled" in rules:
        with clock.timing("pooled"):
            theta[rules.index("pooled")] = fleet.pool(seed)

    with clock.timing("evaluate"):
        inside, outside = judge_splits(config, fleet, seed, theta, state.own)
        success = np.full((config.federation.rounds, *_success((inside, outside)).shape), np.nan)
        success[-1] = _success((inside, outside))
        # Only now: a round must not wait for clients that are late to judge.
        for i, (past, own) in enumerate(zip(state.past_theta, state.past_own, strict=True)):
            before = theta.copy()
            before[fused] = past
            success[i] = _success(judge_splits(config, fleet, seed, before, own))
    return SeedResult(
        client_theta=state.own,
        theta=theta,
        reward=theta @ support.features.T,
        measure=measure,
        client_success=inside.success,
        client_value=inside.value,
        held_out_success=outside.success,
        held_out_value=outside.value,
        negative_log_likelihood=state.negative_log_likelihood,
        fit_iterations=state.fit_iterations,
        fit_converged=state.fit_converged,
        asked=state.asked,
        admitted=admitted,
        round_success=success,
        barycenter_iterations=iterations,
        barycenter_converged=converged,
        seconds=np.array([clock.seconds.get(rule, np.nan) for rule in rules]),
    )


def judge_splits(
    config: RunConfig, fleet: Fleet, seed: int, theta: Floats, alone: Floats
) -> tuple[Judgement, Judgement]:
    """Judge every rule's reward in the clients' worlds and in held-out ones, see `judge_rules`."""
    inside = judge_rules(config, fleet, seed, "client", theta, alone)
    return inside, judge_rules(config, fleet, seed, "held-out", theta, alone)


def _success(splits: Sequence[Judgement]) -> Floats:
    """Mean success over each split's worlds, `[s, c, p]`."""
    return np.stack([mean_over_worlds(judged.success) for judged in splits])


@dataclass(frozen=True)
class Ground:
    """What all rounds of a seed stand on."""

    support: Support
    """Where rewards are compared."""
    terms: Terms
    """What an upload must keep."""
    seen: Bools | None
    """Support points each client sees, `[k, n]`; None: all."""
    weights: Floats | None
    """How much each client counts, `[k]`; None: no file says so."""


def ground_of(config: RunConfig, seed: int) -> Ground:
    """Draw the shared support of a seed, and what depends on it."""
    support = support_of(draw_world(config.problem, config.seed, seed, "probe", 0))
    d, steps, irl = support.features.shape[1], horizon(config.problem), config.irl
    # A curvature adds up, over the steps, the spread of the discounted features that lie ahead.
    ahead = min(steps, 1.0 / (1.0 - irl.discount)) if irl.discount < 1.0 else steps
    longest = LONGER * ahead * float(np.linalg.norm(support.features, axis=1).max())
    terms = Terms(
        d=d,
        norm_bound=config.federation.norm_bound,
        curvature_bound=d * irl.l2 + ahead * longest**2 / irl.temperature,
        iterations=irl.iterations,
        episodes=most_episodes(config.problem),
        rules=federated(config),
        curved=in_need(config, "curvature"),
    )
    hidden, everyone = config.heterogeneity.hidden_support, range(config.clients)
    seen = seen_support(support.axes, hidden, everyone, config.seed, seed) if hidden > 0.0 else None
    return Ground(support, terms, seen, given_weights(config))


def run_round(
    config: RunConfig,
    fleet: Fleet,
    seed: int,
    state: Federation,
    ground: Ground,
    clock: Stopwatch,
    report: Report,
) -> Federation:
    """One round. Every fused rule keeps a federation of its own, beside the clients alone."""
    order = state.order(config, seed)
    out = time.monotonic()
    answers = fleet.learn(order)
    clock.add_exchange(out, answers, time.monotonic())
    with clock.timing("door"):
        admission = receive(config, order, answers, ground.terms, report)
    fused: list[Fused | None] = []
    for q, rule in enumerate(ground.terms.rules):
        with clock.timing(rule):
            here = np.flatnonzero(admission.let_in[:, 1 + q])
            if not _has_quorum(config, order, rule, len(here), admission, report):
                fused.append(None)
                continue
            uploads, row = [admission.uploads[i] for i in here], order.row(q)
            who = [upload.key.client for upload in uploads]
            given = Given(
                thetas=np.stack([upload.theta[row] for upload in uploads]),
                weights=alpha(config, uploads, ground.weights),
                support=ground.support,
                config=config.fusion,
                seen=None if ground.seen is None else ground.seen[who],
                curvatures=curvatures_of(uploads, order, row) if q in ground.terms.curved else None,
                solver=fleet.barycenter,
            )
            fused.append(fuse(rule, given))
    return state.close(order.clients, admission, fused)


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
    reason = f"{rule}: {said}, got {count}; it keeps the reward it had"
    report(Event("skipped", reason, order.seed, order.round))
    return False


def judge_rules(
    config: RunConfig, fleet: Fleet, seed: int, role: Role, theta: Floats, alone: Floats
) -> Judgement:
    """Judge every rule's reward in the clients' worlds, or in held-out ones.

    Args:
        config: The run.
        fleet: Its clients.
        seed: Which repetition.
        role: Whose worlds.
        theta: Each rule's reward, `[c, d]`; NaN of those that never had a quorum.
        alone: The clients' own rewards, `[k, d]`, NaN of those that never delivered one. A
            held-out world is nobody's own: there the others take turns.

    Returns:
        Success and value, `[w, c, p]`.
    """
    rules = config.fusion.rules
    count = config.clients if role == "client" else config.evaluation.held_out
    thetas = np.broadcast_to(theta, (count, *theta.shape)).copy()
    taught = ~np.isnan(alone).any(axis=1)
    if "local" in rules:
        takers = np.flatnonzero(taught)
        turns = alone if role == "client" else alone[takers[np.arange(count) % len(takers)]]
        thetas[:, rules.index("local")] = np.nan_to_num(turns, nan=0.0)
    planned = [c for c, rule in enumerate(rules) if rule not in UNLEARNT]
    fuseless = [c for c in planned if rules[c] != "local" and np.isnan(theta[c]).any()]
    thetas[:, fuseless] = 0.0
    thetas = thetas[:, planned]
    norms = np.linalg.norm(thetas, axis=2, keepdims=True)
    target = np.linalg.norm(theta[rules.index("mean")])
    matched = thetas * (target / np.where(norms > 0.0, norms, 1.0))
    judged, unlearnt = fleet.judge(seed, role, range(count), thetas, matched)

    shape = (count, len(rules), judged.success.shape[2])
    success, value = np.empty(shape), np.empty(shape)
    for table, learnt, others in (
        (success, judged.success, unlearnt.success),
        (value, judged.value, unlearnt.value),
    ):
        table[:, planned] = learnt
        for column, rule in zip(others.T, UNLEARNT, strict=True):
            if rule in rules:
                table[:, rules.index(rule)] = column[:, None]
        table[:, fuseless] = np.nan
        if "local" in rules and role == "client":
            table[~taught, rules.index("local")] = np.nan
    return Judgement(success, value)
