"""The paper's figures 2 and 3: agents trained on fused rewards, with controls it does not have.

Also what it leaves open: the return against the lattice's resolution, and what fusing costs on
lattices and fleets larger than its own.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from fedirl_ray.cli import PROG, load
from fedirl_ray.config import FusionConfig, RunConfig
from fedirl_ray.config_control import USUAL
from fedirl_ray.domain.control import Control
from fedirl_ray.engine.driver import federate
from fedirl_ray.engine.fleet import open_fleet
from fedirl_ray.engine.jobs import Jobs
from fedirl_ray.engine.result import long_table
from fedirl_ray.presets import USUAL as PRESETS
from fedirl_ray.study.reproduction.plan import Plan, Record

log = logging.getLogger(__name__)


class Published(NamedTuple):
    """True returns after the last evaluation, read off the paper's figures: about."""

    barycenter: float
    mean: float


PENDULUM, CARTPOLE, ACROBOT, LANDER = PRESETS
PUBLISHED = {
    PENDULUM: Published(-200.0, -1215.0),
    CARTPOLE: Published(415.0, 115.0),
    LANDER: Published(-165.0, -95.0),
    ACROBOT: Published(-355.0, -120.0),
}
"""The paper's figures 2 and 3 by task."""
FIGURE_2 = (PENDULUM, CARTPOLE)
FIGURE_3 = (LANDER, ACROBOT)

RESOLUTIONS: dict[str, tuple[tuple[int, ...], ...]] = {
    PENDULUM: ((16, 11), (32, 21), (64, 41), (128, 81)),
    ACROBOT: ((7, 7, 5, 5), (9, 9, 5, 5), (11, 11, 9, 9), (13, 13, 13, 13)),
}
"""States along each axis, coarse to fine; the second is the paper's.

An acrobot's torque moves its velocities by a small share of their spacing, so those are refined
faster than its angles."""

SMOKE = replace(USUAL, steps=4_096, evaluations=2, episodes=5)
"""To see that everything runs; experts are none."""


def preset_of(task: str, **more: Any) -> RunConfig:
    """The preset of a task, with some groups of settings in place of its own."""
    return replace(load(RunConfig, [PRESETS[task]], prog=PROG, description=""), **more)


def config_of(task: str, plan: Plan) -> RunConfig:
    """A figure's run of one task at a plan's scale."""
    flight, usual = task == LANDER, preset_of(task, seed=plan.seed, engine=plan.engine)
    match plan.scale:
        case "smoke":
            return replace(
                usual,
                clients=2,
                seeds=2,
                problem=replace(usual.problem, demonstrations=5),
                fusion=replace(
                    usual.fusion, rules=("mean", "barycenter", "true", "plus-one", "random-1")
                ),
                evaluation=replace(usual.evaluation, held_out=1),
                control=replace(
                    usual.control,
                    # A lattice whose model must be estimated takes its time.
                    points=(3, 4, 3, 3, 3, 3) if flight else (),
                    held_out=(2.5,),
                    gather=2_000,
                    expert=SMOKE,
                    agent=SMOKE,
                    judged=(0.0, 2.5),
                    episodes=5,
                ),
            )
        case "laptop":
            judged = (0.0, 7.0) if flight else (0.0, 5.0, 7.0)
            return replace(
                usual, seeds=3 if flight else 5, control=replace(usual.control, judged=judged)
            )
        case "paper":
            words = [f"{PRESETS[task]}-paper"]
            paper = load(RunConfig, words, prog=PROG, description="")
            return replace(paper, seed=plan.seed, engine=plan.engine)


def steps(tasks: Sequence[str], plan: Plan) -> int:
    """One step a seed."""
    return sum(config_of(task, plan).seeds for task in tasks)


def run(tasks: Sequence[str], plan: Plan) -> Iterator[list[Record]]:
    """Run every task; yields the rows of one seed at a time."""
    for task in tasks:
        yield from _rows(config_of(task, plan), plan, {"task": task})


def refinements(plan: Plan) -> list[RunConfig]:
    """The same runs on lattices from coarse to fine, judged by the planner alone."""
    found = []
    for task, shapes in RESOLUTIONS.items():
        base = config_of(task, plan)
        for points in shapes:
            for ground in ("cells", "paper"):
                rules = ("mean", "barycenter", "debiased", "true")
                control = replace(
                    base.control, points=points, ground=ground, agents=False, judged=()
                )
                fusion = FusionConfig(rules=rules)
                found.append(replace(base, fusion=fusion, control=control))
    return found


def refinement_steps(plan: Plan) -> int:
    """One step a seed."""
    return sum(config.seeds for config in refinements(plan))


def refine(plan: Plan) -> Iterator[list[Record]]:
    """Run every resolution; rows are marked with it and with the ground cost's unit."""
    for config in refinements(plan):
        support = Control(config).ground(0).support
        mark = {
            "task": config.problem.name,
            "points": "x".join(map(str, config.control.points)),
            "support": len(support.features),
            "ground": config.control.ground,
        }
        yield from _rows(config, plan, mark)


def _rows(config: RunConfig, plan: Plan, mark: Record) -> Iterator[list[Record]]:
    domain = Control(config)
    with open_fleet(config) as fleet:
        jobs = Jobs(fleet, plan.folder / "jobs", log.warning)
        for seed, result in federate(config, fleet, jobs=jobs):
            rows = long_table([result], domain)
            yield [{**mark, **row._asdict(), "seed": seed} for row in rows]
