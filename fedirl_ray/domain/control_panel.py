"""The judges of one seed's rewards on a control task: which jobs they take, and what comes of them.

Letters: `k` clients, `w` worlds of a split, `c` columns, `d` features, `x` channels.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from fedirl_ray.config import RunConfig
from fedirl_ray.config_control import ControlConfig
from fedirl_ray.config_fusion import REFERENCES
from fedirl_ray.domain.control_judging import (
    Judging,
    evaluated_at,
    judge_by_agents,
    judge_by_planner,
)
from fedirl_ray.domain.control_learning import ACTOR, SHOWN, STEPS, pick
from fedirl_ray.domain.control_settings import Learner, TaskSpec, patience, sensor_of, worlds_of
from fedirl_ray.domain.domain import SPLITS, Channel, Columns, Judged, Split
from fedirl_ray.domain.job import Arrays, Job, Plan
from fedirl_ray.evaluate.training import side_by_side
from fedirl_ray.problem.mdp import Floats

PLANNER, PLANNER_MATCHED = Channel("planner", "return"), Channel("planner-matched", "return")
DISTANCE = Channel("planner", "distance")
AGENTS = ("agent", "agent-matched")


def channels_of(control: ControlConfig, metrics: Sequence[str]) -> tuple[Channel, ...]:
    """Agents at the end of their training, plans, agents on their way; then the user's metrics."""
    plans = (PLANNER, PLANNER_MATCHED)
    ends: tuple[Channel, ...] = ()
    way: tuple[Channel, ...] = ()
    if control.agents:
        *before, last = dict.fromkeys(evaluated_at(control.agent))
        ends = tuple(Channel(judge, "return", last) for judge in AGENTS)
        way = tuple(Channel(judge, "return", at) for judge in AGENTS for at in before)
    own = (end._replace(metric=metric) for metric in metrics for end in (*ends, *plans))
    return (*ends, *plans, DISTANCE, *way, *own)


class Place(NamedTuple):
    """A world."""

    split: Split
    number: int
    """Within its split."""


class Asked(NamedTuple):
    """What an agent is trained on, and for whom."""

    world: int
    """Number among all worlds."""
    column: int
    judge: str
    theta: Floats | None
    """`[d]`; None: the task's own reward."""
    offset: float


