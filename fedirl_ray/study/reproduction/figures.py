"""The paper's figures 2 and 3: agents trained on fused rewards, with controls it does not have.

Also what it leaves open: the return against the lattice's resolution, and what fusing costs on
lattices and fleets larger than its own.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import NamedTuple

from fedirl_ray.config import FusionConfig
from fedirl_ray.engine.fleet import open_workers
from fedirl_ray.engine.jobs import Doer, Jobs
from fedirl_ray.evaluate.presets import PAPER, SMOKE
from fedirl_ray.problem.control.paper import ACROBOT, CARTPOLE, LANDER, PENDULUM
from fedirl_ray.study.control.config import ControlConfig, LearnerConfig, TaskConfig
from fedirl_ray.study.control.pipeline import ControlStudy, size
from fedirl_ray.study.reproduction.plan import Plan, Record

log = logging.getLogger(__name__)


class Published(NamedTuple):
    """True returns after the last evaluation, read off the paper's figures: about."""

    barycenter: float
    mean: float


PUBLISHED = {
    PENDULUM.name: Published(-200.0, -1215.0),
    CARTPOLE.name: Published(415.0, 115.0),
    LANDER.name: Published(-165.0, -95.0),
    ACROBOT.name: Published(-355.0, -120.0),
}
"""The paper's figures 2 and 3 by task."""
FIGURE_2 = (PENDULUM.name, CARTPOLE.name)
FIGURE_3 = (LANDER.name, ACROBOT.name)

RESOLUTIONS: dict[str, tuple[tuple[int, ...], ...]] = {
    PENDULUM.name: ((16, 11), (32, 21), (64, 41), (128, 81)),
    ACROBOT.name: ((7, 7, 5, 5), (9, 9, 5, 5), (11, 11, 9, 9), (13, 13, 13, 13)),
}
"""States along each axis, coarse to fine; the second is the paper's.

An acrobot's torque moves its velocities by a small share of their spacing, so those are refined
faster than its angles."""


def config_of(task: str, plan: Plan) -> ControlConfig:
    """A figure's study of one task at a plan's scale."""
    flight = task == LANDER.name
    match plan.scale:
        case "smoke":
            return ControlConfig(
                # A lattice whose model must be estimated takes its time.
                task=TaskConfig(name=task, points=(3, 4, 3, 3, 3, 3) if flight else ()),
                clients=2,
                held_out=(2.5,),
                seeds=2,
                seed=plan.seed,
                learner=LearnerConfig(demonstrations=5, gather=2_000),
                fusion=FusionConfig(rules=("mean", "barycenter")),
                randoms=1,
                expert=SMOKE,
                agent=SMOKE,
                judged=(0.0, 2.5),
                episodes=5,
            )
        case "laptop":
            return ControlConfig.of(
                task,
                seed=plan.seed,
                seeds=3 if flight else 5,
                judged=(0.0, 7.0) if flight else (0.0, 5.0, 7.0),
            )
        case "paper":
            return ControlConfig.of(
                task,
                seed=plan.seed,
                seeds=10,
                expert=PAPER[task].expert,
                agent=PAPER[task].agent,
            )


def steps(tasks: Sequence[str], plan: Plan) -> int:
    """One step a job."""
    return sum(size(config_of(task, plan)) for task in tasks)


def run(tasks: Sequence[str], plan: Plan) -> Iterator[list[Record]]:
    """Study every task; yields the rows of one job at a time."""
    with _workers(plan) as workers:
        jobs = Jobs(workers, plan.folder / "jobs", log.warning)
        for task in tasks:
            yield from ControlStudy(config_of(task, plan), jobs).run()


def refinements(plan: Plan) -> list[ControlConfig]:
    """The same studies on lattices from coarse to fine, judged by the planner alone."""
    found = []
    for task, shapes in RESOLUTIONS.items():
        base = config_of(task, plan)
        for points in shapes:
            for ground in ("cells", "paper"):
                found.append(
                    replace(
                        base,
                        task=TaskConfig(name=task, points=points),
                        fusion=FusionConfig(rules=("mean", "barycenter", "debiased")),
                        ground=ground,
                        randoms=0,
                        agents=False,
                    )
                )
    return found


def refinement_steps(plan: Plan) -> int:
    """One step a job."""
    return sum(size(config) for config in refinements(plan))


def refine(plan: Plan) -> Iterator[list[Record]]:
    """Study every resolution; rows are marked with it and with the ground cost's unit."""
    with _workers(plan) as workers:
        jobs = Jobs(workers, plan.folder / "jobs", log.warning)
        for config in refinements(plan):
            task = config.task.task()
            mark = {
                "points": "x".join(map(str, task.state.shape)),
                "support": task.support.size,
                "ground": config.ground,
            }
            for rows in ControlStudy(config, jobs).run():
                yield [{**row, **mark} for row in rows]


def _workers(plan: Plan) -> AbstractContextManager[Doer]:
    """On Ray whatever tables run on: jobs are long, and each has a CPU to itself."""
    return open_workers(replace(plan.engine, backend="ray"))
