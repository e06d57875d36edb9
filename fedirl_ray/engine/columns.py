"""What is judged at the end of a round: every rule's reward, and the references beside them.

Letters: `k` clients, `w` worlds, `c` columns, `n` support points, `d` features.
"""

from collections.abc import Mapping

import numpy as np

from fedirl_ray.config import RunConfig
from fedirl_ray.config_fusion import BLIND
from fedirl_ray.domain.domain import SPLITS, Columns, Domain, Split
from fedirl_ray.fusion.spec import Support
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.seeds import stream

CONSTANTS = {"plus-one": 1.0, "minus-one": -1.0}
ROUNDING = 1e-12
"""Spread of a reward, as a share of its theta's norm, below which it is a constant."""


def blind_controls(config: RunConfig, seed: int, mean: Floats) -> dict[str, tuple[Floats, float]]:
    """Rewards that know nothing: constants, and random directions as long as the mean's theta.

    Args:
        config: The run; those among its columns are made.
        seed: Repetition, which draws directions anew.
        mean: The parameter mean's theta, `[d]`.

    Returns:
        theta and offset by name.
    """
    made: dict[str, tuple[Floats, float]] = {}
    for name in BLIND:
        if name not in config.fusion.rules:
            continue
        if name in CONSTANTS:
            made[name] = (np.zeros_like(mean), CONSTANTS[name])
            continue
        drawn = stream(config.seed, "seed", seed, name).normal(size=mean.size)
        made[name] = (drawn * (np.linalg.norm(mean) / np.linalg.norm(drawn)), 0.0)
    return made


def columns_of(
    domain: Domain,
    support: Support,
    theta: Floats,
    offset: Floats,
    alone: Floats,
    adapted: Mapping[str, Floats],
) -> dict[Split, Columns]:
    """The rewards to judge in either split.

    Args:
        domain: The kind of world, and the run.
        support: Where rewards are compared.
        theta: Each column's reward, `[c, d]`; NaN where there is none.
        offset: `[c]`.
        alone: The clients' own rewards, `[k, d]`, NaN of those that never delivered one. A
            held-out world is nobody's own: there the others take turns.
        adapted: Rewards that clients made their own, `[k, d]` by reference; there are none in a
            held-out world.
    """
    names = domain.config.fusion.rules
    counts = dict(zip(SPLITS, (len(alone), domain.held_out), strict=True))
    level = _Level(support, theta[names.index("mean")])
    each = level(theta)
    found: dict[Split, Columns] = {}
    for split, count in counts.items():
        own = np.broadcast_to(theta, (count, *theta.shape)).copy()
        constant = np.broadcast_to(offset, (count, len(offset))).copy()
        matched, shift = (np.broadcast_to(one, (count, *one.shape)).copy() for one in each)
        if "local" in names:
            place = names.index("local")
            takers = np.flatnonzero(~np.isnan(alone).any(axis=1))
            turns = alone if split == SPLITS[0] else alone[takers[np.arange(count) % len(takers)]]
            own[:, place] = turns
            matched[:, place], shift[:, place] = level(turns)
        if split == SPLITS[0]:
            for name, each_own in adapted.items():
                place = names.index(name)
                own[:, place] = each_own
                matched[:, place], shift[:, place] = level(each_own)
        found[split] = Columns(names, own, constant, matched, shift)
    return found


class _Level:
    """Brings rewards to the mean and the spread of one of them over the support."""

    def __init__(self, support: Support, theta: Floats) -> None:
        self._mean, self._root = support.moments
        self._level, self._spread = self._mean @ theta, np.linalg.norm(self._root @ theta)

    def __call__(self, theta: Floats) -> tuple[Floats, Floats]:
        """Rewards theta . phi plus any constant, `[i, d]`, at that level: theta and offset."""
        spread = np.linalg.norm(theta @ self._root.T, axis=1)
        apart = spread > ROUNDING * np.linalg.norm(theta, axis=1)
        scale = np.where(np.isnan(spread), np.nan, 0.0)
        scale[apart] = self._spread / spread[apart]
        return scale[:, None] * theta, self._level - scale * (theta @ self._mean)
