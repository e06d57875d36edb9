"""What clients do on a control task: their lattice, their demonstrations, their reward.

Every function here is a job: its arguments decide its result. Letters: `k` clients, `d` features,
`e` seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from fedirl_ray.engine.checkpoint import Arrays
from fedirl_ray.errors import FedirlError
from fedirl_ray.evaluate.expert import Expert, train_experts
from fedirl_ray.evaluate.ppo import PPOConfig
from fedirl_ray.irl.shown import show
from fedirl_ray.irl.stationary import LatticeIRL, fit_lattice
from fedirl_ray.problem.control.actor import Actor
from fedirl_ray.problem.control.arena import Episodes
from fedirl_ray.problem.control.demonstrations import demonstrate
from fedirl_ray.problem.control.model import LatticeModel, model_from_physics
from fedirl_ray.problem.control.possible import unlikeliest_step
from fedirl_ray.problem.control.rollouts import (
    EmpiricalModel,
    Transitions,
    gather,
    model_from_transitions,
)
from fedirl_ray.problem.control.task import Task
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.seeds import stream
from fedirl_ray.study.control.config import LearnerConfig, TaskConfig

Weights = Mapping[str, NDArray[np.float32]]
"""An expert's network, see `Actor.arrays`."""
Teacher = Weights | Episodes
"""Who shows a client what to do: its expert, or episodes that somebody recorded."""


class ExpertAsked(TypedDict):
    """What is asked of one expert."""

    task: TaskConfig
    client: float
    config: PPOConfig
    root: int


def become_experts(asked: Sequence[ExpertAsked]) -> list[Arrays | FedirlError]:
    """Train clients' experts; all but the client is the same for all of one call.

    Returns:
        `at` [k] and `returns` [k]: its learning curve; `reached`: the mean return of the one kept,
        on fresh episodes; and the expert's network under `actor.` names. Or why there is none.
    """
    first = asked[0]
    clients = [one["client"] for one in asked]
    found = train_experts(first["task"].task(), clients, first["config"], first["root"])
    return [_expert_arrays(one) if isinstance(one, Expert) else one for one in found]


def _expert_arrays(expert: Expert) -> Arrays:
    network = {f"actor.{name}": array for name, array in expert.actor.arrays().items()}
    return {
        "at": expert.training.at,
        "returns": expert.training.returns,
        "reached": np.array(expert.reached),
        **network,
    }


def network_of(expert: Arrays) -> Weights:
    """The expert's network alone."""
    start = "actor."
    return {name.removeprefix(start): x for name, x in expert.items() if name.startswith(start)}


def record_world(
    task: TaskConfig, world: float, steps: int, pilots: Sequence[Weights], root: int
) -> Arrays:
    """Record the steps that one world's lattice is estimated from, wherever that is asked for.

    Args:
        task: A task without equations of motion.
        world: Whose environment.
        steps: How many to record.
        pilots: Networks of experts, who fly beside chance.
        root: Root seed.

    Returns:
        The fields of `Transitions`.
    """
    own = task.task()
    actors = [Actor.from_arrays(own, weights) for weights in pilots]
    recorded = gather(own, world, actors, _stream(own, world, root), steps)
    return {field.name: getattr(recorded, field.name) for field in fields(Transitions)}


