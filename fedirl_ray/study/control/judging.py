"""How a reward is judged on a control task: by a planner, by agents trained on it, by distance.

Every function here is a job. Letters: `e` seeds, `c` columns, `d` features, `k` evaluations.
"""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from fedirl_ray.engine.checkpoint import Arrays
from fedirl_ray.errors import FedirlError
from fedirl_ray.evaluate.agent import LatticeAgent, PlacedReward
from fedirl_ray.evaluate.ppo import PPOConfig
from fedirl_ray.evaluate.reward_distance import reward_distance
from fedirl_ray.evaluate.training import AgentJob, Training, train_agents
from fedirl_ray.problem.control.arena import play
from fedirl_ray.problem.control.basis import LinearReward
from fedirl_ray.problem.control.model import LatticeModel
from fedirl_ray.problem.control.planning import plan
from fedirl_ray.problem.control.task import Task
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.seeds import stream
from fedirl_ray.study.control.config import LearnerConfig, TaskConfig
from fedirl_ray.study.control.learning import model_of


def judge_by_planner(
    task: TaskConfig,
    world: float,
    learner: LearnerConfig,
    recorded: Arrays | None,
    thetas: Floats,
    offsets: Floats,
    episodes: int,
    root: int,
) -> Arrays:
    """Plan on the lattice of one world for every reward, and act in the true environment.

    Args:
        task: The task.
        world: Whose physics.
        learner: Features, discount.
        recorded: The world's steps, see `model_of`.
        thetas: `[e, c, d]`.
        offsets: `[e, c]`.
        episodes: Episodes of each plan.
        root: Root seed.

    Returns:
        `returns` [e, c + 1] (mean true return) and `distance` [e, c + 1] (to the true reward); the
        last column is the true reward itself.
    """
    own = task.task()
    model = model_of(own, world, recorded, root)
    basis = learner.basis(own)
    features = basis.at(own.support.points)
    discount = learner.irl.discount
    truth = true_reward(own, world)
    e, c, _ = thetas.shape
    returns, distance = np.empty((e, c + 1)), np.zeros((e, c + 1))
    for seed in range(e):
        for column in range(c):
            linear = LinearReward(basis, thetas[seed, column], float(offsets[seed, column]))
            reward = linear.on(features, own.action.size)
            returns[seed, column] = _planned(
                own, world, model, reward, linear, discount, episodes, root, seed
            )
            distance[seed, column] = reward_distance(model, reward, model.reward, discount=discount)
        returns[seed, c] = _planned(
            own, world, model, model.reward, truth, discount, episodes, root, seed
        )
    return {"returns": returns, "distance": distance}


def true_reward(task: Task, world: float) -> PlacedReward | None:
    """The task's own reward anywhere; None where only the environment knows it."""
    if task.physics is None:
        return None
    physics = task.physics(world)
    return lambda places, actions: physics.step(places, actions).reward


def _planned(
    task: Task,
    world: float,
    model: LatticeModel,
    table: Floats,
    reward: PlacedReward | None,
    discount: float,
    episodes: int,
    root: int,
    seed: int,
) -> float:
    """Mean true return of the plan for a reward, the same episodes for every reward."""
    found = plan(model, table, discount=discount, temperature=0.0)
    physics = None if task.physics is None else task.physics(world)
    name = ("control", task.name, "seed", seed, "world", f"{world:g}", "planner")
    agent = LatticeAgent(task, model, found, reward, physics, discount, stream(root, *name, "ties"))
    return float(play(task, [world] * episodes, agent, stream(root, *name)).returns.mean())


class AgentAsked(TypedDict):
    """What is asked of one agent."""

    task: TaskConfig
    world: float
    """Whose physics."""
    learner: LearnerConfig
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
        asked: Task, learner and config are the same for all of one call.

    Returns:
        `at` [k] (environment steps) and `returns` [k] (mean true return) of each, or why its
        training was ended.
    """
    own = asked[0]["task"].task()
    basis = asked[0]["learner"].basis(own)
    jobs = []
    for one in asked:
        world = f"{one['world']:g}"
        rng = stream(one["root"], "control", own.name, "seed", one["seed"], "world", world, "agent")
        reward = None
        if one["theta"] is not None:
            linear = LinearReward(basis, one["theta"], one["offset"])
            reward = linear_on_observations(own, linear)
        jobs.append(AgentJob(one["world"], int(rng.integers(2**31)), reward))
    found = train_agents(own, asked[0]["config"], jobs)
    return [
        {"at": one.at, "returns": one.returns} if isinstance(one, Training) else one
        for one in found
    ]


def linear_on_observations(task: Task, reward: LinearReward) -> PlacedReward:
    """The same reward of what is seen instead of where that is."""
    return lambda observations, actions: reward(task.locate(observations), actions)