class Panel:
    """The judges of one seed's rewards."""

    def __init__(
        self,
        config: RunConfig,
        seed: int,
        columns: Mapping[Split, Columns],
        laid: Sequence[Arrays],
        counts: Sequence[int],
    ) -> None:
        """Take what is to be judged.

        Args:
            config: The run.
            seed: Which repetition.
            columns: The rewards.
            laid: What was made for every world, the clients' first.
            counts: Episodes that every client's expert shows, `[k]`.
        """
        self._config, self._seed, self._columns = config, seed, columns
        self._laid, self._counts = laid, counts
        self._spec, self._learner = TaskSpec.of(config), Learner.of(config)
        self._metrics = config.evaluation.metrics
        self._channels = channels_of(config.control, self._metrics)
        self._worlds = worlds_of(config)
        own = self._spec.task()
        self._seen = [
            replace(self._spec, sensor=sensor_of(config, own, seed, i))
            if i < config.clients
            else self._spec
            for i in range(len(self._worlds))
        ]
        self._places = [Place(one, i) for one in SPLITS for i in range(len(columns[one].theta))]

    def judge(self) -> Plan[Judged]:
        """All jobs at once: a planner's a world, an agent's a world and reward."""
        asked = [] if not self._config.control.agents else list(self._to_train())
        plans = [self._planner(world) for world in range(len(self._places))]
        found = yield [*plans, *map(self._agent, asked)]
        scores = {
            split: np.full((*own.offset.shape, len(self._channels)), np.nan)
            for split, own in self._columns.items()
        }
        for place, one in zip(self._places, found, strict=False):
            self._put_plans(scores[place.split][place.number], place.split, one)
        for agent, one in zip(asked, found[len(plans) :], strict=True):
            split, number = self._places[agent.world]
            for at, value in zip(one["at"].tolist(), one["returns"], strict=True):
                channel = self._number(Channel(agent.judge, "return", at))
                scores[split][number, agent.column, channel] = value
            end = self._numbers(agent.judge)[1:]
            scores[split][number, agent.column, end] = one["others"]
        for world in range(len(self._places)):
            split, number = self._places[world]
            self._put_equal(scores[split][number], self._columns[split].names, world)
        k = self._config.clients
        facts = np.array([one["facts"] for one in found[:k]])
        if self._config.privacy.unit != "none":  # nothing is told beside a reward that hides it
            facts = np.full_like(facts, np.nan)
        return Judged(scores, facts)

    def _planner(self, world: int) -> Job:
        config, k = self._config, self._config.clients
        split, number = self._places[world]
        own, lives = self._columns[split], world < k
        # Experts take turns where nobody lives; what was recorded says nothing there.
        who = world if lives else (world - k) % k
        taught = pick(self._laid[who], ACTOR, SHOWN) if lives else pick(self._laid[who], ACTOR)
        thetas = np.stack([own.theta[number], own.matched_theta[number]])
        thetas[1, [not _is_matched(name) for name in own.names]] = np.nan
        beside = tuple(name for name in ("true", "expert") if name in own.names)
        judging = Judging(
            config.evaluation.discount,
            config.control.episodes,
            beside,
            self._metrics,
            config.seed,
            self._seed,
        )
        more = {
            "task": self._seen[world],
            "world": self._worlds[world],
            "learner": self._learner,
            "judging": judging,
            "given": taught | pick(self._laid[world], STEPS),
            "shown": self._counts[who] if lives else 0,
            "thetas": thetas,
            "offsets": np.stack([own.offset[number], own.matched_offset[number]]),
        }
        return Job("planner", judge_by_planner, more, True)

    def _to_train(self) -> Iterator[Asked]:
        """Every reward that there is, in every world that agents are trained in."""
        for world, (split, number) in enumerate(self._places):
            if not self._has_agents(world):
                continue
            own = self._columns[split]
            for c, name in enumerate(own.names):
                if name == "true":
                    yield Asked(world, c, "agent", None, 0.0)
                elif np.isfinite(own.theta[number, c]).all():
                    offset = float(own.offset[number, c])
                    yield Asked(world, c, "agent", own.theta[number, c], offset)
                if _is_matched(name) and np.isfinite(own.matched_theta[number, c]).all():
                    offset = float(own.matched_offset[number, c])
                    yield Asked(world, c, "agent-matched", own.matched_theta[number, c], offset)

    def _has_agents(self, world: int) -> bool:
        """Whether agents are trained in a world."""
        control = self._config.control
        return control.agents and (not control.judged or self._worlds[world] in control.judged)

    def _agent(self, asked: Asked) -> Job:
        config = self._config
        more = {
            "task": self._seen[asked.world].anywhere,
            "world": self._worlds[asked.world],
            "learner": self._learner,
            "config": config.control.agent,
            "theta": asked.theta,
            "offset": asked.offset,
            "metrics": self._metrics,
            "root": config.seed,
            "seed": self._seed,
        }
        agent = config.control.agent
        together = side_by_side(self._spec.task(), agent)
        return Job("agent", judge_by_agents, more, True, patience(agent), together)

    def _number(self, channel: Channel) -> int:
        return self._channels.index(channel)

    def _numbers(self, judge: str) -> list[int]:
        """A judge's channels when it has learnt all it will: of the return, then of the metrics."""
        last = {one[:2]: one for one in sorted(self._channels, key=lambda one: one.step)}
        return [self._number(last[judge, metric]) for metric in ("return", *self._metrics)]

    def _put_plans(self, scores: Floats, split: Split, found: Arrays) -> None:
        """Write what a planner's job found into its world's scores, `[c, x]`."""
        names = self._columns[split].names
        own, distance = self._numbers(PLANNER.judge), self._number(DISTANCE)
        scores[:, own], scores[:, self._numbers(PLANNER_MATCHED.judge)] = found["scores"]
        scores[:, distance] = found["distance"]
        if "true" in names:
            scores[names.index("true"), [*own, distance]] = *found["true"], 0.0
        if "expert" in names:
            scores[names.index("expert"), own] = found["expert"]

    def _put_equal(self, scores: Floats, names: Sequence[str], world: int) -> None:
        """Write what is known from another judge into a world's scores, `[c, x]`.

        The mean is at its own level; an expert is what it is, whoever judges.
        """
        for x, (judge, metric, step) in enumerate(self._channels):
            if judge.endswith("-matched"):
                own = Channel(judge.removesuffix("-matched"), metric, step)
                mean = names.index("mean")
                scores[mean, x] = scores[mean, self._number(own)]
        if "expert" in names and self._has_agents(world):
            expert = names.index("expert")
            ends = self._numbers(AGENTS[0])
            scores[expert, ends] = scores[expert, self._numbers(PLANNER.judge)]


def _is_matched(name: str) -> bool:
    """Whether a column is a fused reward that may be at another level than the mean's."""
    return name != "mean" and name not in REFERENCES
