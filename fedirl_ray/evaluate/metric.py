"""A user's own numbers of a policy, named `module:function`: found, called, and checked."""

import math
from collections.abc import Sequence
from functools import partial
from numbers import Real

from fedirl_ray.errors import ConfigError
from fedirl_ray.problem.custom import load, user_code
from fedirl_ray.problem.mdp import Floats, TabularMDP
from fedirl_ray.problem.planning import Metric

SETTING = "evaluation.metrics"


def metrics_named(names: Sequence[str]) -> list[Metric]:
    """Find metrics; what they return is checked wherever they are called.

    Args:
        names: `module:function` each; called as `function(world, visits)`, see
            `problem.planning.Metric`.

    Raises:
        ConfigError: One cannot be imported, or takes other arguments.
    """
    for name in names:
        load(name, SETTING, ("world", "visits"))
    return [partial(_told, name) for name in names]


def _told(name: str, world: TabularMDP, visits: Floats) -> float:
    """What a user's metric says.

    Raises:
        UserCodeError: It raised something.
        ConfigError: It is no finite number.
    """
    function = load(name, SETTING, None)
    with user_code(f"{SETTING} {name}", function):
        said = function(world, visits)
        if not isinstance(said, Real) or not math.isfinite(said):
            got = repr(said) if isinstance(said, Real) else f"a {type(said).__name__}"
            raise ConfigError(f"{SETTING} {name} must return a finite number, got {got}")
        return float(said)
