"""A study of one control task, from experts to what agents make of the fused rewards.

Its work is cut into jobs (`engine.jobs`); stages wait for each other, jobs of a stage do not. What
comes of it is one long table. Letters: `k` clients, `e` seeds, `c` columns, `d` features.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fedirl_ray.engine.checkpoint import Arrays
from fedirl_ray.engine.identity import module_digest, rules_digest
from fedirl_ray.engine.jobs import Job, Jobs
from fedirl_ray.evaluate.training import side_by_side
from fedirl_ray.problem.control.arena import Episodes
from fedirl_ray.problem.control.demonstrations import read_episodes, write_episodes
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.seeds import stream
from fedirl_ray.study.control.columns import TRUE, Column, controls, fuse_columns, fused_names
from fedirl_ray.study.control.config import ControlConfig
from fedirl_ray.study.control.judging import judge_by_agents, judge_by_planner
from fedirl_ray.study.control.learning import (
    Teacher,
    Weights,
    become_experts,
    demonstrations,
    learn,
    network_of,
    pool,
    record_world,
)

PATIENCE = 60.0
"""Times engine.timeout that a job may take: agents train for hours at the paper's scale."""

Record = Mapping[str, Any]
"""One number: task, kind (expert, client, planner, agent), column, seed, client, held_out, step,
name (what the number is) and value."""


class Columns(NamedTuple):
    """All rewards that are judged in one world, but the true one."""

    names: tuple[str, ...]
    thetas: Floats
    """`[e, c, d]`."""
    offsets: Floats
    """`[e, c]`."""


class Judged(NamedTuple):
    """What an agent is trained on."""

    column: str
    seed: int
    world: float


def _nothing(place: int, found: Arrays) -> list[Record]:
    """The rows of jobs that others build on."""
    return []


def judged_columns(config: ControlConfig) -> tuple[str, ...]:
    """Names of all columns but the true reward, in the order they are shown in."""
    alone = [rule for rule in ("local", "pooled") if rule in config.fusion.rules]
    blind = [f"random {number}" for number in range(1, config.randoms + 1)]
    return (*alone, *fused_names(config.fusion.rules), "+1", "-1", *blind)


def size(config: ControlConfig) -> int:
    """How many jobs a study has."""
    experts = 0 if config.learner.data else config.clients
    estimated = 0 if config.task.task().physics else len(config.worlds)
    fits = config.clients + ("pooled" in config.fusion.rules) + config.samples
    trainings = len(config.trained_in) * config.seeds * (len(judged_columns(config)) + 1)
    return experts + estimated + fits + len(config.worlds) + trainings


