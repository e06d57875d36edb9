"""Which of its demonstrations a client fits nothing to, so as to score rewards by them."""

import numpy as np

from fedirl_ray.config_problem import HeterogeneityConfig, ProblemConfig
from fedirl_ray.laws import require
from fedirl_ray.problem.dials import count_episodes
from fedirl_ray.problem.mdp import Bools
from fedirl_ray.seeds import stream

LEAST = 2
"""Demonstrations of which one can be kept aside: something must be left to fit."""


def kept_aside(episodes: int, share: float, root: int, seed: int, client: int) -> Bools:
    """Draw which demonstrations are kept aside.

    Args:
        episodes: How many there are, `m`.
        share: Of them, in (0, 1); rounded, at least one on either side.
        root: Root seed.
        seed: Repetition.
        client: Whose they are.

    Returns:
        Whether each is, `[m]`.

    Raises:
        ConfigError: There are too few.
    """
    _require_spare(episodes, seed, client)
    count = min(max(1, round(share * episodes)), episodes - 1)
    order = stream(root, "seed", seed, "client", client, "aside").permutation(episodes)
    away = np.zeros(episodes, dtype=bool)
    away[order[:count]] = True
    return away


def require_spare(
    problem: ProblemConfig, dials: HeterogeneityConfig, clients: int, root: int, seeds: int
) -> None:
    """Refuse, before any work, experts that will show a client too few demonstrations.

    Raises:
        ConfigError: Names the first such client.
    """
    if dials.demonstrations == 0.0:
        clients = seeds = 1  # all are shown equally many
    for seed in range(seeds):
        for client in range(clients):
            count = count_episodes(problem.demonstrations, dials.demonstrations, root, seed, client)
            _require_spare(count, seed, client)


def _require_spare(episodes: int, seed: int, client: int) -> None:
    law = f"at least {LEAST} where clients keep some aside to score rewards by (federation.aside)"
    what = f"demonstrations of client {client} in seed {seed}"
    require(episodes >= LEAST, what, law, episodes)
