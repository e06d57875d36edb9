"""A YAML file, then flags, into a configuration; the only importer of tyro, for the manuals.

A file is only flags written down, so there is one parser and one set of errors. Later flags win,
which is what makes "defaults, then the problem's preset, then file, then flags" true.
"""

import dataclasses
import difflib
import re
import shlex
import sys
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from fedirl_ray.errors import ConfigError
from fedirl_ray.presets import OWN, file_named, preset, usual_for
from fedirl_ray.yaml_file import read_yaml

T = TypeVar("T")

SCRIPT = "fedirl"
PROG = SCRIPT if Path(sys.argv[0]).stem == SCRIPT else "python -m fedirl_ray.run"
"""How this was called, for what is to be typed next; else what works wherever it was installed."""
HELP = {"-h", "--help"}
PROBLEM = "--problem.name"
GONE = {"record.progress": "progress"}
"""Settings of version 0.1 that changed no result, which its files still hold, and what is now a
command's own instead."""
TRUTH = {"true": True, "false": False, "yes": True, "no": False}
SHOWN = 80  # characters of a refused value that are shown
SEPARATOR = re.compile(r"\s*,\s*|\s+")  # of a list's items


def load(
    schema: type[T], argv: Sequence[str], *, prog: str, description: str, whole: bool = False
) -> T:
    """Read `[FILE.yaml or PRESET] [--flag value ...]` into a dataclass.

    Args:
        schema: A frozen dataclass, nested groups allowed.
        argv: Arguments, without the program's name.
        prog: Program name for the help text.
        description: What the help text says first.
        whole: The file says every setting, as that of a run does, so that no preset is asked for.

    Returns:
        The configuration.

    Raises:
        ConfigError: Something is misspelt, or has a value that is not allowed; one line.
        SystemExit: `--help` was asked for.
    """
    written: list[str] = []
    file = None
    if argv and not argv[0].startswith("-"):
        file, argv = file_named(argv[0]), argv[1:]
        written = read_file(file, schema)
    values = _values(written, schema) | _values(argv, schema)
    problem = values.get(PROBLEM)
    if problem is None and file == preset(OWN) and not HELP & set(argv):
        what = "module:function, an environment of your own (docs/own-world.md)"
        raise ConfigError(f"problem.name must be given with preset {OWN}: {what}")
    if problem is not None and not whole:
        usual = usual_for(problem)
        values = ({} if usual is None else _values(read_file(usual, schema), schema)) | values
    if HELP & set(argv):
        _print_manual(schema, prog, description)
    return typing.cast(T, _build(schema, values))


def manual(about: str, *lines: tuple[str, str], more: str = "") -> str:
    """The first part of a command's help: what it is for, and lines to type with their meaning.

    Args:
        about: What it is for.
        lines: Words after the program's name, and what they do.
        more: What else is to be known.
    """
    width = max(len(words) for words, _ in lines) + 2
    typed_out = [f"  {PROG} {words:{width}}{means}".rstrip() for words, means in lines]
    return "\n".join([about, *typed_out, *(["", more] if more else [])]) + "\n"


def typed(*words: object) -> str:
    """A command of this package as one types it into a shell: what has spaces is in quotes."""
    return shlex.join([*PROG.split(), *map(str, words)])


def _print_manual(schema: type[Any], prog: str, description: str) -> typing.Never:
    import tyro  # a quarter of a second that only --help needs

    tyro.cli(
        schema,
        prog=prog,
        description=description,
        args=("--help",),
        config=(tyro.conf.FlagConversionOff,),
    )
    raise SystemExit(0)  # the parser has left by then


def read_file(path: Path, schema: type[Any]) -> list[str]:
    """Spell a YAML file of settings as the flags that say the same.

    Raises:
        ConfigError: The file cannot be read (see `read_yaml`), is no mapping, or names an unknown
            setting.
    """
    tree = read_yaml(path)
    if tree is None:
        return []
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{path} must be a mapping of settings, got a {type(tree).__name__}")
    try:
        kept = {name: said for name, said in leaves(tree) if name.replace("_", "-") not in GONE}
        words = list(spell(kept))
        _values(words, schema)
    except ConfigError as err:
        raise ConfigError(f"{path}: {err}") from None
    return words


def spell(tree: Mapping[str, Any], prefix: str = "--") -> Iterator[str]:
    """Spell a nested mapping as the flags that would say the same.

    Raises:
        ConfigError: A value would be read as another flag.
    """
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from spell(value, f"{prefix}{key}.")
            continue
        flag = f"{prefix}{key}"
        words = [str(one) for one in (value if isinstance(value, list | tuple) else [value])]
        for word in words:
            if word.startswith("--") or word in HELP:
                raise ConfigError(f"{flag[2:]} must not hold a flag, got {_shown(word)}")
        if flag in HELP:
            raise ConfigError(f"no setting is called {flag}; see --help")
        yield from (flag, *words)


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


