"""Both sides of theorems 1 and 2 in every scene, for exact and entropic barycenters."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from fedirl_ray.evaluate.bounds import (
    ROUNDING,
    Bound,
    end_to_end_bound,
    exact_barycenter,
    parameter_bound,
    reward_bound,
    spacing_lemma,
    stability_lemma,
    transport_bound,
    value_bound,
)
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.study.reproduction.plan import Plan, Record
from fedirl_ray.study.reproduction.scenes import Scene, draw
from fedirl_ray.transport.barycenter import barycenter

ENTROPIC = {
    "entropic .5": (0.5, False),
    "debiased .5": (0.5, True),
    "entropic .05": (0.05, False),
}
"""Epsilon in squared cells, and whether debiased."""
EXACT = "exact"
DISCOUNT = 0.95
MOST = 2000  # iterations of the entropic ones


class Fused(NamedTuple):
    """One kind of barycenter."""

    kind: str
    measure: Floats
    """`[n]`."""
    converged: bool
    """Whether the solver reached its tolerance."""


def fuse_all(scene: Scene) -> Iterator[Fused]:
    """The barycenters of a scene's measures: the exact one first."""
    fusion = scene.fusion
    yield Fused(EXACT, exact_barycenter(fusion.measures, fusion.weights, fusion.ground), True)
    for name, (epsilon, debiased) in ENTROPIC.items():
        found = barycenter(
            fusion.measures,
            scene.support.axes,
            weights=fusion.weights,
            epsilon=epsilon,
            cost_scale="none",
            debiased=debiased,
            max_iters=MOST,
        )
        yield Fused(name, found.measure.ravel(), found.converged)


def theorem1(plan: Plan) -> Iterator[list[Record]]:
    """Equations (13), (14), (15), and the lemmas in which the barycenter takes part."""
    for scenes in draw(plan):
        rows: list[Record] = []
        for scene in scenes:
            fusion = scene.fusion
            for found in fuse_all(scene):
                fused = found.measure
                sides = {
                    "13": transport_bound(fusion, fused),
                    "14": reward_bound(fusion, fused),
                    "15": parameter_bound(fusion, fused, scene.support.features),
                    "stability lemma": stability_lemma(fusion, fused),
                    "spacing lemma": spacing_lemma(fused, fusion.true_measure, fusion.ground),
                }
                rows += [_row(scene, found, name, side) for name, side in sides.items()]
        yield rows


def theorem2(plan: Plan) -> Iterator[list[Record]]:
    """Equations (18) and (19), in a client's world and in an unseen one."""
    for scenes in draw(plan):
        rows: list[Record] = []
        for scene in scenes:
            fusion = scene.fusion
            for found in fuse_all(scene):
                fused = found.measure
                reward = fusion.reward(fused)
                for split, world in (("client", scene.world), ("held-out", scene.unseen)):
                    sides = {
                        "18": value_bound(world, fusion.truth, reward, DISCOUNT),
                        "19": end_to_end_bound(world, fusion, fused, DISCOUNT),
                    }
                    rows += [
                        {**_row(scene, found, name, side), "split": split}
                        for name, side in sides.items()
                    ]
        yield rows


def _row(scene: Scene, fused: Fused, equation: str, side: Bound) -> Record:
    return {
        "source": scene.source,
        "series": scene.series,
        "level": scene.level,
        "seed": scene.seed,
        "barycenter": fused.kind,
        "converged": fused.converged,
        "equation": equation,
        "split": "",
        "local_error": scene.fusion.mean_error,
        "measured": side.measured,
        "bound": side.bound,
        "holds": side.holds,
    }


def happened(rows: Sequence[Record]) -> list[Record]:
    """Rows whose measured side is more than rounding; many losses of theorem 2 are none at all."""
    return [row for row in rows if row["measured"] > ROUNDING]


class Tally(NamedTuple):
    """Violations of one equation by one kind of barycenter."""

    cases: int
    violations: int
    explained: int
    """Those where the exact barycenter of the same measures keeps the bound: entropy's doing."""


def tally(rows: Sequence[Record], equation: str, kind: str) -> Tally:
    """Count violations, and those that the entropic bias explains."""
    here = [row for row in rows if row["equation"] == equation]
    kept = {_case(row) for row in here if row["barycenter"] == EXACT and row["holds"]}
    own = [row for row in here if row["barycenter"] == kind]
    broken = [row for row in own if not row["holds"]]
    by_entropy = 0 if kind == EXACT else sum(_case(row) in kept for row in broken)
    return Tally(len(own), len(broken), by_entropy)


def _case(row: Record) -> tuple[object, ...]:
    return tuple(row[name] for name in ("source", "series", "level", "seed", "split"))


def exponents(rows: Sequence[Record]) -> Floats:
    """Fit measured ~ local_error^x along each seed's series of growing errors.

    Args:
        rows: Of one equation, kind and source; those of `series` error are read.

    Returns:
        One x a seed that has two different errors with a measured side above rounding, `[seeds]`.
    """
    by_seed: dict[int, list[tuple[float, float]]] = {}
    for row in happened(rows):
        if row["series"] == "error":
            by_seed.setdefault(row["seed"], []).append((row["local_error"], row["measured"]))
    slopes = []
    for pairs in by_seed.values():
        error, measured = np.log(np.array(pairs)).T
        if np.ptp(error) > 0.0:
            slopes.append(np.polyfit(error, measured, 1)[0])
    return np.array(slopes)
