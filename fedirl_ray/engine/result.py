"""What a run has found, as arrays and as a long table.

Letters: `k` clients, `r` rounds, `w` held-out worlds, `s` splits, `c` columns (rules and
references), `x` channels (see `domain.domain.Channel`), `f` facts, `n` support points, `d`
features.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedirl_ray.domain.domain import SPLITS, Domain, Split
from fedirl_ray.engine.upload import Traffic, exchanged, scoring
from fedirl_ray.problem.mdp import Floats


@dataclass(frozen=True)
class SeedResult:
    """One repetition. NaN stands where a column has no such thing."""

    client_theta: Floats
    """The clients' own rewards, `[k, d]`."""
    theta: Floats
    """Each column's reward, `[c, d]`."""
    offset: Floats
    """Constant beside theta . phi, of blind controls, `[c]`."""
    reward: Floats
    """theta . phi + offset on the shared support, `[c, n]`."""
    measure: Floats
    """Fused probability measure, `[c, n]`."""
    client_scores: Floats
    """What rewards come to in the clients' worlds, `[k, c, x]`."""
    held_out_scores: Floats
    """The same in the held-out worlds, `[w, c, x]`."""
    facts: Floats
    """Of the clients' data and models, `[k, f]`."""
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
    asked_scores: NDArray[np.int64]
    """How many rewards each round asked each client to score for which rule, `[r, c, k]`."""
    scores_heard: NDArray[np.int64]
    """How many scores were let in, `[r, c, k]`."""
    chosen: NDArray[np.int64]
    """Whose answer each rule took in each round, by its place in `choices`, `[r, c]`; -1: its own.
    """
    displacement: Floats
    """What told in each round whether maps are displaced, `[r, c, 3]`, of the fields of
    `fusion.displacement.Evidence`; NaN of rules that do not ask."""
    adapted_theta: Floats
    """Rewards that clients made their own, personal and fine-tuned, `[2, k, d]`."""
    own_share: Floats
    """The own reward's share in the personal one, `[k]`."""
    round_scores: Floats
    """Mean over each split's worlds after each round, `[r, s, c, x]`; NaN where no round but the
    last was judged."""
    barycenter_iterations: NDArray[np.int64]
    """`[c]`, last round."""
    barycenter_converged: NDArray[np.bool_]
    """`[c]`, last round."""
    seconds: Floats
    """Wall time each rule took beyond the clients' learning, `[c]`; `local`: that learning."""

    def scores(self, split: Split) -> Floats:
        """Mean over the worlds of a split, `[c, x]`."""
        return mean_over_worlds(self.client_scores if split == SPLITS[0] else self.held_out_scores)

    @property
    def heard(self) -> NDArray[np.bool_]:
        """Whose uploads were let in to any federation, `[r, k]`."""
        heard: NDArray[np.bool_] = np.any(self.admitted, axis=1)
        return heard


def judges(domain: Domain, metric: str | None = None) -> dict[str, int]:
    """Channels of a metric: each judge's, once it has learnt all it will.

    Args:
        domain: The kind of world.
        metric: Which; None: the one that tables are of.

    Returns:
        Numbers of channels by judge, the one behind the main table first.
    """
    metric = metric or domain.metric
    last: dict[str, int] = {}
    for number, channel in enumerate(domain.channels):
        if channel.metric != metric:
            continue
        before = last.get(channel.judge)
        if before is None or domain.channels[before].step < channel.step:
            last[channel.judge] = number
    return last


def samples(domain: Domain, results: Sequence[SeedResult], split: Split) -> Floats:
    """Mean over a split's worlds of the metric that tables are of, `[seeds, c, judges]`."""
    chosen = list(judges(domain).values())
    return np.stack([result.scores(split)[:, chosen] for result in results])


def mean_over_worlds(each: Floats) -> Floats:
    """Mean over worlds, without clients that never had a reward of their own.

    Args:
        each: `[worlds, c, x]`, NaN of those.

    Returns:
        `[c, x]`; NaN of a rule that had none in any world.
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


def sent(rule: str, result: SeedResult, domain: Domain) -> Traffic:
    """Bytes a rule would move in a whole seed if it ran alone, all clients and rounds together.

    Theta goes down to every client asked and comes up from every client let in, rewards to score
    and scores as often as there were any (see `engine.upload`). `pooled` sends the demonstrations
    instead, once.
    """
    if rule == "pooled":
        return Traffic(0, domain.pooled_bytes())
    config, d = domain.config, result.theta.shape[1]
    column, each = config.fusion.rules.index(rule), exchanged(rule, d, config.fusion)
    heard = result.admitted[:, column]
    polls = scoring(
        d * int(result.asked_scores[:, column].sum()), int(result.scores_heard[:, column].sum())
    )
    return Traffic(
        each.down * int(result.asked.sum()) + polls.down, each.up * int(heard.sum()) + polls.up
    )


class Row(NamedTuple):
    """One number of the long table."""

    seed: int
    round: int
    """After which round, from 1."""
    split: str
    """Mean over whose worlds; empty of what no world has."""
    rule: str
    """Rule or reference."""
    judge: str
    metric: str
    step: int
    """After how many steps of training, of judges that learn."""
    value: float


def long_table(results: Sequence[SeedResult], domain: Domain) -> list[Row]:
    """Every seed's scores by round, bytes sent, theta's norm and direction, one number a row.

    `theta_angle` is measured from the parameter mean's theta; `theta_direction` is the angle of a
    two-feature theta from the first axis; both in degrees. Facts about clients are means over them.
    """
    return [row for seed, result in enumerate(results) for row in _rows(seed, result, domain)]


def _rows(seed: int, result: SeedResult, domain: Domain) -> Iterator[Row]:
    rules, last = domain.config.fusion.rules, domain.config.federation.rounds
    for number, judged in enumerate(result.round_scores, start=1):
        if np.isnan(judged).all():
            continue  # of this round nobody was asked
        for split, table in zip(SPLITS, judged, strict=True):
            for rule, line in zip(rules, table, strict=True):
                for channel, value in zip(domain.channels, line, strict=True):
                    yield Row(seed, number, split, rule, *channel, float(value))
    for c, rule in enumerate(rules):
        counts = sent(rule, result, domain)
        yield Row(seed, last, "", rule, "", "bytes_down", 0, float(counts.down))
        yield Row(seed, last, "", rule, "", "bytes_up", 0, float(counts.up))
        theta = result.theta[c]
        if np.isnan(theta).any():
            continue
        angle = angle_between(theta, result.theta[rules.index("mean")])
        yield Row(seed, last, "", rule, "", "theta_norm", 0, float(np.linalg.norm(theta)))
        yield Row(seed, last, "", rule, "", "theta_angle", 0, angle)
        if theta.size == 2:
            direction = float(np.degrees(np.arctan2(theta[1], theta[0])) % 360.0)
            yield Row(seed, last, "", rule, "", "theta_direction", 0, direction)
    for name, each in zip(domain.facts, result.facts.T, strict=True):
        yield Row(seed, last, "", "", "", name, 0, float(each.mean()))


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
