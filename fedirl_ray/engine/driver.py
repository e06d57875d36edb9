"""The server's side of a run: the method, written down.

Letters: `k` clients, `q` fused rules (each keeps its own federation), `c` columns (rules and
references), `x` channels, `d` features.
"""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fedirl_ray.config import RunConfig
from fedirl_ray.domain.adapting import ADAPTATIONS, Adapted, adapt
from fedirl_ray.domain.domain import SPLITS, Domain, Judged
from fedirl_ray.domain.job import Arrays, Job, done
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.engine.columns import blind_controls, columns_of
from fedirl_ray.engine.event import Report, ignore
from fedirl_ray.engine.federation import Federation, federated
from fedirl_ray.engine.fleet import Fleet
from fedirl_ray.engine.jobs import Jobs
from fedirl_ray.engine.result import SeedResult, mean_over_worlds
from fedirl_ray.engine.round import run_round, stage_of
from fedirl_ray.engine.stopwatch import Stopwatch
from fedirl_ray.errors import ConfigError, RunError
from fedirl_ray.privacy.protection import KEY, CentralGuard, given_to, keys
from fedirl_ray.problem.mdp import Floats

Keep = Callable[[int, Federation], None]
"""Told a seed and where it stands after each round but the last."""


def federate(
    config: RunConfig,
    fleet: Fleet,
    ended: Container[int] = (),
    *,
    begun: Mapping[int, Federation] | None = None,
    keep: Keep = lambda seed, state: None,
    report: Report = ignore,
    jobs: Jobs | None = None,
) -> Iterator[tuple[int, SeedResult]]:
    """Run the seeds one after the other on the same clients.

    Args:
        config: The run.
        fleet: Its clients.
        ended: Seeds to leave out.
        begun: Where to go on with seeds that were interrupted.
        keep: Told where a seed stands after a round.
        report: Told of uploads refused and missing.
        jobs: Has jobs done, and keeps what is to be kept; None: by the fleet, and nothing is.

    Yields:
        Each seed with its result.

    Raises:
        ConfigError: The first seed cannot be run under these settings.
        RunError: A round missed its quorum, or a later seed cannot be run; the others stay.
    """
    begun, domain, jobs = begun or {}, domain_of(config), jobs or Jobs(fleet)
    left = [seed for seed in range(config.seeds) if seed not in ended]
    started = bool(begun) or len(left) < config.seeds
    laid = lay(domain, fleet, jobs, started=started) if left else []
    for seed in left:
        try:
            found = run_seed(domain, fleet, jobs, seed, laid, begun.get(seed), keep, report)
        except ConfigError as err:
            if started:
                raise RunError(f"seed {seed} cannot be run: {err}") from err
            raise
        started = True
        yield seed, found


def lay(domain: Domain, fleet: Fleet, jobs: Jobs, *, started: bool = False) -> list[Arrays]:
    """Do what a run does once, and give every client its part.

    Raises:
        RunError: The run had started, and the keys of its noise are lost.
    """
    laid = _guarded(domain.config, done(domain.lay(), jobs.all), jobs, started)
    fleet.equip(laid[: domain.config.clients])
    if domain.config.record.demonstrations is not None:
        domain.keep_demonstrations(laid, domain.config.record.demonstrations)
    return laid


def _guarded(config: RunConfig, laid: list[Arrays], jobs: Jobs, started: bool) -> list[Arrays]:
    """Give every client what its noise is made of."""
    if config.privacy.unit not in ("trajectory", "client"):
        return laid
    given, k = _noise(config, jobs, config.clients, started), config.clients
    return [*(one | more for one, more in zip(laid, given, strict=False)), *laid[k:]]


def _noise(config: RunConfig, jobs: Jobs, holders: int, started: bool) -> list[Arrays]:
    """What noise is made of, for clients or for the server alone.

    Keys outlive whoever holds them: who begins again must not add other noise to the same data.
    """
    own: list[Any] = [None] * holders
    if config.privacy.noise == "os":
        job = Job("noise-keys", keys, {"holders": holders}, True)
        if started and not jobs.holds(job):
            raise RunError(
                "the keys of this run's noise are lost: to go on would show the same data under "
                "other noise, at a cost that nobody promised; begin anew"
            )
        (drawn,) = jobs.all([job])
        own = list(drawn[KEY])
    return [given_to(config, key) for key in own]


