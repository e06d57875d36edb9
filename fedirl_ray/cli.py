"""A YAML file, then flags, into a configuration; the only importer of tyro.

A file is only flags written down, so there is one parser and one set of errors. Later flags win,
which is what makes "defaults, then file, then flags" true.
"""

import contextlib
import dataclasses
import difflib
import io
import os
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar
from unittest import mock

import tyro
import yaml

from fedirl_ray.errors import ConfigError

T = TypeVar("T")

PROG = "python -m fedirl_ray.run"
HELP = {"-h", "--help"}


def load(schema: type[T], argv: Sequence[str], *, prog: str, description: str) -> T:
    """Read `[FILE.yaml] [--flag value ...]` into a dataclass.

    Args:
        schema: A frozen dataclass, nested groups allowed.
        argv: Arguments, without the program's name.
        prog: Program name for the help text.
        description: What the help text says first.

    Returns:
        The configuration.

    Raises:
        ConfigError: Something is misspelt, or has a value that is not allowed; one line.
        SystemExit: `--help` was asked for.
    """
    written: list[str] = []
    if argv and not argv[0].startswith("-"):
        written, argv = read_file(Path(argv[0]), schema), argv[1:]
    typed = _checked(argv, schema)
    said = io.StringIO()
    try:
        # The parser draws boxes fit for the terminal; wide ones are easier to read back.
        wide = {} if HELP & set(typed) else {"COLUMNS": "1000"}
        with mock.patch.dict(os.environ, wide), contextlib.redirect_stderr(said):
            return tyro.cli(
                schema,
                prog=prog,
                description=description,
                args=(*written, *typed),
                config=(tyro.conf.FlagConversionOff,),
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise _cause(stop) or ConfigError(_one_line(said.getvalue())) from None


def read_file(path: Path, schema: type[Any]) -> list[str]:
    """Spell a YAML file of settings as the flags that say the same.

    Raises:
        ConfigError: The file cannot be read, is no mapping, or names an unknown setting.
    """
    try:
        tree = yaml.safe_load(path.read_text())
    except OSError as err:
        raise ConfigError(f"{path} must be a readable YAML file: {err.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        where = " ".join(str(err).split())
        raise ConfigError(f"{path} must be a YAML file: {where}") from None
    if tree is None:
        return []
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{path} must be a mapping of settings, got a {type(tree).__name__}")
    try:
        return _checked(list(spell(tree)), schema)
    except ConfigError as err:
        raise ConfigError(f"{path}: {err}") from None


def spell(tree: Mapping[str, Any], prefix: str = "--") -> Iterator[str]:
    """Spell a nested mapping as the flags that would say the same."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from spell(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
            yield from map(str, value if isinstance(value, list | tuple) else [value])


def settings(config: Any) -> dict[str, Any]:
    """A configuration as the nested mapping of plain values that YAML holds.

    Fields are spelt as flags are, so that the file can be fed back.
    """
    tree: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            value = settings(value)
        elif isinstance(value, tuple):
            value = list(value)
        elif isinstance(value, Path):
            value = str(value)
        tree[field.name.replace("_", "-")] = value
    return tree


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting of a nested mapping with its dotted name."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _flags(schema: type[Any], prefix: str = "--") -> Iterator[tuple[str, Any]]:
    """Every flag of a dataclass with its type."""
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        name, hint = f"{prefix}{field.name.replace('_', '-')}", hints[field.name]
        if dataclasses.is_dataclass(hint):
            yield from _flags(typing.cast(type[Any], hint), f"{name}.")
        else:
            yield name, hint


def _checked(argv: Sequence[str], schema: type[Any]) -> list[str]:
    """Refuse unknown flags and values of the wrong kind; split comma lists where one is wanted."""
    known = dict(_flags(schema))
    said: list[tuple[str, list[str]]] = []
    for word in argv:
        if word in HELP:
            said.append((word, []))
        elif word.startswith("--"):
            name, equals, value = word.partition("=")
            flag = name.replace("_", "-")
            if flag not in known:
                near = difflib.get_close_matches(flag, known, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]}?" if near else "see --help"
                raise ConfigError(f"no setting is called {name}; {hint}")
            said.append((flag, [value] if equals else []))
        elif not said or said[-1][0] in HELP:
            raise ConfigError(f"settings start with --, got {word!r}; see --help")
        else:
            said[-1][1].append(word)
    checked: list[str] = []
    for flag, words in said:
        checked += [flag, *(_values(flag, words, known[flag]) if flag in known else [])]
    return checked


def _values(flag: str, words: list[str], hint: Any) -> list[str]:
    """The values of one flag, each of the kind its field wants."""
    if typing.get_origin(hint) is tuple:
        hint = typing.get_args(hint)[0]
        words = [item for word in words for item in word.split(",")]
    elif len(words) != 1:
        raise ConfigError(f"{flag[2:]} must have one value, got {' '.join(words) or 'none'}")
    for word in words:
        if not _fits(word, hint):
            raise ConfigError(f"{flag[2:]} must be {_law(hint)}, got {word!r}")
    return words


def _choices(hint: Any) -> list[str] | None:
    """The words a field is limited to, if it is."""
    if hint is bool:
        return ["True", "False"]
    if hint is type(None):
        return ["None"]
    return list(typing.get_args(hint)) if typing.get_origin(hint) is Literal else None


def _fits(word: str, hint: Any) -> bool:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(_fits(word, part) for part in typing.get_args(hint))
    if (choices := _choices(hint)) is not None:
        return word in choices
    try:
        hint(word)
    except ValueError:
        return False
    return True


def _law(hint: Any) -> str:
    *others, last = _kinds(hint)
    return f"{', '.join(others)} or {last}" if others else last


def _kinds(hint: Any) -> list[str]:
    """What a value may be, in words."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [kind for part in typing.get_args(hint) for kind in _kinds(part)]
    names = {int: "an integer", float: "a number", str: "a word", Path: "a path"}
    return _choices(hint) or [names[hint]]


def _one_line(box: str) -> str:
    """The first paragraph of a boxed message, without its frame (of either alphabet)."""
    lines = [line.strip("│| ") for line in box.splitlines()[1:]]
    rule = next((i for i, line in enumerate(lines) if line[:2] in ("──", "╰─", "--", "+-")), None)
    return " ".join(lines[:rule])


def _cause(error: BaseException) -> ConfigError | None:
    """The refusal behind the parser's way of giving up."""
    link: BaseException | None = error
    while link is not None and not isinstance(link, ConfigError):
        link = link.__cause__ or link.__context__
    return link
