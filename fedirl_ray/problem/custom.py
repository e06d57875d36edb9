"""A user's own worlds, named `module:function`."""

import importlib
import inspect
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np

from fedirl_ray.errors import ConfigError, DataError
from fedirl_ray.problem.mdp import TabularMDP
from fedirl_ray.problem.tabular import close, read_table


def draw(name: str, role: str, index: int, rng: np.random.Generator) -> TabularMDP:
    """Ask the user's function for one world.

    The function is called as `function(role, index, rng)` and returns a `TabularMDP`, or a
    Gymnasium environment with a transition table (`unwrapped.P` and
    `unwrapped.initial_state_distrib`). Of an environment nothing but the table is known, so its
    features are one-hot states, all states are equally far apart, and the goal is to end an
    episode with a positive reward. Dials such as `problem.slip` are the function's own affair.

    Args:
        name: `module:function`.
        role: client, held-out or probe.
        index: Which of that role, from 0.
        rng: Stream of this world alone.

    Raises:
        ConfigError: No such function, or it returns something else.
    """
    made = load(name, "problem.name", ("role", "index", "rng"))(role, index, rng)
    if isinstance(made, TabularMDP):
        return made
    if not hasattr(made, "unwrapped"):
        raise ConfigError(
            f"problem.name {name} must return a TabularMDP or a Gymnasium environment, got "
            f"{type(made).__name__}"
        )
    try:
        table = read_table(made)
    except DataError as err:
        raise ConfigError(f"problem.name {name}: {err}; or return a TabularMDP") from err
    if not table.won.any():
        raise ConfigError(
            f"problem.name {name} must end some episode with a positive reward, which is taken for "
            "the goal, got none; return a TabularMDP, which names its goal"
        )
    apart = np.eye(len(table.done))
    return close(table, table.won, apart, (1.0 - apart,))


def load(name: str, setting: str, arguments: Sequence[str]) -> Callable[..., object]:
    """Find a user's function.

    Args:
        name: `module:function`.
        setting: As the user types it, for messages.
        arguments: What the function will be called with, one after the other.

    Raises:
        ConfigError: It cannot be imported, or takes other arguments.
    """
    module_name, _, function_name = name.partition(":")
    law = f"{setting} must be module:function that can be imported from here"
    try:
        module = importlib.import_module(module_name)
    # Whatever a module's first lines raise, it cannot be imported.
    except Exception as err:
        why = f"{type(err).__name__}: {err}".partition("\n")[0]
        raise ConfigError(f"{law}, got {name!r} ({why})") from err
    function = getattr(module, function_name, None)
    if not callable(function):
        raise ConfigError(f"{law}, got {name!r} (no such function in {module_name})")
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError as err:
        raise ConfigError(
            f"{law} and called with ({', '.join(arguments)}), got {name!r} ({err})"
        ) from err
    return cast(Callable[..., object], function)
