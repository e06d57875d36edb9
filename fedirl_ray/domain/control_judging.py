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
from fedirl_ray.evaluate.reward_distance import reward_distance
from fedirl_ray.evaluate.training import AgentJob, Training, train_agents
from fedirl_ray.irl.shown import show
from fedirl_ray.problem.control.actor import Actor
from fedirl_ray.problem.control.arena import Episodes, play
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


@dataclass(frozen=True)
class Judging:
    """How a planner judges."""

    discount: float
    """Of its plans."""
    episodes: int
    """Of each plan."""
    references: tuple[str, ...]
    """Who plays beside the plans for learnt rewards: true, expert."""


def judge_by_planner(
    task: TaskSpec,
    world: float,
    learner: Learner,
    judging: Judging,
    given: Arrays,
    demonstrator: float,
    shown: int,
    thetas: Floats,
    offsets: Floats,
    root: int,
    seed: int,
) -> Arrays:
    """Plan on the lattice of one world for every reward, and act in the true environment; a job.

    Args:
        task: The task, as it is seen in that world.
        world: Whose physics.
        learner: Features.
        judging: How.
        given: The world's recorded steps, if any; its demonstrator's expert, or what was recorded
            there.
        demonstrator: Whose expert plays beside the plans.
        shown: Episodes of a client's expert, where the world is a client's; else 0.
        thetas: `[2, c, d]`, NaN where there is nothing to judge.
        offsets: `[2, c]`.
        root: Root seed.
        seed: Which repetition: the same episodes for every reward.

    Returns:
        `returns` [2, c] (mean true return), `distance` [c] (to the true reward); `true`, `expert`:
        mean returns of a plan for the true reward, and of the demonstrator; `facts` [4], NaN where
        no client lives.
    """
    own = task.task()
    model = model_of(own, world, part(STEPS, given), root)
    basis = learner.basis(own)
    features = basis.at(own.support.points)
    trial = _Trial(own, world, model, judging, root, seed)
    returns, distance = np.full(thetas.shape[:2], np.nan), np.full(thetas.shape[1], np.nan)
    for level, column in np.argwhere(np.isfinite(thetas).all(axis=2)).tolist():
        linear = LinearReward(basis, thetas[level, column], float(offsets[level, column]))
        reward = linear.on(features, own.action.size)
        returns[level, column] = trial.plan(reward, linear)
        if level == 0:
            discount = judging.discount
            distance[column] = reward_distance(model, reward, model.reward, discount=discount)
    found = {
        "returns": returns,
        "distance": distance,
        "true": np.array(np.nan),
        "expert": np.array(np.nan),
        "facts": np.full(len(FACTS), np.nan),
    }
    if "true" in judging.references:
        found["true"] = np.array(trial.plan(model.reward, true_reward(own, world)))
    if "expert" in judging.references:
        found["expert"] = np.array(trial.demonstrate(given))
    if shown:
        episodes = demonstrations(own, demonstrator, given, shown, root, seed)
        recorded = bool(part(SHOWN, given))
        found["facts"] = _facts_of(own, model, episodes, learner, recorded=recorded)
    return found


@dataclass(frozen=True)
class _Trial:
    """Episodes in one world, the same for all who play them."""

    task: Task
    world: float
    model: LatticeModel
    judging: Judging
    root: int
    seed: int

    def _stream(self, *name: str) -> np.random.Generator:
        place = ("world", f"{self.world:g}", "planner", *name)
        return stream(self.root, "control", self.task.name, "seed", self.seed, *place)

    def plan(self, table: Floats, reward: PlacedReward | None) -> float:
        """Mean true return of the plan for a reward, `[a, s]` on the lattice."""
        discount = self.judging.discount
        found = plan(self.model, table, discount=discount, temperature=0.0)
        physics = None if self.task.physics is None else self.task.physics(self.world)
        agent = LatticeAgent(
            self.task, self.model, found, reward, physics, discount, self._stream("ties")
        )
        rows = [self.world] * self.judging.episodes
        return float(play(self.task, rows, agent, self._stream()).returns.mean())

    def demonstrate(self, given: Arrays) -> float:
        """Mean true return of an expert, or of what was recorded here."""
        if SHOWN + "returns" in given:
            return float(given[SHOWN + "returns"].mean())
        network = part(ACTOR, given)
        if not network:
            return float("nan")
        policy = Actor.from_arrays(self.task, network).sampled(self._stream("expert"))
        rows = [self.world] * self.judging.episodes
        return float(play(self.task, rows, policy, self._stream()).returns.mean())


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
    root: int
    seed: int
    """Of the agent: its first weights, episodes and actions are the same for every reward."""


def judge_by_agents(asked: Sequence[AgentAsked]) -> list[Arrays | FedirlError]:
    """Train each agent on a reward in one world, and record its true return on the way.

    Args:
        asked: Task but for sensors, learner and config are the same for all of one call.

    Returns:
        `at` [k] (environment steps) and `returns` [k] (mean true return) of each, or why its
        training was ended.
    """
    own = replace(asked[0]["task"], sensor=()).task()
    basis, jobs = asked[0]["learner"].basis(own), []
    for one in asked:
        world = f"{one['world']:g}"
        rng = stream(one["root"], "control", own.name, "seed", one["seed"], "world", world, "agent")
        reward = None
        if one["theta"] is not None:
            linear = LinearReward(basis, one["theta"], one["offset"])
            reward = linear_on_observations(displaced(own, one["task"].sensor), linear)
        jobs.append(AgentJob(one["world"], int(rng.integers(2**31)), reward))
    found = train_agents(own, asked[0]["config"], jobs)
    return [
        {"at": one.at, "returns": one.returns} if isinstance(one, Training) else one
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
