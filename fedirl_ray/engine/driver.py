"""The server's side of a run: the method, written down.

Letters: `k` clients, `w` held-out worlds, `q` fused rules (each keeps its own federation), `c`
rules, `d` features.
"""

import time
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fedirl_ray.config import Rule, RunConfig
from fedirl_ray.engine.result import SeedResult
from fedirl_ray.evaluate.planner import UNLEARNT, Judgement
from fedirl_ray.fusion.rules import REFERENCES, Fused, Support, fuse, support_of
from fedirl_ray.fusion.upload import open_channel
from fedirl_ray.irl.maxent import Fit
from fedirl_ray.problem.family import Role, draw_world
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.problem.planning import Outcome


class Fleet(Protocol):
    """All clients, wherever they run (see `engine.local.Clients` for the arguments)."""

    def learn(self, seed: int, start: Floats | None) -> Fit:
        """Fit every client's reward."""
        ...

    def pool(self, seed: int) -> Floats:
        """Fit one reward to everybody's data."""
        ...

    def judge(
        self, seed: int, role: Role, indices: Sequence[int], thetas: Floats, matched: Floats
    ) -> tuple[Judgement, Outcome]:
        """Judge rewards in some worlds."""
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
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began


def federate(
    config: RunConfig, fleet: Fleet, done: Container[int] = ()
) -> Iterator[tuple[int, SeedResult]]:
    """Run the seeds one after the other on the same clients.

    Args:
        config: The run.
        fleet: Its clients.
        done: Seeds to leave out.

    Yields:
        Each seed with its result.
    """
    for seed in range(config.seeds):
        if seed not in done:
            yield seed, run_seed(config, fleet, seed)


def run_seed(config: RunConfig, fleet: Fleet, seed: int) -> SeedResult:
    """One repetition: learn, fuse and broadcast as often as there are rounds; then judge."""
    rules = config.fusion.rules
    support = support_of(draw_world(config.problem, config.seed, seed, "probe", 0))
    clock = Stopwatch()
    learnt = learn_and_fuse(config, fleet, seed, support, clock)

    theta = np.full((len(rules), support.features.shape[1]), np.nan)
    measure = np.full((len(rules), len(support.features)), np.nan)
    for c, rule in enumerate(rules):
        if rule in learnt.fused:
            theta[c] = learnt.fused[rule].theta
            measure[c] = learnt.fused[rule].measure
        elif rule == "pooled":
            with clock.timing(rule):
                theta[c] = fleet.pool(seed)

    inside = judge_rules(config, fleet, seed, "client", theta, learnt.alone)
    outside = judge_rules(config, fleet, seed, "held-out", theta, learnt.alone)
    spent = {rule: (fused.iterations, fused.converged) for rule, fused in learnt.fused.items()}
    return SeedResult(
        client_theta=learnt.alone,
        theta=theta,
        reward=theta @ support.features.T,
        measure=measure,
        client_success=inside.success,
        client_value=inside.value,
        held_out_success=outside.success,
        held_out_value=outside.value,
        negative_log_likelihood=learnt.fits.negative_log_likelihood[learnt.own],
        fit_iterations=learnt.fits.iterations[learnt.own],
        fit_converged=learnt.fits.converged[learnt.own],
        barycenter_iterations=np.array([spent.get(rule, (0, True))[0] for rule in rules]),
        barycenter_converged=np.array([spent.get(rule, (0, True))[1] for rule in rules]),
        seconds=np.array([clock.seconds.get(rule, np.nan) for rule in rules]),
    )


@dataclass(frozen=True)
class Learnt:
    """What the rounds of a seed left behind."""

    alone: Floats
    """Each client's reward without any fusion, `[k, d]`."""
    fused: dict[Rule, Fused]
    """Each fused rule's last answer."""
    fits: Fit
    """The clients' last fits, `k (1 + q)` of them, or `k` after a single round."""
    own: slice
    """Which of those fits were made without fusion."""


def learn_and_fuse(
    config: RunConfig, fleet: Fleet, seed: int, support: Support, clock: Stopwatch
) -> Learnt:
    """The rounds. Every fused rule keeps a federation of its own, beside the clients alone.

    Learning starts from zero, so in the first round all federations share one fit.
    """
    fused_rules = [rule for rule in config.fusion.rules if rule not in REFERENCES]
    weights = np.full(config.clients, 1.0 / config.clients)
    channel = open_channel(
        config.heterogeneity, support.features, support.axes, config.clients, config.seed, seed
    )
    fused: dict[Rule, Fused] = {}
    start: Floats | None = None
    for _ in range(config.federation.rounds):
        with clock.timing("local"):
            fits = fleet.learn(seed, start)
        columns = len(fits.theta) // config.clients
        uploads = fits.theta.reshape(config.clients, columns, -1)
        hessians = fits.hessian.reshape(config.clients, columns, *fits.hessian.shape[1:])
        for q, rule in enumerate(fused_rules):
            mine = 0 if columns == 1 else 1 + q
            with clock.timing(rule):
                fused[rule] = fuse(
                    rule,
                    channel.send(uploads[:, mine]),
                    hessians[:, mine],
                    weights,
                    support,
                    config.fusion,
                    channel.seen,
                )
        broadcast = np.stack([fused[rule].theta for rule in fused_rules])
        everywhere = np.broadcast_to(broadcast, (config.clients, *broadcast.shape))
        start = np.concatenate([uploads[:, :1], everywhere], axis=1)
    return Learnt(uploads[:, 0], fused, fits, slice(0, None, columns))


def judge_rules(
    config: RunConfig, fleet: Fleet, seed: int, role: Role, theta: Floats, alone: Floats
) -> Judgement:
    """Judge every rule's reward in the clients' worlds, or in held-out ones.

    Args:
        config: The run.
        fleet: Its clients.
        seed: Which repetition.
        role: Whose worlds.
        theta: Each rule's reward, `[c, d]`.
        alone: The clients' own rewards, `[k, d]`. A held-out world is nobody's own: there the
            clients take turns.

    Returns:
        Success and value, `[w, c, p]`.
    """
    rules = config.fusion.rules
    count = config.clients if role == "client" else config.evaluation.held_out
    thetas = np.broadcast_to(theta, (count, *theta.shape)).copy()
    if "local" in rules:
        thetas[:, rules.index("local")] = alone[np.arange(count) % config.clients]
    planned = [c for c, rule in enumerate(rules) if rule not in UNLEARNT]
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
    return Judgement(success, value)
