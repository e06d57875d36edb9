"""From a problem's name to its worlds: which family draws them, and from which streams."""

import re
from typing import Literal

from fedirl_ray.config import ProblemConfig
from fedirl_ray.errors import ConfigError
from fedirl_ray.problem import gridworld
from fedirl_ray.problem.mdp import TabularMDP
from fedirl_ray.seeds import stream

Role = Literal["client", "held-out", "probe"]
"""Whose world it is: a client's, one no client has seen, or the slip-free one to look at."""


def draw_world(config: ProblemConfig, root: int, seed: int, role: Role, index: int) -> TabularMDP:
    """Draw one world, the same whoever asks and in whatever order.

    Args:
        config: Which family, and its dials.
        root: Root seed of the run.
        seed: Repetition, from 0; worlds of one repetition vary a common layout.
        role: Whose world; a probe never slips.
        index: Which of that role, from 0.

    Raises:
        ConfigError: Unknown `problem.name`, or no such world exists.
    """
    base = stream(root, "seed", seed, "layout")
    own = stream(root, "seed", seed, role, index, "world")
    if config.name != "GridWorld":
        raise ConfigError(f"problem.name must be GridWorld, got {config.name!r}")
    return gridworld.draw(config, base, own, role == "probe")


def horizon(config: ProblemConfig) -> int:
    """Steps in an episode: `config.horizon`, or else what suits the family."""
    return config.horizon if config.horizon is not None else 6 * config.size


def slug(name: str) -> str:
    """A problem's name as part of a folder's: letters, digits, and `-_.` between them."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._") or "problem"
