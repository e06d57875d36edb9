"""What a run's settings mean for continuous control, and which mean nothing there."""

import itertools
import math
from dataclasses import dataclass, replace
from typing import Literal

from fedirl_ray.config import IRLConfig, RunConfig
from fedirl_ray.config_control import ControlConfig, PPOConfig
from fedirl_ray.errors import ConfigError
from fedirl_ray.irl.stationary import Goal
from fedirl_ray.laws import names_function, require
from fedirl_ray.problem.control.basis import Basis, RadialBasis
from fedirl_ray.problem.control.brought import task_named
from fedirl_ray.problem.control.own_basis import OwnBasis
from fedirl_ray.problem.control.paper import TASKS
from fedirl_ray.problem.control.sensors import displaced, drawn_offset
from fedirl_ray.problem.control.task import Task

SIZES = ("clients", "control.points", "problem.horizon", "problem.demonstrations",
         "control.features", "control.gather", "control.episodes", "evaluation.held-out",
         "seeds")  # fmt: skip
"""Settings that say how much of something there is."""
OF_TABLES = (
    *(f"problem.{name}" for name in (
        "size", "obstacles", "layout", "slip", "slip-to", "goal", "goal-shift", "sites", "goals",
        "site-radius", "frame-shift", "frame-turn", "frame-scale", "site-shift", "rbf-centres",
        "rbf-width", "expert-temperature", "expert-discount",
    )),
    "heterogeneity.expert-temperature",
    "heterogeneity.coverage",
)  # fmt: skip
"""Settings that mean something in tables of states alone."""
BASES = ("distance", "rbf")
"""What radial features over the box may be called; the first is the default of all problems."""
PACE = 50_000
"""Environment steps that an agent is trained for in the time other jobs may take."""
NUMBER = 8
"""Bytes."""
RECORDED = 20
"""Numbers of a recorded step, as many as LunarLander's."""


@dataclass(frozen=True)
class TaskSpec:
    """Which task, on which lattice."""

    name: str
    """One of the paper's, or module:function of the user's own."""
    points: tuple[int, ...] = ()
    """States along each axis; none: the task's own."""
    limits: tuple[float, ...] = ()
    """Lowest and highest of each number of an observation, in turn; none: the space's."""
    steps: int | None = None
    """Most steps in an episode; None: the task's own."""
    sensor: tuple[float, ...] = ()
    """What its client's sensors add to each axis of a place; none: they are right."""

    @classmethod
    def of(cls, config: RunConfig) -> "TaskSpec":
        """That of a run."""
        control = config.control
        return cls(config.problem.name, control.points, control.limits, config.problem.horizon)

    @property
    def anywhere(self) -> "TaskSpec":
        """The same on its own lattice: what does not read lattices is the same on all."""
        return replace(self, points=())

    def task(self) -> Task:
        """The task itself.

        Raises:
            ConfigError: There is no such task, or its environment cannot be used.
        """
        pairs = list(zip(self.limits[::2], self.limits[1::2], strict=True))
        found = task_named(self.name, pairs or None, self.points or None, self.steps)
        return displaced(found, self.sensor)


@dataclass(frozen=True)
class Learner:
    """How clients learn their rewards."""

    features: int
    width: float
    objective: Goal
    outside: Literal["clip", "refuse"]
    irl: IRLConfig
    own: str = ""
    """`module:function` of the user's own features; none: radial ones."""

    @classmethod
    def of(cls, config: RunConfig) -> "Learner":
        """That of a run."""
        one = config.control
        named = config.problem.features
        own = named if names_function(named) else ""
        return cls(one.features, one.width, one.objective, one.outside, config.irl, own)

    def basis(self, task: Task) -> Basis:
        """The features, the same for all clients and on every lattice."""
        if self.own:
            return OwnBasis.named(task.support, len(task.state.axes), self.own)
        return RadialBasis(task.support, self.features, self.width)


def sensor_of(config: RunConfig, task: Task, seed: int, client: int) -> tuple[float, ...]:
    """What a client's sensors add to each axis of a place, see `TaskSpec.sensor`.

    Args:
        config: The run.
        task: Its task, with sensors that are right.
        seed: Which repetition.
        client: Whose.

    Raises:
        ConfigError: There is no such axis, or it is too short to be so far off.
    """
    level, axes = config.control.sensor_offset, task.state.axes
    if level == 0.0:
        return ()
    law = f"axes of {task.name}'s state, from 1 to {len(axes)}"
    for number in config.control.sensors:
        require(number <= len(axes), "control.sensors", law, number)
    chosen = [number - 1 for number in config.control.sensors]
    chosen = chosen or list(task.positions) or list(range(len(axes)))
    for axis in (axes[j] for j in chosen):
        most = (axis.high - axis.low) / 2.0
        law = f"at most {most:.4g}, half the length of {task.name}'s axis {axis.name}"
        require(level <= most, "control.sensor-offset", law, level)
    return drawn_offset(task, level, chosen, config.seed, seed, client)


def held_out_count(config: RunConfig) -> int:
    """Number of physics that no client has."""
    return len(config.control.held_out) or config.evaluation.held_out


