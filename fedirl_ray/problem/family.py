"""From a problem's name to its worlds: which family draws them, and from which streams."""

from typing import Literal

from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.errors import ConfigError
from fedirl_ray.problem import custom, gridworld, sites, tabular
from fedirl_ray.problem.features import with_features
from fedirl_ray.problem.mdp import TabularMDP
from fedirl_ray.seeds import stream

Role = Literal["client", "held-out", "probe"]
"""Whose world it is: a client's, one no client has seen, or the slip-free one to look at."""


def draw_world(config: ProblemConfig, root: int, seed: int, role: Role, index: int) -> TabularMDP:
    """Draw one world, the same whoever asks and in whatever order.

    Args:
        config: Which family, and its dials.
        root: Root seed of the run.
        seed: Repetition, from 0; worlds of one repetition vary a common layout. With a file of
            demonstrations all but the held-out worlds are those of repetition 0.
        role: Whose world; a probe never slips.
        index: Which of that role, from 0.

    Raises:
        ConfigError: Unknown `problem.name`, or no such world exists.
    """
    world = _draw_family(config, root, seed, role, index)
    return world if config.features == "distance" else with_features(world, config)


def _draw_family(config: ProblemConfig, root: int, seed: int, role: Role, index: int) -> TabularMDP:
    if config.name != "GridWorld" and (config.goal, config.goal_shift) != ("corner", 0.0):
        raise ConfigError(
            f"problem.goal and problem.goal-shift move GridWorld's goal alone, got {config.name}"
        )
    if config.name != "SitesWorld":
        sites.require_sites(config)
    # Recorded demonstrations are of one world each, whatever the seed.
    recorded = config.demonstrations_file is not None
    base = stream(root, "seed", 0 if recorded else seed, "layout")
    held = recorded and role != "held-out"
    repetition = 0 if held else seed
    own = stream(root, "seed", repetition, role, index, "world")
    deterministic = role == "probe"
    match config.name:
        case "GridWorld":
            return gridworld.draw(config, base, own, deterministic, shifts=role == "client")
        case "SitesWorld":
            moved = None
            if role == "client":
                moved = sites.displacement(config.sites, root, repetition, index)
            return sites.draw(config, base, own, deterministic, moved)
        case "FrozenLake-v1":
            return tabular.frozen_lake(config, base, own, deterministic)
        case "CliffWalking-v1":
            return tabular.cliff_walking(config, own, deterministic)
        case "Taxi-v4":
            return tabular.taxi(config, own, deterministic)
        case name if ":" in name:
            return custom.draw(name, role, index, own)
        case name:
            raise ConfigError(f"problem.name must be a family of tables, got {name!r}")


def horizon(config: ProblemConfig) -> int:
    """Steps in an episode: `config.horizon`, or else what suits the family.

    Raises:
        ConfigError: Unknown `problem.name`.
    """
    if config.horizon is not None:
        return config.horizon
    match config.name:
        case "GridWorld" | "FrozenLake-v1":
            return 6 * config.size
        case "SitesWorld":
            return 3 * config.size
        case "CliffWalking-v1":
            return 100
        case name if name == "Taxi-v4" or ":" in name:
            return 200
        case name:
            raise ConfigError(f"problem.name must be a family of tables, got {name!r}")


def varies(config: ProblemConfig) -> str:
    """What differs between the seeds of a run, beside the draws of its heterogeneity dials."""
    if config.demonstrations_file is not None:
        return "held-out worlds alone; clients keep their worlds and recorded demonstrations"
    return "worlds and demonstrations"
