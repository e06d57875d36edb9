"""The device on which a run computes its barycenters."""

from dataclasses import replace
from importlib.util import find_spec

from fedirl_ray.config_engine import EngineConfig
from fedirl_ray.laws import require
from fedirl_ray.transport.solver import Solver


def sees_gpu() -> bool:
    """Whether torch is installed and sees a GPU from this process."""
    if find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


def require_device(engine: EngineConfig) -> None:
    """Refuse a GPU where there is none; a cluster that is to be joined is asked once it is joined.

    Raises:
        ConfigError: This machine would have to have one.
    """
    if engine.device == "cuda" and (engine.backend == "local" or engine.address is None):
        law = "cpu without torch and a GPU that it sees"
        require(sees_gpu(), "engine.device", law, engine.device)


def on_device(solver: Solver, engine: EngineConfig) -> Solver:
    """Return the solver that computes where the run's settings say."""
    if engine.device == "cpu":
        return solver
    return replace(solver, backend="torch", device=engine.device)
