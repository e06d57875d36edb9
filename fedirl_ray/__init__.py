"""Federated inverse reinforcement learning with optimal-transport reward fusion.

Clients learn rewards from their own experts' demonstrations, a server fuses the rewards, and every
fusion rule is judged by the policies that its reward leads to:

    import fedirl_ray

    result = fedirl_ray.run(fedirl_ray.RunConfig(seeds=5))
    print(result.table())
    reward = result.reward("barycenter")

All names below are looked up when they are first used. docs/python.md is the tour.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fedirl_ray.environment import announce

if TYPE_CHECKING:
    from fedirl_ray.api.pieces import FitResult, fit, fuse
    from fedirl_ray.api.result import Result, load
    from fedirl_ray.api.running import resume, run
    from fedirl_ray.api.settings import preset
    from fedirl_ray.config import EvaluationConfig, FederationConfig, IRLConfig, RunConfig
    from fedirl_ray.config_control import ControlConfig, PPOConfig
    from fedirl_ray.config_engine import EngineConfig, RecordConfig
    from fedirl_ray.config_fusion import FusionConfig
    from fedirl_ray.config_privacy import PrivacyConfig
    from fedirl_ray.config_problem import HeterogeneityConfig, ProblemConfig
    from fedirl_ray.domain.reward import LearntReward, load_reward
    from fedirl_ray.domain.reward_wrapper import RewardWrapper
    from fedirl_ray.fusion.spec import Fused, Given, RuleSpec, Support
    from fedirl_ray.problem.demonstrations import Demonstrations
    from fedirl_ray.problem.mdp import TabularMDP
    from fedirl_ray.transport.barycenter import BarycenterResult, barycenter
    from fedirl_ray.transport.cloud import CloudGeometry, geometry_of, thin
    from fedirl_ray.transport.distance import Wasserstein2Result, wasserstein2

    __version__: str

__all__ = [
    "BarycenterResult",
    "CloudGeometry",
    "ControlConfig",
    "Demonstrations",
    "EngineConfig",
    "EvaluationConfig",
    "FederationConfig",
    "FitResult",
    "Fused",
    "FusionConfig",
    "Given",
    "HeterogeneityConfig",
    "IRLConfig",
    "LearntReward",
    "PPOConfig",
    "PrivacyConfig",
    "ProblemConfig",
    "RecordConfig",
    "Result",
    "RewardWrapper",
    "RuleSpec",
    "RunConfig",
    "Support",
    "TabularMDP",
    "Wasserstein2Result",
    "__version__",
    "barycenter",
    "fit",
    "fuse",
    "geometry_of",
    "load",
    "load_reward",
    "preset",
    "resume",
    "run",
    "thin",
    "wasserstein2",
]

_HOMES = {
    "BarycenterResult": "transport.barycenter",
    "CloudGeometry": "transport.cloud",
    "ControlConfig": "config_control",
    "Demonstrations": "problem.demonstrations",
    "EngineConfig": "config_engine",
    "EvaluationConfig": "config",
    "FederationConfig": "config",
    "FitResult": "api.pieces",
    "Fused": "fusion.spec",
    "FusionConfig": "config_fusion",
    "Given": "fusion.spec",
    "HeterogeneityConfig": "config_problem",
    "IRLConfig": "config",
    "LearntReward": "domain.reward",
    "PPOConfig": "config_control",
    "PrivacyConfig": "config_privacy",
    "ProblemConfig": "config_problem",
    "RecordConfig": "config_engine",
    "Result": "api.result",
    "RewardWrapper": "domain.reward_wrapper",
    "RuleSpec": "fusion.spec",
    "RunConfig": "config",
    "Support": "fusion.spec",
    "TabularMDP": "problem.mdp",
    "Wasserstein2Result": "transport.distance",
    "barycenter": "transport.barycenter",
    "fit": "api.pieces",
    "fuse": "api.pieces",
    "geometry_of": "transport.cloud",
    "load": "api.result",
    "load_reward": "domain.reward",
    "preset": "api.settings",
    "resume": "api.running",
    "run": "api.running",
    "thin": "transport.cloud",
    "wasserstein2": "transport.distance",
}


def __getattr__(name: str) -> Any:
    # Looked up late: a client's process needs little of it.
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("fedirl-ray")
    if name in _HOMES:
        return getattr(importlib.import_module(f"fedirl_ray.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(ModuleType):
    """Keeps `fedirl_ray.run` the function, though the command line's module is called the same.

    Python hangs a module that is imported on its package; this one is run by `python -m`.
    """

    @property
    def run(self) -> Any:
        return __getattr__("run")

    @run.setter
    def run(self, module: ModuleType) -> None:
        """Leave the function where it is."""


sys.modules[__name__].__class__ = _Package
announce()
