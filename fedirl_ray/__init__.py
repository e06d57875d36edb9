"""Federated inverse reinforcement learning with optimal-transport reward fusion."""

import importlib
from typing import TYPE_CHECKING, Any

from gymnasium.envs.registration import register

if TYPE_CHECKING:
    from fedirl_ray.transport.barycenter import BarycenterResult, barycenter
    from fedirl_ray.transport.distance import wasserstein2

__all__ = ["BarycenterResult", "barycenter", "wasserstein2"]

# Gymnasium knows an environment only once somebody has registered it. The class itself is imported
# when it is made.
register(
    id="fedirl_ray/GridWorld-v0",
    entry_point="fedirl_ray.problem.gridworld_env:GridWorldEnv",
)

_HOMES = {
    "BarycenterResult": "fedirl_ray.transport.barycenter",
    "barycenter": "fedirl_ray.transport.barycenter",
    "wasserstein2": "fedirl_ray.transport.distance",
}


def __getattr__(name: str) -> Any:
    # Looked up late: a client's process needs no transport.
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
