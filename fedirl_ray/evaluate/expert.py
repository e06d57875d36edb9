"""Experts: the best of an agent's checkpoints, judged on episodes it was not picked by."""

from collections.abc import Sequence
from dataclasses import dataclass

from fedirl_ray.config_control import PPOConfig
from fedirl_ray.errors import FedirlError
from fedirl_ray.evaluate.training import AgentJob, Training, train_agents
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


def train_experts(
    task: Task, clients: Sequence[float], config: PPOConfig, seed: int
) -> list[Expert | FedirlError]:
    """Train an agent on each client's true reward and keep its best checkpoint.

    PPO may lose within one update what it had learnt, so the last checkpoint is not always the
    best. The best is picked by the evaluations along training; being the best of several it looks
    better there than it is, so what it reaches is measured anew.

    Args:
        task: The task.
        clients: Whose physics and reward; an expert does not depend on the others here.
        config: Budget of each.
        seed: Decides everything that is random.

    Returns:
        In the order of `clients`, the expert, or why its training was ended.
    """
    names = [("control", task.name, "expert", f"{client:g}") for client in clients]
    seeds = [int(stream(seed, *name).integers(2**31)) for name in names]
    jobs = [AgentJob(*one) for one in zip(clients, seeds, strict=True)]
    found: list[Expert | FedirlError] = []
    trained = train_agents(task, config, jobs)
    for client, name, training in zip(clients, names, trained, strict=True):
        if isinstance(training, Training):
            best = training.actors[int(training.returns.argmax())]
            fresh = play(task, [client] * EPISODES, best, stream(seed, *name, "reached"))
            found.append(Expert(best, float(fresh.returns.mean()), training))
        else:
            found.append(training)
    return found
