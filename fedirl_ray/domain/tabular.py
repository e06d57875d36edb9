"""Worlds as tables of states: fitted and judged exactly.

Letters: `k` clients, `m` clients of a block, `j` rewards a client learns, `w` worlds, `c` columns,
`p` policies, `d` features.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fedirl_ray.config import RunConfig
from fedirl_ray.config_fusion import REFERENCES
from fedirl_ray.domain.domain import (
    SPLITS,
    Channel,
    Columns,
    Fits,
    Ground,
    Judged,
    Split,
    require_meant,
)
from fedirl_ray.domain.job import Arrays, Job, Plan
from fedirl_ray.domain.tabular_memory import BATCH, SIZES, tabular_bytes
from fedirl_ray.errors import ConfigError
from fedirl_ray.evaluate.metric import metrics_named
from fedirl_ray.evaluate.overlap import overlaps
from fedirl_ray.evaluate.planner import UNLEARNT, judge, judge_references, policies
from fedirl_ray.fusion.rules import share_aside
from fedirl_ray.fusion.spec import support_of
from fedirl_ray.irl.block import (
    demonstrations_of,
    demonstrators,
    most_episodes,
    prepare,
    recorded_outcome,
)
from fedirl_ray.irl.maxent import fit, fit_pooled
from fedirl_ray.problem.aside import require_spare
from fedirl_ray.problem.demonstrations import Demonstrations, require_new, save_demonstrations
from fedirl_ray.problem.dials import iteration_limits
from fedirl_ray.problem.family import Role, draw_world, horizon, varies
from fedirl_ray.problem.features import require_alike
from fedirl_ray.problem.kind import Kind
from fedirl_ray.problem.mdp import Floats, TabularMDP
from fedirl_ray.problem.planning import Outcome, told

LONGER = 10.0
"""How much longer a world's features may be than the longest of the probe's."""
METRICS = ("success", "return")
"""What every policy is judged by; the user's own beside."""
ROLES: Mapping[Split, Role] = {"in-distribution": "client", "held-out": "held-out"}


class Held(NamedTuple):
    """What a client learns from."""

    world: TabularMDP
    counts: Floats
    """Of the demonstrations that it fits its reward to, `[d]`."""
    iterations: int
    episodes: int
    aside: Demonstrations | None


