"""What decides the results of a study of one control task."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from fedirl_ray.config import FusionConfig, IRLConfig
from fedirl_ray.config_control import USUAL, PPOConfig
from fedirl_ray.domain.control_settings import TaskSpec
from fedirl_ray.evaluate.presets import budgets_for
from fedirl_ray.irl.stationary import Goal
from fedirl_ray.laws import require, require_positive
from fedirl_ray.problem.control.basis import RadialBasis
from fedirl_ray.problem.control.task import Task


@dataclass(frozen=True, kw_only=True)
class TaskConfig(TaskSpec):
    """Which task, on which lattice."""

    name: str = "Pendulum-v1"
    """Pendulum-v1, CartPole-v1, Acrobot-v1, LunarLanderContinuous-v3, or module:function of your
    own, called with the client (a float), which returns its gymnasium.Env."""
    points: tuple[int, ...] = ()
    """States along each axis; none: the paper's lattice, or up to 10,000 states of your own."""
    limits: tuple[float, ...] = ()
    """Own environments: lowest and highest value on the lattice of the first number of an
    observation, of the second, and so on; none: the observation space's."""
    steps: int | None = None
    """Own environments: most steps in an episode; None: the environment's time limit."""

    def __post_init__(self) -> None:
        """Check every limit."""
        even = len(self.limits) % 2 == 0
        law = "pairs of lowest and highest, a multiple of 2 numbers"
        require(even, "task.limits", law, len(self.limits))


@dataclass(frozen=True, kw_only=True)
class LearnerConfig:
    """How a client learns its reward."""

    demonstrations: int = 50
    """Episodes of its expert that a client holds, drawn anew for each seed."""
    data: str | None = None
    """Your own demonstrations instead, one .npz file or Minari data set a client, {client} standing
    for its number: shown/{client}.npz or team/pole{client}-v0. Every step must be possible in the
    client's physics; where these are unknown, the least likely step is told."""
    outside: Literal["clip", "refuse"] = "clip"
    """Demonstrated steps beyond the lattice: moved to its limit (their share is reported), or
    refused."""
    features: int = 64
    """Radial features over states x actions."""
    width: float = 1.0
    """Their standard deviation, in sides of the cube that is one feature's share of the box."""
    goal: Goal = "likelihood"
    """likelihood: of the demonstrated actions, bounded whatever the lattice; matching: of feature
    counts (the paper's dual), which a lattice's diffusion may leave without a minimum."""
    irl: IRLConfig = field(
        default_factory=lambda: IRLConfig(l2=0.01, iterations=60, tolerance=1e-5)
    )
    gather: int = 60_000
    """Steps recorded for the lattice of a task without equations of motion."""

    def __post_init__(self) -> None:
        """Check every limit."""
        require(self.demonstrations >= 1, "learner.demonstrations", ">= 1", self.demonstrations)
        require(self.features >= 2, "learner.features", "an integer >= 2", self.features)
        require_positive("learner.width", self.width)
        require(self.gather >= 1, "learner.gather", ">= 1", self.gather)
        require(self.irl.discount < 1.0, "learner.irl.discount", "below 1", self.irl.discount)

    def basis(self, task: Task) -> RadialBasis:
        """The features, the same for all clients and on every lattice."""
        return RadialBasis(task.support, self.features, self.width)


SIZES = ("clients", "task.points", "task.steps", "learner.demonstrations", "learner.features",
         "learner.gather", "episodes", "seeds", "randoms")  # fmt: skip
"""Settings that say how much of something there is."""


