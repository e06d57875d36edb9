"""What clients of a control task are given and do: experts, lattices, demonstrations, a reward.

Letters: `k` clients, `d` features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from fedirl_ray.config import RunConfig
from fedirl_ray.config_control import PPOConfig
from fedirl_ray.domain.control_settings import Learner, TaskSpec
from fedirl_ray.domain.job import Arrays
from fedirl_ray.errors import FedirlError
from fedirl_ray.evaluate.expert import Expert, train_experts
from fedirl_ray.irl.shown import Shown, show
from fedirl_ray.irl.stationary import LatticeIRL, fit_lattice
from fedirl_ray.laws import require
from fedirl_ray.privacy.mechanism import Ball, counts_ball
from fedirl_ray.privacy.protection import Guard
from fedirl_ray.problem.aside import kept_aside
from fedirl_ray.problem.control.actor import Actor
from fedirl_ray.problem.control.arena import Episodes
from fedirl_ray.problem.control.demonstrations import demonstrate
from fedirl_ray.problem.control.model import LatticeModel, model_from_physics
from fedirl_ray.problem.control.rollouts import Transitions, gather, model_from_transitions
from fedirl_ray.problem.control.task import Task
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.seeds import stream

ACTOR, STEPS, SHOWN = "actor.", "steps.", "shown."
"""What names of arrays begin with: an expert's network, a world's recorded steps, a client's
recorded demonstrations."""


def named(start: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """Arrays under names that begin so."""
    return {start + name: array for name, array in arrays.items()}


def part(start: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """Those whose names begin so, without that beginning."""
    return {name.removeprefix(start): x for name, x in arrays.items() if name.startswith(start)}


def pick(arrays: Mapping[str, NDArray[Any]], *starts: str) -> Arrays:
    """Those whose names begin with one of these."""
    return {name: array for name, array in arrays.items() if name.startswith(starts)}


class ExpertAsked(TypedDict):
    """What is asked of one expert."""

    task: TaskSpec
    client: float
    config: PPOConfig
    root: int


def become_experts(asked: Sequence[ExpertAsked]) -> list[Arrays | FedirlError]:
    """Train clients' experts side by side; all but the client is the same for all of one call.

    Returns:
        `at` [k] and `returns` [k]: its learning curve; `reached`: the mean return of the one kept,
        on fresh episodes; and the expert's network under `actor.` names. Or why there is none.
    """
    first, clients = asked[0], [one["client"] for one in asked]
    found = train_experts(first["task"].task(), clients, first["config"], first["root"])
    return [_arrays_of(one) if isinstance(one, Expert) else one for one in found]


def _arrays_of(expert: Expert) -> Arrays:
    return {
        "at": expert.training.at,
        "returns": expert.training.returns,
        "reached": np.array(expert.reached),
        **named(ACTOR, expert.actor.arrays()),
    }


def record_world(
    task: TaskSpec,
    world: float,
    steps: int,
    pilots: Sequence[Mapping[str, NDArray[Any]]],
    root: int,
) -> Arrays:
    """Record the steps that one world's lattice is estimated from; a job.

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
    recorded = gather(own, world, actors, _of_lattice(own, world, root), steps)
    return {field.name: getattr(recorded, field.name) for field in fields(Transitions)}


def model_of(
    task: Task, i: float, recorded: Mapping[str, NDArray[Any]] | None, root: int
) -> LatticeModel:
    """The one lattice of physics i: from its equations of motion, or from its recorded steps.

    Args:
        task: The task.
        i: Whose physics.
        recorded: What `record_world` returned for it; read where there are no equations of motion.
        root: Root seed.
    """
    if task.physics is not None:
        rng = _of_lattice(task, i, root)
        return model_from_physics(task, task.physics(i), task.state, task.action, rng)
    assert recorded, "a world without equations of motion is recorded first"
    return model_from_transitions(task, Transitions(**recorded), task.state, task.action)


def _of_lattice(task: Task, i: float, root: int) -> np.random.Generator:
    """What is random about a world's lattice: first states, or recorded steps."""
    return stream(root, "control", task.name, "lattice", f"{i:g}")


def demonstrations(
    task: Task, client: float, given: Arrays, count: int, root: int, seed: int
) -> Episodes:
    """What a client is shown: episodes of its expert, or those recorded, the same for every seed.

    Args:
        task: The task.
        client: Who.
        given: Its expert, or its recorded demonstrations.
        count: Episodes of its expert.
        root: Root seed.
        seed: Which repetition.
    """
    recorded = part(SHOWN, given)
    if recorded:
        return Episodes(**recorded)
    rng = stream(root, "control", task.name, "seed", seed, "client", f"{client:g}", "shown")
    return demonstrate(task, client, Actor.from_arrays(task, part(ACTOR, given)), count, rng)


