"""How fast barycenters on point clouds are, how they grow, and why no kernel of low rank is used.

    python -m benchmarks.cloud --quick
    python -m benchmarks.cloud --json cloud.json

CPU seconds of one thread on one core, medians; an iteration's cost is the difference of two runs,
so that checks and the making of a stored kernel are left out. Epsilon is the cloud's own.
"""

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402
import ot  # noqa: E402
from scipy.spatial.distance import cdist  # noqa: E402
from scipy.special import lambertw  # noqa: E402

from fedirl_ray import barycenter, geometry_of  # noqa: E402
from fedirl_ray.transport.backend import CHOICES  # noqa: E402
from fedirl_ray.transport.cloud import Cloud  # noqa: E402

DIMENSIONS, CLIENTS = 17, 6


def cloud(n: int, d: int, k: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian points, and smooth rewards on them as measures."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, d))
    waves = np.cos(points @ rng.normal(size=(d, 64)) + rng.uniform(0, 2 * np.pi, 64))
    thetas = rng.normal(size=(64, 1)) + 0.5 * rng.normal(size=(64, k))
    rewards = (waves @ thetas).T
    rows = rewards - rewards.min() + 0.05 * np.ptp(rewards)
    return points, rows / rows.sum(axis=1, keepdims=True)


def difference(run: Callable[[int], Any], repeats: int, few: int = 2, more: int = 6) -> float:
    """CPU seconds of one iteration."""

    def span(iterations: int) -> float:
        begin = time.process_time()
        run(iterations)
        return time.process_time() - begin

    found = [(span(more) - span(few)) / (more - few) for _ in range(repeats)]
    return float(np.median(found))


def ours(n: int, d: int, k: int, repeats: int, *, stored: bool, dtype: str) -> float:
    """Seconds of an iteration of ours, its kernel stored or made again for every product."""
    points, rows = cloud(n, d, k)
    epsilon = Cloud.of(points).epsilon
    usual = CHOICES["numpy"]
    CHOICES["numpy"] = replace(usual, stored=2**40 if stored else 0)
    options: dict[str, Any] = {"epsilon": epsilon, "tol": 0.0, "anderson": 0, "dtype": dtype}
    options["domain"] = "plain"
    try:
        return difference(
            lambda most: barycenter(rows, points=points, max_iters=most, **options), repeats
        )
    finally:
        CHOICES["numpy"] = usual


def pot(n: int, d: int, k: int, repeats: int) -> float:
    """Seconds of an iteration of POT's, in float64."""
    points, rows = cloud(n, d, k)
    found = Cloud.of(points)
    cost = cdist(found.points, found.points, "sqeuclidean")

    def run(most: int) -> None:
        ot.bregman.barycenter_sinkhorn(
            rows.T, cost, found.epsilon, numItermax=most, stopThr=0.0, warn=False
        )

    # Its set-up takes seconds, which are to cancel out.
    return difference(run, repeats, more=22)


def slope(sizes: list[int], seconds: list[float]) -> float:
    """Of the logarithms, by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def converged(n: int, d: int, k: int, *, debiased: bool) -> dict[str, Any]:
    """Iterations and seconds to 1e-6, with mixing as it comes."""
    points, rows = cloud(n, d, k)
    begin = time.process_time()
    found = barycenter(rows, points=points, tol=1e-6, max_iters=1000, debiased=debiased)
    return {
        "n": n,
        "d": d,
        "debiased": debiased,
        "epsilon": found.epsilon,
        "iterations": found.iterations,
        "converged": found.converged,
        "seconds": time.process_time() - begin,
        "nearest_over_median": geometry_of(points).nearest_over_median,
    }


def positive_features(points: np.ndarray, epsilon: float, rank: int, rng: Any) -> np.ndarray:
    """Scetbon and Cuturi 2020, "Linear time Sinkhorn divergences using positive features"."""
    d = points.shape[1]
    radius = float((points**2).sum(axis=1).max())
    q = max(radius / (2 * epsilon * d * lambertw(radius / (epsilon * d)).real), 0.5001)
    nodes = rng.normal(size=(rank, d)) * np.sqrt(q * epsilon / 4)
    squares = (nodes**2).sum(axis=1)
    logs = d / 4 * np.log(2 * q) - 2 / epsilon * cdist(points, nodes, "sqeuclidean")
    return np.exp(logs + squares / (q * epsilon)) / np.sqrt(rank)


def favor(points: np.ndarray, epsilon: float, rank: int, rng: Any) -> np.ndarray:
    """Choromanski et al. 2021, "Rethinking attention with performers": positive, orthogonal."""
    x, d = points * np.sqrt(2 / epsilon), points.shape[1]
    blocks = [
        np.linalg.qr(rng.normal(size=(d, d)))[0] * np.sqrt(rng.chisquare(d, size=d))[:, None]
        for _ in range(-(-rank // 2 // d))
    ]
    nodes = np.concatenate(blocks)[: rank // 2]
    nodes = np.concatenate([nodes, -nodes])
    return np.exp(x @ nodes.T - (x**2).sum(axis=1)[:, None]) / np.sqrt(len(nodes))


def cholesky(points: np.ndarray, epsilon: float, rank: int, rng: Any) -> np.ndarray:
    """Chen et al. 2022, "Randomly pivoted Cholesky", one pivot at a time."""
    factor, left = np.zeros((len(points), rank)), np.ones(len(points))
    for i in range(rank):
        at = rng.choice(len(points), p=left / left.sum())
        column = np.exp(-cdist(points, points[at : at + 1], "sqeuclidean")[:, 0] / epsilon)
        column -= factor[:, :i] @ factor[at, :i]
        factor[:, i] = column / np.sqrt(column[at])
        left = np.maximum(left - factor[:, i] ** 2, 0.0)
    return factor


def projections(apply: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> np.ndarray:
    """300 plain projections; sums below zero, which low rank can make, are lifted above it."""
    u = np.ones_like(rows.T)
    for _ in range(300):
        ktu = apply(rows.T / apply(u))
        b = np.exp(np.log(ktu).mean(axis=1, keepdims=True))
        u = b / ktu
    return b[:, 0] / b.sum()


def low_rank(n: int, d: int, rank: int, epsilon: float) -> dict[str, Any]:
    """L1 error of the barycenter by low-rank kernels, over its distance from uniform."""
    points, rows = cloud(n, d, 4)
    points = Cloud.of(points).points
    kernel = np.exp(-cdist(points, points, "sqeuclidean") / epsilon)
    wanted = projections(lambda x: kernel @ x, rows)
    far = np.abs(wanted - 1 / n).sum()
    errors = {}
    for make in (positive_features, favor, cholesky):
        factor = make(points, epsilon, rank, np.random.default_rng(0))

        def apply(x: np.ndarray, factor: np.ndarray = factor) -> np.ndarray:
            product = factor @ (factor.T @ x)
            return np.maximum(product, 1e-12 * np.abs(product).max(axis=0))

        with np.errstate(all="ignore"):
            errors[make.__name__] = float(np.abs(projections(apply, rows) - wanted).sum() / far)
    return {"n": n, "d": d, "rank": rank, "epsilon": epsilon, **errors}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="smaller clouds, fewer repeats")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    given = parser.parse_args()
    repeats, most = (1, 2000) if given.quick else (3, 20_000)
    # Every peer is stopped before it converges.
    warnings.simplefilter("ignore")
    figures: dict[str, Any] = {"load": os.getloadavg()}
    n, d, k = (1000 if given.quick else 5000), DIMENSIONS, CLIENTS
    print(f"an iteration, n {n}, D {d}, K {k}, CPU seconds; load {figures['load'][0]:.1f}")
    peers = {
        f"ours {how} {dtype}": ours(n, d, k, repeats, stored=how == "stored", dtype=dtype)
        for how in ("stored", "blocked")
        for dtype in ("float32", "float64")
    }
    peers["POT stored float64"] = pot(n, d, k, repeats)
    for name, seconds in peers.items():
        print(f"  {name:22} {seconds:.4f}   {1e9 * seconds / (2 * n * n):.2f} ns a pair")
    figures["peers"] = peers
    sweeps = {
        "n": ([500, 1000, 2000, 5000, 10_000, 20_000], lambda m: (m, d, k)),
        "D": ([2, 8, 17, 30], lambda m: (2000, m, k)),
        "K": ([6, 12, 24, 48], lambda m: (2000, d, m)),
    }
    for name, (sizes, at) in sweeps.items():
        sizes = [m for m in sizes if name != "n" or m <= most]
        spent = [ours(*at(m), repeats, stored=False, dtype="float64") for m in sizes]
        figures[name] = {"sizes": sizes, "seconds": spent, "slope": slope(sizes, spent)}
        each = "  ".join(f"{m}: {s:.4f}" for m, s in zip(sizes, spent, strict=True))
        print(f"blocked float64, growth in {name}: {each}   slope {slope(sizes, spent):.2f}")
    figures["converged"] = []
    for m, dims in [(500, 2), (500, 17), (1000, 17)]:
        for debiased in (False, True):
            row = converged(m, dims, k, debiased=debiased)
            figures["converged"].append(row)
            print("to 1e-6: " + "  ".join(f"{key} {value:.4g}" for key, value in row.items()))
    figures["low rank"] = []
    for dims, epsilon in [(2, 0.1), (8, 0.3), (17, 0.3), (17, 1.0)]:
        row = low_rank(400 if given.quick else 800, dims, 200 if given.quick else 400, epsilon)
        figures["low rank"].append(row)
        print("low rank: " + "  ".join(f"{key} {value:.3g}" for key, value in row.items()))
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
