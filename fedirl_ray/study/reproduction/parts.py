"""The parts of a reproduction by name."""

from collections.abc import Sequence
from functools import partial
from typing import Literal, get_args

from fedirl_ray.study.reproduction import (
    communication,
    displaced,
    figures,
    gaussians,
    privacy,
    scale,
    scenes,
    tables,
    theorems,
    unseen,
)
from fedirl_ray.study.reproduction.plan import Part, Plan

Name = Literal[
    "table1",
    "table2",
    "choices",
    "theorem1",
    "theorem2",
    "gaussians",
    "communication",
    "displaced",
    "unseen",
    "figure2",
    "figure3",
    "refinement",
    "scale",
    "privacy",
]
NAMES: tuple[Name, ...] = get_args(Name)
GRID: tuple[Name, ...] = NAMES[: NAMES.index("unseen")]
"""The parts on grid-worlds and synthetic rewards, which need nothing more installed."""


def _federations(title: str, seconds: float, settings: tables.Settings) -> Part:
    return Part(title, seconds, partial(tables.steps, settings), partial(tables.run, settings))


def _tasks(title: str, seconds: float, tasks: Sequence[str]) -> Part:
    return Part(title, seconds, partial(figures.steps, tasks), partial(figures.run, tasks))


PARTS: dict[Name, Part] = {
    "table1": _federations("Table 1: grid-worlds", 7.0, tables.table1),
    "table2": _federations("Table 2: weak clients", 0.5, tables.table2),
    "choices": _federations("Table 1 under choices the paper leaves open", 1.0, tables.choices),
    "theorem1": Part("Theorem 1, measured", 3.0, scenes.steps, theorems.theorem1),
    "theorem2": Part("Theorem 2, measured", 3.0, scenes.steps, theorems.theorem2),
    "gaussians": Part(
        "Barycenters of Gaussians and the closed form", 4.0, gaussians.steps, gaussians.run
    ),
    "communication": Part("Bytes by rule and round", 0.1, communication.steps, communication.run),
    "displaced": Part("Displaced maps", 3.0, displaced.steps, displaced.run),
    "unseen": Part("The registered test of auto", 3.0, unseen.steps, unseen.run),
    "figure2": _tasks("Figure 2: Pendulum and CartPole", 150.0, figures.FIGURE_2),
    "figure3": _tasks("Figure 3: LunarLander and Acrobot", 600.0, figures.FIGURE_3),
    "refinement": Part(
        "Return against the lattice's resolution", 12.0, figures.refinement_steps, figures.refine
    ),
    "scale": Part("What fusing costs on larger lattices", 5.0, scale.steps, scale.run),
    "privacy": Part("What privacy costs, and what it hides", 12.0, privacy.steps, privacy.run),
}


def estimate(name: Name, plan: Plan) -> float:
    """Seconds a part will take, roughly, on one core."""
    part = PARTS[name]
    return part.seconds * part.steps(plan)