def run_seed(
    domain: Domain,
    fleet: Fleet,
    jobs: Jobs,
    seed: int,
    laid: Sequence[Arrays],
    state: Federation | None = None,
    keep: Keep = lambda seed, state: None,
    report: Report = ignore,
    clock: Stopwatch | None = None,
) -> SeedResult:
    """One repetition: learn, fuse and broadcast as often as there are rounds; then judge.

    Args:
        domain: What kind of world, and all settings.
        fleet: The clients.
        jobs: Has jobs done.
        seed: Which repetition.
        laid: See `lay`.
        state: Where to go on; None: from the beginning.
        keep: Told where the seed stands after a round.
        report: Told of uploads refused and missing.
        clock: Filled with the seconds of `round`, of its parts `local` (see
            `Stopwatch.add_exchange`), `door` and each rule, of `pooled` and `evaluate`; fresh by
            default.

    Returns:
        What the seed has found.
    """
    config, clock = domain.config, clock or Stopwatch()
    central = config.privacy.unit == "central"
    guard = None
    if central:
        guard = CentralGuard(config, _noise(config, jobs, 1, state is not None)[0], seed)
    stage = stage_of(domain, seed, guard)
    rules, rounds = config.fusion.rules, config.federation.rounds
    fused = [rules.index(rule) for rule in federated(config)]
    state = state or Federation.begin(config, len(fused), stage.support)
    while state.done < rounds:
        with clock.timing("round"):
            state = run_round(config, fleet, seed, state, stage, clock, report)
        if state.done < rounds:
            keep(seed, state)

    pooled = None
    if "pooled" in rules:
        with clock.timing("pooled"):
            pooled = done(domain.pool(seed, laid), jobs.all)
    with clock.timing("evaluate"):

        def adapt_all(theta: Floats, alone: Floats) -> dict[str, Adapted]:
            found: dict[str, Adapted] = {}
            for how in [one for one in ADAPTATIONS if one in rules]:
                base = theta[rules.index(config.evaluation.personal)]
                if np.isfinite(base).all():
                    plan = adapt(domain, how, seed, base, alone, laid[: len(alone)], fleet.workers)
                    with clock.timing(how):
                        found[how] = done(plan, jobs.all)
            return found

        def judge(
            theta: Floats, offset: Floats, alone: Floats, adapted: Mapping[str, Adapted]
        ) -> Judged:
            own = {how: found.theta for how, found in adapted.items()}
            columns = columns_of(domain, stage.support, theta, offset, alone, own)
            return done(domain.judge(seed, columns, laid, fleet.workers), jobs.all)

        theta, offset = _rewards(config, seed, fused, state.theta, pooled)
        adapted = adapt_all(theta, state.own)
        judged = judge(theta, offset, state.own, adapted)
        by_round = np.full((rounds, *_means(judged).shape), np.nan)
        by_round[-1] = _means(judged)
        # Only now: a round must not wait for clients that are late to judge.
        for i, (past, own) in enumerate(zip(state.past_theta, state.past_own, strict=True)):
            before = _rewards(config, seed, fused, past, pooled)
            by_round[i] = _means(judge(*before, own, adapt_all(before[0], own)))

    measure = np.full((len(rules), len(stage.support.features)), np.nan)
    iterations, converged = np.zeros(len(rules), dtype=np.int64), np.ones(len(rules), dtype=bool)
    admitted = np.zeros((rounds, len(rules), config.clients), dtype=bool)
    asked_scores, scores_heard = (np.zeros(admitted.shape, dtype=np.int64) for _ in range(2))
    chosen = np.full((rounds, len(rules)), -1)
    displacement = np.full((rounds, len(rules), 3), np.nan)
    admitted[:, fused], measure[fused] = state.admitted, state.measure
    asked_scores[:, fused], scores_heard[:, fused] = state.asked_scores, state.scores
    chosen[:, fused], displacement[:, fused] = state.chosen, state.displacement
    none = Adapted(np.full_like(state.own, np.nan), np.full(config.clients, np.nan))
    iterations[fused], converged[fused] = state.iterations, state.converged
    if central or config.privacy.aggregation != "clear":
        state = state.without_clients()
    return SeedResult(
        client_theta=state.own,
        theta=theta,
        offset=offset,
        reward=theta @ stage.support.features.T + offset[:, None],
        measure=measure,
        client_scores=judged.scores[SPLITS[0]],
        held_out_scores=judged.scores[SPLITS[1]],
        facts=judged.facts,
        negative_log_likelihood=state.negative_log_likelihood,
        fit_iterations=state.fit_iterations,
        fit_converged=state.fit_converged,
        asked=state.asked,
        admitted=admitted,
        asked_scores=asked_scores,
        scores_heard=scores_heard,
        chosen=chosen,
        displacement=displacement,
        adapted_theta=np.stack([adapted.get(how, none).theta for how in ADAPTATIONS]),
        own_share=adapted.get("personal", none).share,
        round_scores=by_round,
        barycenter_iterations=iterations,
        barycenter_converged=converged,
        seconds=np.array([clock.seconds.get(rule, np.nan) for rule in rules]),
    )


def _rewards(
    config: RunConfig, seed: int, fused: Sequence[int], found: Floats, pooled: Floats | None
) -> tuple[Floats, Floats]:
    """Every column's theta `[c, d]` and offset `[c]`; NaN where there is none."""
    rules = config.fusion.rules
    theta, offset = np.full((len(rules), found.shape[1]), np.nan), np.zeros(len(rules))
    theta[list(fused)] = found
    if pooled is not None:
        theta[rules.index("pooled")] = pooled
    for name, reward in blind_controls(config, seed, theta[rules.index("mean")]).items():
        theta[rules.index(name)], offset[rules.index(name)] = reward
    return theta, offset


def _means(judged: Judged) -> Floats:
    """Mean over each split's worlds, `[s, c, x]`."""
    return np.stack([mean_over_worlds(judged.scores[split]) for split in SPLITS])
