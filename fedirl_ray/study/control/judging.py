"""How a reward is judged on a control task: by a planner, by agents trained on it, by distance.

Every function here is a job. Letters: `e` seeds, `c` columns, `d` features, `k` evaluations.
"""

import numpy as np

from fedirl_ray.config_control import PPOConfig
from fedirl_ray.domain.control_judging import linear_on_observations, true_reward
from fedirl_ray.domain.control_learning import model_of
from fedirl_ray.engine.checkpoint import Arrays
from fedirl_ray.evaluate.agent import LatticeAgent, PlacedReward
from fedirl_ray.evaluate.ppo import train
from fedirl_ray.evaluate.reward_distance import reward_distance
from fedirl_ray.problem.control.arena import play
from fedirl_ray.problem.control.basis import LinearReward
from fedirl_ray.problem.control.model import LatticeModel
from fedirl_ray.problem.control.planning import plan
from fedirl_ray.problem.control.task import Task
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.seeds import stream
from fedirl_ray.study.control.config import LearnerConfig, TaskConfig


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


def judge_by_agent(
    task: TaskConfig,
    world: float,
    learner: LearnerConfig,
    config: PPOConfig,
    theta: Floats | None,
    offset: float,
    root: int,
    seed: int,
) -> Arrays:
    """Train an agent on a reward in one world, and record its true return on the way.

    Args:
        task: The task.
        world: Whose physics.
        learner: Features.
        config: How it is trained.
        theta: `[d]`; None: on the task's own reward.
        offset: Added to theta . phi.
        root: Root seed.
        seed: Of the agent: its first weights, episodes and actions are the same for every reward.

    Returns:
        `at` [k] (environment steps) and `returns` [k] (mean true return).
    """
    own = task.task()
    rng = stream(root, "control", own.name, "seed", seed, "world", f"{world:g}", "agent")
    reward = None
    if theta is not None:
        linear = LinearReward(learner.basis(own), theta, offset)
        reward = linear_on_observations(own, linear)
    found = train(own, world, config, int(rng.integers(2**31)), reward)
    return {"at": found.at, "returns": found.returns}
