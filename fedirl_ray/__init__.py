"""Federated inverse reinforcement learning with optimal-transport reward fusion."""

from fedirl_ray.transport.barycenter import BarycenterResult, barycenter
from fedirl_ray.transport.distance import wasserstein2

__all__ = ["BarycenterResult", "barycenter", "wasserstein2"]
