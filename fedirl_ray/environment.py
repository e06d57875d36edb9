"""Has Gymnasium know the environment that comes with this package, without importing Gymnasium.

Whoever imports both finds `gymnasium.make("fedirl_ray/GridWorld-v0")`, in whatever order; Gymnasium
itself has no way to be told of environments by packages that nobody has imported.
"""

import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

ID = "fedirl_ray/GridWorld-v0"
_PLACE = "gymnasium.envs.registration"


def announce() -> None:
    """Register the environment now, or as soon as Gymnasium has been imported."""
    if _PLACE in sys.modules:
        _register(sys.modules[_PLACE])
    else:
        sys.meta_path.insert(0, _Waiting())


def _register(registration: Any) -> None:
    if ID not in registration.registry:
        # The class itself is imported when one is made.
        registration.register(id=ID, entry_point="fedirl_ray.problem.gridworld_env:GridWorldEnv")


class _Waiting:
    """Stands aside of every import but that of Gymnasium's registry."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find the registry as others would, and have it told when it is there."""
        if name != _PLACE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            execute = loader.exec_module

            def then(module: ModuleType) -> None:
                execute(module)
                _register(module)

            loader.exec_module = then
        return spec
