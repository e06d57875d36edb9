"""Federated inverse reinforcement learning with optimal-transport reward fusion."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedirl_ray.transport.barycenter import BarycenterResult, barycenter
    from fedirl_ray.transport.distance import wasserstein2

__all__ = ["BarycenterResult", "barycenter", "wasserstein2"]

_HOMES = {
    "BarycenterResult": "fedirl_ray.transport.barycenter",
    "barycenter": "fedirl_ray.transport.barycenter",
    "wasserstein2": "fedirl_ray.transport.distance",
}


def __getattr__(name: str) -> Any:
    # Looked up late, so that importing the package costs nothing and run.py can still say how
    # many threads numpy may use.
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
