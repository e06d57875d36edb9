"""What a run has found, as arrays and as a long table.

Letters: `k` clients, `r` rounds, `w` held-out worlds, `s` splits, `c` rules, `p` policies, `n`
support points, `d` features.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedirl_ray.config import RunConfig
from fedirl_ray.engine.upload import Traffic, traffic
from fedirl_ray.evaluate.planner import policies
from fedirl_ray.problem.family import horizon
from fedirl_ray.problem.mdp import Floats

SPLITS = ("in-distribution", "held-out")


@dataclass(frozen=True)
class SeedResult:
    """One repetition. NaN stands where a rule has no such thing."""

    client_theta: Floats
    """The clients' own rewards, `[k, d]`."""
    theta: Floats
    """Each rule's reward, `[c, d]`."""
    reward: Floats
    """theta on the probe's support, `[c, n]`."""
    measure: Floats
    """Fused probability measure, `[c, n]`."""
    client_success: Floats
    """Success in the clients' worlds, `[k, c, p]`."""
    client_value: Floats
    """Discounted true return in the clients' worlds, `[k, c, p]`."""
    held_out_success: Floats
    """Success in the held-out worlds, `[w, c, p]`."""
    held_out_value: Floats
    """Discounted true return in the held-out worlds, `[w, c, p]`."""
    negative_log_likelihood: Floats
    """Of the clients' last fits, `[k]`; negative: demonstrations the model cannot achieve."""
    fit_iterations: NDArray[np.int64]
    """Optimiser steps of the clients' last fits, `[k]`."""
    fit_converged: NDArray[np.bool_]
    """Whether they reached their tolerance, `[k]`."""
    asked: NDArray[np.bool_]
    """Which clients each round asked, `[r, k]`."""
    admitted: NDArray[np.bool_]
    """Whose uploads it let in to which rule's federation, `[r, c, k]`; references have none."""
    round_success: Floats
    """Mean success by split after each round, `[r, s, c, p]`; NaN where no round but the last was
    judged."""
    barycenter_iterations: NDArray[np.int64]
    """`[c]`, last round."""
    barycenter_converged: NDArray[np.bool_]
    """`[c]`, last round."""
    seconds: Floats
    """Wall time each rule took beyond the clients' learning, `[c]`; `local`: that learning."""

    def success(self, split: str) -> Floats:
        """Mean success over the worlds of a split, `[c, p]`."""
        each = self.client_success if split == SPLITS[0] else self.held_out_success
        return mean_over_worlds(each)

    @property
    def heard(self) -> NDArray[np.bool_]:
        """Whose uploads were let in to any federation, `[r, k]`."""
        heard: NDArray[np.bool_] = np.any(self.admitted, axis=1)
        return heard

    def value(self, split: str) -> Floats:
        """Mean discounted true return over the worlds of a split, `[c, p]`."""
        each = self.client_value if split == SPLITS[0] else self.held_out_value
        return mean_over_worlds(each)


def mean_over_worlds(each: Floats) -> Floats:
    """Mean over worlds, without clients that never had a reward of their own.

    Args:
        each: `[worlds, c, p]`, NaN of those.

    Returns:
        `[c, p]`; NaN of a rule that had none in any world.
    """
    known = ~np.isnan(each)
    total, count = np.where(known, each, 0.0).sum(axis=0), known.sum(axis=0)
    mean: Floats = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return mean


TIMED = "seconds"
"""The one field of `SeedResult` that differs between runs of the same seed."""


def stack(results: Sequence[SeedResult]) -> dict[str, NDArray[Any]]:
    """Arrays of all seeds, seeds leading, without timings."""
    names = [field.name for field in fields(SeedResult) if field.name != TIMED]
    return {name: np.stack([getattr(result, name) for result in results]) for name in names}


def sent(rule: str, result: SeedResult, config: RunConfig) -> Traffic:
    """Bytes a rule would move in a whole seed if it ran alone, all clients and rounds together.

    Theta goes down to every client asked and comes up from every client let in (see
    `engine.upload.traffic`). `pooled` sends the demonstrations instead, once.
    """
    if rule == "pooled":
        steps = config.clients * config.problem.demonstrations * horizon(config.problem)
        return Traffic(0, 2 * 4 * steps)  # a state and an action, 32 bits each
    each = traffic(rule, result.theta.shape[1])
    heard = result.admitted[:, config.fusion.rules.index(rule)]
    return Traffic(each.down * int(result.asked.sum()), each.up * int(heard.sum()))


class Row(NamedTuple):
    """One number of the long table."""

    seed: int
    rule: str
    split: str
    policy: str
    metric: str
    value: float


def long_table(results: Sequence[SeedResult], config: RunConfig) -> list[Row]:
    """Every seed's success, return, bytes sent, theta's norm and direction, one number a row.

    `theta_angle` is measured from the parameter mean's theta; `theta_direction` is the angle of a
    two-feature theta from the first axis; both in degrees.
    """
    rows = []
    rules, names = config.fusion.rules, policies(config)
    mean = rules.index("mean")
    for seed, result in enumerate(results):
        for c, rule in enumerate(rules):
            for split in SPLITS:
                for metric, table in (
                    ("success", result.success(split)),
                    ("return", result.value(split)),
                ):
                    rows += [
                        Row(seed, rule, split, policy, metric, float(table[c, p]))
                        for p, policy in enumerate(names)
                    ]
            for metric, count in zip(
                ("bytes_down", "bytes_up"), sent(rule, result, config), strict=True
            ):
                rows.append(Row(seed, rule, "", "", metric, float(count)))
            theta = result.theta[c]
            if not np.isnan(theta).any():
                rows.append(Row(seed, rule, "", "", "theta_norm", float(np.linalg.norm(theta))))
                angle = angle_between(theta, result.theta[mean])
                rows.append(Row(seed, rule, "", "", "theta_angle", angle))
                if theta.size == 2:
                    direction = float(np.degrees(np.arctan2(theta[1], theta[0])) % 360.0)
                    rows.append(Row(seed, rule, "", "", "theta_direction", direction))
    return rows


class RoundRow(NamedTuple):
    """Success after one round."""

    seed: int
    round: int
    """From 1."""
    rule: str
    split: str
    policy: str
    success: float


def round_table(results: Sequence[SeedResult], config: RunConfig) -> list[RoundRow]:
    """Every seed's success after each round that was judged, one number a row."""
    names = (range(1, config.federation.rounds + 1), SPLITS, config.fusion.rules, policies(config))
    return [
        RoundRow(seed, number, rule, split, policy, float(value))
        for seed, result in enumerate(results)
        for (number, split, rule, policy), value in zip(
            product(*names), result.round_success.ravel(), strict=True
        )
        if not np.isnan(value)
    ]


def angle_between(left: Floats, right: Floats) -> float:
    """Angle between two vectors in degrees; NaN if either is zero."""
    norms = np.linalg.norm(left) * np.linalg.norm(right)
    if norms == 0.0:
        return float("nan")
    # arctan2 of the two parts is exact where arccos of a rounded cosine near one is not.
    unit_left, unit_right = left / np.linalg.norm(left), right / np.linalg.norm(right)
    half = np.arctan2(
        np.linalg.norm(unit_left - unit_right), np.linalg.norm(unit_left + unit_right)
    )
    return float(np.degrees(2.0 * half))
