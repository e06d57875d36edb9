"""How often 95 % intervals of a mean hold it: Student's t, BCa, and the rule of this package.

    python benchmarks/intervals.py                 writes nothing, prints one row a distribution

Samples without any spread, and those that the package marks as tied, claim nothing: their share is
a column of its own, and coverage is of the others. The truth of clipped distributions is a mean of
four million draws.
"""

import argparse
import warnings
from collections.abc import Callable

import numpy as np
from scipy import special, stats

from fedirl_ray.evaluate.statistics import interval
from fedirl_ray.seeds import stream

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def clipped(above: float) -> Draw:
    """Normal values cut off at a ceiling that lies below their mean by some deviations."""
    return lambda rng, shape: np.minimum(0.0, rng.normal(above, 1.0, shape))


def seldom(chance: float) -> Draw:
    """Zero, and now and then one."""
    return lambda rng, shape: (rng.random(shape) < chance).astype(float)


KINDS: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(0.3, 1.0, shape),
    "student, 3 df": lambda rng, shape: rng.standard_t(3, shape),
    "exponential": lambda rng, shape: rng.exponential(1.0, shape),
    "log-normal": lambda rng, shape: rng.lognormal(0.0, 1.0, shape),
    "ceiling, half at it": clipped(0.0),
    "ceiling, 69 % at it": clipped(0.5),
    "ceiling, 84 % at it": clipped(1.0),
    "one of ten is not 0": seldom(0.1),
    "one of five is not 0": seldom(0.2),
    "three of ten are not 0": seldom(0.3),
    "three values": lambda rng, shape: rng.choice([-1.0, 0.0, 1.0], shape, p=[0.15, 0.6, 0.25]),
}
HEAD = ("seeds", "distribution", "no spread", "t", "BCa", "tied", "ours", "bootstrapped", "width")


def row(kind: str, seeds: int, runs: int) -> list[str]:
    """Coverage of one distribution."""
    rng = stream(0, "intervals", kind, seeds)
    truth = KINDS[kind](rng, (4_000_000,)).mean()
    held: dict[str, list[bool]] = {"t": [], "BCa": [], "ours": []}
    flat = tied = drawn = 0
    widths = []
    for samples in KINDS[kind](rng, (runs, seeds)):
        if np.ptp(samples) == 0.0:
            flat += 1
            tied += 1
            continue
        off = abs(samples.mean() - truth)
        half = special.stdtrit(seeds - 1, 0.975) * samples.std(ddof=1) / np.sqrt(seeds)
        held["t"].append(bool(off <= half))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that BCa is degenerate is what is measured
            low, high = stats.bootstrap(
                (samples,), np.mean, n_resamples=999, method="BCa", rng=rng
            ).confidence_interval
        held["BCa"].append(bool(low <= truth <= high))
        found = interval(samples)
        if found.doubt == "tied":
            tied += 1
            continue
        drawn += found.method == "bootstrap"
        held["ours"].append(bool(off <= found.half_width))
        widths.append(found.half_width / half)
    share = {name: f"{100 * np.mean(of):.1f}" if of else "-" for name, of in held.items()}
    claimed = len(held["ours"])
    return [
        str(seeds), kind, f"{100 * flat / runs:.0f}", share["t"], share["BCa"],
        f"{100 * tied / runs:.0f}", share["ours"],
        f"{100 * drawn / claimed:.0f}" if claimed else "-",
        f"{np.median(widths):.2f}" if claimed else "-",
    ]  # fmt: skip


def main() -> None:
    """Print the table, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[5, 10, 20])
    asked = parser.parse_args()
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    for seeds in asked.seeds:
        for kind in KINDS:
            print(f"| {' | '.join(row(kind, seeds, asked.runs))} |", flush=True)


if __name__ == "__main__":
    main()
