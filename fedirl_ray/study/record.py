"""What a study is, written down when it begins, and held against what it is when it goes on.

Kept with Optuna's own record of the study, where no editor reaches. Its trials' tables say which
study they belong to.
"""

import json
import uuid
from collections.abc import Mapping
from typing import Any

import optuna

from fedirl_ray.errors import ConfigError
from fedirl_ray.study.space import Study

ID = "id"
SETTINGS = "settings"
"""Attributes of a study."""
NOTHING = "nothing"
ORDERED = ("search", "objectives")
"""Draws are made, and values told, in the order of the file."""
FREE = ("trials", "max-failures", "fixed.engine.", "fixed.record.")
"""What changes no result; a dot at the end stands for all below."""


def begin(study: Study, made: optuna.Study) -> None:
    """Write down what a new study is."""
    made.set_user_attr(ID, uuid.uuid4().hex)
    made.set_user_attr(SETTINGS, _settings(study))


def identity(found: optuna.Study) -> str:
    """What tells a study from every other."""
    return str(found.user_attrs[ID])


def require_same(study: Study, found: optuna.Study) -> None:
    """Refuse to go on with a study as another one.

    Raises:
        ConfigError: A setting that decides results is not what it was, or there is no record.
    """
    before = found.user_attrs.get(SETTINGS)
    if before is None or ID not in found.user_attrs:
        raise ConfigError(
            "a study that is gone on with must have a record of its settings, got one of an "
            "earlier version, which can only be reported"
        )
    now = _settings(study)
    changed = [
        name
        for name in dict.fromkeys((*before, *now))
        if before.get(name, NOTHING) != now.get(name, NOTHING)
    ]
    for name in changed[:1]:
        was, got = (_said(each.get(name, NOTHING)) for each in (before, now))
        raise ConfigError(
            f"{name} must stay {was} when a study is resumed, got {got}; only trials, "
            "max-failures, fixed.engine.* and fixed.record.* may change"
        )
    for name in ORDERED:
        was, got = (", ".join(_below(name, each)) for each in (before, now))
        if was != got:
            raise ConfigError(
                f"{name} must stay in its order when a study is resumed, {was}, got {got}"
            )


def _below(part: str, kept: Mapping[str, Any]) -> list[str]:
    """Names in a part of a study, in their order."""
    return [name.removeprefix(f"{part}.") for name in kept if name.startswith(f"{part}.")]


def _said(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _settings(study: Study) -> dict[str, Any]:
    """All that decides a study's results, by the name its file has for it."""
    found: dict[str, Any] = {}
    for part, said in study.plain().items():
        if isinstance(said, Mapping):
            found |= {f"{part}.{name}": value for name, value in said.items()}
        else:
            found[part] = said
    kept = {name: value for name, value in found.items() if not _free(name)}
    plain: dict[str, Any] = json.loads(json.dumps(kept, default=str))
    return plain


def _free(name: str) -> bool:
    return any(name == free or (free[-1] == "." and name.startswith(free)) for free in FREE)
