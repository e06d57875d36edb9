"""A user's own numbers of a policy, named `module:function`: found, called, and checked.

In tables they are of a policy's exact visits, in control tasks of the episodes it is judged by.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np

from fedirl_ray.errors import ConfigError
from fedirl_ray.problem.custom import load, user_code
from fedirl_ray.problem.kind import Kind
from fedirl_ray.problem.mdp import Floats

if TYPE_CHECKING:  # tables do without environments
    from fedirl_ray.problem.control.arena import Trajectory

SETTING = "evaluation.metrics"
CALL: Mapping[Kind, tuple[str, ...]] = {
    "tabular": ("world", "visits"),
    "control": ("observations", "actions", "rewards"),
}
"""What a metric is called with; see `problem.planning.Metric` and `arena.Trajectory`."""


def metrics_named(names: Sequence[str], kind: Kind = "tabular") -> list[Callable[..., float]]:
    """Find metrics; what they return is checked wherever they are called.

    Args:
        names: `module:function` each.
        kind: Of the world, which decides what they are called with.

    Raises:
        ConfigError: One cannot be imported, or takes other arguments.
    """
    for name in names:
        load(name, SETTING, CALL[kind])
    return [partial(_told, name) for name in names]


def means_over(metrics: Sequence[Callable[..., float]], episodes: "Iterable[Trajectory]") -> Floats:
    """What metrics of control say of episodes, on average, `[metrics]`.

    Raises:
        ConfigError: One failed, or said something that is no finite number.
    """
    if not metrics:
        return np.empty(0)
    # Copies: none can change what the next one sees.
    each = [[metric(*map(np.array, one)) for metric in metrics] for one in episodes]
    means: Floats = np.mean(each, axis=0)
    return means


def _told(name: str, *given: object) -> float:
    """What a user's metric says.

    Raises:
        UserCodeError: It raised something.
        ConfigError: It is no finite number.
    """
    function = load(name, SETTING, None)
    with user_code(f"{SETTING} {name}", function):
        said = function(*given)
        if not isinstance(said, Real) or not math.isfinite(said):
            got = repr(said) if isinstance(said, Real) else f"a {type(said).__name__}"
            raise ConfigError(f"{SETTING} {name} must return a finite number, got {got}")
        return float(said)
