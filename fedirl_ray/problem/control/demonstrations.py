"""Demonstrations of a control task: made by an expert, kept as .npz, exchanged with Minari.

Letters: `m` episodes, `h` most steps, `o` numbers in an observation, `q` action axes.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_type_hints
from zipfile import BadZipFile, is_zipfile

import gymnasium
import numpy as np
from numpy.typing import NDArray

from fedirl_ray.errors import ConfigError, DataError
from fedirl_ray.laws import require
from fedirl_ray.problem.control.actor import Actor
from fedirl_ray.problem.control.arena import Episodes, play
from fedirl_ray.problem.control.task import Task
from fedirl_ray.problem.mdp import Floats

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
        return from_minari(task, client, named)
    return load_episodes(Path(named), task, client)


def write_episodes(task: Task, client: float, episodes: Episodes, target: str) -> None:
    """Keep one client's demonstrations where `read_episodes` finds them.

    Raises:
        ConfigError: They cannot be written there.
    """
    named = target.replace("{client}", f"{client:g}")
    if named.endswith(".npz"):
        save_episodes(Path(named), episodes)
    else:
        to_minari(task, client, episodes, named)


def check_target(clients: int, target: str) -> None:
    """Refuse, before any work, a place that demonstrations cannot be written to.

    Raises:
        ConfigError: Says why.
    """
    require("{client}" in target or clients == 1, "export", "a name with {client} in it", target)
    names = [target.replace("{client}", str(client)) for client in range(clients)]
    if target.endswith(".npz"):
        taken = [name for name in names if Path(name).exists()]
        folder = Path(names[0]).parent
        require(folder.is_dir(), "export", "in a folder that exists", target)
    else:
        known = _minari().list_local_datasets()
        taken = [name for name in names if name in known]
    require(not taken, "export", "what does not exist yet", taken[0] if taken else "")


def save_episodes(path: Path, episodes: Episodes) -> None:
    """Write episodes as .npz, without pickle.

    Raises:
        ConfigError: The file cannot be written.
    """
    arrays = {name: getattr(episodes, name) for name in FIELDS}
    try:
        np.savez_compressed(path, allow_pickle=False, **arrays)
    except OSError as err:
        raise ConfigError(f"{path} cannot be written: {err.strerror}") from err


def load_episodes(path: Path, task: Task, client: float) -> Episodes:
    """Read what `save_episodes` wrote.

    Args:
        path: Arrays named after the fields of `Episodes`; actions in [-1, 1].
        task: The task.
        client: Whose environment they are from.

    Raises:
        DataError: The file is not of episodes, or not of this task's.
    """
    if not path.is_file():
        raise DataError(f"learner.data must name files that exist, got {path}")
    if not is_zipfile(path):  # which NumPy would take for a pickle
        raise DataError(f"{path} does not hold episodes: it is no .npz file")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            episodes = Episodes(**{name: arrays[name] for name in FIELDS})
    except (OSError, ValueError, KeyError, BadZipFile) as err:
        raise DataError(f"{path} does not hold episodes: {err}") from err
    check_episodes(episodes, task, client, str(path))
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
    if episodes.lengths.dtype.kind not in "iu" or episodes.terminated.dtype != np.bool_:
        raise DataError(f"{name}: lengths must be integers and terminated booleans")
    if episodes.lengths.min() < 1 or episodes.lengths.max() > h:
        raise DataError(f"{name}: lengths must be between 1 and {h}")


def to_minari(task: Task, client: float, episodes: Episodes, dataset: str) -> None:
    """Write episodes as a local Minari data set, in the environment's own actions.

    Args:
        task: The task.
        client: Whose environment they are from.
        episodes: What to write.
        dataset: Its identifier, e.g. pendulum/client0-v0.

    Raises:
        ConfigError: Minari is not installed, or there is a data set of that name.
    """
    minari = _minari()
    env = task.environment(client)
    buffers = []
    for k, length in enumerate(episodes.lengths):
        seen = np.concatenate([episodes.observations[k, :length], episodes.last[k : k + 1]])
        ended = np.zeros(length, dtype=bool)
        ended[-1] = True
        died = bool(episodes.terminated[k])
        rewards = np.zeros(length)
        rewards[-1] = episodes.returns[k]  # only the sum is known
        buffers.append(
            minari.data_collector.EpisodeBuffer(
                id=k,
                observations=seen.astype(env.observation_space.dtype or np.float64),
                actions=_commands(task, env, episodes.actions[k, :length]),
                rewards=rewards.tolist(),
                terminations=(ended & died).tolist(),
                truncations=(ended & ~np.bool_(died)).tolist(),
                infos={},
            )
        )
    what = f"{task.name}, client {client:g}; an episode's return stands at its end"
    try:
        with warnings.catch_warnings():
            # Minari warns of every field left out; a client's environment has no registered name.
            warnings.simplefilter("ignore", UserWarning)
            minari.create_dataset_from_buffers(
                dataset,
                buffers,
                observation_space=env.observation_space,
                action_space=env.action_space,
                algorithm_name="expert",
                description=what,
            )
    except ValueError as err:
        raise ConfigError(f"{dataset} cannot be written: {err}") from err


def from_minari(task: Task, client: float, dataset: str) -> Episodes:
    """Read a local Minari data set as one client's demonstrations.

    Args:
        task: The task.
        client: Whose environment it is from: its limits turn actions into shares.
        dataset: Its identifier.

    Raises:
        ConfigError: Minari is not installed, or there is no such data set.
        DataError: It is not of this task.
    """
    minari = _minari()
    try:
        found = minari.load_dataset(dataset)
    except (FileNotFoundError, ValueError, ImportError) as err:
        raise ConfigError(
            f"learner.data must be a local Minari data set, got {dataset}: {err}"
        ) from err
    env = task.environment(client)
    rows = [
        (
            np.asarray(one.observations, dtype=np.float64),
            _shares(task, env, np.asarray(one.actions), dataset),
            float(np.sum(one.rewards)),
            bool(one.terminations[-1]),
        )
        for one in found.iterate_episodes()
    ]
    if not rows:
        raise DataError(f"{dataset} holds no episodes")
    episodes = _padded(rows)
    check_episodes(episodes, task, client, dataset)
    return episodes


def _padded(rows: Sequence[tuple[Floats, Floats, float, bool]]) -> Episodes:
    """Episodes of different lengths, one row each."""
    lengths = np.array([len(actions) for _, actions, _, _ in rows])
    m, h = len(rows), int(lengths.max())
    observations = np.zeros((m, h, rows[0][0].shape[1]))
    actions = np.zeros((m, h, rows[0][1].shape[1]))
    for k, (seen, done, _, _) in enumerate(rows):
        observations[k, : len(done)] = seen[: len(done)]
        actions[k, : len(done)] = done
    return Episodes(
        observations,
        actions,
        lengths,
        np.array([total for _, _, total, _ in rows]),
        np.array([seen[-1] for seen, _, _, _ in rows]),
        np.array([died for _, _, _, died in rows]),
    )


def _commands(task: Task, env: gymnasium.Env[Any, Any], shares: Floats) -> NDArray[Any]:
    """Actions `[h, q]` as the environment takes them."""
    if task.discrete:
        points, weight = task.action.corners(shares)
        numbers: NDArray[Any] = points[np.arange(len(points)), weight.argmax(axis=1)]
        return numbers.astype(np.int64)
    box = env.action_space
    assert isinstance(box, gymnasium.spaces.Box)
    commands: NDArray[Any] = (box.low + 0.5 * (shares + 1.0) * (box.high - box.low)).astype(
        box.dtype
    )
    return commands


def _shares(
    task: Task, env: gymnasium.Env[Any, Any], commands: NDArray[Any], dataset: str
) -> Floats:
    """The environment's actions as places on the lattice's axes, `[h, q]`."""
    if task.discrete:
        if commands.ndim != 1 or commands.min() < 0 or commands.max() >= task.action.size:
            raise DataError(f"{dataset}: actions must be numbers below {task.action.size}")
        return task.action.points[commands.astype(np.int64)]
    box = env.action_space
    assert isinstance(box, gymnasium.spaces.Box)
    if commands.ndim != 2 or commands.shape[1:] != box.shape:
        raise DataError(f"{dataset}: actions must be of shape {box.shape}")
    shares: Floats = 2.0 * (commands - box.low) / (box.high - box.low) - 1.0
    return shares


def _minari() -> Any:
    try:
        import minari
    except ImportError as err:
        raise ConfigError("Minari data sets need minari: pip install 'fedirl-ray[minari]'") from err
    return minari
