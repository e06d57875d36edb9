"""Control tasks by name: the paper's, or a user's own Gymnasium environment as `module:function`.

The function takes the client, a float, and returns its environment:

    def hilly(i):
        env = gymnasium.make("MountainCarContinuous-v0")
        env.unwrapped.power = 0.0015 * (1 + 0.1 * i)
        return env

Observations are taken for the state, so what the environment hides, the lattice cannot know. An
environment that ends episodes early without terminating them is played on to the time limit.
"""

import difflib
import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from fedirl_ray.errors import ConfigError, UserCodeError, in_short
from fedirl_ray.problem.control.paper import TASKS
from fedirl_ray.problem.control.task import Task, choices
from fedirl_ray.problem.custom import load, user_code
from fedirl_ray.problem.lattice import Axis, Lattice

STATES = 10_000
"""States that a lattice has at most where the user names no numbers of points."""
MOST_POINTS = 31
"""Points that an axis has at most then."""
ACTION_POINTS = 3
"""Points of a continuous action's axis: least, middle, most."""

Limits = Sequence[tuple[float, float] | None]
"""Lowest and highest value on the lattice, for each number of an observation; None: the space's."""


def task_named(
    name: str,
    limits: Limits | None = None,
    points: Sequence[int] | None = None,
    steps: int | None = None,
) -> Task:
    """Find one of the paper's tasks, or make one of a user's environments.

    Args:
        name: Name of a paper's task, or `module:function`.
        limits: The lattice's limits; needed where the observation space is unbounded, and better
            than the space's where agents keep to a part of it. Own environments only.
        points: States along each axis; None: as many as make up to 10,000 states, or the paper's.
        steps: Most steps in an episode; None: the environment's time limit.

    Returns:
        The task.

    Raises:
        ConfigError: No such task or function, or its environment cannot be used.
    """
    if ":" in name:
        return _brought(name, limits, points, steps)
    if name not in TASKS:
        near = difflib.get_close_matches(name, TASKS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(TASKS)}"
        raise ConfigError(
            f"problem.name must be a known task or module:function, got {name!r}; {hint}"
        )
    if limits is not None or steps is not None:
        given = "control.limits" if limits is not None else "problem.horizon"
        raise ConfigError(f"{given} is for environments of your own, not for {name}")
    task = TASKS[name]
    return task if points is None else replace(task, state=task.state.resized(points))


def environment_of(name: str, i: float) -> gymnasium.Env[Any, Any]:
    """Client i's environment from the user's function, without its time limit.

    Raises:
        ConfigError: No such function, it fails, or it returns something else.
    """
    env = _made(name, i)
    bare = env.env if isinstance(env, gymnasium.wrappers.TimeLimit) else env
    return Guarded(bare, f"problem.name {name}: client {i:g}'s environment")


def _made(name: str, i: float) -> gymnasium.Env[Any, Any]:
    """What the user's function returns, once it is an environment."""
    function = load(name, "problem.name", ("i",))
    what = f"problem.name {name} must return client {i:g}'s environment, but"
    with user_code(what, function):
        made = function(i)
        if not isinstance(made, gymnasium.Env):
            raise ConfigError(
                f"problem.name {name} must return a gymnasium.Env, got {type(made).__name__}"
            )
        return made


def require_alike(name: str, worlds: Iterable[float]) -> None:
    """Begin an episode in every environment once, and refuse one unlike client 0's.

    Limits of actions may differ; see `environment_of`.

    Raises:
        ConfigError: It cannot be made or begun, or has another number of observations or actions.
    """
    first = None
    for i in dict.fromkeys((0.0, *worlds)):
        env = environment_of(name, i)
        found = _kind(env)
        first = found if first is None else first
        if found != first:
            raise ConfigError(
                f"problem.name {name} must give all clients spaces of client 0's kind and shape, "
                f"{first}, got {found} for client {i:g}"
            )
        env.reset(seed=0)
        env.close()


def _kind(env: gymnasium.Env[Any, Any]) -> str:
    """Kinds and sizes of an environment's spaces, in words."""
    spaces = [env.observation_space, env.action_space]
    kinds = [
        str(one) if isinstance(one, gymnasium.spaces.Discrete)
        else f"{type(one).__name__}{one.shape}"
        for one in spaces
    ]  # fmt: skip
    return " -> ".join(kinds)


