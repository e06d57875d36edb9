"""A user's own code, named `module:function`: how it is found, called, and blamed."""

import importlib
import inspect
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fedirl_ray.errors import (
    ConfigError,
    DataError,
    FedirlError,
    RunError,
    UserCodeError,
    in_short,
)
from fedirl_ray.problem.mdp import TabularMDP
from fedirl_ray.problem.table import read_table
from fedirl_ray.problem.tabular import close

_OURS = str(Path(__file__).parents[1])
_STANDARD = sysconfig.get_path("stdlib")
_INSTALLED = (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))


def draw(name: str, role: str, index: int, rng: np.random.Generator) -> TabularMDP:
    """Ask the user's function for one world.

    The function is called as `function(role, index, rng)` and returns a `TabularMDP`, or a
    Gymnasium environment with a transition table (see `read_table`). Of an environment nothing but
    the table is known, so its features are one-hot states, all states are equally far apart, and
    the goal is to end an episode with a positive reward. Dials such as `problem.slip` are the
    function's own affair.

    Args:
        name: `module:function`.
        role: client, held-out or probe.
        index: Which of that role, from 0.
        rng: Stream of this world alone.

    Raises:
        ConfigError: No such function, it fails, or it returns something else.
    """
    function = load(name, "problem.name", ("role", "index", "rng"))
    with user_code(f"problem.name {name}", function):
        return as_world(function(role, index, rng), name)


def as_world(made: object, name: str) -> TabularMDP:
    """What a user's function has made, as a table.

    Raises:
        ConfigError: It is neither a `TabularMDP` nor an environment with a transition table.
    """
    if isinstance(made, TabularMDP):
        return made
    if not hasattr(made, "unwrapped"):
        raise ConfigError(
            f"problem.name {name} must return a TabularMDP or a Gymnasium environment, got "
            f"{type(made).__name__}"
        )
    try:
        with user_code(f"problem.name {name}"):
            table = read_table(made)
        if not table.won.any():
            raise DataError(
                "must end some episode with a positive reward, which is taken for the goal, "
                "got none"
            )
        apart = np.eye(len(table.done))
        return close(table, table.won, apart, (1.0 - apart,))
    except DataError as err:
        raise ConfigError(f"problem.name {name}: {err}; or return a TabularMDP") from err


def load(name: str, setting: str, arguments: Sequence[str] | None) -> Callable[..., object]:
    """Find a user's function.

    Args:
        name: `module:function`.
        setting: As the user types it, for messages.
        arguments: What the function will be called with, one after the other; None: not known yet.

    Raises:
        ConfigError: It cannot be imported, or takes other arguments.
    """
    module_name, _, function_name = name.partition(":")
    law = f"{setting} must be module:function that can be imported from here"
    try:
        with user_code(""):
            module = importlib.import_module(module_name)
            function = getattr(module, function_name, None)
    except UserCodeError as err:
        raise UserCodeError(f"{law}, got {name!r} ({err})") from err
    if not callable(function):
        raise ConfigError(f"{law}, got {name!r} (no such function in {module_name})")
    if arguments is None:
        return cast(Callable[..., object], function)
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError as err:
        raise ConfigError(
            f"{law} and called with ({', '.join(arguments)}), got {name!r} ({err})"
        ) from err
    except ValueError:
        pass  # a builtin that does not tell its arguments
    return cast(Callable[..., object], function)


def as_numbers(found: object, law: str) -> NDArray[Any]:
    """What a user's function returned, if that is an array of numbers.

    Raises:
        ConfigError: It is something else; the law, and what it is.
    """
    if not isinstance(found, np.ndarray):
        raise ConfigError(f"{law}, got a {type(found).__name__}")
    if found.dtype.kind not in "biuf":
        raise ConfigError(f"{law}, got an array of {found.dtype}")
    return found


def require_finite(numbers: NDArray[Any], law: str, along: str) -> None:
    """Refuse numbers that are not finite, by the first and where along the first axis it is."""
    bad = ~np.isfinite(numbers)
    if bad.any():
        raise ConfigError(f"{law}, got {numbers[bad][0]} in {along} {np.argwhere(bad)[0, 0]}")


@contextmanager
def user_code(what: str, function: Callable[..., object] | None = None) -> Iterator[None]:
    """Turn whatever a user's code raises into one line that names it and the user's own frame.

    Everything but Ctrl-C is the user's error, a `sys.exit` too: it would end the run as if all had
    been done. The error holds its text alone, so that it survives the way from another process.
    What this package raises on its own account passes, and so does what ends a run, such as Ray's
    death in a barycenter that a user's rule has asked for.

    Args:
        what: Whose code runs, to stand before the message; may be empty.
        function: The user's, where what it returns is checked in here too: a refusal of ours is
            then told with the line that it is defined at.

    Raises:
        UserCodeError: It raised.
    """
    try:
        yield
    except (KeyboardInterrupt, UserCodeError, RunError):
        raise
    except BaseException as err:
        where = _own_frame(err)
        if isinstance(err, FedirlError) and not where:
            if function is None:
                raise
            raise type(err)(f"{err}{_definition(function)}") from err
        said = f"{what} failed: {_said(err)}" if what else _said(err)
        raise UserCodeError(said + where) from err


def _said(error: BaseException) -> str:
    """An error's type and message in one line, whatever its `__str__` does."""
    kind = type(error).__name__
    try:
        message = in_short(error, 300)
    except Exception:
        message = "its message cannot be shown"
    return f"{kind}: {message}" if message else kind


def _own_frame(error: BaseException) -> str:
    """`, at FILE:LINE` of the innermost frame that is the user's own; nothing where none is."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f", at {error.filename}:{error.lineno}"  # no frame: the line never ran
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<") and not _is_under(frame.filename, _OURS)
    ]
    # A user's own package may be an installed one; the standard library never is.
    installed = [frame for frame in frames if _is_under(frame.filename, *_INSTALLED)]
    own = [frame for frame in frames if not _is_under(frame.filename, _STANDARD, *_INSTALLED)]
    for some, place in ((own, -1), (installed, 0)):
        if some:
            return f", at {some[place].filename}:{some[place].lineno}"
    return ""


def _definition(function: Callable[..., object]) -> str:
    """`, at FILE:LINE` of a function; nothing of callables that do not tell."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return "" if code is None else f", at {code.co_filename}:{code.co_firstlineno}"


def _is_under(file: str, *folders: str) -> bool:
    return any(folder in map(str, Path(file).parents) for folder in folders)
