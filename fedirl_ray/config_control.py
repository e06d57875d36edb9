"""Settings of continuous control: its lattice, its features, and who judges rewards there."""

import math
from dataclasses import dataclass
from typing import Literal

from fedirl_ray.laws import require, require_discount, require_level, require_positive


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """How an agent is trained; what is not here is as in stable-baselines3's `PPO`."""

    steps: int = 100_000
    """Environment steps, of all rows together."""
    rows: int = 16
    """Environments side by side."""
    rollout: int = 2_048
    """Steps, of all rows together, between updates."""
    batch: int = 64
    """Steps in a gradient."""
    epochs: int = 10
    """Passes over a rollout."""
    learning_rate: float = 3e-3
    """Of Adam."""
    discount: float = 0.99
    """Of the agent's returns."""
    gae: float = 0.95
    """Lambda of generalised advantage estimation."""
    clip: float = 0.2
    """Most a probability ratio may leave 1."""
    entropy: float = 0.0
    """Weight of the policy's entropy."""
    hidden: tuple[int, ...] = (64, 64)
    """Units of the hidden layers, policy and value each."""
    evaluations: int = 10
    """Points of the learning curve."""
    episodes: int = 10
    """Episodes of true return at each."""

    def __post_init__(self) -> None:
        """Check every limit."""
        for name in ("steps", "rows", "epochs", "evaluations", "episodes"):
            require(getattr(self, name) >= 1, name, "an integer >= 1", getattr(self, name))
        # Advantages are divided by their standard deviation in a batch.
        require(self.batch >= 2, "batch", "an integer >= 2", self.batch)
        whole = self.rollout % self.rows == 0 and self.rollout % self.batch == 0
        require(whole, "rollout", "a multiple of rows and of batch", self.rollout)
        require_positive("learning-rate", self.learning_rate)
        require_discount("discount", self.discount)
        require_positive("clip", self.clip)
        require(min(self.hidden, default=0) >= 1, "hidden", "units >= 1", self.hidden)


USUAL = PPOConfig(rows=32, rollout=2_048, batch=256, learning_rate=1e-3, episodes=20)
"""An agent's, where nothing better is known."""


@dataclass(frozen=True, kw_only=True)
class ControlConfig:
    """Continuous control; read where problem.name is a control task."""

    points: tuple[int, ...] = ()
    """States along each axis; none: the paper's lattice, or up to 10,000 states of your own."""
    limits: tuple[float, ...] = ()
    """Own environments: lowest and highest value on the lattice of the first number of an
    observation, of the second, and so on; none: the observation space's."""
    held_out: tuple[float, ...] = ()
    """Physics that no client has; none: evaluation.held-out of them, one between the middle
    clients' and the next ones beyond (2.5, 6 and 7 where there are 6 clients)."""
    features: int = 64
    """Radial features over states x actions."""
    width: float = 1.0
    """Their standard deviation, in sides of the cube that is one feature's share of the box."""
    objective: Literal["likelihood", "matching"] = "likelihood"
    """likelihood: of the demonstrated actions, bounded whatever the lattice; matching: of feature
    counts (the paper's dual), which a lattice's diffusion may leave without a minimum."""
    outside: Literal["clip", "refuse"] = "clip"
    """Demonstrated steps beyond the lattice: moved to its limit (their share is reported), or
    refused."""
    sensor_offset: float = 0.0
    """How far clients' sensors are off: to every place a client sees, in its demonstrations, its
    lattice and its judges, a constant of its own is added, U(-offset, offset) on each axis in that
    axis' units (radians of a pendulum's angle), anew for each seed; held-out worlds are seen as
    they are."""
    sensors: tuple[int, ...] = ()
    """Axes of the state whose sensors are off, counted from 1; none: all that are no velocities (of
    own environments, where nobody knows, all)."""
    gather: int = 60_000
    """Steps recorded for the lattice of a task without equations of motion."""
    ground: Literal["cells", "paper"] = "cells"
    """Unit of length of the barycenter's ground cost, and so of epsilon: the lattice's spacings, or
    those of the paper's lattice whatever the resolution."""
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
        even = len(self.limits) % 2 == 0
        law = "pairs of lowest and highest, a multiple of 2 numbers"
        require(even, "control.limits", law, len(self.limits))
        for i in self.held_out:
            require(math.isfinite(i) and i >= 0.0, "control.held-out", "finite and >= 0", i)
        require(self.features >= 2, "control.features", "an integer >= 2", self.features)
        require_positive("control.width", self.width)
        require_level("control.sensor-offset", self.sensor_offset)
        for number in self.sensors:
            require(number >= 1, "control.sensors", "numbers of axes from 1", number)
            once = self.sensors.count(number) == 1
            require(once, "control.sensors", "axes named once each", number)
        used = self.sensor_offset > 0.0 or not self.sensors
        law = "none while control.sensor-offset is 0"
        require(used, "control.sensors", law, ",".join(map(str, self.sensors)))
        require(self.gather >= 1, "control.gather", ">= 1", self.gather)
        require(self.episodes >= 1, "control.episodes", ">= 1", self.episodes)
