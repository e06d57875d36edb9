"""Demonstrations of a control task in Minari's data sets.

Letters: `m` episodes, `h` most steps, `o` numbers in an observation, `q` action axes.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from fedirl_ray.errors import ConfigError, DataError, in_short
from fedirl_ray.problem.control.arena import Episodes
from fedirl_ray.problem.control.commands import from_box, to_box, to_numbers
from fedirl_ray.problem.control.task import Task
from fedirl_ray.problem.mdp import Floats


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
    minari = open_minari()
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
    """Read a local Minari data set as one client's demonstrations, unchecked but for its spaces.

    Args:
        task: The task.
        client: Whose environment it is from: its limits turn actions into shares.
        dataset: Its identifier.

    Raises:
        ConfigError: Minari is not installed, or there is no such data set.
        DataError: It is damaged, or of other observations or actions than the task's.
    """
    minari = open_minari()
    try:
        found = minari.load_dataset(dataset)
    # A damaged data set raises whatever its reader happens to meet.
    except Exception as err:
        raise ConfigError(
            f"problem.demonstrations-file must be a local Minari data set, got {dataset}: "
            f"{_said(err)}"
        ) from err
    env = task.environment(client)
    _require_space(f"observations of {task.name}", dataset, env.observation_space, found)
    _require_space(f"actions of {task.name}", dataset, env.action_space, found)
    rows: list[tuple[Floats, Floats, float, bool]] = []
    try:
        for one in found.iterate_episodes():
            seen = np.asarray(one.observations, dtype=np.float64)
            acts, ended = np.asarray(one.actions), np.asarray(one.terminations, dtype=bool)
            if len(acts) == 0 or len(seen) != len(acts) + 1 or len(ended) != len(acts):
                raise ValueError(
                    f"episode {len(rows)} has {len(seen)} observations of {len(acts)} actions"
                )
            earned = float(np.sum(one.rewards))
            rows.append((seen, _shares(task, env, acts, dataset), earned, bool(ended[-1])))
    except DataError:
        raise
    except Exception as err:
        raise DataError(
            f"problem.demonstrations-file {dataset} cannot be read: {_said(err)}"
        ) from err
    if not rows:
        raise DataError(f"problem.demonstrations-file {dataset} holds no episodes")
    return _padded(rows)


def _require_space(what: str, dataset: str, wanted: gymnasium.Space[Any], found: Any) -> None:
    """Refuse a data set of another kind of space than the task's; limits may differ."""
    got = found.observation_space if what.startswith("observations") else found.action_space
    alike = type(got) is type(wanted) and got.shape == wanted.shape
    if alike and isinstance(wanted, gymnasium.spaces.Discrete):
        alike = got.n == wanted.n and got.start == wanted.start
    if not alike:
        raise DataError(
            f"problem.demonstrations-file {dataset}: {what} are {in_short(wanted)}, got "
            f"{in_short(got, 80)}"
        )


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {in_short(error)}"


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
        return to_numbers(task, shares)
    box = env.action_space
    assert isinstance(box, gymnasium.spaces.Box)
    return to_box(shares, box.low, box.high)


def _shares(
    task: Task, env: gymnasium.Env[Any, Any], commands: NDArray[Any], dataset: str
) -> Floats:
    """The environment's actions as places on the lattice's axes, `[h, q]`."""
    if task.discrete:
        if commands.ndim != 1 or commands.min() < 0 or commands.max() >= task.action.size:
            raise DataError(
                f"problem.demonstrations-file {dataset}: actions must be numbers below "
                f"{task.action.size}"
            )
        return task.action.points[commands.astype(np.int64)]
    box = env.action_space
    assert isinstance(box, gymnasium.spaces.Box)
    if commands.ndim != 2 or commands.shape[1:] != box.shape:
        raise DataError(
            f"problem.demonstrations-file {dataset}: actions must be of shape {box.shape}"
        )
    return from_box(commands, box.low, box.high)


def open_minari() -> Any:
    """The library.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import minari
    except ImportError as err:
        raise ConfigError("Minari data sets need minari: pip install 'fedirl-ray[minari]'") from err
    return minari