class ControlStudy:
    """One study; `run` does it."""

    def __init__(self, config: ControlConfig, jobs: Jobs, export: str | None = None) -> None:
        """Take what is to be done, and who does it.

        Args:
            config: What is to be done.
            jobs: Who does it.
            export: Where the first seed's demonstrations are also written, see `write_episodes`.
        """
        self._config, self._jobs, self._export = config, jobs, export
        self._task = config.task.task()
        self._names = judged_columns(config)
        self._pooled = "pooled" in config.fusion.rules
        name = config.task.name
        code = [module_digest(name, "task.name")] if ":" in name else []
        self._code = "".join([*code, *rules_digest(config.fusion).values()])

    def run(self) -> Iterator[list[Record]]:
        """Do every job; yields once a job, and with a stage's last one the rows of all of it.

        Rows come in the order of the jobs, not in that in which they were done.
        """
        config = self._config
        networks: list[Weights] = []
        if config.learner.data is None:
            experts = yield from self._stage(self._experts(), self._expert_rows)
            networks = [network_of(found) for found in experts]
        teachers = networks or self._recorded(config.learner.data or "")
        if self._export is not None:
            self._write(teachers, self._export)
        steps: Sequence[Arrays | None] = [None] * len(config.worlds)
        if self._task.physics is None:
            steps = yield from self._stage(self._recordings(networks), _nothing)
        learnt = yield from self._stage(self._learners(teachers, steps), self._client_rows)
        pooled = None
        if self._pooled:
            (found,) = yield from self._stage([self._pool(teachers, steps)], _nothing)
            pooled = found["theta"]
        fused = yield from self._stage(self._fusions(learnt), _nothing)
        shared = [
            self._shared(fused[self._sample(seed)], pooled, seed) for seed in range(config.seeds)
        ]
        columns = {i: self._columns(i, learnt, shared) for i in config.worlds}
        yield from self._stage(self._plans(columns, steps), self._plan_rows)
        trainings = self._trainings(columns)
        rows_of = partial(self._agent_rows, [key for key, _ in trainings])
        yield from self._stage([job for _, job in trainings], rows_of)

    def _stage(
        self, jobs: list[Job], rows_of: Callable[[int, Arrays], list[Record]]
    ) -> Generator[list[Record], None, list[Arrays]]:
        """Do jobs that may all be done at once; returns their results in their order."""
        found: dict[int, Arrays] = {}
        jobs = [job._replace(code=self._code, patience=PATIENCE) for job in jobs]
        for place, result in self._jobs.run(jobs):
            found[place] = result
            if len(found) < len(jobs):
                yield []
        results = [found[place] for place in range(len(jobs))]
        if jobs:
            yield [row for place, result in enumerate(results) for row in rows_of(place, result)]
        return results

    def _arguments(self, **more: Any) -> dict[str, Any]:
        """What every job is told."""
        return {"task": self._config.task, "root": self._config.seed, **more}

    def _experts(self) -> list[Job]:
        """Experts act in the task itself: the lattice is not theirs to know."""
        task = replace(self._config.task, points=())
        return [
            Job(
                "expert",
                become_experts,
                self._arguments(client=float(i), config=self._config.expert) | {"task": task},
                together=side_by_side(self._task, self._config.expert),
            )
            for i in range(self._config.clients)
        ]

    def _recordings(self, networks: Sequence[Weights]) -> list[Job]:
        """One job a world: a client's own expert flies there, everybody's where nobody lives."""
        task, count = replace(self._config.task, points=()), self._config.clients
        return [
            Job(
                "steps",
                record_world,
                {
                    "task": task,  # recorded once for all resolutions
                    "root": self._config.seed,
                    "world": world,
                    "steps": self._config.learner.gather,
                    "pilots": networks[place : place + 1] if place < count else networks,
                },
            )
            for place, world in enumerate(self._config.worlds)
        ]

    def _sample(self, seed: int) -> int:
        """Which sample of demonstrations a seed has: recorded ones are one sample."""
        return min(seed, self._config.samples - 1)

    def _recorded(self, source: str) -> Sequence[Episodes]:
        """Episodes are read here and sent as arrays: other machines may not see the files."""
        clients = range(self._config.clients)
        return [read_episodes(self._task, float(i), source) for i in clients]

    def _write(self, teachers: Sequence[Teacher], target: str) -> None:
        learner, root = self._config.learner, self._config.seed
        for i, teacher in enumerate(teachers):
            shown = demonstrations(self._task, float(i), learner, teacher, root, 0)
            write_episodes(self._task, float(i), shown, target)

    def _learners(self, teachers: Sequence[Teacher], steps: Sequence[Arrays | None]) -> list[Job]:
        config = self._config
        return [
            Job(
                "client",
                learn,
                self._arguments(
                    client=float(i),
                    learner=config.learner,
                    teacher=teacher,
                    recorded=steps[i],
                    seeds=config.samples,
                ),
            )
            for i, teacher in enumerate(teachers)
        ]

    def _pool(self, teachers: Sequence[Teacher], steps: Sequence[Arrays | None]) -> Job:
        config = self._config
        more = self._arguments(
            learner=config.learner,
            teachers=teachers,
            recorded=steps[: config.clients],
            seeds=config.samples,
        )
        return Job("pooled", pool, more)

    def _fusions(self, learnt: list[Arrays]) -> list[Job]:
        """One job a sample of demonstrations."""
        config = self._config
        thetas = np.array([one["theta"] for one in learnt])
        curvatures = np.array([one["curvature"] for one in learnt])
        return [
            Job(
                "fused",
                fuse_columns,
                {
                    "task": config.task,
                    "learner": config.learner,
                    "fusion": config.fusion,
                    "ground": config.ground,
                    "thetas": thetas[:, sample],
                    "curvatures": curvatures[:, sample],
                },
            )
            for sample in range(config.samples)
        ]

    def _shared(self, fused: Arrays, pooled: Floats | None, seed: int) -> Mapping[str, Column]:
        """The columns that are the same in every world, for one seed."""
        config = self._config
        names = fused_names(config.fusion.rules)
        pairs = zip(fused["theta"], fused["offset"], strict=True)
        found = dict(zip(names, (Column(theta, float(x)) for theta, x in pairs), strict=True))
        if pooled is not None:
            found["pooled"] = Column(pooled[self._sample(seed)], 0.0)
        rng = stream(config.seed, "control", self._task.name, "seed", seed, "random")
        return found | controls(found["mean"].theta, rng, config.randoms)

    def _columns(
        self, world: float, learnt: list[Arrays], shared: list[Mapping[str, Column]]
    ) -> Columns:
        """All columns of a world; its local reward is that of the client nearest to it."""
        nearest = int(np.argmin([abs(world - i) for i in range(self._config.clients)]))
        rows = []
        for seed in range(self._config.seeds):
            own = {
                "local": Column(learnt[nearest]["theta"][self._sample(seed)], 0.0),
                **shared[seed],
            }
            rows.append([own[name] for name in self._names])
        thetas = np.array([[column.theta for column in row] for row in rows])
        return Columns(self._names, thetas, np.array([[one.offset for one in row] for row in rows]))

    def _plans(self, columns: Mapping[float, Columns], steps: Sequence[Arrays | None]) -> list[Job]:
        """One job a world."""
        config = self._config
        return [
            Job(
                "planner",
                judge_by_planner,
                self._arguments(
                    world=world,
                    learner=config.learner,
                    recorded=steps[place],
                    thetas=columns[world].thetas,
                    offsets=columns[world].offsets,
                    episodes=config.episodes,
                ),
            )
            for place, world in enumerate(config.worlds)
        ]

    def _plan_rows(self, place: int, found: Arrays) -> list[Record]:
        world = self._config.worlds[place]
        return [
            self._row("planner", name, seed, world, 0, what, found[array][seed, number])
            for seed in range(self._config.seeds)
            for number, name in enumerate((*self._names, TRUE))
            for what, array in (("return", "returns"), ("distance", "distance"))
        ]

    def _trainings(self, columns: Mapping[float, Columns]) -> list[tuple[Judged, Job]]:
        """One job a reward, world and seed."""
        config, trainings = self._config, []
        together = side_by_side(self._task, config.agent)
        for seed in range(config.seeds):
            for world in config.trained_in:
                own = columns[world]
                for number, name in enumerate((*self._names, TRUE)):
                    known = name != TRUE
                    more = self._arguments(
                        world=world,
                        learner=config.learner,
                        config=config.agent,
                        theta=own.thetas[seed, number] if known else None,
                        offset=float(own.offsets[seed, number]) if known else 0.0,
                        seed=seed,
                    )
                    key = Judged(name, seed, world)
                    job = Job("agent", judge_by_agents, more, together=together)
                    trainings.append((key, job))
        return trainings

    def _agent_rows(self, keys: list[Judged], place: int, found: Arrays) -> list[Record]:
        return [
            self._row("agent", *keys[place], int(at), "return", value)
            for at, value in zip(found["at"], found["returns"], strict=True)
        ]

    def _expert_rows(self, client: int, found: Arrays) -> list[Record]:
        curve = [
            self._row("expert", "expert", 0, client, int(at), "return", value)
            for at, value in zip(found["at"], found["returns"], strict=True)
        ]
        reached = self._row("expert", "expert", 0, client, 0, "reached", found["reached"])
        return [*curve, reached]

    def _client_rows(self, client: int, found: Arrays) -> list[Record]:
        names = ("objective", "converged", "outside", "demonstrated")
        rows = [
            self._row("client", "local", sample, client, 0, name, found[name][sample])
            for sample in range(self._config.samples)
            for name in names
        ]
        once = {"extrapolated": found["extrapolated"]}
        if "unlikeliest" in found:
            parts = ("least likely", "least likely episode", "least likely step")
            once |= dict(zip(parts, found["unlikeliest"], strict=True))
        own = [self._row("client", "local", 0, client, 0, name, x) for name, x in once.items()]
        return [*rows, *own]

    def _row(
        self, kind: str, column: str, seed: int, world: float, step: int, name: str, value: Any
    ) -> Record:
        return {
            "task": self._task.name,
            "kind": kind,
            "column": column,
            "seed": seed,
            "client": float(world),
            "held_out": world not in range(self._config.clients),
            "step": step,
            "name": name,
            "value": float(value),
        }
