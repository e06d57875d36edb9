"""Demonstrations of a control task: made by an expert, kept as .npz, exchanged with Minari.

Letters: `m` episodes, `h` most steps, `o` numbers in an observation, `q` action axes.
"""

from pathlib import Path
from typing import get_type_hints

import numpy as np

from fedirl_ray.errors import DataError
from fedirl_ray.laws import require
from fedirl_ray.problem.control.actor import Actor
from fedirl_ray.problem.control.arena import Episodes, play
from fedirl_ray.problem.control.commands import to_numbers
from fedirl_ray.problem.control.minari_sets import from_minari, open_minari, to_minari
from fedirl_ray.problem.control.possible import require_possible
from fedirl_ray.problem.control.task import Task
from fedirl_ray.problem.demonstrations import require_new
from fedirl_ray.problem.npz import read_arrays, write_arrays

FIELDS = tuple(get_type_hints(Episodes))
SLACK = 1e-5
"""How far beyond a limit single precision may put an action."""


def demonstrate(
    task: Task, client: float, actor: Actor, count: int, rng: np.random.Generator
) -> Episodes:
    """Let an expert show what it does, its actions drawn as its policy says.

    Args:
        task: The task.
        client: Whose physics.
        actor: The expert.
        count: Episodes m.
        rng: Episodes and actions.
    """
    policy = actor.sampled(rng)
    return play(task, [client] * count, policy, rng, steps=task.demonstrated)


def read_episodes(task: Task, client: float, source: str) -> Episodes:
    """One client's demonstrations, which somebody else made.

    Args:
        task: The task.
        client: Whose environment they are from.
        source: A file that ends in .npz, or the name of a local Minari data set.

    Raises:
        ConfigError: There is no such data set, or Minari is not installed.
        DataError: The file is not of episodes, or they are not this task's.
    """
    named = source.replace("{client}", f"{client:g}")
    if not named.endswith(".npz"):
        episodes = from_minari(task, client, named)
        check_episodes(episodes, task, client, f"problem.demonstrations-file {named}")
        return episodes
    return load_episodes(Path(named), task, client)


def write_episodes(task: Task, client: float, episodes: Episodes, target: str) -> None:
    """Keep one client's demonstrations where `read_episodes` finds them, unless something is there.

    Raises:
        ConfigError: They cannot be written there.
    """
    named = target.replace("{client}", f"{client:g}")
    if is_there(named):
        return
    if named.endswith(".npz"):
        save_episodes(Path(named), episodes)
    else:
        to_minari(task, client, episodes, named)


def check_target(clients: int, target: str) -> None:
    """Refuse, before any work, a place that demonstrations cannot be written to.

    Raises:
        ConfigError: Says why.
    """
    field = "record.demonstrations"
    require("{client}" in target or clients == 1, field, "a name with {client} in it", target)
    names = [target.replace("{client}", str(client)) for client in range(clients)]
    if target.endswith(".npz"):
        require_new(target, names)
    else:
        taken = [name for name in names if is_there(name)]
        require(not taken, field, "what does not exist yet", taken[0] if taken else "")


def is_there(name: str) -> bool:
    """Whether there is such a file or Minari data set."""
    if name.endswith(".npz"):
        return Path(name).exists()
    return name in open_minari().list_local_datasets()


def save_episodes(path: Path, episodes: Episodes) -> None:
    """Write episodes as .npz, without pickle.

    Raises:
        ConfigError: The file cannot be written.
    """
    write_arrays(path, {name: getattr(episodes, name) for name in FIELDS})


def load_episodes(path: Path, task: Task, client: float) -> Episodes:
    """Read what `save_episodes` wrote.

    Args:
        path: Arrays named after the fields of `Episodes`; actions in [-1, 1].
        task: The task.
        client: Whose environment they are from.

    Raises:
        DataError: The file is not of episodes, or not of this task's, or they cannot have happened.
    """
    what = f"problem.demonstrations-file {path}"
    episodes = Episodes(**read_arrays(path, FIELDS, what))
    check_episodes(episodes, task, client, what)
    return episodes


def check_episodes(episodes: Episodes, task: Task, client: float, name: str) -> None:
    """Refuse episodes that a client cannot have had.

    Raises:
        DataError: Says what is wrong with which file or data set.
    """
    m, h, q = episodes.actions.shape if episodes.actions.ndim == 3 else (0, 0, 0)
    if not m or not h:
        raise DataError(f"{name} holds no episodes")
    if q != len(task.action.axes):
        raise DataError(f"{name}: {task.name} has {len(task.action.axes)} action axes, got {q}")
    one = (m,)
    found = [getattr(episodes, name).shape for name in ("lengths", "returns", "terminated")]
    if episodes.observations.shape[:2] != (m, h) or found != [one, one, one]:
        raise DataError(f"{name}: observations, actions and lengths do not fit together")
    seen = task.environment(client).observation_space.shape or ()
    if episodes.observations.shape[2:] != seen or episodes.last.shape != (m, *seen):
        got = episodes.observations.shape[2:]
        raise DataError(f"{name}: observations of {task.name} are of shape {seen}, got {got}")
    for field in ("observations", "actions", "last"):
        array = getattr(episodes, field)
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise DataError(f"{name}: {field} must be finite floats")
    if np.abs(episodes.actions).max() > 1.0 + SLACK:
        raise DataError(f"{name}: actions must be in [-1, 1], shares of the most a client can do")
    if episodes.returns.dtype.kind != "f" or not np.isfinite(episodes.returns).all():
        raise DataError(f"{name}: returns must be finite floats")
    if episodes.lengths.dtype.kind not in "iu" or episodes.terminated.dtype != np.bool_:
        raise DataError(f"{name}: lengths must be integers and terminated booleans")
    if episodes.lengths.min() < 1 or episodes.lengths.max() > h:
        raise DataError(f"{name}: lengths must be between 1 and {h}")
    if task.discrete:
        taken = episodes.steps()[1]
        if np.abs(task.action.points[to_numbers(task, taken)] - taken).max() > SLACK:
            choices = ", ".join(f"{x:g}" for x in task.action.points[:, 0])
            raise DataError(f"{name}: {task.name}'s actions must be among {choices}")
    if task.physics is not None:
        require_possible(task, client, episodes, name)
