"""Settings for programs: those that suit a problem, and what is to differ from them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from fedirl_ray.cli import PROG, load, settings, spell
from fedirl_ray.config import RunConfig
from fedirl_ray.errors import ConfigError, UserCodeError
from fedirl_ray.presets import names
from fedirl_ray.presets import preset as file_of
from fedirl_ray.problem.kind import kind_of


def preset(name: str, /, **changes: Any) -> RunConfig:
    """The settings that suit a problem, or that a preset gives.

    Args:
        name: A problem's name, `module:function` of your own among them, or a preset's: what
            `python -m fedirl_ray.run --problem.name NAME`, or `... NAME`, starts from.
        **changes: What is to differ: whole groups as mappings (or as what `RunConfig` holds), or
            single settings by their dotted names.

    Raises:
        ConfigError: There is no such preset, problem or setting, or a value is not allowed.

    Example:
        >>> preset("CartPole-v1", clients=4, irl={"l2": 0.1}, **{"fusion.epsilon": 0.1})
    """
    if name in names():
        first = [str(file_of(name))]
    else:
        try:
            kind_of(name)
        except UserCodeError:
            raise
        except ConfigError as err:
            raise ConfigError(f"{err}; or a preset: {', '.join(names())}") from None
        first = ["--problem.name", name]
    return load(RunConfig, [*first, *spell(_plain(changes))], prog=PROG, description="")


def _plain(changes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: settings(value)
        if dataclasses.is_dataclass(value)
        else _plain(value)
        if isinstance(value, Mapping)
        else value
        for key, value in changes.items()
    }
