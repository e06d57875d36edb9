"""The package's public face: names, what they say of themselves, and what importing them costs."""

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fedirl_ray

HEAVY = ("gymnasium", "ray", "torch", "matplotlib", "tyro", "scipy", "numpy", "pyarrow", "rich",
         "ot", "optuna", "yaml")  # fmt: skip


def loaded_after(code):
    """Modules of a fresh process after some code, beyond those that Python starts with."""
    show = "import json, sys; before = set(sys.modules)\n{}\n"
    show += "print(json.dumps(sorted(set(sys.modules) - before)))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", show.format(code)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", fedirl_ray.__all__)
def test_every_public_name_is_there_and_documented(name):
    found = getattr(fedirl_ray, name)
    assert isinstance(found, str) if name == "__version__" else found.__doc__


def test_the_names_are_shown_and_no_others():
    assert dir(fedirl_ray) == sorted(fedirl_ray.__all__)
    assert {"run", "load", "fit", "fuse", "RunConfig", "Result"} < set(dir(fedirl_ray))
    assert len(set(fedirl_ray.__all__)) == len(fedirl_ray.__all__) <= 40
    assert set(fedirl_ray._HOMES) == set(fedirl_ray.__all__) - {"__version__"}


def test_all_groups_of_a_run_are_public():
    groups = {type(getattr(fedirl_ray.RunConfig(), name)).__name__
              for name in fedirl_ray.RunConfig.__dataclass_fields__}  # fmt: skip
    assert groups - {"int"} <= set(fedirl_ray.__all__)


def test_every_argument_of_a_public_function_is_typed_and_documented():
    functions = [
        found
        for name in fedirl_ray.__all__
        if inspect.isfunction(found := getattr(fedirl_ray, name))
    ]
    assert len(functions) >= 9
    for function in functions:
        signature = inspect.signature(function)
        assert signature.return_annotation is not inspect.Signature.empty, function
        for name, parameter in signature.parameters.items():
            assert parameter.annotation is not inspect.Parameter.empty, (function, name)
            assert re.search(rf"^ +(\*\*)?{name}: ", function.__doc__, re.MULTILINE), name


def test_a_star_import_brings_them_all():
    code = "from fedirl_ray import *; import fedirl_ray; [eval(n) for n in fedirl_ray.__all__]"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_a_name_that_is_not_there_is_refused_as_by_any_module():
    with pytest.raises(AttributeError, match="module 'fedirl_ray' has no attribute 'nosuch'"):
        _ = fedirl_ray.nosuch


def test_importing_the_package_loads_nothing_but_itself():
    found = loaded_after("import fedirl_ray")
    assert not {name.partition(".")[0] for name in found} & set(HEAVY)
    own = [name for name in found if name.startswith("fedirl_ray")]
    assert own == ["fedirl_ray", "fedirl_ray.environment"]
    assert len(found) <= 20, found


def test_settings_need_no_library():
    found = loaded_after("import fedirl_ray; fedirl_ray.RunConfig(seeds=3)")
    assert not {name.partition(".")[0] for name in found} & set(HEAVY)


def test_the_watch_on_loaded_modules_sees_them():
    assert "pyarrow" in loaded_after("import pyarrow")


def test_the_function_stays_where_the_command_lines_module_is_called_the_same():
    import fedirl_ray.run
    from fedirl_ray.run import main

    assert inspect.isfunction(fedirl_ray.run)
    assert next(iter(inspect.signature(fedirl_ray.run).parameters)) == "config"
    assert inspect.isfunction(main)


def test_the_version_is_the_distributions():
    import importlib.metadata

    assert fedirl_ray.__version__ == importlib.metadata.version("fedirl-ray")


@pytest.mark.parametrize(
    "imports",
    ["fedirl_ray, gymnasium", "gymnasium, fedirl_ray", "gymnasium.envs.registration, fedirl_ray"],
)
def test_gymnasium_knows_the_environment_whoever_is_imported_first(imports):
    code = f"import {imports}; gymnasium.make('fedirl_ray/GridWorld-v0', size=4).reset(seed=0)"
    found = loaded_after(code)
    assert "fedirl_ray.problem.gridworld_env" in found


def test_nothing_of_gymnasium_is_changed_once_it_is_there():
    code = """
import sys
plain = list(sys.meta_path)
import fedirl_ray, gymnasium
assert sys.meta_path == plain
assert 'CartPole-v1' in gymnasium.registry
import fedirl_ray.environment as environment
environment.announce()  # twice does no harm
"""
    assert "gymnasium" in loaded_after(code)


def test_every_error_raised_on_purpose_is_of_one_family():
    from fedirl_ray import errors

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert all(issubclass(kind, errors.FedirlError) for kind in kinds)
    listed = re.findall(r"\w+Error(?= \()", errors.__doc__)
    assert {kind.__name__ for kind in kinds} == {"FedirlError", *listed}


def test_the_package_is_marked_as_typed():
    assert (Path(fedirl_ray.__file__).parent / "py.typed").is_file()