def learn(
    task: TaskConfig,
    client: float,
    learner: LearnerConfig,
    teacher: Teacher,
    recorded: Arrays | None,
    root: int,
    seeds: int,
) -> Arrays:
    """Fit one client's reward, once for every seed's demonstrations.

    Args:
        task: The task.
        client: Who learns.
        learner: How.
        teacher: Whom it learns from; what somebody recorded is the same for every seed.
        recorded: Its world's steps, see `model_of`.
        root: Root seed.
        seeds: e.

    Returns:
        `theta` [e, d], `curvature` [e, d, d], `objective` [e], `converged` [e], `outside` [e]
        (share of steps beyond the lattice), `demonstrated` [e] (mean true return of the
        demonstrations) and `extrapolated` (share of an estimated model that is a guess); of
        recorded demonstrations under an estimated model also `unlikeliest` [3]: the least chance
        of a step, its episode, and its number there.
    """
    own = task.task()
    model = model_of(own, client, recorded, root)
    features = learner.basis(own).at(own.support.points)
    rows = []
    for seed in range(seeds):
        episodes = demonstrations(own, client, learner, teacher, root, seed)
        one = _irl(own, model, features, episodes, learner)
        fit = fit_lattice([one], learner.irl)
        outside = one.shown.outside
        spread = one.curvature(fit.theta)
        mean = episodes.returns.mean()
        rows.append((fit.theta, spread, fit.objective, fit.converged, outside, mean))
    names = ("theta", "curvature", "objective", "converged", "outside", "demonstrated")
    stacked = {name: np.array(x) for name, x in zip(names, zip(*rows, strict=True), strict=True)}
    if not isinstance(model, EmpiricalModel):
        return stacked | {"extrapolated": np.array(0.0)}
    stacked["extrapolated"] = np.array(model.extrapolated)
    if isinstance(teacher, Episodes):
        stacked["unlikeliest"] = np.array(unlikeliest_step(own, model, teacher))
    return stacked


def pool(
    task: TaskConfig,
    learner: LearnerConfig,
    teachers: Sequence[Teacher],
    recorded: Sequence[Arrays | None],
    root: int,
    seeds: int,
) -> Arrays:
    """Fit one reward to all clients' demonstrations, each under its own dynamics.

    Args:
        task: The task.
        learner: How.
        teachers: Every client's.
        recorded: Every client's world's steps, see `model_of`.
        root: Root seed.
        seeds: e.

    Returns:
        `theta`, `[e, d]`.
    """
    own = task.task()
    features = learner.basis(own).at(own.support.points)
    models = [model_of(own, i, steps, root) for i, steps in enumerate(recorded)]
    thetas = []
    for seed in range(seeds):
        each = []
        for i, model in enumerate(models):
            episodes = demonstrations(own, i, learner, teachers[i], root, seed)
            each.append(_irl(own, model, features, episodes, learner))
        thetas.append(fit_lattice(each, learner.irl).theta)
    return {"theta": np.array(thetas)}


def model_of(task: Task, i: float, recorded: Arrays | None, root: int) -> LatticeModel:
    """The one lattice of physics i: from its equations of motion, or from its recorded steps.

    Args:
        task: The task.
        i: Whose physics.
        recorded: What `record_world` returned for it; None where there are equations of motion.
        root: Root seed.
    """
    if task.physics is not None:
        rng = _stream(task, i, root)
        return model_from_physics(task, task.physics(i), task.state, task.action, rng)
    assert recorded is not None, "a world without equations of motion is recorded first"
    return model_from_transitions(task, Transitions(**recorded), task.state, task.action)


def _stream(task: Task, i: float, root: int) -> np.random.Generator:
    """What is random about a world's lattice: first states, or recorded steps."""
    return stream(root, "control", task.name, "lattice", f"{i:g}")


def demonstrations(
    task: Task, client: float, learner: LearnerConfig, teacher: Teacher, root: int, seed: int
) -> Episodes:
    """What a client is shown: its expert's episodes, or those recorded."""
    if isinstance(teacher, Episodes):
        return teacher
    rng = stream(root, "control", task.name, "seed", seed, "client", f"{client:g}", "shown")
    return demonstrate(task, client, Actor.from_arrays(task, teacher), learner.demonstrations, rng)


def _irl(
    task: Task, model: LatticeModel, features: Floats, episodes: Episodes, learner: LearnerConfig
) -> LatticeIRL:
    shown = show(task, episodes, task.state, task.action, learner.irl.discount, learner.outside)
    return LatticeIRL(model, features, shown, learner.irl, learner.goal)