@dataclass(frozen=True, kw_only=True)
class ControlConfig:
    """A federation on one control task: learn, fuse, judge."""

    task: TaskConfig = field(default_factory=TaskConfig)
    clients: int = 6
    """Clients 0, 1, ..., with the physics of the paper's appendix A."""
    held_out: tuple[float, ...] | None = None
    """Physics that no client has; None: one between the middle clients' and the next two beyond
    (2.5, 6 and 7 where there are 6 clients)."""
    seeds: int = 5
    """Repetitions with new demonstrations, judges and random controls; experts stay. Demonstrations
    of your own (learner.data) stay too: seeds then vary how rewards are judged, not what is learnt.
    """
    seed: int = 0
    """Root seed; every other stream derives from it."""
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    fusion: FusionConfig = field(
        default_factory=lambda: FusionConfig(
            rules=("local", "mean", "arithmetic", "barycenter", "debiased", "pooled")
        )
    )
    ground: Literal["cells", "paper"] = "cells"
    """Unit of length of the barycenter's ground cost, and so of epsilon: the lattice's spacings, or
    those of the paper's lattice whatever the resolution."""
    randoms: int = 2
    """Random parameter vectors among the controls."""
    expert: PPOConfig = USUAL
    """How experts are trained."""
    agent: PPOConfig = USUAL
    """How agents are trained on a reward to judge it."""
    agents: bool = True
    """Whether agents are trained at all; else the planner alone judges."""
    judged: tuple[float, ...] = ()
    """Physics that agents are trained in; none: all clients' and those held out."""
    episodes: int = 20
    """Episodes the planner is judged by, in every world."""

    def __post_init__(self) -> None:
        """Check every limit."""
        require(self.clients >= 1, "clients", "an integer >= 1", self.clients)
        require(self.seeds >= 1, "seeds", "an integer >= 1", self.seeds)
        require(self.seed >= 0, "seed", "an integer >= 0", self.seed)
        require(self.randoms >= 0, "randoms", ">= 0", self.randoms)
        require(self.episodes >= 1, "episodes", ">= 1", self.episodes)
        for i in self.held_out or ():
            new = math.isfinite(i) and i >= 0.0 and i not in range(self.clients)
            require(new, "held-out", "finite, >= 0 and no client's", i)
        judging = [rule for rule in self.fusion.rules if rule in ("expert", "ceiling")]
        law = "rules that fuse, local and pooled; the true reward is judged always"
        require(not judging, "fusion.rules", law, ",".join(judging))
        for i in self.judged:
            require(i in self.worlds, "judged", "a client's number or held out", i)

    @classmethod
    def of(cls, name: str, **more: Any) -> "ControlConfig":
        """The defaults of a task, whose agents learn at its own pace."""
        budgets = budgets_for(name)
        more = {"expert": budgets.expert, "agent": budgets.agent, **more}
        return cls(task=TaskConfig(name=name), **more)

    @property
    def samples(self) -> int:
        """How many samples of demonstrations are learnt from: one a seed, or the one recorded."""
        return self.seeds if self.learner.data is None else 1

    @property
    def room(self) -> int:
        """About how many bytes a study holds.

        Where the lattice is the task's own, some 10,000 states and 10 actions are taken for it,
        and 1,000 steps for an episode.
        """
        lattice = 10 * (math.prod(self.task.points) if self.task.points else 10_000)
        steps, number, learner = self.task.steps or 1_000, 8, self.learner
        model = 16 * 12 * lattice  # successors and their chances
        features = number * learner.features * (lattice + 4 * learner.features)
        episodes = number * 8 * steps * (self.clients * learner.demonstrations + self.episodes)
        rows = 2_000 * self.seeds * self.clients * (8 + self.randoms)
        return self.clients * model + features + episodes + rows + number * 16 * learner.gather

    @property
    def worlds(self) -> tuple[float, ...]:
        """All physics, clients' first."""
        count = self.clients
        new = ((count - 1) // 2 + 0.5, float(count), count + 1.0)
        held_out = new if self.held_out is None else self.held_out
        return (*map(float, range(count)), *held_out)

    @property
    def trained_in(self) -> tuple[float, ...]:
        """Physics that agents are trained in."""
        return (self.judged or self.worlds) if self.agents else ()
