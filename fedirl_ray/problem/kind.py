"""Which kind of world a problem's name means."""

import difflib
import inspect
import re
from typing import Literal

from fedirl_ray.errors import ConfigError
from fedirl_ray.laws import names_function
from fedirl_ray.problem.custom import load

Kind = Literal["tabular", "control"]

TABULAR = ("GridWorld", "SitesWorld", "FrozenLake-v1", "CliffWalking-v1", "Taxi-v4")
"""Families of tables that come with the package."""
CONTROL = ("Pendulum-v1", "CartPole-v1", "Acrobot-v1", "LunarLanderContinuous-v3")
"""Tasks of continuous control that come with the package: the paper's."""
CALLS: dict[Kind, tuple[str, ...]] = {"tabular": ("role", "index", "rng"), "control": ("i",)}
"""What a user's function of each kind is called with."""


def kind_of(name: str) -> Kind:
    """Tell tables from continuous control.

    Args:
        name: A name that comes with the package, or `module:function`: called with (role, index,
            rng) it makes tables, called with a client's number (i) it makes a Gymnasium
            environment to be controlled.

    Raises:
        ConfigError: There is no such problem, or its function is called otherwise.
    """
    if name in TABULAR:
        return "tabular"
    if name in CONTROL:
        return "control"
    if not names_function(name):
        raise _unknown(name)
    function = load(name, "problem.name", None)
    try:
        signature = inspect.signature(function)
    except ValueError:
        return "tabular"  # a builtin that does not tell its arguments
    for kind, arguments in CALLS.items():
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return kind
    ways = " or ".join(f"({', '.join(arguments)})" for arguments in CALLS.values())
    raise ConfigError(f"problem.name must be called with {ways}, got {name!r}{signature}")


def _unknown(name: str) -> ConfigError:
    known = (*TABULAR, *CONTROL)
    plain = name.rpartition("/")[2]
    for one in known:
        family, _, version = one.partition("-v")
        older = re.fullmatch(rf"{family}-v(\d+)", plain)
        if older and version and int(older[1]) < int(version):
            return ConfigError(f"problem.name {name} is out of date, use {one}")
    near = difflib.get_close_matches(plain.lower(), [one.lower() for one in known], n=1)
    hint = next((f"; perhaps {one}" for one in known if [one.lower()] == near), "")
    return ConfigError(
        f"problem.name must be {', '.join(known)} or module:function, got {name!r}{hint}"
    )
