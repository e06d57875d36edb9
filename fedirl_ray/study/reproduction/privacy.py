"""What privacy costs, rule by rule, and what an attacker finds with it and without.

Letters: `m` demonstrations, `r` runs, `k` clients, `d` features.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf, sqrt

import numpy as np
from scipy import stats

from fedirl_ray.config import EvaluationConfig, IRLConfig, RunConfig
from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.config_privacy import PrivacyConfig
from fedirl_ray.config_problem import Features, ProblemConfig
from fedirl_ray.domain.domain import SPLITS
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.engine.driver import lay, run_seed
from fedirl_ray.engine.fleet import open_fleet
from fedirl_ray.engine.jobs import Jobs
from fedirl_ray.engine.result import judges
from fedirl_ray.fusion.rules import fuse
from fedirl_ray.fusion.spec import Given, support_of
from fedirl_ray.irl.block import counts_ball_of
from fedirl_ray.irl.maxent import dual, fit
from fedirl_ray.privacy.accountant import multiplier_for
from fedirl_ray.privacy.attack import likelihood_ratio, membership, visits_of
from fedirl_ray.privacy.mechanism import Ball, private_mean, seeded
from fedirl_ray.problem.demonstrations import demonstrate, expert_policy, feature_counts
from fedirl_ray.problem.family import draw_world, horizon
from fedirl_ray.problem.mdp import Floats, Stack, TabularMDP
from fedirl_ray.seeds import stream
from fedirl_ray.study.reproduction.plan import Plan, Record

EPSILONS = (0.5, 1.0, 2.0, 4.0, 8.0, inf)
DELTA = 1e-5
RULES = ("local", "mean", "median", "precision", "arithmetic", "barycenter", "debiased")
FEATURES: tuple[Features, ...] = ("distance", "one-hot")
CLIP = 2.0
"""Of a theta, where clients as a whole are protected: chosen before any run, by l2 = 1."""
UPLOAD, KNOWN, CEILING = "upload", "upload, the others known", "no attack can have more"
FUSED = ("mean", "median", "barycenter", "debiased")
"""Rules whose fused reward is attacked."""
POOL, SHOWN, CLIENTS, DRAWS = 400, 20, 5, 8
"""Episodes that clients draw from, how many each holds, clients, and what the others may hold."""
RECONSTRUCTED = 8
"""Runs whose visits are worked out."""


def steps(plan: Plan) -> int:
    """One step a seed."""
    return plan.at(smoke=2, laptop=20, paper=60)


def run(plan: Plan) -> Iterator[list[Record]]:
    """Federate under noise, then attack what was sent."""
    for seed in range(steps(plan)):
        yield [*used(plan, seed), *attacked(plan, seed)]


def levels(plan: Plan) -> tuple[float, ...]:
    """Every epsilon; at smoke scale three."""
    return EPSILONS[:: plan.at(smoke=3, laptop=1, paper=1)] + (
        (inf,) if plan.scale == "smoke" else ()
    )


def _row(
    what: str, unit: str, epsilon: float, seed: int, rule: str, where: str, value: float
) -> Record:
    names = ("what", "unit", "epsilon", "seed", "rule", "where", "value")
    return dict(zip(names, (what, unit, epsilon, seed, rule, where, value), strict=True))


def used(plan: Plan, seed: int) -> Iterator[Record]:
    """Held-out success of every rule, by epsilon and by what is protected.

    The worlds, demonstrations and, but for its width, nothing else of a seed depend on epsilon.
    """
    base = RunConfig(
        clients=plan.at(smoke=3, laptop=10, paper=10),
        seeds=seed + 1,
        seed=plan.seed,
        evaluation=EvaluationConfig(held_out=plan.at(smoke=4, laptop=20, paper=20), discounts=()),
        engine=plan.engine,
    )
    for features in FEATURES[: plan.at(smoke=1, laptop=2, paper=2)]:
        problem = ProblemConfig(features=features)
        for epsilon in levels(plan):
            for unit, rules in _modes(epsilon):
                config = replace(
                    base,
                    problem=problem,
                    fusion=FusionConfig(rules=rules),
                    privacy=_privacy(unit, epsilon),
                )
                for rule, value in _success(config, seed).items():
                    yield _row(features, unit, epsilon, seed, rule, SPLITS[1], value)


def _modes(epsilon: float) -> list[tuple[str, tuple[str, ...]]]:
    """What is protected, and the rules that it covers."""
    if epsilon == inf:
        return [("none", RULES)]
    unbent = tuple(rule for rule in RULES if rule != "precision")
    return [("trajectory", RULES), ("client", unbent), ("central", ("mean",))]


def _privacy(unit: str, epsilon: float) -> PrivacyConfig:
    if unit == "none":
        return PrivacyConfig()
    clip = {} if unit == "trajectory" else {"clip": CLIP}
    return PrivacyConfig(unit=unit, epsilon=epsilon, delta=DELTA, noise="seeded", **clip)  # type: ignore[arg-type]


def _success(config: RunConfig, seed: int) -> dict[str, float]:
    """Held-out success by rule, in shares."""
    with open_fleet(config) as fleet:
        domain, jobs = domain_of(config), Jobs(fleet)
        found = run_seed(domain, fleet, jobs, seed, lay(domain, fleet, jobs))
    channel = next(iter(judges(domain).values()))
    scores = found.scores(SPLITS[1])[:, channel]
    return {rule: float(score) for rule, score in zip(config.fusion.rules, scores, strict=True)}


@dataclass(frozen=True)
class Scene:
    """One client under attack, the others beside it, and what each may hold."""

    config: RunConfig
    worlds: list[TabularMDP]
    rows: list[Floats]
    """Feature counts of each client's possible episodes, `[k][episodes, d]`."""
    target: int
    """The attacked client's episode in question: the one farthest from all others' mean."""

    @property
    def steps(self) -> int:
        """Of an episode."""
        return horizon(self.config.problem)

    def ball(self, client: int) -> Ball:
        """Where a client's counts are clipped to."""
        return counts_ball_of(self.config, self.worlds[client])


