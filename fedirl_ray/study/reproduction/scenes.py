"""Where theorems 1 and 2 are measured: rewards whose truth is known.

Letters: `k` clients, `n` support points, `d` features.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from fedirl_ray.config import EvaluationConfig, FederationConfig, IRLConfig, RunConfig
from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.engine.driver import lay, run_seed
from fedirl_ray.engine.fleet import open_fleet
from fedirl_ray.engine.jobs import Jobs
from fedirl_ray.evaluate.bounds import Fusion, lattice_ground
from fedirl_ray.fusion.recover import recover_theta
from fedirl_ray.fusion.spec import Support, support_of
from fedirl_ray.problem.family import draw_world
from fedirl_ray.problem.mdp import Floats, TabularMDP
from fedirl_ray.seeds import stream
from fedirl_ray.study.reproduction.plan import Plan
from fedirl_ray.study.reproduction.witness import Witness

DRAWN = ProblemConfig(size=5, features="rbf", rbf_centres=3)
"""Worlds of the synthetic rewards: 25 points, 9 bumps."""
NOISE = (1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
"""Standard deviation of each client's theta around the truth's, whose own is 1."""
CLIENTS = (1, 2, 4, 8)
DEMONSTRATIONS = (1, 4, 16, 64, 256)
FEATURES = ("one-hot", "distance")
"""Of the fitted rewards: all rewards of a state, or the paper's two distances."""
FLOOR = 0.01
"""Least entry after the shift, as a share of the widest range."""


@dataclass(frozen=True)
class Scene:
    """Clients' rewards around a truth, and a world to act in."""

    source: str
    """synthetic, or fitted with which features."""
    series: str
    """What grows along the series: error, clients or rounds."""
    level: float
    """How far it has grown."""
    seed: int
    fusion: Fusion
    support: Support
    world: TabularMDP
    """The first client's."""
    unseen: TabularMDP
    """A held-out one."""


def steps(plan: Plan) -> int:
    """One step a seed and source."""
    return plan.at(smoke=1, laptop=20, paper=20) * (1 + len(FEATURES))


def draw(plan: Plan) -> Iterator[list[Scene]]:
    """All scenes of one seed and source at a time."""
    for seed in range(steps(plan) // (1 + len(FEATURES))):
        yield list(synthetic(plan, seed))
        for features in FEATURES:
            yield list(fitted(plan, seed, features))


def make_fusion(rewards: Floats, truth: Floats, support: Support) -> Fusion:
    """Equal weights, and the one shift that makes every reward and the truth positive."""
    everyone = np.vstack([rewards, truth])
    sigma = FLOOR * np.ptp(everyone, axis=1).max() - everyone.min()
    k = len(rewards)
    return Fusion(rewards, truth, np.full(k, 1.0 / k), float(sigma), lattice_ground(support.axes))


def synthetic(plan: Plan, seed: int) -> Iterator[Scene]:
    """Truth theta ~ N(0, 1); clients miss it by noise that grows, or are more and more."""
    support, world, unseen = _places(DRAWN, plan.seed, seed)
    rng = stream(plan.seed, "theorems", seed)
    d = support.features.shape[1]
    truth, noise = rng.normal(size=d), rng.normal(size=(max(CLIENTS), d))
    cases = [("error", s, 4, s) for s in NOISE[:: plan.at(smoke=3, laptop=1, paper=1)]]
    cases += [("clients", k, k, 0.3) for k in CLIENTS[: plan.at(smoke=2, laptop=4, paper=4)]]
    for series, level, k, scale in cases:
        thetas = truth + scale * noise[:k]
        fusion = make_fusion(thetas @ support.features.T, support.features @ truth, support)
        yield Scene("synthetic", series, float(level), seed, fusion, support, world, unseen)


def fitted(plan: Plan, seed: int, features: str) -> Iterator[Scene]:
    """What clients learn by IRL on 4x4 grids whose obstacles they share and whose slips differ.

    The truth is the grids' own reward, as far as the features can say it. Experts are soft, at the
    learner's temperature, so that enough demonstrations lead to it up to shaping. Along `rounds`
    clients take 10 Adam steps a round from the fused reward on.
    """
    problem = ProblemConfig(size=4, layout=0.0, slip=0.3, expert_temperature=0.5)
    problem = replace(problem, features="one-hot" if features == "one-hot" else "distance")
    base = RunConfig(
        clients=4,
        seeds=seed + 1,
        seed=plan.seed,
        problem=problem,
        irl=IRLConfig(temperature=0.5, l2=0.1),
        fusion=FusionConfig(rules=("mean", "barycenter")),
        evaluation=EvaluationConfig(held_out=1, discounts=()),
        engine=plan.engine,
    )
    for count in DEMONSTRATIONS[: plan.at(smoke=2, laptop=5, paper=5)]:
        config = replace(base, problem=replace(problem, demonstrations=count))
        yield from _learnt(config, seed, features, "error", float(count))
    for k in CLIENTS[: plan.at(smoke=2, laptop=4, paper=4)]:
        yield from _learnt(replace(base, clients=k), seed, features, "clients", float(k))
    several = replace(
        base,
        irl=replace(base.irl, optimizer="adam", iterations=10, step=0.1),
        federation=FederationConfig(rounds=plan.at(smoke=2, laptop=6, paper=10), proximal=1.0),
    )
    yield from _learnt(several, seed, features, "rounds", 1.0)


def _learnt(
    config: RunConfig, seed: int, features: str, series: str, level: float
) -> Iterator[Scene]:
    """One scene a round, of the rewards that the barycenter's federation fused in it."""
    support, world, unseen = _places(config.problem, config.seed, seed)
    truth = support.features @ recover_theta(
        support.features, world.reward.ravel(), intercept=False
    )
    with open_fleet(config) as fleet:
        witness = Witness(fleet)
        domain = domain_of(config)
        jobs = Jobs(witness)
        run_seed(domain, witness, jobs, seed, lay(domain, witness, jobs))
    for number, (_, answers) in enumerate(witness.heard):
        # The last reward of an upload is the barycenter's; in round one there is but one.
        thetas = np.stack([upload.theta[-1] for answer in answers for upload in answer.uploads])
        fusion = make_fusion(thetas @ support.features.T, truth, support)
        source = f"fitted, {features}"
        yield Scene(source, series, level + number, seed, fusion, support, world, unseen)


def _places(problem: ProblemConfig, root: int, seed: int) -> tuple[Support, TabularMDP, TabularMDP]:
    probe = draw_world(problem, root, seed, "probe", 0)
    world = draw_world(problem, root, seed, "client", 0)
    return support_of(probe), world, draw_world(problem, root, seed, "held-out", 0)
