"""What clients do on a control task: their lattice, their demonstrations, their reward.

Every function here is a job: its arguments decide its result. Letters: `k` clients, `d` features,
`e` seeds.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fedirl_ray.engine.checkpoint import Arrays
from fedirl_ray.evaluate.expert import train_expert
from fedirl_ray.evaluate.ppo import PPOConfig
from fedirl_ray.irl.shown import show
from fedirl_ray.irl.stationary import LatticeIRL, fit_lattice
from fedirl_ray.problem.control.actor import Actor
from fedirl_ray.problem.control.arena import Episodes
from fedirl_ray.problem.control.demonstrations import demonstrate
from fedirl_ray.problem.control.model import LatticeModel, model_from_physics
from fedirl_ray.problem.control.rollouts import EmpiricalModel, gather, model_from_transitions
from fedirl_ray.problem.control.task import Task
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.seeds import stream
from fedirl_ray.study.control.config import LearnerConfig, TaskConfig

Weights = Mapping[str, NDArray[np.float32]]
"""An expert's network, see `Actor.arrays`."""
Teacher = Weights | Episodes
"""Who shows a client what to do: its expert, or episodes that somebody recorded."""


def become_expert(task: TaskConfig, client: float, config: PPOConfig, root: int) -> Arrays:
    """Train a client's expert.

    Returns:
        `at` [k] and `returns` [k]: its learning curve; `reached`: the mean return of the one kept,
        on fresh episodes; and the expert's network under `actor.` names.
    """
    found = train_expert(task.task(), client, config, root)
    network = {f"actor.{name}": array for name, array in found.actor.arrays().items()}
    return {
        "at": found.training.at,
        "returns": found.training.returns,
        "reached": np.array(found.reached),
        **network,
    }


def network_of(expert: Arrays) -> Weights:
    """The expert's network alone."""
    start = "actor."
    return {name.removeprefix(start): x for name, x in expert.items() if name.startswith(start)}


def learn(
    task: TaskConfig,
    client: float,
    learner: LearnerConfig,
    teacher: Teacher,
    root: int,
    seeds: int,
) -> Arrays:
    """Fit one client's reward, once for every seed's demonstrations.

    Returns:
        `theta` [e, d], `curvature` [e, d, d], `objective` [e], `converged` [e], `outside` [e]
        (share of steps beyond the lattice), `demonstrated` [e] (mean true return of the
        demonstrations) and `extrapolated` (share of an estimated model that is a guess).
    """
    own = task.task()
    model = model_of(own, client, learner, _pilots([teacher]), root)
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
    guessed = model.extrapolated if isinstance(model, EmpiricalModel) else 0.0
    return stacked | {"extrapolated": np.array(guessed)}


def pool(
    task: TaskConfig,
    learner: LearnerConfig,
    teachers: Sequence[Teacher],
    root: int,
    seeds: int,
) -> Arrays:
    """Fit one reward to all clients' demonstrations, each under its own dynamics.

    Returns:
        `theta`, `[e, d]`.
    """
    own = task.task()
    features = learner.basis(own).at(own.support.points)
    models = [model_of(own, i, learner, _pilots([one]), root) for i, one in enumerate(teachers)]
    thetas = []
    for seed in range(seeds):
        each = []
        for i, model in enumerate(models):
            episodes = demonstrations(own, i, learner, teachers[i], root, seed)
            each.append(_irl(own, model, features, episodes, learner))
        thetas.append(fit_lattice(each, learner.irl).theta)
    return {"theta": np.array(thetas)}


def model_of(
    task: Task, i: float, learner: LearnerConfig, networks: Sequence[Weights], root: int
) -> LatticeModel:
    """The lattice of physics i: from its equations of motion, or from recorded steps.

    Args:
        task: The task.
        i: Whose physics.
        learner: How many steps to record.
        networks: Who flies while steps are recorded, beside chance.
        root: Root seed.
    """
    rng = stream(root, "control", task.name, "lattice", f"{i:g}")
    if task.physics is not None:
        return model_from_physics(task, task.physics(i), task.state, task.action, rng)
    pilots = [Actor.from_arrays(task, weights) for weights in networks]
    recorded = gather(task, i, pilots, rng, learner.gather)
    return model_from_transitions(task, recorded, task.state, task.action)


def demonstrations(
    task: Task, client: float, learner: LearnerConfig, teacher: Teacher, root: int, seed: int
) -> Episodes:
    """What a client is shown: its expert's episodes, or those recorded."""
    if isinstance(teacher, Episodes):
        return teacher
    rng = stream(root, "control", task.name, "seed", seed, "client", f"{client:g}", "shown")
    return demonstrate(task, client, Actor.from_arrays(task, teacher), learner.demonstrations, rng)


def _pilots(teachers: Sequence[Teacher]) -> list[Weights]:
    return [teacher for teacher in teachers if not isinstance(teacher, Episodes)]


def _irl(
    task: Task, model: LatticeModel, features: Floats, episodes: Episodes, learner: LearnerConfig
) -> LatticeIRL:
    shown = show(task, episodes, task.state, task.action, learner.irl.discount, learner.outside)
    return LatticeIRL(model, features, shown, learner.irl, learner.goal)