def scene(plan: Plan, seed: int) -> Scene:
    """Draw worlds, and episodes of their experts; features tell every state."""
    problem = ProblemConfig(size=4, features="one-hot", expert_temperature=0.5)
    privacy = PrivacyConfig(unit="trajectory", noise="seeded", delta=DELTA)
    rules = ("mean",)
    config = RunConfig(
        clients=CLIENTS,
        seed=plan.seed,
        problem=problem,
        irl=IRLConfig(),
        fusion=FusionConfig(rules=rules),
        privacy=privacy,
    )
    worlds = [draw_world(problem, plan.seed, seed, "client", i) for i in range(CLIENTS)]
    rows = []
    for i, world in enumerate(worlds):
        policy = expert_policy(Stack([world]), problem, horizon(problem))
        rng = stream(plan.seed, "privacy", seed, "client", i)
        shown = demonstrate(world, policy, POOL, rng)
        rows.append(feature_counts(world, shown, config.irl.discount))
    away = np.linalg.norm(rows[0] - rows[0].mean(axis=0), axis=1)
    return Scene(config, worlds, rows, int(away.argmax()))


def attacked(plan: Plan, seed: int) -> Iterator[Record]:
    """How well an attacker tells a demonstration's part in what is sent, and what visits show."""
    here = scene(plan, seed)
    runs = plan.at(smoke=4, laptop=32, paper=64)
    for epsilon in levels(plan):
        rng = stream(plan.seed, "privacy", seed, "noise", repr(epsilon))
        z = 0.0 if epsilon == inf else multiplier_for(epsilon, DELTA)
        unit = "none" if epsilon == inf else "trajectory"

        def told(
            what: str, rule: str, value: float, at: tuple[str, float] = (unit, epsilon)
        ) -> Record:
            return _row(what, *at, seed, rule, "", value)

        # Shadows and tests, with the episode and without.
        held = [_draw(here, rng, 2 * runs, with_it=with_it) for with_it in (True, False)]
        counts = [np.stack([_sent(rows, here.ball(0), z, rng) for rows in each]) for each in held]
        theta = [_fitted(here, 0, each) for each in counts]
        others = np.stack([_others(here, client, z, rng) for client in range(1, CLIENTS)])
        seen = {UPLOAD: theta} | {
            rule: [_fuse(here, rule, each, others, rng) for each in theta] for rule in FUSED
        }
        for name, (one, other) in seen.items():
            yield told("auc", name, _auc(one, other, runs))
        yield told("auc", KNOWN, _auc_of_who_knows(here, z, rng, runs))
        yield told(
            "auc", CEILING, 1.0 if z == 0.0 else float(stats.norm.cdf(1.0 / (sqrt(2.0) * z)))
        )
        for name in (UPLOAD, "mean", "barycenter"):
            found = [
                _distance(here, seen[name][0][i], held[0][i])
                for i in range(min(runs, RECONSTRUCTED))
            ]
            yield told("visits", name, float(np.mean(found)))
        blind = [
            _distance(here, np.zeros_like(theta[0][0]), rows) for rows in held[0][:RECONSTRUCTED]
        ]
        yield told("visits", "nothing", float(np.mean(blind)))


