"""How a reward is judged on a control task: by a planner, by agents trained on it, by distance.

Letters: `c` columns, `d` features, `k` evaluations; 2: as they are, and at the level of the mean's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np

from fedirl_ray.config_control import PPOConfig
from fedirl_ray.domain.control_learning import (
    ACTOR,
    SHOWN,
    STEPS,
    demonstrations,
    model_of,
    part,
)
from fedirl_ray.domain.control_settings import Learner, TaskSpec
from fedirl_ray.domain.job import Arrays
from fedirl_ray.errors import FedirlError
from fedirl_ray.evaluate.agent import LatticeAgent, PlacedReward
from fedirl_ray.evaluate.metric import means_over, metrics_named
from fedirl_ray.evaluate.reward_distance import reward_distance
from fedirl_ray.evaluate.training import AgentJob, Training, train_agents
from fedirl_ray.irl.shown import show
from fedirl_ray.problem.control.actor import Actor
from fedirl_ray.problem.control.arena import Episodes, Policy, play_paid, trajectories
from fedirl_ray.problem.control.basis import LinearReward
from fedirl_ray.problem.control.model import LatticeModel
from fedirl_ray.problem.control.planning import plan
from fedirl_ray.problem.control.possible import unlikeliest_step
from fedirl_ray.problem.control.rollouts import EmpiricalModel
from fedirl_ray.problem.control.sensors import displaced
from fedirl_ray.problem.control.task import Task
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.seeds import stream

FACTS = ("demonstrated", "outside", "extrapolated", "unlikeliest")
"""Of a client: mean true return of its demonstrations, their share of steps beyond the lattice, the
share of its estimated lattice that is a guess, and the least chance there of a recorded step."""

TRIED = 10
"""Steps that metrics are tried on."""


@dataclass(frozen=True)
class Judging:
    """How plans are judged, and on which episodes."""

    discount: float
    """Of plans."""
    episodes: int
    """Of each plan."""
    references: tuple[str, ...]
    """Who plays beside the plans for learnt rewards: true, expert."""
    metrics: tuple[str, ...]
    """The user's own."""
    root: int
    """Root seed."""
    seed: int
    """Which repetition: the same episodes for every reward."""


def judge_by_planner(
    task: TaskSpec,
    world: float,
    learner: Learner,
    judging: Judging,
    given: Arrays,
    shown: int,
    thetas: Floats,
    offsets: Floats,
) -> Arrays:
    """Plan on the lattice of one world for every reward, and act in the true environment; a job.

    Args:
        task: The task, as it is seen in that world.
        world: Whose physics.
        learner: Features.
        judging: How.
        given: The world's recorded steps, if any; its demonstrator's expert, or what was recorded
            there.
        shown: Episodes of a client's expert, where the world is a client's; else 0.
        thetas: `[2, c, d]`, NaN where there is nothing to judge.
        offsets: `[2, c]`.

    Returns:
        `scores` [2, c, 1 + metrics] (mean true return, then what the user's metrics say),
        `distance` [c] (to the true reward); `true`, `expert` [1 + metrics]: of a plan for the true
        reward, and of the demonstrator; `facts` [4]; NaN where there is none.
    """
    own = task.task()
    model = model_of(own, world, part(STEPS, given), judging.root)
    basis = learner.basis(own)
    features = basis.at(own.support.points)
    trial = _Trial(own, world, model, judging)
    nothing = np.full(1 + len(judging.metrics), np.nan)
    scores = np.tile(nothing, (*thetas.shape[:2], 1))
    distance = np.full(thetas.shape[1], np.nan)
    for level, column in np.argwhere(np.isfinite(thetas).all(axis=2)).tolist():
        linear = LinearReward(basis, thetas[level, column], float(offsets[level, column]))
        reward = linear.on(features, own.action.size)
        scores[level, column] = trial.plan(reward, linear)
        if level == 0:
            discount = judging.discount
            distance[column] = reward_distance(model, reward, model.reward, discount=discount)
    found = {"scores": scores, "distance": distance, "true": nothing, "expert": nothing,
             "facts": np.full(len(FACTS), np.nan)}  # fmt: skip
    if "true" in judging.references:
        found["true"] = trial.plan(model.reward, true_reward(own, world))
    if "expert" in judging.references:
        found["expert"] = trial.demonstrate(given)
    if shown:
        episodes = demonstrations(own, world, given, shown, judging.root, judging.seed)
        recorded = bool(part(SHOWN, given))
        found["facts"] = _facts_of(own, model, episodes, learner, recorded=recorded)
    return found


def try_metrics(task: Task, names: Sequence[str]) -> None:
    """Ask the user's metrics of a few random steps in client 0's environment.

    Raises:
        ConfigError: One cannot be found, fails, or says something that is no finite number.
    """
    metrics = metrics_named(names, "control")
    if not metrics:
        return
    rng = np.random.default_rng(0)

    def wander(observations: Floats) -> Floats:
        return task.action.points[rng.integers(task.action.size, size=len(observations))]

    means_over(metrics, trajectories(*play_paid(task, [0.0], wander, rng, steps=TRIED)))


