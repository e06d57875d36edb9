"""What a run will hold in memory, from its settings alone, asked before any work begins."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from fedirl_ray.config import RunConfig
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.errors import ConfigError
from fedirl_ray.transport.memory import available

T = TypeVar("T")

SHOWN = 40  # characters of a refused value that are shown


def require_memory(config: RunConfig) -> None:
    """Refuse a run that this machine cannot hold.

    Raises:
        ConfigError: It needs more than there is; names the setting that asks for most.
    """
    domain = domain_of(config)
    require_room(config, lambda one: domain_of(one).room(), domain.sizes)


def require_room(config: T, estimate: Callable[[T], int], sizes: Sequence[str]) -> None:
    """Refuse what this machine cannot hold.

    Args:
        config: A tree of dataclasses with defaults.
        estimate: Bytes that it asks for.
        sizes: Its settings that say how much of something there is, as the user types them.

    Raises:
        ConfigError: It needs more than there is. Names the setting that asks for most: without
            which, brought back to its default, least would be needed.
    """
    needed, there = estimate(config), available()
    if there is None or needed <= there:
        return
    usual = type(config)()
    name = min(sizes, key=lambda one: estimate(_with(config, one, _value(usual, one))))
    told = str(_value(config, name))
    told = told if len(told) <= SHOWN else f"{told[:SHOWN]}..."
    raise ConfigError(
        f"{name} must leave room in this machine's memory, got {told}: that needs about "
        f"{_said(needed)}, and {_said(there)} are available"
    )


def _value(config: Any, name: str) -> Any:
    """A setting, by the name the user types."""
    for part in name.replace("-", "_").split("."):
        config = getattr(config, part)
    return config


def _with(config: T, name: str, value: Any) -> T:
    """The same with another value of one setting."""
    first, _, rest = name.replace("-", "_").partition(".")
    inner = _with(getattr(config, first), rest, value) if rest else value
    changed: T = dataclasses.replace(cast(Any, config), **{first: inner})
    return changed


def _said(amount: int) -> str:
    """An amount of memory in words."""
    if amount >= 2**60:
        return "over a million TiB"
    return f"{amount / 2**30:,.1f} GiB"
