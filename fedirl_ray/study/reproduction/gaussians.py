"""Barycenters of Gaussians on a line beside the closed form.

The 2-Wasserstein barycenter of N(m_i, s_i^2) with weights alpha_i is N(sum alpha_i m_i,
(sum alpha_i s_i)^2) (Agueh and Carlier 2011, section 6.3).
"""

from collections.abc import Iterator

import numpy as np

from fedirl_ray.problem.mdp import Floats
from fedirl_ray.seeds import stream
from fedirl_ray.study.reproduction.plan import Plan, Record
from fedirl_ray.transport.barycenter import barycenter

EPSILONS = (1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4)
"""In units of the squared length of the line, which is 1."""
LINE = np.linspace(0.0, 1.0, 200)


def gaussian(mean: float, deviation: float) -> Floats:
    """A Gaussian on the points of `LINE`, of sum 1."""
    density = np.exp(-0.5 * ((LINE - mean) / deviation) ** 2)
    return np.asarray(density / density.sum())


def closed_form(means: Floats, deviations: Floats, weights: Floats) -> tuple[float, float]:
    """Mean and standard deviation of the exact barycenter."""
    return float(weights @ means), float(weights @ deviations)


def steps(plan: Plan) -> int:
    """One step a draw of Gaussians."""
    return plan.at(smoke=1, laptop=20, paper=20)


def run(plan: Plan) -> Iterator[list[Record]]:
    """Draw three Gaussians well inside the line, and fuse them at every epsilon."""
    most = plan.at(smoke=100, laptop=500, paper=20_000)  # iterations
    for seed in range(steps(plan)):
        rng = stream(plan.seed, "gaussians", seed)
        means, deviations = rng.uniform(0.35, 0.65, size=3), rng.uniform(0.04, 0.08, size=3)
        weights = rng.dirichlet(np.full(3, 5.0))
        rows = np.stack([gaussian(m, s) for m, s in zip(means, deviations, strict=True)])
        mean, deviation = closed_form(means, deviations, weights)
        yield [
            {
                "seed": seed,
                "epsilon": epsilon,
                "debiased": debiased,
                **_compare(rows, weights, epsilon, debiased, mean, deviation, most),
            }
            for epsilon in EPSILONS
            for debiased in (False, True)
        ]


def _compare(
    rows: Floats,
    weights: Floats,
    epsilon: float,
    debiased: bool,
    mean: float,
    deviation: float,
    most: int,
) -> Record:
    found = barycenter(
        rows,
        [LINE],
        weights=weights,
        epsilon=epsilon,
        cost_scale="none",
        debiased=debiased,
        max_iters=most,
    )
    centre = float(found.measure @ LINE)
    spread = float(np.sqrt(found.measure @ (LINE - centre) ** 2))
    return {
        "mean_error": abs(centre - mean),
        "std_ratio": spread / deviation,
        "l1": float(np.abs(found.measure - gaussian(mean, deviation)).sum()),
        "iterations": found.iterations,
        "converged": found.converged,
    }
