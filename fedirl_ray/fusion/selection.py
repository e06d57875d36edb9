"""Rules that choose between others: by the clients' scores, and by whether maps are displaced.

`select`: every candidate fuses the uploads; the clients score what came of it by demonstrations
they kept aside (see `evaluate.overlap`); the best mean score wins, the first named of equals.

`auto`: the rule for displaced maps where the uploads say that they are (see `displacement`), else
`select`.

Letters: `k` clients, `c` candidates, `n` support points, `d` features.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fedirl_ray.config_fusion import LEAST_LEFT_OUT, FusionConfig
from fedirl_ray.errors import RunError
from fedirl_ray.fusion.displacement import displacement
from fedirl_ray.fusion.spec import Fused, Given
from fedirl_ray.problem.mdp import Floats

Fuse = Callable[[str, Given], Fused]
"""A rule's name, and what it is given, to its answer."""
DISPLACED = "signed"
"""What `auto` takes where maps are displaced."""


class NoScoresError(RunError):
    """Too few clients could be asked, or answered, to choose by their scores."""


def choices(config: FusionConfig) -> tuple[str, ...]:
    """Rules whose answer one that chooses may take."""
    return tuple(dict.fromkeys((*config.candidates, DISPLACED)))


def select(given: Given, fuse: Fuse) -> Fused:
    """Choose the candidate that clients score best, mean over those that answered.

    Args:
        given: What every candidate is given; `given.score` asks the clients.
        fuse: Fuses by a candidate.

    Raises:
        NoScoresError: No client has scored, or `fusion.leave-one-out` has too few clients.
    """
    if given.score is None:
        raise ValueError("select needs clients that score, got None")
    names = given.config.candidates
    whole = [fuse(name, given) for name in names]
    if given.config.leave_one_out:
        k = len(given.thetas)
        if k < LEAST_LEFT_OUT:
            raise NoScoresError(f"fusion.leave-one-out needs {LEAST_LEFT_OUT} clients, got {k}")
        asked = np.stack([_each(names, _without(given, i), fuse) for i in range(k)])
    else:
        asked = np.stack([one.theta for one in whole])
    scores = given.score(asked)
    answered = ~np.isnan(scores).any(axis=1)
    weights = given.weights[answered]
    if not weights.sum() > 0.0:
        raise NoScoresError("no client that counts has scored")
    best = int(np.argmax(weights @ scores[answered]))  # the first of equals
    return replace(whole[best], chosen=names[best])


def auto(given: Given, fuse: Fuse) -> Fused:
    """Fuse displaced maps as such, and choose by the clients' scores where they are not.

    Args:
        given: See `select`.
        fuse: See `select`.

    Raises:
        NoScoresError: See `select`.
    """
    maps = given.counted()
    found = displacement(maps.maps, maps.support.lattice("auto"), maps.weights)
    chosen = replace(fuse(DISPLACED, given), chosen=DISPLACED) if found.found else None
    return replace(chosen or select(given, fuse), displacement=found)


def _each(names: tuple[str, ...], given: Given, fuse: Fuse) -> Floats:
    """What every candidate makes of the same, `[c, d]`."""
    return np.stack([fuse(name, given).theta for name in names])


def _without(given: Given, i: int) -> Given:
    """The same without one client."""
    weights = np.delete(given.weights, i)
    total = weights.sum()
    return replace(
        given,
        thetas=np.delete(given.thetas, i, axis=0),
        weights=weights / total if total > 0.0 else np.full(len(weights), 1.0 / len(weights)),
        seen=None if given.seen is None else np.delete(given.seen, i, axis=0),
        curvatures=None if given.curvatures is None else np.delete(given.curvatures, i, axis=0),
        score=None,
    )