def held_out_physics(config: RunConfig) -> tuple[float, ...]:
    """Physics that no client has: one between the middle clients', the next ones beyond."""
    if config.control.held_out:
        return config.control.held_out
    k = config.clients
    return (_between(k), *map(float, range(k, k + held_out_count(config) - 1)))


def _between(clients: int) -> float:
    """Physics between those of the clients in the middle."""
    return (clients - 1) // 2 + 0.5


def worlds_of(config: RunConfig) -> tuple[float, ...]:
    """All physics, the clients' first."""
    return (*map(float, range(config.clients)), *held_out_physics(config))


def patience(config: PPOConfig) -> float:
    """How much longer than other jobs it may take to train an agent."""
    return max(1.0, config.steps / PACE)


def refuse_settings(config: RunConfig) -> None:
    """Refuse settings that contradict each other.

    Args:
        config: The run.

    Raises:
        ConfigError: Names the first.
    """
    features = config.problem.features
    law = f"{' or '.join(BASES)} (radial either way), or module:function, for control tasks"
    require(features in BASES or names_function(features), "problem.features", law, features)
    for name in ("features", "width") if names_function(features) else ():
        value = getattr(config.control, name)
        if value != getattr(ControlConfig(), name):
            raise ConfigError(
                f"control.{name} means nothing for problem.features {features}, got {value}"
            )
    law = "empty for control tasks, whose planner has evaluation.discount alone"
    told = ",".join(map(str, config.evaluation.discounts))
    require(not config.evaluation.discounts, "evaluation.discounts", law, told)
    for name, discount in (
        ("irl.discount", config.irl.discount),
        ("evaluation.discount", config.evaluation.discount),
    ):
        require(discount < 1.0, name, "below 1 for control tasks", discount)
    _refuse_unprotected(config)
    _refuse_worlds(config)
    file = config.problem.demonstrations_file
    named = file is None or "{client}" in str(file) or config.clients == 1
    require(named, "problem.demonstrations-file", "a name with {client} in it", file)


def _refuse_unprotected(config: RunConfig) -> None:
    """Refuse what reads of single demonstrations more than their feature counts."""
    if config.privacy.unit != "trajectory":
        return
    control, rules = config.control, config.fusion.rules
    law = "matching with privacy.unit trajectory: likelihood reads more than feature counts"
    require(control.objective == "matching", "control.objective", law, control.objective)
    law = "clip with privacy.unit trajectory: a refusal tells of a demonstration"
    require(control.outside == "clip", "control.outside", law, control.outside)
    law = "without precision here: on lattices it reads demonstrated steps"
    require("precision" not in rules, "fusion.rules", law, ",".join(rules))
    # Recorded counts carry one noise over all seeds, and so must be the same for all.
    again = config.problem.demonstrations_file is not None and control.sensor_offset > 0.0
    law = "1 with recorded demonstrations, privacy.unit trajectory and control.sensor-offset above "
    law += "0: each looks at them through other sensors"
    require(not again or config.seeds == 1, "seeds", law, config.seeds)


def _refuse_worlds(config: RunConfig) -> None:
    """Refuse physics that are not what they are named as; however many there are, lists none."""
    k, own = config.clients, config.control.held_out
    for i in own:
        new = not (i.is_integer() and i < k)
        require(new, "control.held-out", "finite, >= 0 and no client's", i)
        require(own.count(i) == 1, "control.held-out", "physics named once each", i)
    last = k if own else k + held_out_count(config) - 1
    for i in config.control.judged:
        known = i in own if own else i == _between(k)
        whole = i.is_integer() and 0 <= i < last
        require(known or whole, "control.judged", "a client's number or held out", i)


def room_of(config: RunConfig, d: int) -> int:
    """About how many bytes a run of `d` features holds.

    Where the lattice is the task's own, some 10,000 states and 10 actions are taken for it, and
    1,000 steps for an episode.
    """
    control, problem, k = config.control, config.problem, config.clients
    worlds = k + held_out_count(config)
    lattice = 10 * (math.prod(control.points) if control.points else 10_000)
    steps = problem.horizon or 1_000
    model = 16 * 12 * lattice  # successors and their chances
    features = NUMBER * d * (lattice + 4 * d)
    episodes = NUMBER * 8 * steps * (k * problem.demonstrations + control.episodes)
    rows = 2_000 * config.seeds * worlds * len(config.fusion.rules)
    # Every world's are kept where its lattice is estimated: observations before and after, actions.
    own = ":" in problem.name or TASKS[problem.name].physics is None
    steps_recorded = NUMBER * control.gather * (RECORDED * worlds if own else 2)
    return k * model + features + episodes + rows + steps_recorded


def numbers_of(config: PPOConfig, task: Task) -> int:
    """Numbers of an expert's policy network."""
    seen = task.environment(0.0).observation_space.shape or (1,)
    outputs = task.action.size if task.discrete else len(task.action.axes)
    layers = (seen[0], *config.hidden, outputs)
    pairs = itertools.pairwise(layers)
    return sum((before + 1) * after for before, after in pairs) + 2 * seen[0]
