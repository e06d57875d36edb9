"""Experts: the best of an agent's checkpoints, judged on episodes it was not picked by."""

from dataclasses import dataclass

from fedirl_ray.config_control import PPOConfig
from fedirl_ray.evaluate.ppo import Training, train
from fedirl_ray.problem.control.actor import Actor
from fedirl_ray.problem.control.arena import play
from fedirl_ray.problem.control.task import Task
from fedirl_ray.seeds import stream

EPISODES = 50
"""Fresh episodes that say what an expert reaches."""


@dataclass(frozen=True)
class Expert:
    """A client's expert."""

    actor: Actor
    reached: float
    """Its mean true return on fresh episodes; compare with `Task.expert_return`."""
    training: Training


def train_expert(task: Task, client: float, config: PPOConfig, seed: int) -> Expert:
    """Train an agent on a client's true reward and keep its best checkpoint.

    PPO may lose within one update what it had learnt, so the last checkpoint is not always the
    best. The best is picked by the evaluations along training; being the best of several it looks
    better there than it is, so what it reaches is measured anew.

    Args:
        task: The task.
        client: Whose physics and reward.
        config: Budget.
        seed: Decides everything that is random.

    Returns:
        The expert.
    """
    name = ("control", task.name, "expert", f"{client:g}")
    training = train(task, client, config, int(stream(seed, *name).integers(2**31)))
    best = training.actors[int(training.returns.argmax())]
    fresh = play(task, [client] * EPISODES, best, stream(seed, *name, "reached"))
    return Expert(best, float(fresh.returns.mean()), training)
