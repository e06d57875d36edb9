"""The frozen tree of dataclasses that describes a run.

The docstring under a field is its help text; limits are checked on construction, so a
configuration that exists can be run. Numbers derived from others are properties elsewhere.
"""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from fedirl_ray.config_control import ControlConfig
from fedirl_ray.config_engine import EngineConfig, RecordConfig
from fedirl_ray.config_fusion import CHOOSING, LEAST_LEFT_OUT, REFERENCES, FusionConfig
from fedirl_ray.config_privacy import PrivacyConfig
from fedirl_ray.config_problem import HeterogeneityConfig, ProblemConfig
from fedirl_ray.laws import (
    names_function,
    require,
    require_discount_or_one,
    require_level,
    require_once,
    require_positive,
)


@dataclass(frozen=True, kw_only=True)
class IRLConfig:
    """Maximum causal entropy IRL on one client."""

    optimizer: Literal["lbfgs", "adam"] = "lbfgs"
    """lbfgs: to convergence; adam: a fixed number of steps, as in the paper."""
    iterations: int = 200
    """Largest number of iterations; few with adam underfits on purpose."""
    step: float = 5e-3
    """Step size of adam."""
    tolerance: float = 1e-5
    """lbfgs stops when the largest entry of the gradient is below this times its scale."""
    l2: float = 1.0
    """Weight lambda of |theta|^2 / 2; it sets the scale of theta."""
    discount: float = 0.99
    """Discount of the learner's model."""
    temperature: float = 1.0
    """Entropy temperature of the learner's soft policy."""

    def __post_init__(self) -> None:
        """Check every limit."""
        require(self.iterations >= 0, "irl.iterations", ">= 0", self.iterations)
        require_positive("irl.step", self.step)
        require_positive("irl.tolerance", self.tolerance)
        require_level("irl.l2", self.l2)
        require_discount_or_one("irl.discount", self.discount)
        require_positive("irl.temperature", self.temperature)


