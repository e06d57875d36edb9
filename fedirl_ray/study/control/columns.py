"""What is judged on a control task: the rules' fused rewards, and the controls beside them.

All but the task's own reward are theta . phi + offset. Letters: `k` clients, `d` features.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np

from fedirl_ray.config import FusionConfig, Rule
from fedirl_ray.engine.checkpoint import Arrays
from fedirl_ray.fusion.rules import REFERENCES, Support, fuse
from fedirl_ray.problem.lattice import ground_of
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.study.control.config import LearnerConfig, TaskConfig

TRUE = "true"
"""The task's own reward."""
MATCHED = " as mean"
"""Ending of a rule's reward brought to the offset and scale of the parameter mean's."""


class Column(NamedTuple):
    """One reward."""

    theta: Floats
    """`[d]`."""
    offset: float


def fuse_columns(
    task: TaskConfig,
    learner: LearnerConfig,
    fusion: FusionConfig,
    ground: Literal["cells", "paper"],
    thetas: Floats,
    curvatures: Floats,
) -> Arrays:
    """Fuse one seed's rewards by every rule; a job.

    Returns:
        `theta` [c, d] and `offset` [c], in the order of `column_names`.
    """
    own = task.task()
    base = None if ground == "cells" else replace(task, points=()).task().support
    features = learner.basis(own).at(own.support.points)
    support = Support(features, ground_of(own.support, base))
    columns = list(fused_columns(thetas, curvatures, support, fusion).values())
    return {
        "theta": np.array([column.theta for column in columns]),
        "offset": np.array([column.offset for column in columns]),
    }


def fused_names(rules: Sequence[Rule]) -> list[str]:
    """What `fused_columns` calls its columns, in their order."""
    fusing = [rule for rule in rules if rule not in REFERENCES]
    return [*fusing, *(rule + MATCHED for rule in fusing if rule != "mean")]


def fused_columns(
    thetas: Floats, curvatures: Floats, support: Support, config: FusionConfig
) -> dict[str, Column]:
    """Every rule's reward, equal weights; and each brought to the mean's offset and scale.

    Args:
        thetas: `[k, d]`.
        curvatures: `[k, d, d]`.
        support: The shared support.
        config: Rules and their settings; references are left out.

    Returns:
        Columns by name, in the rules' order.

    Raises:
        ConfigError: A barycenter's settings cannot be met.
    """
    weights = np.full(len(thetas), 1.0 / len(thetas))
    columns = {
        rule: Column(fuse(rule, thetas, curvatures, weights, support, config).theta, 0.0)
        for rule in config.rules
        if rule not in REFERENCES
    }
    base = support.features @ columns["mean"].theta
    matched = {
        rule + MATCHED: _matched(column, support.features @ column.theta, base)
        for rule, column in columns.items()
        if rule != "mean"
    }
    return columns | matched


def _matched(column: Column, reward: Floats, base: Floats) -> Column:
    """The same reward with another's mean and standard deviation over the support."""
    spread = float(reward.std())
    scale = float(base.std()) / spread if spread > 0.0 else 0.0
    return Column(scale * column.theta, float(base.mean() - scale * reward.mean()))


def controls(mean: Floats, rng: np.random.Generator, randoms: int) -> dict[str, Column]:
    """Rewards that know nothing: constants, and random theta as long as the parameter mean.

    Args:
        mean: The parameter mean, `[d]`.
        rng: Directions.
        randoms: How many of them.
    """
    nothing = np.zeros_like(mean)
    found = {"+1": Column(nothing, 1.0), "-1": Column(nothing, -1.0)}
    for number in range(1, randoms + 1):
        direction = rng.normal(size=mean.size)
        length = np.linalg.norm(mean) / np.linalg.norm(direction)
        found[f"random {number}"] = Column(direction * length, 0.0)
    return found