def _values(argv: Sequence[str], schema: type[Any]) -> dict[str, Any]:
    """The value of every flag that is said, the last one's if it is said again.

    Raises:
        ConfigError: There is no such flag, or it has a value of the wrong kind.
    """
    known = dict(_flags(schema))
    said: list[tuple[str, list[str]]] = []
    for word in argv:
        if word in HELP:
            said.append((word, []))
        elif word.startswith("--"):
            name, equals, value = word.partition("=")
            flag = name.replace("_", "-")
            if flag not in known:
                near = (
                    [f"--{GONE[flag[2:]]}"]
                    if flag[2:] in GONE
                    else (difflib.get_close_matches(flag[:SHOWN], known, n=1, cutoff=0.5))
                )
                hint = f"did you mean {near[0]}?" if near else "see --help"
                raise ConfigError(f"no setting is called {name[:SHOWN]}; {hint}")
            said.append((flag, [value] if equals else []))
        elif not said or said[-1][0] in HELP:
            raise ConfigError(f"settings start with --, got {_shown(word)}; see --help")
        else:
            said[-1][1].append(word)
    return {flag: _value(flag[2:], words, known[flag]) for flag, words in said if flag in known}


def _value(name: str, words: list[str], hint: Any) -> Any:
    """The value of one flag."""
    kinds = _kinds(hint)
    lists = [kind for kind in kinds if typing.get_origin(kind) is tuple]
    if lists and not (words == ["None"] and type(None) in kinds):
        items = SEPARATOR.split(" ".join(words).strip()) if any(words) else []
        return tuple(_read(name, item, typing.get_args(lists[0])[0]) for item in items)
    if len(words) != 1:
        raise ConfigError(f"{name} must have one value, got {' '.join(words)[:SHOWN] or 'none'}")
    return _read(name, words[0], hint)


def _read(name: str, word: str, hint: Any) -> Any:
    """A word as a value of the kind a field wants."""
    if "\0" in word or any("\ud800" <= character <= "\udfff" for character in word):
        raise ConfigError(f"{name} must be text without NUL, in UTF-8, got {_shown(word)}")
    kinds = _kinds(hint)
    # Exact words first: None is no folder of that name.
    for kind in sorted(kinds, key=lambda kind: _choices(kind) is None):
        choices = _choices(kind)
        if choices is None:
            try:
                return kind(word)
            except ValueError:
                continue
        spelt = word.lower() if kind is bool else word
        if spelt in choices:
            return choices[spelt]
    *others, last = [law for kind in kinds for law in _choices(kind) or [LAWS[kind]]]
    law = f"{', '.join(others)} or {last}" if others else last
    near = difflib.get_close_matches(word[:SHOWN], [*others, last], n=1)
    tail = f"; did you mean {near[0]}?" if near and near[0] not in LAWS.values() else ""
    raise ConfigError(f"{name} must be {law}, got {_shown(word)}{tail}")


LAWS = {int: "an integer", float: "a number", str: "a word", Path: "a path"}
"""What a value of a kind is called."""


def _kinds(hint: Any) -> list[Any]:
    """The kinds a value may have."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [kind for part in typing.get_args(hint) for kind in _kinds(part)]
    return [hint]


def _choices(kind: Any) -> dict[str, Any] | None:
    """The words a kind is limited to, if it is, and what they mean."""
    if kind is bool:
        return TRUTH
    if kind is type(None):
        return {"None": None}
    if typing.get_origin(kind) is Literal:
        return {word: word for word in typing.get_args(kind)}
    return None


def _build(schema: type[Any], values: Mapping[str, Any]) -> Any:
    """A dataclass of these values; what is not among them keeps its default."""
    return schema(**_changes(schema, values, "--"))


def _changes(schema: type[Any], values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The fields of a dataclass that these values change, groups built from their defaults."""
    hints = typing.get_type_hints(schema)
    changed: dict[str, Any] = {}
    for field in dataclasses.fields(schema):
        flag, hint = f"{prefix}{field.name.replace('_', '-')}", hints[field.name]
        if flag in values:
            changed[field.name] = values[flag]
        elif dataclasses.is_dataclass(hint):
            inside = _changes(typing.cast(type[Any], hint), values, f"{flag}.")
            if inside:
                given = field.default is not dataclasses.MISSING
                usual: Any = field.default if given else typing.cast(Any, field.default_factory)()
                changed[field.name] = dataclasses.replace(usual, **inside)
    return changed


def _shown(word: str) -> str:
    """A word in quotes, cut where it is long."""
    return repr(word if len(word) <= SHOWN else f"{word[:SHOWN]}...")
