"""Features of the user's own on a box of states and actions, named `module:function`.

Letters: `d` features, `p` state axes, `q` action axes, `m` places.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from fedirl_ray.errors import ConfigError
from fedirl_ray.problem.custom import as_numbers, load, require_finite, user_code
from fedirl_ray.problem.lattice import Lattice
from fedirl_ray.problem.mdp import Floats

SETTING = "problem.features"
CALL = ("states", "actions")


@dataclass(frozen=True)
class OwnBasis:
    """What a user's function makes of states and actions, the same for all clients.

    It is asked of places within the box alone: places beyond a limit are moved to it, and angles
    turned into their range, so that features which are finite on the box are so wherever an agent
    goes.
    """

    box: Lattice
    """State x action; only its limits matter."""
    states: int
    """State axes p, the first of the box's."""
    name: str
    """`module:function`."""
    function: Callable[..., object]
    """Called with states `[m, p]` and actions `[m, q]`; returns `[m, d]`."""

    @classmethod
    def named(cls, box: Lattice, states: int, name: str) -> Self:
        """Those of a function that is found by its name.

        Raises:
            ConfigError: There is none, or it takes other arguments.
        """
        return cls(box, states, name, load(name, SETTING, CALL))

    @cached_property
    def count(self) -> int:
        """Features d, as many as the box's first corner has.

        Raises:
            ConfigError: As `at` does.
        """
        return int(self.at(np.array([[axis.low for axis in self.box.axes]])).shape[1])

    def at(self, places: Floats) -> Floats:
        """Features of places `[m, p + q]`, `[m, d]`.

        Raises:
            ConfigError: The function fails, or returns no features; one line.
        """
        inside = self.box.within(places)
        states, actions = inside[:, : self.states].copy(), inside[:, self.states :].copy()
        with user_code(f"{SETTING} {self.name}", self.function):
            return as_rows(self.function(states, actions), len(places), self.name)


def as_rows(found: object, m: int, name: str) -> Floats:
    """What a user's function has made of `m` places, once it is features `[m, d]`.

    Args:
        found: What it returned.
        m: Of how many places.
        name: The function's, for messages.

    Raises:
        ConfigError: It is no array of that many rows of finite numbers; one line.
    """
    law = f"{SETTING} {name} must return finite numbers of shape ({m}, d)"
    rows = as_numbers(found, law)
    if rows.ndim != 2 or len(rows) != m or rows.shape[1] == 0:
        raise ConfigError(f"{law}, got shape {rows.shape}")
    require_finite(rows, law, "row")
    return np.array(rows, dtype=np.float64)