class Tabular:
    """Families of tables, the package's and the user's own."""

    kind: Kind = "tabular"
    metric = "success"
    facts = ()
    references = frozenset(REFERENCES)
    sizes = SIZES

    def __init__(self, config: RunConfig, aside: float | None = None) -> None:
        """Take a run's settings (`aside`: see `domain.kinds.domain_of`).

        Raises:
            ConfigError: One means nothing in tables.
        """
        require_meant(config, ("control",), self.references)
        self.config, self._told_aside = config, aside
        self.held_out = config.evaluation.held_out
        self.channels = tuple(
            Channel(policy, metric)
            for metric in (*METRICS, *config.evaluation.metrics)
            for policy in policies(config)
        )

    @property
    def varies(self) -> str:
        """Worlds and demonstrations, unless those are recorded."""
        return varies(self.config.problem)

    def room(self) -> int:
        """See `domain.tabular_memory`."""
        return tabular_bytes(self.config)

    def check(self) -> None:
        """Draw a world of each role, and try the user's own features and metrics in them.

        All clients' are drawn where their demonstrations are recorded.
        """
        config, problem, target = (
            self.config,
            self.config.problem,
            self.config.record.demonstrations,
        )
        if target is not None:
            require_new(target, [target])
        metrics = metrics_named(config.evaluation.metrics)
        recorded = problem.demonstrations_file is not None
        if self._aside > 0.0 and not recorded:
            dials = config.heterogeneity
            require_spare(problem, dials, config.clients, config.seed, config.seeds)
        block = prepare(config, 0, range(config.clients if recorded else 1), aside=self._aside)
        if config.privacy.unit == "trajectory":
            config.privacy.require_delta(max(block.episodes), "demonstrations of a client")
        if not (metrics or ":" in problem.features):
            return
        held_out = draw_world(problem, config.seed, 0, "held-out", 0)
        d = draw_world(problem, config.seed, 0, "probe", 0).shape[2]
        require_alike([*block.worlds, held_out], d, problem)
        for world in (block.worlds[0], held_out):
            idle = np.outer(world.initial, np.eye(world.shape[1])[0]) * horizon(problem)
            told(metrics, world, idle)

    def recorded(self) -> Iterable[bytes]:
        """Content of the file of demonstrations."""
        file = self.config.problem.demonstrations_file
        if file is None:
            return []
        try:
            return [file.read_bytes()]
        except OSError as err:
            raise ConfigError(
                f"problem.demonstrations-file must be a readable file, got {file}: {err.strerror}"
            ) from None

    def keep_demonstrations(self, laid: Sequence[Arrays], target: str) -> None:
        """One .npz of all clients."""
        if not Path(target).exists():
            save_demonstrations(Path(target), demonstrations_of(self.config, 0))

    def costs(self) -> list[float]:
        """Branches of a client's transitions times optimiser steps, relative.

        The families that come with the package give every client a world of one size; only a
        user's own are looked at. Steps count where the optimiser takes a fixed number of them.
        """
        config = self.config
        work = np.ones(config.clients)
        if config.irl.optimizer == "adam":
            most, dials = max(1, config.irl.iterations), config.heterogeneity
            limits = [
                iteration_limits(most, dials, config.clients, config.seed, seed)
                for seed in range(config.seeds)
            ]
            work *= np.mean(limits, axis=0) / most
        if ":" in config.problem.name:
            worlds = (
                draw_world(config.problem, config.seed, 0, "client", i)
                for i in range(config.clients)
            )
            work *= [world.successors.size for world in worlds]
        return [float(one) for one in work]

    def pooled_bytes(self) -> int:
        """A state and an action a step, 32 bits each."""
        problem = self.config.problem
        return 2 * 4 * self.config.clients * problem.demonstrations * horizon(problem)

    def ground(self, seed: int) -> Ground:
        """The support that the seed's probe shows."""
        problem, irl = self.config.problem, self.config.irl
        support = support_of(draw_world(problem, self.config.seed, seed, "probe", 0))
        d, steps = support.features.shape[1], horizon(problem)
        # A curvature adds up, over the steps, the spread of the discounted features that lie ahead.
        ahead = min(steps, 1.0 / (1.0 - irl.discount)) if irl.discount < 1.0 else steps
        longest = LONGER * ahead * float(np.linalg.norm(support.features, axis=1).max())
        bound = d * irl.l2 + ahead * longest**2 / irl.temperature
        return Ground(support, bound, most_episodes(problem))

    def exported(self, seed: int) -> Arrays:
        """Features on the seed's shared support, and how its points are numbered.

        Returns:
            `features` `[n, d]`; `shape`: states, actions, and actions that features tell apart;
            `horizon`; `axis_0` ...: the lattice's axes, as `TabularMDP.axes` has them.
        """
        probe = draw_world(self.config.problem, self.config.seed, seed, "probe", 0)
        s, a, d, sighted = probe.shape
        return {
            "features": probe.features.reshape(-1, d),
            "shape": np.array([s, a, sighted]),
            "horizon": np.array(horizon(self.config.problem)),
            **{f"axis_{number}": axis for number, axis in enumerate(probe.axes)},
        }

    @cached_property
    def _aside(self) -> float:
        """Share of the demonstrations that clients keep aside."""
        return share_aside(self.config) if self._told_aside is None else self._told_aside

    def lay(self) -> Plan[list[Arrays]]:
        """Nothing: worlds are drawn when they are needed."""
        yield from ()
        return [{} for _ in range(self.config.clients)]

    def hold(self, seed: int, clients: Sequence[int], laid: Mapping[int, Arrays]) -> list[Any]:
        """Draw worlds, feature counts of demonstrations, and limits of iterations."""
        held: list[Any] = []
        for some in _batches(clients):
            block = prepare(self.config, seed, some, laid, aside=self._aside)
            each = (block.worlds, block.counts, block.iterations, block.episodes, block.aside)
            held += [Held(*one) for one in zip(*each, strict=True)]
        return held

    def learn(
        self,
        held: Sequence[Any],
        start: Floats,
        pull: Floats,
        most: int | None = None,
        *,
        curvature: bool = True,
    ) -> Fits:
        """Fit all clients' rewards side by side."""
        m, j, d = start.shape
        limits = [one.iterations if most is None else min(most, one.iterations) for one in held]
        require_alike([one.world for one in held], d, self.config.problem)
        found = fit(
            [one.world for one in held for _ in range(j)],
            np.repeat([one.counts for one in held], j, axis=0),
            self.config.irl,
            horizon(self.config.problem),
            start=start.reshape(m * j, d),
            iterations=np.repeat(limits, j),
            proximal=pull.ravel(),
            curvature=curvature,
        )
        return Fits(
            found.theta.reshape(m, j, d),
            None if found.hessian is None else found.hessian.reshape(m, j, d, d),
            found.negative_log_likelihood.reshape(m, j),
            found.iterations.reshape(m, j),
            found.converged.reshape(m, j),
            np.array([one.episodes for one in held]),
        )

    def score(self, held: Sequence[Any], thetas: Floats) -> Floats:
        """All clients' plans side by side."""
        worlds, aside = [one.world for one in held], [one.aside for one in held]
        return overlaps(worlds, aside, thetas, discount=self.config.evaluation.discount)

    def pool(self, seed: int, laid: Sequence[Arrays]) -> Plan[Floats]:
        """One job."""
        more = {"config": self.config, "seed": seed, "aside": self._aside}
        (found,) = yield [Job("pooled", pool_clients, more)]
        theta: Floats = found["theta"]
        return theta

    def judge(
        self, seed: int, columns: Mapping[Split, Columns], laid: Sequence[Arrays], workers: int
    ) -> Plan[Judged]:
        """Worlds in as many parts as there are workers."""
        jobs, places = [], []
        for split in SPLITS:
            own = columns[split]
            edges = np.linspace(0, len(own.theta), workers + 1).astype(int)
            for first, last in itertools.pairwise(edges.tolist()):
                if first == last:
                    continue
                more = {
                    "config": self.config,
                    "seed": seed,
                    "split": split,
                    "first": first,
                    "names": own.names,
                    "theta": own.theta[first:last],
                    "matched": own.matched_theta[first:last],
                }
                jobs.append(Job("judged", judge_worlds, more))
                places.append(split)
        found = yield jobs
        scores = {
            split: np.concatenate(
                [one["scores"] for one, place in zip(found, places, strict=True) if place == split]
            )
            for split in SPLITS
        }
        return Judged(scores, np.empty((self.config.clients, 0)))


