"""YAML that strangers wrote, read within bounds: plain data, in time, whatever is in the file."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from fedirl_ray.errors import ConfigError, in_short

SIZE = 2**18
"""Bytes a file may have; the settings of a run have some 2,000."""
DEPTH = 20
"""How deep lists and mappings may be nested, aliases written out."""
NODES = 10_000
"""Keys, values, lists and mappings a file may hold, aliases written out."""

_WORD = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"


def read_yaml(path: Path) -> Any:
    """Read a YAML file of plain data.

    Args:
        path: Which.

    Returns:
        Mappings with words as keys, lists, words, numbers, dates, true and false, None.

    Raises:
        ConfigError: It cannot be read, is no YAML, holds more than the bounds above, refers to
            itself, names a type (`!!`), or has a key twice or one that is no word; one line.
    """
    try:
        with path.open("rb") as file:
            data = file.read(SIZE + 1)
    except (OSError, ValueError) as err:
        why = getattr(err, "strerror", None) or err  # a name with a NUL has no strerror
        raise ConfigError(f"{path} must be a readable YAML file: {why}") from None
    if len(data) > SIZE:
        raise ConfigError(f"{path} must be a YAML file of at most {SIZE} bytes, got more")
    try:
        text = data.decode("utf-8-sig")
        _bound(text)
        return yaml.load(text, _PlainLoader)
    except (yaml.YAMLError, ValueError) as err:
        raise ConfigError(f"{path} must be a YAML file: {in_short(err, 500)}") from None


def _bound(text: str) -> None:
    """Go through a text without building anything, and refuse what would grow out of bounds.

    Raises:
        ValueError: It would.
        yaml.YAMLError: It is no YAML.
    """
    opened: list[tuple[str | None, int, list[int]]] = []  # anchor, nodes before, depth below
    known: dict[str, tuple[int, int]] = {}  # nodes and depth of what an anchor names
    nodes = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise ValueError(f"types have no use in settings, got {tag}")
        depth = 0
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _, _ in opened):
                raise ValueError(f"*{event.anchor} stands inside of itself")
            more, depth = known.get(str(event.anchor), (0, 0))
            nodes += more
        elif isinstance(event, yaml.ScalarEvent):
            nodes += 1
            if event.anchor is not None:
                known[event.anchor] = (1, 0)
        elif isinstance(event, yaml.CollectionStartEvent):
            nodes += 1
            opened.append((event.anchor, nodes - 1, [0]))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before, below = opened.pop()
            depth = 1 + below[0]
            if anchor is not None:
                known[anchor] = (nodes - before, depth)
        if opened:
            opened[-1][2][0] = max(opened[-1][2][0], depth)
        if len(opened) + depth > DEPTH:
            raise ValueError(f"it is nested more than {DEPTH} deep")
        if nodes > NODES:
            raise ValueError(f"it has more than {NODES} keys and values, aliases written out")


class _PlainLoader(yaml.SafeLoader):
    """Mappings have words as keys, each once: of two the first would be lost without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if key.tag == _MERGE:
                continue
            if key.tag != _WORD:
                what = key.value if isinstance(key, yaml.ScalarNode) else f"a {key.id}"
                raise ValueError(f"keys must be words, got {what}")
            if key.value in seen:
                raise ValueError(f"the key {key.value} stands there twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)
