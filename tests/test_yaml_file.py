"""Settings files of strangers: read in time and in bounds, or refused in one line."""

import contextlib
import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fedirl_ray.errors import ConfigError
from fedirl_ray.yaml_file import DEPTH, NODES, SIZE, read_yaml

LEAF = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
TREES = st.recursive(
    LEAF, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=30
)

YAMLISH = "&*a{}[]:,-?!|>#'\"\\ \n0<%@"


@pytest.fixture
def write(tmp_path):
    def written(text):
        path = tmp_path / "x.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return written


LAUGHS = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)
MERGED = "a0: &a0 {x: 1}\n" + "".join(
    f"a{i}: &a{i} {{b: *a{i - 1}, c: *a{i - 1}, d: *a{i - 1}}}\n" for i in range(1, 12)
)
BAD = {
    "laughs": (LAUGHS, "more than 10000 keys and values, aliases written out"),
    "laughs in mappings": (MERGED, "more than 10000 keys"),
    "many": ("[" + "1," * NODES + "]", "more than 10000 keys"),
    "itself": ("a: &a {b: *a}", r"\*a stands inside of itself"),
    "itself in a list": ("&a [1, [*a]]", r"\*a stands inside of itself"),
    "deep": ("a: " + "[" * 20_000 + "]" * 20_000, "nested more than 20 deep"),
    "deep blocks": ("- " * (DEPTH + 1) + "1", "nested more than 20 deep"),
    "deep by aliases": (
        f"a: &a {'[' * (DEPTH - 1)}{']' * (DEPTH - 1)}\nb: [[*a]]",
        "nested more than 20 deep",
    ),
    "large": ("#" * (SIZE + 1), f"at most {SIZE} bytes, got more"),
    "code": ("a: !!python/object/apply:os.getcwd []", "types have no use in settings"),
    "a type": ("a: !!timestamp x", "types have no use in settings"),
    "a type on a mapping": ("a: !!set {x}", "types have no use in settings"),
    "no such anchor": ("a: *b", "undefined alias"),
    "two documents": ("a: 1\n---\nb: 2", "single document"),
    "no such date": ("a: 2001-13-45", "month must be in 1..12"),
    "long number": ("a: " + "9" * 5000, "integer string conversion"),
    "digits that are none": ("a: 0x_", "invalid literal"),
    "no UTF-8": (b"a: \xff", "invalid start byte"),
    "a NUL": ("a: \0", "special characters are not allowed"),
    "merged numbers": ("a: &a {1: 2}\nb: {<<: *a}", "keys must be words, got 1"),
}


@pytest.mark.parametrize(("text", "why"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_settings_is_refused_in_one_line_and_at_once(write, text, why):
    path = write(text)
    began = time.process_time()
    with pytest.raises(ConfigError, match=why) as refused:
        read_yaml(path)
    assert time.process_time() - began < 3.0  # of this process alone, whatever else runs
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith(f"{path} must be a")


def test_a_hundred_megabytes_are_not_read(tmp_path):
    path = tmp_path / "x.yaml"
    with path.open("wb") as file:
        file.truncate(100 * 2**20)
    with pytest.raises(ConfigError, match="bytes, got more"):
        read_yaml(path)


@pytest.mark.parametrize("name", ["nosuch.yaml", "a\0b", "x" * 5000])
def test_a_file_that_cannot_be_opened_is_one_line(tmp_path, name):
    with pytest.raises(ConfigError, match=r"must be a readable YAML file: \w+"):
        read_yaml(tmp_path / name)


def test_what_is_within_the_bounds_is_read_to_their_edge(write):
    deep = "[" * DEPTH + "]" * DEPTH
    assert str(read_yaml(write(deep))) == deep
    assert len(read_yaml(write("[" + "1," * (NODES - 1) + "]"))) == NODES - 1
    assert read_yaml(write("a: &a [1]\nb: *a\nc: {<<: {d: *a}}")) == {
        "a": [1],
        "b": [1],
        "c": {"d": [1]},
    }
    assert read_yaml(write("\ufeffa: 1")) == {"a": 1}


@settings(deadline=None)
@given(tree=TREES)
def test_what_yaml_writes_is_read_back(tmp_path_factory, tree):
    path = tmp_path_factory.mktemp("trees") / "x.yaml"
    path.write_text(yaml.safe_dump(tree))
    assert read_yaml(path) == tree


@settings(deadline=None, max_examples=200)
@given(data=st.binary(max_size=60) | st.text(YAMLISH, max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("bytes") / "x.yaml"
    path.write_bytes(data)
    with contextlib.suppress(ConfigError):
        read_yaml(path)