def pool_clients(config: RunConfig, seed: int, aside: float) -> Arrays:
    """Fit one theta `[d]` to the data of all clients, but for the share that they keep aside."""
    everyone = prepare(config, seed, range(config.clients), aside=aside)
    theta = fit_pooled(everyone.worlds, everyone.counts, config.irl, horizon(config.problem))
    return {"theta": theta}


def judge_worlds(
    config: RunConfig,
    seed: int,
    split: Split,
    first: int,
    names: Sequence[str],
    theta: Floats,
    matched: Floats,
) -> Arrays:
    """Judge rewards, and the references that have none, in some worlds.

    A constant added to a reward changes no plan in a table, whose episodes all earn equally many
    terms (see `problem.mdp`), so that offsets are left out. The demonstrator of a client's world is
    its own expert. A held-out world is nobody's: there the clients' experts take turns, as their
    rewards do; recorded demonstrations say nothing.

    Args:
        config: The run.
        seed: Which repetition.
        split: Whose worlds.
        first: Number of the first.
        names: Of the columns.
        theta: `[w, c, d]`, NaN where there is no reward.
        matched: The same at one scale.

    Returns:
        `scores` `[w, c, x]`: success, then return, then the user's own metrics, each by policy.
    """
    parts = [
        _judge_batch(
            config, seed, split, [first + i for i in some], names, theta[some], matched[some]
        )
        for some in _batches(range(len(theta)))
    ]
    return {"scores": np.concatenate(parts)}


def _batches(numbers: Sequence[int]) -> Iterator[list[int]]:
    for first in range(0, len(numbers), BATCH):
        yield list(numbers[first : first + BATCH])


def _judge_batch(
    config: RunConfig,
    seed: int,
    split: Split,
    indices: Sequence[int],
    names: Sequence[str],
    theta: Floats,
    matched: Floats,
) -> Floats:
    """`scores` of `judge_worlds` in the worlds of these numbers."""
    problem = config.problem
    worlds = [draw_world(problem, config.seed, seed, ROLES[split], i) for i in indices]
    require_alike(worlds, theta.shape[2], problem)
    planned = [c for c, name in enumerate(names) if name not in UNLEARNT]
    learnt = theta[:, planned]
    found = judge(worlds, np.nan_to_num(learnt), np.nan_to_num(matched[:, planned]), config)
    metrics, count = found.others.shape[2:]
    scores = np.empty((*theta.shape[:2], (2 + metrics) * count))
    scores[:, planned] = np.concatenate(
        [found.success, found.value, found.others.reshape(*found.success.shape[:2], -1)], axis=2
    )
    for c in planned:
        scores[np.isnan(theta[:, c]).any(axis=1), c] = np.nan
    if len(planned) < len(names):
        others = _references(config, seed, split, [i % config.clients for i in indices], worlds)
        for column, name in enumerate(UNLEARNT):
            if name in names:
                row = [others.success[:, column], others.value[:, column]]
                each = np.column_stack([*row, others.others[:, column]])
                scores[:, list(names).index(name)] = each.repeat(count, axis=1)
    return scores


def _references(
    config: RunConfig, seed: int, split: Split, takers: Sequence[int], worlds: Sequence[Any]
) -> Outcome:
    recorded = None
    if config.problem.demonstrations_file is not None:
        metrics = metrics_named(config.evaluation.metrics)
        nothing = np.full(len(worlds), np.nan)
        recorded = Outcome(nothing, nothing, np.full((len(worlds), len(metrics)), np.nan))
        if split == "in-distribution":
            recorded = recorded_outcome(config, takers, worlds, metrics)
    return judge_references(
        worlds,
        config,
        temperatures=demonstrators(config, seed, takers),
        recorded=recorded,
    )
