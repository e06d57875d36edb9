import pickle
import subprocess
import sys
import textwrap

import pytest
import yaml

from fedirl_ray.errors import ConfigError, UserCodeError
from fedirl_ray.problem.custom import load, user_code
from fedirl_ray.run import main


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module of a user's and returns its path."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name, text):
        path = tmp_path / f"{name}.py"
        path.write_text(textwrap.dedent(text))
        monkeypatch.delitem(sys.modules, name, raising=False)
        return path

    yield write
    for path in tmp_path.glob("*.py"):
        sys.modules.pop(path.stem, None)


RAISING = """
import sys, json
import numpy as np

class Odd(Exception):
    def __init__(self, one, two):
        super().__init__(one)
        self.held = lambda: None  # cannot be pickled

    def __str__(self):
        raise ValueError("no text")

class Worse(BaseException):
    pass

def leaves(): sys.exit(0)
def leaves_with_words(): sys.exit("enough")
def odd(): raise Odd(1, 2)
def worse(): raise Worse("worst")
def generator(): raise GeneratorExit
def lines(): raise ValueError("one\\n  two\\n\\tthree")
def long(): raise ValueError(1000 * "x")
def deep(): return deep()
def library(): np.linalg.solve(np.zeros((2, 2)), np.zeros(2))
def standard(): json.loads("{")
def stopped(): raise KeyboardInterrupt
"""


def where(path, function):
    line = 1 + next(
        number
        for number, text in enumerate(path.read_text().splitlines())
        if text.startswith(f"def {function}(")
    )
    return f", at {path}:{line}"


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("leaves", "SystemExit: 0"),
        ("leaves_with_words", "SystemExit: enough"),
        ("odd", "Odd: its message cannot be shown"),
        ("worse", "Worse: worst"),
        ("generator", "GeneratorExit"),
        ("lines", "ValueError: one two three"),
        ("long", f"ValueError: {300 * 'x'}..."),
        ("deep", "RecursionError: maximum recursion depth exceeded"),
        ("library", "LinAlgError: Singular matrix"),
        ("standard", "JSONDecodeError: Expecting property name"),
    ],
)
def test_whatever_a_users_code_raises_is_one_line_with_its_own_frame(module, function, said):
    path = module("raising", RAISING)
    call = load(f"raising:{function}", "task.name", ())
    with pytest.raises(UserCodeError) as error, user_code("my world"):
        call()
    text = str(error.value)
    assert text.startswith(f"my world failed: {said}")
    assert text.endswith(where(path, function))
    assert "\n" not in text
    again = pickle.loads(pickle.dumps(error.value))
    assert type(again) is UserCodeError
    assert str(again) == text


def test_ctrl_c_is_nobodys_error(module):
    module("raising", RAISING)
    with pytest.raises(KeyboardInterrupt), user_code("my world"):
        load("raising:stopped", "task.name", ())()


def test_what_this_package_refuses_of_a_users_is_the_users_error(module):
    path = module(
        "bad",
        """
        from fedirl_ray.problem.lattice import Axis
        def world(): return Axis("x", 1.0, 0.0, 3)
        """,
    )
    call = load("bad:world", "task.name", ())
    with pytest.raises(UserCodeError) as said, user_code("my world"):
        call()
    assert str(said.value).startswith("my world failed: ConfigError: axis x needs low < high")
    assert str(said.value).endswith(where(path, "world"))


def test_a_users_error_is_wrapped_once():
    with pytest.raises(UserCodeError, match=r"^inner$"), user_code("outer"):
        raise UserCodeError("inner")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import sys\nsys.exit(0)\n", "SystemExit: 0, at {path}:2"),
        ("1 +\n", "SyntaxError: invalid syntax (broken.py, line 1), at {path}:1"),
        ("class Stop(BaseException): pass\nraise Stop\n", "Stop, at {path}:2"),
        (
            "import nowhere_to_be_found\n",
            "ModuleNotFoundError: No module named 'nowhere_to_be_found",
        ),
    ],
)
def test_a_module_that_cannot_be_imported_says_where(module, text, said):
    path = module("broken", text)
    with pytest.raises(ConfigError, match=r"problem\.name must be module:function") as error:
        load("broken:world", "problem.name", ())
    assert said.format(path=path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_builtin_that_does_not_tell_its_arguments_is_taken_as_it_is():
    assert load("builtins:dict", "task.name", ()) is dict


def test_a_module_attribute_that_fails_is_the_users(module):
    module("lazy", "def __getattr__(name): raise OSError('not now')\n")
    with pytest.raises(UserCodeError, match=r"OSError: not now, at .*lazy\.py:1"):
        load("lazy:world", "problem.name", ())


def command(module_dir, words):
    """Exit code, and what was said, of a command line in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "fedirl_ray.run", *words],
        cwd=module_dir,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("source", ["sys.exit(0)", ""], ids=["import", "call"])
@pytest.mark.parametrize("arguments", ["role, index, rng", "i"], ids=["tables", "control"])
def test_an_exit_from_a_users_code_is_an_error_of_the_command(
    module, tmp_path, monkeypatch, capsys, arguments, source
):
    lines = ["import sys", source, f"def world({arguments}):", "    sys.exit(0)"]
    module("quits", "\n".join(lines))
    monkeypatch.chdir(tmp_path)
    words = ["--problem.name", "quits:world", "--seeds", "1", "--run-dir", "r"]
    assert main([*words, "--engine.backend", "local"]) == 2
    said = capsys.readouterr().err
    line = 4 if not source else 2
    assert f"SystemExit: 0, at {tmp_path / 'quits.py'}:{line}" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "r").exists()


WORLDS = """
import gymnasium

class Odd(Exception):
    def __init__(self, one, two):
        super().__init__("odd")
        self.held = lambda: None

def world(role, index, rng):
    if role == "held-out" and index == 1:
        raise Odd(1, 2)
    return gymnasium.make("FrozenLake-v1", is_slippery=False)
"""
SMALL = """
--problem.name worlds:world --seeds 1 --clients 2 --problem.horizon 10 --evaluation.held-out 3
--progress False --record.figure False --fusion.rules mean --run-dir r
"""


@pytest.mark.ray
def test_a_users_error_that_cannot_be_pickled_comes_whole_from_a_client_on_ray(tmp_path):
    path = tmp_path / "worlds.py"
    path.write_text(WORLDS)
    code, said = command(tmp_path, SMALL.split())
    assert code == 2
    assert said == f"problem.name worlds:world failed: Odd: odd, at {path}:11\n"


def test_a_trial_that_failed_in_a_users_code_says_where(module, tmp_path, monkeypatch, capsys):
    path = module("worlds", WORLDS)
    monkeypatch.chdir(tmp_path)
    fixed = {"problem.name": "worlds:world", "problem.horizon": 10, "clients": 2, "seeds": 1}
    fixed |= {"engine.backend": "local", "evaluation.held-out": 3, "fusion.rules": ["mean"]}
    search = {"irl.l2": {"low": 0.1, "high": 1.0}}
    study = {"fixed": fixed, "search": search, "objectives": {"success/held-out/mean": "maximize"}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({**study, "trials": 1, "max-failures": 1}))
    assert main(["sweep", "study.yaml", "--run-dir", "s", "--progress", "False"]) == 1
    said = capsys.readouterr().err
    assert f"UserCodeError: problem.name worlds:world failed: Odd: odd, at {path}:11" in said
    assert "Traceback" not in said