class Guarded(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A user's environment: what it raises is named as its own, what it returns is checked."""

    def __init__(self, env: gymnasium.Env[Any, Any], what: str) -> None:
        """Stand before an environment.

        Args:
            env: The user's.
            what: What messages call it.
        """
        with user_code(what):
            super().__init__(env)
            self._shape = env.observation_space.shape
        self._what = what

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode.

        Raises:
            UserCodeError: It failed, or did not return what it must.
        """
        with user_code(self._what):
            found = self.env.reset(seed=seed, options=options)
        self._require(
            isinstance(found, tuple) and len(found) == 2,
            "return (observation, info) from reset",
            found,
        )
        return self._seen(found[0]), found[1]

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Advance by one step.

        Raises:
            UserCodeError: It failed, or did not return what it must.
        """
        with user_code(self._what):
            found = self.env.step(action)
        self._require(
            isinstance(found, tuple) and len(found) == 5,
            "return (observation, reward, terminated, truncated, info) from step",
            found,
        )
        seen, reward, terminated, truncated, info = found
        try:
            earned = float(reward)
        except (TypeError, ValueError):
            earned = math.nan
        self._require(math.isfinite(earned), "pay a finite reward", reward)
        return self._seen(seen), earned, bool(terminated), bool(truncated), info

    def close(self) -> None:
        """Close it.

        Raises:
            UserCodeError: It failed.
        """
        with user_code(self._what):
            self.env.close()

    def _seen(self, observation: Any) -> NDArray[np.float64]:
        """An observation as numbers."""
        try:
            seen = np.asarray(observation, dtype=np.float64)
        except (TypeError, ValueError):
            seen = np.array(math.nan)
        law = f"show finite numbers of its space's shape {self._shape}"
        self._require(seen.shape == self._shape and bool(np.isfinite(seen).all()), law, observation)
        return seen

    def _require(self, holds: bool, law: str, got: object) -> None:
        if not holds:
            raise UserCodeError(f"{self._what} must {law}, got {in_short(repr(got), 80)}")


def _brought(
    name: str, limits: Limits | None, points: Sequence[int] | None, steps: int | None
) -> Task:
    """A task of client 0's spaces; all clients share its lattice."""
    env = _made(name, 0.0)
    guarded = Guarded(env, f"problem.name {name}: client 0's environment")
    try:
        state = _states(name, guarded.observation_space, limits, points)
        action = _actions(name, guarded.action_space)
        most = _time_limit(name, env, steps)
    finally:
        guarded.close()
    threshold = None if env.spec is None else env.spec.reward_threshold
    return Task(
        name=name,
        environment=functools.partial(environment_of, name),
        physics=None,
        locate=np.asarray,
        state=state,
        action=action,
        discrete=isinstance(env.action_space, gymnasium.spaces.Discrete),
        noise=0.0,
        steps=most,
        demonstrated=most,
        expert_return=-math.inf if threshold is None else float(threshold),
        reference="none known" if threshold is None else "the environment's reward threshold",
    )


def _states(
    name: str,
    space: gymnasium.Space[Any],
    limits: Limits | None,
    points: Sequence[int] | None,
) -> Lattice:
    """The lattice of a space of observations."""
    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
        raise ConfigError(f"problem.name {name} must observe a Box of one dimension, got {space}")
    (p,) = space.shape
    _require_each("limits", limits, p)
    _require_each("points", points, p)
    each = min(MOST_POINTS, max(2, int(STATES ** (1.0 / p))))
    rows = []
    for j, (low, high) in enumerate(zip(space.low, space.high, strict=True)):
        given = None if limits is None else limits[j]
        low, high = (float(low), float(high)) if given is None else given
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ConfigError(
                f"control.limits must be given for number {j + 1} of {name}'s {p} observations, "
                f"whose space reaches from {low:g} to {high:g}: a finite (low, high)"
            )
        rows.append(Axis(f"observation {j + 1}", low, high, each if points is None else points[j]))
    return Lattice(tuple(rows))


def _require_each(setting: str, given: Sequence[object] | None, count: int) -> None:
    """Check that a setting has one entry for each number of an observation."""
    if given is not None and len(given) != count:
        raise ConfigError(
            f"control.{setting} needs one entry for each of {count} observations, got {len(given)}"
        )


def _actions(name: str, space: gymnasium.Space[Any]) -> Lattice:
    """The lattice of a space of actions, in [-1, 1]."""
    if isinstance(space, gymnasium.spaces.Discrete) and space.start == 0:
        return choices("action", int(space.n))
    if isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1:
        if not space.is_bounded():
            raise ConfigError(f"problem.name {name} must have bounded actions, got {space}")
        numbers = range(1, space.shape[0] + 1)
        return Lattice(tuple(Axis(f"action {j}", -1.0, 1.0, ACTION_POINTS) for j in numbers))
    raise ConfigError(
        f"problem.name {name} must act in a Box of one dimension or a Discrete from 0, got {space}"
    )


def _time_limit(name: str, env: gymnasium.Env[Any, Any], steps: int | None) -> int:
    """Most steps in an episode: the user's, or the environment's own."""
    most = _own_limit(env) if steps is None else steps
    if most is None:
        raise ConfigError(f"problem.horizon must be given: {name} has no time limit of its own")
    if most < 1:
        raise ConfigError(f"problem.horizon must be >= 1, got {most}")
    return most


def _own_limit(env: gymnasium.Env[Any, Any]) -> int | None:
    """The steps of the outermost time limit, or those that a registered environment states."""
    layer: Any = env
    while isinstance(layer, gymnasium.Wrapper):
        if isinstance(layer, gymnasium.wrappers.TimeLimit):
            return int(layer._max_episode_steps)  # it has no public name for it
        layer = layer.env
    return None if env.spec is None else env.spec.max_episode_steps