def parted(
    episodes: Episodes, aside: float, root: int, seed: int, client: int
) -> tuple[Episodes, Episodes]:
    """Part episodes into those that a client fits its reward to, and those it keeps aside.

    Raises:
        ConfigError: There are too few.
    """
    away = kept_aside(len(episodes.lengths), aside, root, seed, client)
    fitted, kept = (
        Episodes(**{one.name: getattr(episodes, one.name)[part] for one in fields(Episodes)})
        for part in (~away, away)
    )
    return fitted, kept


def objective_of(
    task: Task,
    model: LatticeModel,
    features: Floats,
    episodes: Episodes,
    learner: Learner,
    guard: Guard | None = None,
) -> LatticeIRL:
    """What a client minimises.

    Args:
        task: Its task.
        model: Its lattice.
        features: Phi, `[n, d]`.
        episodes: Its demonstrations.
        learner: How it learns.
        guard: Protects every one of its demonstrations; None: none is. Whatever they tell beside
            their counts is left out: numbers that would need it are NaN.

    Raises:
        DataError: Steps lie beyond the lattice and may not.
    """
    irl = learner.irl
    if guard is None:
        shown = show(task, episodes, task.state, task.action, irl.discount, learner.outside)
        return LatticeIRL(model, features, shown, irl, learner.objective)
    each = [
        show(task, one, task.state, task.action, irl.discount, learner.outside).visits
        for one in single(episodes)
    ]
    rows = np.stack([visits.T.ravel() @ features for visits in each])
    nothing = np.full(each[0].shape, np.nan)
    hidden = Shown(nothing, nothing, np.nan)
    counts = guard.counts(rows, _ball(features, learner, guard.config.privacy.clip))
    return LatticeIRL(model, features, hidden, irl, learner.objective, counts)


def _ball(features: Floats, learner: Learner, clip: str | float) -> Ball:
    """Where an episode's feature counts are clipped to.

    They are a mean of features times the mass of its discounted visits: 1 / (1 - discount), or less
    where the task ended it, which is as if it had gone on where features are zero.
    """
    reached = np.vstack([features, np.zeros(features.shape[1])])
    mass = 1.0 / (1.0 - learner.irl.discount)
    return counts_ball(reached, mass, None if isinstance(clip, str) else clip)


def guard_of(config: RunConfig, given: Arrays, client: int, seed: int) -> Guard | None:
    """What protects a client's single demonstrations, where that is asked for."""
    return Guard(config, given, client, seed) if config.privacy.unit == "trajectory" else None


def require_protectable(config: RunConfig, task: Task, recorded: Sequence[Episodes]) -> None:
    """Refuse to protect single demonstrations where lattices or delta would not.

    Args:
        config: The run.
        task: Its task.
        recorded: Demonstrations that were brought along.

    Raises:
        ConfigError: Says why.
    """
    if config.privacy.unit != "trajectory":
        return
    law = "of equations of motion with privacy.unit trajectory: other lattices are estimated from "
    law += "steps that clients' experts made"
    require(task.physics is not None, "problem.name", law, config.problem.name)
    held = max((len(one.lengths) for one in recorded), default=1)
    config.privacy.require_delta(held, "demonstrations of a client")


def single(episodes: Episodes) -> list[Episodes]:
    """Episodes one by one."""
    names = [field.name for field in fields(Episodes)]
    return [
        Episodes(**{name: getattr(episodes, name)[[i]] for name in names})
        for i in range(len(episodes.lengths))
    ]


def pool_clients(
    tasks: Sequence[TaskSpec],
    learner: Learner,
    given: Sequence[Arrays],
    counts: Sequence[int],
    root: int,
    seed: int,
    aside: float = 0.0,
) -> Arrays:
    """Fit one reward to all clients' demonstrations, each under its own dynamics; a job.

    Args:
        tasks: The task, as every client sees it.
        learner: How.
        given: Every client's expert or recorded demonstrations, and recorded steps, if any.
        counts: Episodes of every client's expert.
        root: Root seed.
        seed: Which repetition.
        aside: Share of the demonstrations that nothing is fitted to.

    Returns:
        `theta`, `[d]`.
    """
    each = []
    for i, (task, mine, count) in enumerate(zip(tasks, given, counts, strict=True)):
        own = task.task()
        features = learner.basis(own).at(own.support.points)
        model = model_of(own, float(i), part(STEPS, mine), root)
        episodes = demonstrations(own, float(i), mine, count, root, seed)
        if aside > 0.0:
            episodes, _ = parted(episodes, aside, root, seed, i)
        each.append(objective_of(own, model, features, episodes, learner))
    return {"theta": fit_lattice(each, learner.irl).theta}
