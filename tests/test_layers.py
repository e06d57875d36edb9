"""The house's rule: data flows one way, and so do imports."""

import ast
import itertools
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import fedirl_ray
from fedirl_ray.problem.kind import CALLS, CONTROL, TABULAR

ROOT = Path(fedirl_ray.__file__).parent
MODULES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))

ORDER = ("environment", "errors", "atomic", "streams", "signals", "seeds", "laws", "config_control",
         "config_engine", "config_fusion", "config_privacy", "config_problem", "config",
         "yaml_file", "problem", "privacy", "irl", "transport", "fusion", "evaluate", "testing",
         "presets", "cli", "domain", "engine", "study", "report", "api", "command",
         "run")  # fmt: skip
"""Left never imports right. `cli` only turns words into a configuration."""
MATHS = ("problem", "privacy", "irl", "transport", "fusion", "evaluate", "testing", "domain")
ONLY_IN = {"ray": ("engine",), "tyro": ("cli",), "optuna": ("study",)}
"""Who may import a library, whatever the place in the file."""
NOT_WITH_MATHS = ("ray", "torch", "optuna", "tyro", "matplotlib", "pandas", "stable_baselines3")
FOR_THE_ENGINE = {
    "domain": ("adapting", "domain", "job", "kinds", "reward"),
    "problem": ("dials", "mdp.Floats", "mdp.Bools"),
    "irl": (),
    "evaluate": (),
}
"""What the engine may know of rooms that speak of kinds of world."""
NOT_WITH_A_CLIENT = ("ray", "torch", "matplotlib", "pandas", "tyro", "pyarrow", "rich", "ot")


def name_of(path):
    """Dotted name of a module of the package."""
    return ".".join((ROOT.name, *path.with_suffix("").parts)).removesuffix(".__init__")


def room_of(path):
    return path.parts[0].removesuffix(".py")


@cache
def nodes(path):
    """Everything that a module says."""
    return list(ast.walk(ast.parse((ROOT / path).read_text())))


@cache
def imports(path):
    """Every dotted name that a module imports, wherever in the file."""
    found = []
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def loaded(*steps):
    """What `sys.modules` holds of the heavy libraries after each import, in one fresh process."""
    watched = sorted({*NOT_WITH_MATHS, *NOT_WITH_A_CLIENT})
    code = (
        "import importlib, json, sys\n"
        f"for name in {list(steps)}:\n"
        "    importlib.import_module(name)\n"
        f"    print(json.dumps([heavy for heavy in {watched} if heavy in sys.modules]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_there_is_something_to_look_at():
    assert len(MODULES) > 150
    assert {"engine", "transport", "run"} <= set(map(room_of, MODULES))
    assert sum(len(imports(path)) for path in MODULES) > 1000


def test_imports_run_one_way():
    for path in MODULES:
        room = room_of(path)
        if room == "__init__":
            continue  # looks its names up late
        assert room in ORDER, f"{room} has no place in the order of rooms"
        right = ORDER[ORDER.index(room) + 1 :]
        wrong = [
            found
            for found, later in itertools.product(imports(path), right)
            if f"{found}.".startswith(f"fedirl_ray.{later}.")
        ]
        assert not wrong, f"{path} must not import {wrong}, which lies to its right"


@pytest.mark.parametrize(("library", "rooms"), ONLY_IN.items())
def test_a_library_is_imported_only_in_its_room(library, rooms):
    users = {
        room_of(path)
        for path in MODULES
        if any(f"{name}.".startswith(f"{library}.") for name in imports(path))
    }
    assert users
    assert users <= set(rooms), f"{library} belongs to {rooms}"


def test_no_module_is_longer_than_one_sitting():
    long = [path for path in MODULES if len((ROOT / path).read_text().splitlines()) > 400]
    assert not long


def test_package_files_are_empty_and_imports_are_absolute():
    for path in MODULES:
        if path.name == "__init__.py" and len(path.parts) > 1:
            assert not ast.parse((ROOT / path).read_text()).body, path
        for node in nodes(path):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, path
                assert all(alias.name != "*" for alias in node.names), path


def test_nothing_in_the_engine_names_a_kind_of_world():
    for path in MODULES:
        if room_of(path) != "engine":
            continue
        for room, known in FOR_THE_ENGINE.items():
            start = f"fedirl_ray.{room}."
            found = [n.removeprefix(start) for n in imports(path) if f"{n}.".startswith(start)]
            wrong = [one for one in found if not any(f"{one}.".startswith(f"{k}.") for k in known)]
            assert not wrong, f"{path} must not import {wrong} of {room}"
        for node in nodes(path):
            if isinstance(node, ast.Attribute):
                assert node.attr != "control", f"{path} reads settings of one kind of world"
            if isinstance(node, ast.Constant):
                known = (*CALLS, *TABULAR, *CONTROL)
                assert node.value not in known, f"{path} names {node.value}"


def test_importing_the_maths_loads_nothing_heavy():
    names = [name_of(path) for path in MODULES if room_of(path) in MATHS]
    assert len(names) > 20
    for name, found in zip(names, loaded(*names), strict=True):
        wrong = set(found) & set(NOT_WITH_MATHS)
        assert not wrong, f"{name} loads {sorted(wrong)}"


def test_a_clients_process_loads_nothing_heavy():
    (found,) = loaded("fedirl_ray.engine.local")
    assert not set(found) & set(NOT_WITH_A_CLIENT)


def test_the_watch_on_loaded_modules_sees_them():
    assert loaded("json", "pyarrow") == [[], ["pyarrow"]]
