"""What a study is, written down when it begins, and held against what it is when it goes on.

Kept with Optuna's own record of the study, where no editor reaches. Its trials' tables say which
study they belong to.
"""

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna

from fedirl_ray.engine.identity import Identity, code_in_words, digest_of, identify
from fedirl_ray.errors import ConfigError, DataError
from fedirl_ray.study.space import Study, Value

ID, IDENTITY = "id", "identity"
"""Attributes of a study."""
ORDERED = ("search", "objectives")
"""Draws are made, and values told, in the order of the file."""
FREE = ("trials", "max-failures", "fixed.engine.", "fixed.record.")
"""What changes no result; a dot at the end stands for all below."""
POINTING = (
    "problem.name",
    "problem.features",
    "problem.demonstrations-file",
    "fusion.rules",
    "federation.weights",
    "evaluation.metrics",
)
"""Settings that point at content which is no setting, see `identify`."""
FREE_IN_WORDS = "trials, max-failures, fixed.engine.* and fixed.record.*"


@dataclass(frozen=True)
class Record:
    """Which study a study is."""

    id: str
    """Its own, whatever other study has the same settings."""
    identity: Identity

    def mark(self, number: int, params: Mapping[str, Value]) -> str:
        """What a trial's table says of itself.

        Args:
            number: The trial's.
            params: Its settings.
        """
        settings = digest_of(
            [self.identity.encode(), json.dumps(dict(params), sort_keys=True).encode()]
        )
        return f"trial {number} of study {self.id} (settings {settings}, {self.identity.code})"


def begin(study: Study, made: optuna.Study) -> None:
    """Write down what a new study is."""
    made.set_user_attr(ID, uuid.uuid4().hex)
    made.set_user_attr(IDENTITY, asdict(identify_study(study)))


def record_of(found: optuna.Study, folder: Path) -> Record:
    """What a study was begun as.

    Raises:
        ConfigError: That was not written down, or cannot be read.
    """
    kept = found.user_attrs
    if not {ID, IDENTITY} <= kept.keys():
        raise ConfigError(
            f"resume must be a study that {code_in_words()} began, got {folder} of an earlier "
            "version, which did not write down what it was"
        )
    try:
        identity = Identity.decode(json.dumps(kept[IDENTITY]).encode(), folder)
    except DataError as err:
        raise ConfigError(str(err)) from None
    return Record(str(kept[ID]), identity)


def require_same(study: Study, record: Record, folder: Path) -> None:
    """Refuse to go on with a study as another one.

    Raises:
        ConfigError: A setting that decides results, an input's content or the code is not what it
            was.
    """
    begun, now = record.identity, identify_study(study)
    now.require(begun, "a study", FREE_IN_WORDS)
    for part in ORDERED:
        was, got = (", ".join(_below(part, each.settings)) for each in (begun, now))
        if was != got:
            raise ConfigError(
                f"{part} must stay in its order when a study is resumed, {was}, got {got}"
            )
    if not begun.is_of_this_code:
        raise ConfigError(
            f"resume must be a study that {code_in_words()} began, got {folder} of {begun.code}; "
            "go on with that, or begin anew"
        )


def require_unchanged(study: Study, record: Record) -> None:
    """Stop before results of other files are kept beside earlier ones.

    Raises:
        RunError: An input's content has changed since the study began.
    """
    record.identity.require_content(_inputs(study), "the study")


def identify_study(study: Study) -> Identity:
    """What decides a study's results, by the names its file has.

    Raises:
        ConfigError: A file or module that a setting names cannot be read.
    """
    kept = {name: value for name, value in _settings(study) if not _free(name)}
    return Identity.of(kept, _inputs(study))


def _settings(study: Study) -> Iterator[tuple[str, Any]]:
    for part, said in study.plain().items():
        if isinstance(said, Mapping):
            for name, value in said.items():
                yield f"{part}.{name}", json.dumps(value) if isinstance(value, dict) else value
        else:
            yield part, said


def _free(name: str) -> bool:
    return any(name == free or (free[-1] == "." and name.startswith(free)) for free in FREE)


def _inputs(study: Study) -> dict[str, str]:
    """Digests of the content that settings point at: of all of a searched setting's values."""
    found = {f"fixed.{name}": digest for name, digest in identify(study.base()).inputs.items()}
    for name in POINTING:
        entry = study.search.get(name)
        if not isinstance(entry, tuple):
            continue
        each = [identify(study.config({name: value})).inputs.get(name) for value in entry]
        if any(each):
            found[f"search.{name}"] = digest_of(str(digest).encode() for digest in each)
    return found


def _below(part: str, kept: Mapping[str, Any]) -> list[str]:
    """Names in a part of a study, in their order."""
    return [name.removeprefix(f"{part}.") for name in kept if name.startswith(f"{part}.")]
