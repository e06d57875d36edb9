"""Between places on a task's action lattice, shares in [-1, 1], and what an environment takes.

Letters: `n` rows, `q` action axes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedirl_ray.problem.control.task import Task
from fedirl_ray.problem.mdp import Floats, Places


def to_numbers(task: Task, shares: Floats) -> Places:
    """Numbers of the discrete actions nearest to shares `[n, q]`, `[n]`."""
    numbers: Places = np.abs(task.action.points[:, None] - shares).sum(axis=2).argmin(axis=0)
    return numbers


def to_box(shares: Floats, low: NDArray[Any], high: NDArray[Any]) -> NDArray[Any]:
    """Continuous actions `[n, q]` between limits `[q]` or `[n, q]`, in the limits' own type.

    Limits are kept after the cast: in single precision -1 + 1.1 lies above .1, and an environment
    may refuse what is beyond its space by the last bit.
    """
    least, most = low.astype(np.float64), high.astype(np.float64)
    wide = least + 0.5 * (np.minimum(np.maximum(shares, -1.0), 1.0) + 1.0) * (most - least)
    if low.dtype.kind in "iu":
        wide = np.rint(wide)
    commands: NDArray[Any] = np.minimum(np.maximum(wide.astype(low.dtype), low), high)
    return commands


def from_box(commands: NDArray[Any], low: NDArray[Any], high: NDArray[Any]) -> Floats:
    """The shares that `to_box` turns into these actions."""
    least, most = low.astype(np.float64), high.astype(np.float64)
    shares: Floats = 2.0 * (commands - least) / (most - least) - 1.0
    return shares