@dataclass(frozen=True, kw_only=True)
class FederationConfig:
    """How often clients and server talk."""

    rounds: int = 1
    """Rounds of broadcast, local learning and fusion; 1 is the paper's method."""
    proximal: float = 0.0
    """Weight of |theta - broadcast|^2 / 2 in the local objective, from the second round on."""
    participation: float = 1.0
    """Share of the clients asked in a round, drawn anew each round; at least one."""
    round_timeout: float | None = None
    """Seconds after which a round goes on without the clients still at work; None: it waits.
    Read by the ray engine; which clients are late depends on the machine."""
    quorum: float = 0.5
    """Share of the clients asked whose uploads a round needs; at least one."""
    weights: Literal["equal", "demonstrations"] | Path = "equal"
    """How much a client's reward counts (alpha): equally, by the episodes it was fitted to, or by a
    file of one positive number a client, a line each; normalised over those let in."""
    norm_bound: float = 1e6
    """Largest norm of a theta that is let in; beyond it an upload is refused."""
    aside: float = 0.2
    """Share of its demonstrations that a client fits nothing to, at least one, where it scores
    rewards by them (docs/selection.md): if a rule asks for scores, or personal is judged. All of
    the run's rewards are then fitted to the rest, so that rules stay comparable."""

    def __post_init__(self) -> None:
        """Check every limit."""
        require(0.0 < self.aside < 1.0, "federation.aside", "in (0, 1)", self.aside)
        require(self.rounds >= 1, "federation.rounds", ">= 1", self.rounds)
        require_level("federation.proximal", self.proximal)
        law = "in (0, 1]"
        share = self.participation
        require(0.0 < share <= 1.0, "federation.participation", law, share)
        require(0.0 < self.quorum <= 1.0, "federation.quorum", law, self.quorum)
        if self.round_timeout is not None:
            require_positive("federation.round-timeout", self.round_timeout)
        require_positive("federation.norm-bound", self.norm_bound)


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How a fused reward is judged."""

    held_out: int = 20
    """Worlds of the same family, never seen by a client, per seed."""
    discount: float = 0.95
    """Discount of the greedy planner behind the table, in (0, 1]; 1: none, where good policies
    reach an end."""
    discounts: tuple[float, ...] = (0.9, 0.99)
    """Further discounts reported beside it."""
    metrics: tuple[str, ...] = ()
    """Further numbers that policies are judged by, each a module:function of your own
    (docs/own-metric.md)."""
    by_round: bool = True
    """Judge after every round, for learning curves; False: sooner, after the last alone."""
    personal: str = "mean"
    """Rule whose fused reward clients make their own in the references personal and fine-tuned,
    one of fusion.rules (docs/selection.md)."""
    fine_tune_steps: int = 5
    """Most optimiser steps from there of fine-tuned, on the client's own demonstrations and with
    federation.proximal's pull."""

    def __post_init__(self) -> None:
        """Check every limit."""
        require(self.held_out >= 1, "evaluation.held-out", ">= 1", self.held_out)
        require_discount_or_one("evaluation.discount", self.discount)
        for discount in self.discounts:
            require_discount_or_one("evaluation.discounts", discount)
        for name in self.metrics:
            require(names_function(name), "evaluation.metrics", "module:function", repr(name))
        require_once("evaluation.metrics", self.metrics)
        steps = self.fine_tune_steps
        require(steps >= 1, "evaluation.fine-tune-steps", "an integer >= 1", steps)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides a run's results."""

    clients: int = 3
    """Clients that learn from their own experts."""
    seeds: int = 20
    """Independent repetitions, with worlds of their own; intervals are over these. With a file of
    demonstrations the clients stay as they are, and only held-out worlds are new."""
    seed: int = 0
    """Root seed; every other stream derives from it."""
    problem: ProblemConfig = field(default_factory=ProblemConfig)
    heterogeneity: HeterogeneityConfig = field(default_factory=HeterogeneityConfig)
    irl: IRLConfig = field(default_factory=IRLConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    federation: FederationConfig = field(default_factory=FederationConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    control: ControlConfig = field(default_factory=ControlConfig)
    privacy: PrivacyConfig = field(default_factory=PrivacyConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    record: RecordConfig = field(default_factory=RecordConfig)

    def __post_init__(self) -> None:
        """Check every limit."""
        require(self.clients >= 1, "clients", "an integer >= 1", self.clients)
        require(self.seeds >= 1, "seeds", "an integer >= 1", self.seeds)
        require(self.seed >= 0, "seed", "an integer >= 0", self.seed)
        dials = self.heterogeneity
        if "register" in self.fusion.in_use:
            law = "at least 2 for register, which compares their maps"
            require(self.asked >= 2, "clients asked in a round", law, self.asked)
        drawn = dials.demonstrations or dials.expert_temperature or dials.coverage
        law = "None while heterogeneity.demonstrations, expert-temperature or coverage is above 0"
        file = self.problem.demonstrations_file
        require(file is None or not drawn, "problem.demonstrations-file", law, file)
        rules, own = self.fusion.rules, self.evaluation.personal
        if "personal" in rules or "fine-tuned" in rules:
            fused = own in rules and own not in REFERENCES
            law = "one of fusion.rules that fuses, where personal or fine-tuned is judged"
            require(fused, "evaluation.personal", law, own)
        if self.fusion.leave_one_out and not set(CHOOSING).isdisjoint(rules):
            law = f"at least {LEAST_LEFT_OUT} with fusion.leave-one-out"
            enough = self.asked >= LEAST_LEFT_OUT
            require(enough, "clients asked in a round", law, self.asked)
        self._require_private()

    def _require_private(self) -> None:
        """Refuse settings under which privacy would be promised and not kept."""
        privacy, file, rules = self.privacy, self.problem.demonstrations_file, self.fusion.rules
        held = self.problem.demonstrations if file is None else None
        shared = (self.fusion.measure, self.fusion.sigma) == ("shift", "shared")
        hidden = self.heterogeneity.hidden_support
        asked, k = self.asked, self.clients
        privacy.require_covered(rules, k, asked, held, shared=shared, hidden=hidden)
        again = file is not None and privacy.unit in ("client", "central") and self.seeds > 1
        law = f"1 with recorded demonstrations and privacy.unit {privacy.unit}: each looks at them"
        require(not again, "seeds", law, self.seeds)
        if privacy.unit == "none" or privacy.noise == "seeded":
            return
        law = "None with privacy.noise os: it writes down what is to be protected"
        require(self.record.demonstrations is None, "record.demonstrations", law,
                self.record.demonstrations)  # fmt: skip
        law = "without expert, whose recorded episodes are to be protected"
        require(file is None or "expert" not in rules, "fusion.rules", law, ",".join(rules))

    @property
    def asked(self) -> int:
        """Clients that a round asks."""
        return max(1, round(self.federation.participation * self.clients))


T = TypeVar("T")


def narrowed(config: T, schema: type[T]) -> T:
    """The settings of a schema alone, without what a command has added to them."""
    return schema(**{one.name: getattr(config, one.name) for one in fields(cast(Any, schema))})