@dataclass(frozen=True)
class _Trial:
    """Episodes in one world, the same for all who play them."""

    task: Task
    world: float
    model: LatticeModel
    judging: Judging

    def _stream(self, *name: str) -> np.random.Generator:
        seed, world = self.judging.seed, f"{self.world:g}"
        place: tuple[str | int, ...] = ("seed", seed, "world", world, "planner", *name)
        return stream(self.judging.root, "control", self.task.name, *place)

    def plan(self, table: Floats, reward: PlacedReward | None) -> Floats:
        """Scores of the plan for a reward, `[a, s]` on the lattice."""
        discount = self.judging.discount
        found = plan(self.model, table, discount=discount, temperature=0.0)
        physics = None if self.task.physics is None else self.task.physics(self.world)
        return self._scores(
            LatticeAgent(
                self.task, self.model, found, reward, physics, discount, self._stream("ties")
            )
        )

    def demonstrate(self, given: Arrays) -> Floats:
        """Scores of an expert; of what was recorded here the return alone, which is known."""
        scores = np.full(1 + len(self.judging.metrics), np.nan)
        if SHOWN + "returns" in given:
            scores[0] = given[SHOWN + "returns"].mean()
            return scores
        network = part(ACTOR, given)
        if not network:
            return scores
        return self._scores(Actor.from_arrays(self.task, network).sampled(self._stream("expert")))

    def _scores(self, policy: Policy) -> Floats:
        """Mean true return, then what metrics say, `[1 + metrics]`."""
        rows = [self.world] * self.judging.episodes
        episodes, rewards = play_paid(self.task, rows, policy, self._stream())
        metrics = metrics_named(self.judging.metrics, "control")
        said = means_over(metrics, trajectories(episodes, rewards))
        return np.array([episodes.returns.mean(), *said])


def _facts_of(
    task: Task, model: LatticeModel, episodes: Episodes, learner: Learner, *, recorded: bool
) -> Floats:
    discount, estimated = learner.irl.discount, isinstance(model, EmpiricalModel)
    shown = show(task, episodes, task.state, task.action, discount, learner.outside)
    chance = unlikeliest_step(task, model, episodes).chance if recorded and estimated else np.nan
    guessed = model.extrapolated if isinstance(model, EmpiricalModel) else 0.0
    return np.array([episodes.returns.mean(), shown.outside, guessed, chance])


def true_reward(task: Task, world: float) -> PlacedReward | None:
    """The task's own reward anywhere; None where only the environment knows it."""
    if task.physics is None:
        return None
    physics = task.physics(world)
    return lambda places, actions: physics.step(places, actions).reward


class AgentAsked(TypedDict):
    """What is asked of one agent."""

    task: TaskSpec
    """As it is seen in that world."""
    world: float
    """Whose physics."""
    learner: Learner
    """Features."""
    config: PPOConfig
    """How it is trained."""
    theta: Floats | None
    """`[d]`; None: on the task's own reward."""
    offset: float
    """Added to theta . phi."""
    metrics: tuple[str, ...]
    """The user's own."""
    root: int
    seed: int
    """Of the agent: its first weights, episodes and actions are the same for every reward."""


def judge_by_agents(asked: Sequence[AgentAsked]) -> list[Arrays | FedirlError]:
    """Train each agent on a reward in one world, and record its true return on the way.

    Args:
        asked: Task but for sensors, learner, config and metrics are the same for all of one call.

    Returns:
        `at` [k] (environment steps), `returns` [k] (mean true return) and `others` [metrics] (what
        metrics say at the end) of each, or why its training was ended.
    """
    own = replace(asked[0]["task"], sensor=()).task()
    metrics = metrics_named(asked[0]["metrics"], "control")
    basis, jobs = asked[0]["learner"].basis(own), []
    for one in asked:
        world = f"{one['world']:g}"
        rng = stream(one["root"], "control", own.name, "seed", one["seed"], "world", world, "agent")
        reward = None
        if one["theta"] is not None:
            linear = LinearReward(basis, one["theta"], one["offset"])
            reward = linear_on_observations(displaced(own, one["task"].sensor), linear)
        jobs.append(AgentJob(one["world"], int(rng.integers(2**31)), reward))
    found = train_agents(own, asked[0]["config"], jobs, keep_last=bool(metrics))
    return [
        {"at": one.at, "returns": one.returns, "others": means_over(metrics, one.last)}
        if isinstance(one, Training)
        else one
        for one in found
    ]


def linear_on_observations(task: Task, reward: LinearReward) -> PlacedReward:
    """The same reward of what is seen instead of where that is."""
    return lambda observations, actions: reward(task.locate(observations), actions)


def evaluated_at(config: PPOConfig) -> tuple[int, ...]:
    """Environment steps at which an agent is evaluated, `[k]`: whole rollouts, ascending.

    Points that fall into one rollout are equal, and their last evaluation counts.
    """
    aims = (
        config.steps * number // config.evaluations for number in range(1, config.evaluations + 1)
    )
    return tuple(-(-aim // config.rollout) * config.rollout for aim in aims)