def _draw(here: Scene, rng: np.random.Generator, count: int, *, with_it: bool) -> list[Floats]:
    """What the attacked client may hold, `[r][m, d]`: the episode in question, or another."""
    own = here.rows[0]
    free = np.delete(np.arange(len(own)), here.target)
    drawn = []
    for _ in range(count):
        chosen = rng.choice(free, SHOWN, replace=False)
        if with_it:
            chosen[0] = here.target
        drawn.append(own[chosen])
    return drawn


def _sent(rows: Floats, ball: Ball, z: float, rng: np.random.Generator) -> Floats:
    """Counts as the fit reads them, `[d]`."""
    if z == 0.0:
        mean: Floats = rows.mean(axis=0)
        return mean
    return private_mean(rows, ball, z, seeded(rng))


def _fitted(here: Scene, client: int, counts: Floats) -> Floats:
    """Thetas fitted to counts `[r, d]` in a client's world, `[r, d]`."""
    worlds = [here.worlds[client]] * len(counts)
    theta: Floats = fit(worlds, counts, here.config.irl, here.steps).theta
    return theta


def _others(here: Scene, client: int, z: float, rng: np.random.Generator) -> Floats:
    """What another client may have sent, `[draws, d]`."""
    rows, ball = here.rows[client], here.ball(client)
    chosen = [rows[rng.choice(len(rows), SHOWN, replace=False)] for _ in range(DRAWS)]
    return _fitted(here, client, np.stack([_sent(one, ball, z, rng) for one in chosen]))


def _fuse(
    here: Scene, rule: str, theta: Floats, others: Floats, rng: np.random.Generator
) -> Floats:
    """Fused rewards of runs in which the others held this or that, `[r, d]`."""
    support = support_of(here.worlds[0])
    weights = np.full(CLIENTS, 1.0 / CLIENTS)
    found = []
    for own in theta:
        beside = others[np.arange(CLIENTS - 1), rng.integers(DRAWS, size=CLIENTS - 1)]
        given = Given(np.vstack([own, beside]), weights, support, here.config.fusion)
        found.append(fuse(rule, given).theta)
    return np.stack(found)


def _auc(one: Floats, other: Floats, shadows: int) -> float:
    """AUC of likelihood ratios by shadow runs, the first, on the other runs."""
    scores = [
        np.array([likelihood_ratio(x, one[:shadows], other[:shadows]) for x in tests[shadows:]])
        for tests in (one, other)
    ]
    return membership(*scores).auc


def _auc_of_who_knows(here: Scene, z: float, rng: np.random.Generator, runs: int) -> float:
    """AUC of who knows all other demonstrations, and asks which one stands in the last's place.

    The upload gives the noisy counts away, see `attack.visits_of`; the best score is how far they
    lie towards the counts with it.
    """
    (rows,) = _draw(here, rng, 1, with_it=False)
    ball = here.ball(0)
    with_it = np.vstack([here.rows[0][here.target], rows[1:]])
    apart = with_it.mean(axis=0) - rows.mean(axis=0)
    scores = [
        np.array([_sent(held, ball, z, rng) @ apart for _ in range(4 * runs)])
        for held in (with_it, rows)
    ]
    return membership(*scores).auc


def _distance(here: Scene, theta: Floats, held: Floats) -> float:
    """Total variation between the visits that a theta shows and those of what was held."""
    world, irl = here.worlds[0], here.config.irl
    mass = float((irl.discount ** np.arange(here.steps)).sum())
    nothing = np.zeros_like(theta)[None]
    _, expected = dual(Stack([world]), theta[None], nothing, irl, here.steps)
    features = world.features[:, 0]
    visits = visits_of(irl.l2 * theta, expected[0], features, mass)
    true = held.mean(axis=0)
    return 0.5 * float(np.abs(visits / mass - true / mass).sum())


def seeds_of(rows: Sequence[Record]) -> list[int]:
    """Seeds that rows are of."""
    return sorted({row["seed"] for row in rows})
