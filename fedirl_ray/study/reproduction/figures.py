"""The paper's figures 2 and 3: agents trained on fused rewards, with controls it does not have.

Also what it leaves open: the return against the lattice's resolution, and what fusing costs on
lattices and fleets larger than its own.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from fedirl_ray.cli import PROG, load
from fedirl_ray.config import RunConfig
from fedirl_ray.config_control import USUAL
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.engine.driver import federate
from fedirl_ray.engine.fleet import open_fleet
from fedirl_ray.engine.jobs import Jobs
from fedirl_ray.engine.result import long_table
from fedirl_ray.presets import USUAL as PRESETS
from fedirl_ray.presets import preset
from fedirl_ray.problem.control.paper import ACROBOT, CARTPOLE, LANDER, PENDULUM, TASKS
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


UNITS: tuple[Literal["cells", "paper"], ...] = ("cells", "paper")
"""Of the ground cost."""
SMOKE = replace(USUAL, steps=4_096, evaluations=2, episodes=5)
"""To see that everything runs; experts are none."""
TRIED = """
--clients 2 --seeds 2 --control.held-out 2.5 --control.judged 0,2.5 --control.episodes 5
--control.gather 2000 --problem.demonstrations 5
--fusion.rules mean,barycenter,true,plus-one,minus-one,random-1
"""


def config_of(task: str, plan: Plan) -> RunConfig:
    """A figure's federation on one task at a plan's scale: its preset, or what this changes."""
    flight, own = task == LANDER.name, ["--problem.name", task]
    match plan.scale:
        case "smoke":
            # A lattice whose model must be estimated takes its time.
            words = [*own, *TRIED.split(), "--control.points", "3,4,3,3,3,3" if flight else ""]
        case "laptop":
            judged = ["--control.judged", "0,7" if flight else "0,5,7"]
            words = [*own, "--seeds", "3" if flight else "5", *judged]
        case "paper":
            words = [str(preset(f"{PRESETS[task]}-paper")), "--seeds", "10"]
    config = load(RunConfig, words, prog=PROG, description="")
    if plan.scale == "smoke":
        config = replace(config, control=replace(config.control, expert=SMOKE, agent=SMOKE))
    # On Ray whatever tables run on: jobs are long, and each has a CPU to itself.
    return replace(config, seed=plan.seed, engine=replace(plan.engine, backend="ray"))


def steps(tasks: Sequence[str], plan: Plan) -> int:
    """One step a seed of a task."""
    return sum(config_of(task, plan).seeds for task in tasks)


def run(tasks: Sequence[str], plan: Plan) -> Iterator[list[Record]]:
    """Federate on every task; yields the long table of one seed at a time, marked with its task."""
    for task in tasks:
        yield from _federate(config_of(task, plan), plan, {"task": task})


def refinements(plan: Plan) -> list[RunConfig]:
    """The same federations on lattices from coarse to fine, judged by the planner alone."""
    found = []
    for task, shapes in RESOLUTIONS.items():
        base = config_of(task, plan)
        rules = replace(base.fusion, rules=("mean", "barycenter", "debiased", "true"))
        for points in shapes:
            for ground in UNITS:
                alone = replace(base.control, points=points, ground=ground, agents=False, judged=())
                found.append(replace(base, fusion=rules, control=alone))
    return found


def refinement_steps(plan: Plan) -> int:
    """One step a seed of a resolution and unit."""
    return sum(config.seeds for config in refinements(plan))


def refine(plan: Plan) -> Iterator[list[Record]]:
    """Federate at every resolution; rows are marked with it and with the ground cost's unit."""
    for config in refinements(plan):
        task = TASKS[config.problem.name]
        points = config.control.points
        yield from _federate(
            config,
            plan,
            {
                "task": task.name,
                "points": "x".join(map(str, points)),
                "support": math.prod(points) * task.action.size,
                "ground": config.control.ground,
            },
        )


def _federate(config: RunConfig, plan: Plan, mark: Record) -> Iterator[list[Record]]:
    domain = domain_of(config)
    with open_fleet(config) as fleet:
        jobs = Jobs(fleet, plan.folder / "jobs", log.warning)
        for seed, result in federate(config, fleet, jobs=jobs):
            rows = [row._asdict() for row in long_table([result], domain)]
            yield [{**mark, **row, "seed": seed} for row in rows]
