"""Continuous control: rewards learnt on lattices of states x actions, judged by plans and agents.

Letters: `k` clients, `m` clients of a block, `j` rewards a client learns, `d` features.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, fields, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from fedirl_ray.config import RunConfig
from fedirl_ray.config_fusion import REFERENCES
from fedirl_ray.domain.control_judging import FACTS, try_metrics
from fedirl_ray.domain.control_learning import (
    ACTOR,
    SHOWN,
    STEPS,
    become_experts,
    demonstrations,
    guard_of,
    model_of,
    named,
    objective_of,
    part,
    parted,
    pick,
    pool_clients,
    record_world,
    require_protectable,
)
from fedirl_ray.domain.control_panel import Panel, channels_of
from fedirl_ray.domain.control_settings import (
    NUMBER,
    OF_TABLES,
    SIZES,
    Learner,
    TaskSpec,
    held_out_count,
    numbers_of,
    patience,
    refuse_settings,
    room_of,
    sensor_of,
    worlds_of,
)
from fedirl_ray.domain.domain import (
    Channel,
    Columns,
    Fits,
    Ground,
    Judged,
    Split,
    require_meant,
)
from fedirl_ray.domain.job import Arrays, Job, Plan
from fedirl_ray.domain.phi import box_basis
from fedirl_ray.evaluate.overlap import LatticeShown, lattice_overlaps, shown_on_lattice
from fedirl_ray.evaluate.training import side_by_side
from fedirl_ray.fusion.rules import share_aside
from fedirl_ray.fusion.spec import Support
from fedirl_ray.irl.stationary import LatticeIRL, fit_lattice
from fedirl_ray.laws import names_function
from fedirl_ray.problem.aside import require_spare
from fedirl_ray.problem.control.arena import Episodes
from fedirl_ray.problem.control.basis import Basis, lattice_reward
from fedirl_ray.problem.control.brought import require_alike
from fedirl_ray.problem.control.demonstrations import (
    check_target,
    read_episodes,
    write_episodes,
)
from fedirl_ray.problem.control.model import LatticeModel
from fedirl_ray.problem.control.sensors import displaced
from fedirl_ray.problem.control.task import Task
from fedirl_ray.problem.dials import count_episodes, iteration_limits
from fedirl_ray.problem.kind import Kind
from fedirl_ray.problem.lattice import ground_of
from fedirl_ray.problem.mdp import Floats

ROUNDING = 1.01
"""Slack of the bound on curvatures."""


class Held(NamedTuple):
    """What a client learns from."""

    model: LatticeModel
    objective: LatticeIRL
    iterations: int
    episodes: int
    aside: LatticeShown | None


class Control:
    """Tasks of continuous control, the paper's and the user's own."""

    kind: Kind = "control"
    metric = "return"
    facts = FACTS
    references = frozenset(REFERENCES) - {"ceiling"}
    sizes = SIZES

    def __init__(self, config: RunConfig, aside: float | None = None) -> None:
        """Take a run's settings (`aside`: see `domain.kinds.domain_of`).

        Raises:
            ConfigError: One means nothing here, or contradicts another.
        """
        require_meant(config, OF_TABLES, self.references)
        refuse_settings(config)
        self.config, self._told_aside = config, aside

    def __getstate__(self) -> dict[str, Any]:
        """The settings alone: what is made of them is made anew."""
        return {"config": self.config, "_told_aside": self._told_aside}

    @property
    def held_out(self) -> int:
        """Physics that no client has."""
        return held_out_count(self.config)

    @cached_property
    def channels(self) -> tuple[Channel, ...]:
        """See `channels_of`."""
        return channels_of(self.config.control, self.config.evaluation.metrics)

    def check(self) -> None:
        """Refuse the task and its lattice, and recorded demonstrations.

        Raises:
            FedirlError: Says which setting, or which file.
        """
        if self.config.record.demonstrations is not None:
            check_target(self.config.clients, self.config.record.demonstrations)
        _ = self._task.support, self._recorded
        sensor_of(self.config, self._task, 0, 0)
        require_protectable(self.config, self._task, self._recorded or [])
        if self._learner.own:
            _ = self._features
        try_metrics(self._task, self.config.evaluation.metrics)
        if self._aside > 0.0:
            self._require_spare()
        if names_function(self.config.problem.name):
            require_alike(self.config.problem.name, worlds_of(self.config))

    def _require_spare(self) -> None:
        config = self.config
        if self._recorded is None:
            dials = config.heterogeneity
            require_spare(config.problem, dials, config.clients, config.seed, config.seeds)
        for i, one in enumerate(self._recorded or []):
            parted(one, self._aside, config.seed, 0, i)

    def room(self) -> int:
        """About how many bytes a run holds."""
        own = self._learner.own
        return room_of(self.config, self._basis.count if own else self.config.control.features)

    @property
    def varies(self) -> str:
        """Demonstrations and judges; recorded demonstrations stay."""
        recorded = self.config.problem.demonstrations_file is not None
        said = "how rewards are judged alone" if recorded else "demonstrations and judges"
        return f"sensors, and {said}" if self.config.control.sensor_offset else said

    def recorded(self) -> Iterable[bytes]:
        """Content of the episodes that were brought along, whatever holds them."""
        episodes = self._recorded or []
        arrays = [np.ascontiguousarray(array) for one in episodes for array in astuple(one)]
        return [array.tobytes() for array in arrays]

    def keep_demonstrations(self, laid: Sequence[Arrays], target: str) -> None:
        """A file, or a Minari data set, a client."""
        for i, given in enumerate(laid[: self.config.clients]):
            count, root = self._count(0, i), self.config.seed
            episodes = demonstrations(self._task, float(i), given, count, root, 0)
            write_episodes(self._task, float(i), episodes, target)

    def costs(self) -> list[float]:
        """All alike: lattices are of one size."""
        return [1.0] * self.config.clients

    def pooled_bytes(self) -> int:
        """Experts' networks or recorded episodes, and steps that lattices are estimated from."""
        task, control, k = self._task, self.config.control, self.config.clients
        if self._recorded is None:
            numbers = k * numbers_of(control.expert, task)
        else:
            numbers = sum(np.size(array) for one in self._recorded for array in astuple(one))
        if task.physics is None:
            seen = math.prod(task.environment(0.0).observation_space.shape or (1,))
            numbers += k * control.gather * (2 * seen + len(task.action.axes) + 2)
        return NUMBER * numbers

    def ground(self, seed: int) -> Ground:
        """The lattice of states x actions, the same for every seed.

        The score of an action is the difference of two discounted sums of features, over the
        temperature; its variance is below the square of the longest such sum.
        """
        return self._ground

    @cached_property
    def _ground(self) -> Ground:
        config, task, features = self.config, self._task, self._features
        paper = config.control.ground == "paper"
        base = TaskSpec.of(config).anywhere.task().support if paper else None
        longest = float(np.linalg.norm(features, axis=1).max())
        score = longest / (1.0 - config.irl.discount) / config.irl.temperature
        ridge = features.shape[1] * config.irl.l2
        episodes = [len(one.lengths) for one in self._recorded or []]
        return Ground(
            Support(features, ground_of(task.support, base)),
            ROUNDING * (ridge + score**2),
            max(episodes, default=config.problem.demonstrations),
        )

    def exported(self, seed: int) -> Arrays:
        """What features are made of, the same for every seed."""
        return box_basis(self._task, self._basis)

    def lay(self) -> Plan[list[Arrays]]:
        """Train every client's expert, then record steps of worlds whose equations are unknown."""
        config, worlds, anywhere = self.config, worlds_of(self.config), self._spec.anywhere
        k, control = config.clients, config.control
        given: list[Arrays] = [{} for _ in worlds]
        if self._recorded is None:
            how = {"task": anywhere, "config": control.expert, "root": config.seed}
            together = side_by_side(self._task, control.expert)
            slow = patience(control.expert)
            given[:k] = yield [
                Job("expert", become_experts, how | {"client": i}, True, slow, together)
                for i in worlds[:k]
            ]
        else:
            names = [field.name for field in fields(Episodes)]
            given[:k] = [
                named(SHOWN, {name: getattr(one, name) for name in names}) for one in self._recorded
            ]
        if self._task.physics is not None:
            return given
        experts = [] if self._recorded is not None else [part(ACTOR, one) for one in given[:k]]
        how = {"task": anywhere, "steps": control.gather, "root": config.seed}
        steps = yield [
            # A client's own expert flies in its world, everybody's where nobody lives.
            Job("steps", record_world, how | {"world": i, "pilots": own}, True)
            for i, own in (
                (i, experts[place : place + 1] if place < k else experts)
                for place, i in enumerate(worlds)
            )
        ]
        return [one | named(STEPS, recorded) for one, recorded in zip(given, steps, strict=True)]

    def hold(self, seed: int, clients: Sequence[int], laid: Mapping[int, Arrays]) -> list[Any]:
        """Draw demonstrations, and limits of iterations.

        Lattices are the same for every seed, unless sensors are off, anew for each.
        """
        config, task = self.config, self._task
        limits = iteration_limits(
            config.irl.iterations, config.heterogeneity, config.clients, config.seed, seed
        )
        held = []
        for i in clients:
            given, count = laid.get(i, {}), self._count(seed, i)
            sensor = sensor_of(config, task, seed, i)
            seen = displaced(task, sensor)
            if i in self._models:
                model = self._models[i]
            else:
                model = model_of(seen, float(i), part(STEPS, given), config.seed)
            if not sensor:
                self._models[i] = model
            episodes = demonstrations(task, float(i), given, count, config.seed, seed)
            aside = None
            if self._aside > 0.0:
                episodes, kept = parted(episodes, self._aside, config.seed, seed, i)
                aside = shown_on_lattice(seen, model, kept, config.evaluation.discount)
            guard = guard_of(config, given, i, seed)
            objective = objective_of(seen, model, self._features, episodes, self._learner, guard)
            held.append(Held(model, objective, int(limits[i]), len(episodes.lengths), aside))
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
        """Fit one reward after the other, each as if it were the only one."""
        m, j, d = start.shape
        theta, hessian = np.empty((m, j, d)), np.empty((m, j, d, d)) if curvature else None
        objective, iterations = np.empty((m, j)), np.empty((m, j), dtype=np.int64)
        converged = np.empty((m, j), dtype=bool)
        irl = self.config.irl
        for at in np.ndindex(m, j):
            own: Held = held[at[0]]
            found = fit_lattice(
                [own.objective],
                irl,
                start=start[at],
                pull=float(pull[at]),
                iterations=own.iterations if most is None else min(most, own.iterations),
            )
            theta[at], objective[at] = found.theta, found.objective
            iterations[at], converged[at] = found.iterations, found.converged
            if hessian is not None:
                hessian[at] = own.objective.curvature(found.theta) + irl.l2 * np.eye(d)
        episodes = np.array([one.episodes for one in held])
        return Fits(theta, hessian, objective, iterations, converged, episodes)

    def score(self, held: Sequence[Any], thetas: Floats) -> Floats:
        """One plan after the other, each as if it were the only one."""
        return np.stack([self._overlaps(one, own) for one, own in zip(held, thetas, strict=True)])

    def _overlaps(self, held: Held, thetas: Floats) -> Floats:
        assert held.aside is not None
        actions = held.model.action.size
        rewards = np.stack([lattice_reward(self._features, theta, actions) for theta in thetas])
        discount = self.config.evaluation.discount
        return lattice_overlaps(held.model, held.aside, rewards, discount)

    def pool(self, seed: int, laid: Sequence[Arrays]) -> Plan[Floats]:
        """One job."""
        config = self.config
        more = {
            "tasks": [
                replace(self._spec, sensor=sensor_of(config, self._task, seed, i))
                for i in range(config.clients)
            ],
            "learner": self._learner,
            "given": [pick(one, ACTOR, SHOWN, STEPS) for one in laid[: config.clients]],
            "counts": [self._count(seed, i) for i in range(config.clients)],
            "root": config.seed,
            "seed": seed,
            "aside": self._aside,
        }
        (found,) = yield [Job("pooled", pool_clients, more, True)]
        theta: Floats = found["theta"]
        return theta

    def judge(
        self, seed: int, columns: Mapping[Split, Columns], laid: Sequence[Arrays], workers: int
    ) -> Plan[Judged]:
        """A planner's job a world, an agent's a world and reward; all may be done at once."""
        counts = [self._count(seed, i) for i in range(self.config.clients)]
        return Panel(self.config, seed, columns, laid, counts).judge()

    def _count(self, seed: int, client: int) -> int:
        """Episodes that a client's expert shows."""
        most, dial = self.config.problem.demonstrations, self.config.heterogeneity.demonstrations
        return count_episodes(most, dial, self.config.seed, seed, client)

    @cached_property
    def _aside(self) -> float:
        """Share of the demonstrations that clients keep aside."""
        return share_aside(self.config) if self._told_aside is None else self._told_aside

    @cached_property
    def _models(self) -> dict[int, LatticeModel]:
        """Clients' lattices that were needed so far, where sensors are right."""
        return {}

    @cached_property
    def _spec(self) -> TaskSpec:
        return TaskSpec.of(self.config)

    @cached_property
    def _task(self) -> Task:
        return self._spec.task()

    @cached_property
    def _learner(self) -> Learner:
        return Learner.of(self.config)

    @cached_property
    def _basis(self) -> Basis:
        return self._learner.basis(self._task)

    @cached_property
    def _features(self) -> Floats:
        """On the lattice, `[n, d]`."""
        return self._basis.at(self._task.support.points)

    @cached_property
    def _recorded(self) -> list[Episodes] | None:
        """Every client's demonstrations that were brought along."""
        file = self.config.problem.demonstrations_file
        if file is None:
            return None
        clients = range(self.config.clients)
        return [read_episodes(self._task, float(i), str(file)) for i in clients]
