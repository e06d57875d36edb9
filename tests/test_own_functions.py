"""What a user's own functions can do wrong: each is one line, exit code 2, and no folder."""

import sys

import pytest

import fedirl_ray
from fedirl_ray.errors import ConfigError
from fedirl_ray.run import main

SOURCE = '''
import sys
import gymnasium
import numpy as np
from fedirl_ray import TabularMDP

def rule_shape(given): return np.zeros(7)
def rule_nan(given): return np.nan * given.thetas[0]
def rule_text(given): return "theta"
def rule_exit(given): sys.exit(0)
def rule_raise(given): raise KeyError("x")
def mean(given): return given.thetas[0]

def features_shape(world): return np.zeros((3, 2))
def features_nan(world): return np.full((len(world.initial), 2), np.nan)
def features_text(world): return "phi"
def features_exit(world): sys.exit(0)
def features_raise(world): raise KeyError("x")

def metric_shape(world, visits): return np.zeros(3)
def metric_nan(world, visits): return float("nan")
def metric_text(world, visits): return "good"
def metric_exit(world, visits): sys.exit(0)
def metric_raise(world, visits): raise KeyError("x")

def place_shape(states, actions): return states[:5]
def place_nan(states, actions): return np.nan * states
def place_text(states, actions): return "phi"
def place_exit(states, actions): sys.exit(0)
def place_raise(states, actions): raise KeyError("x")

def episode_shape(observations, actions, rewards): return actions
def episode_nan(observations, actions, rewards): return -np.inf
def episode_text(observations, actions, rewards): return "good"
def episode_exit(observations, actions, rewards): sys.exit(0)
def episode_raise(observations, actions, rewards): raise KeyError("x")

def made(**changes):
    """Three states in a row, the last of them the goal."""
    arrays = {
        "successors": np.array([[[1], [0]], [[2], [0]], [[2], [2]]]),
        "probabilities": np.ones((3, 2, 1)), "initial": np.eye(3)[0], "terminal": np.eye(3)[2] > 0,
        "goal": np.eye(3)[2] > 0, "features": np.arange(3.0).reshape(3, 1, 1),
        "reward": np.zeros((3, 1)), "axes": (np.arange(3.0),),
    }
    return TabularMDP(**{**arrays, **changes})

def world_shape(role, index, rng):
    return made(features=np.zeros((2, 1, 1)))
def world_nan(role, index, rng):
    return made(features=np.full((3, 1, 1), np.nan))
def world_text(role, index, rng): return "world"
def world_exit(role, index, rng): sys.exit(0)
def world_raise(role, index, rng): raise KeyError("x")

class Spoilt(gymnasium.Wrapper):
    def __init__(self, what):
        super().__init__(gymnasium.make("Pendulum-v1"))
        self.what = what
    def reset(self, **settings):
        seen, info = self.env.reset(**settings)
        return {"shape": seen[:1], "nan": np.nan * seen}[self.what], info

def control_shape(i): return Spoilt("shape")
def control_nan(i): return Spoilt("nan")
def control_text(i): return "environment"
def control_exit(i): sys.exit(0)
def control_raise(i):
    if 0 < i < 1:  # held out
        raise KeyError("x")
    return gymnasium.make("Pendulum-v1")
def control_other(i):
    return gymnasium.make("Pendulum-v1" if i < 1 else "MountainCarContinuous-v0")
'''
SEAMS = {
    "rule": ("fusion.rules", "mean,{}"),
    "features": ("problem.features", "{}"),
    "metric": ("evaluation.metrics", "{}"),
    "world": ("problem.name", "{}"),
    "control": ("problem.name", "{}"),
    "place": ("problem.features", "{} --problem.name Pendulum-v1"),
    "episode": ("evaluation.metrics", "{} --problem.name Pendulum-v1"),
}
SMALL = [
    *("--seeds", "1", "--clients", "2", "--problem.demonstrations", "2"),
    *("--evaluation.held-out", "1", "--evaluation.discounts", "", "--progress", "False"),
    *("--fusion.rules", "mean", "--engine.backend", "local", "--run-dir", "out"),
]


@pytest.fixture(autouse=True)
def modules(tmp_path, monkeypatch):
    """The user's modules, in the current folder."""
    texts = {"own_bad": SOURCE, "own_raises": "\nraise ValueError('bad day')\n",
             "own_exits": "import sys\nsys.exit(0)\n", "own_broken": "def f(:\n"}  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text)
    yield
    for name in texts:
        sys.modules.pop(name, None)


def refused(capsys, tmp_path, *words):
    """The one line by which a command is refused, which leaves no folder."""
    assert main(list(words)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert not (tmp_path / "out").exists()
    return line


def line_of(function):
    """`FILE:LINE` where a function of the user's begins, without the folder."""
    lines = SOURCE.splitlines()
    return f"own_bad.py:{1 + next(i for i, x in enumerate(lines) if x.startswith(function))}"


@pytest.mark.parametrize("seam", SEAMS)
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("own_nowhere:f", "(ModuleNotFoundError: No module named 'own_nowhere')"),
        ("own_bad:nosuch", "(no such function in own_bad)"),
        ("own_raises:f", "(ValueError: bad day, at {folder}/own_raises.py:2)"),
        ("own_exits:f", "(SystemExit: 0, at {folder}/own_exits.py:2)"),
        ("own_broken:f", "own_broken.py:1)"),
    ],
)
def test_a_function_that_is_not_there_is_refused(capsys, tmp_path, seam, name, said):
    setting, form = SEAMS[seam]
    line = refused(capsys, tmp_path, *SMALL, f"--{setting}", *form.format(name).split())
    law = f"{setting} must be module:function that can be imported from here, got '{name}' "
    assert line.startswith(law)
    assert line.endswith(said.format(folder=tmp_path))


@pytest.mark.parametrize("seam", SEAMS)
@pytest.mark.parametrize("name", ["own_bad:", ":f", "own_bad:a:b", "own-bad:f"])
def test_what_is_not_spelt_as_a_function_is_refused(capsys, tmp_path, seam, name):
    setting, form = SEAMS[seam]
    line = refused(capsys, tmp_path, *SMALL, f"--{setting}", *form.format(name).split())
    assert line.startswith(f"{setting} must be ")
    assert line.endswith(f"module:function, got '{name}'")


ALLOWED = {
    "rule": "must return theta as a NumPy array of 2 finite floats, shape (2,), got ",
    "features": "must return finite numbers of shape (25, 1, d), (25, 4, d) or (25, d), got ",
    "metric": "must return a finite number, got ",
    "place": "must return finite numbers of shape (",
    "episode": "must return a finite number, got ",
}
SAID = {
    "rule_shape": "one of shape (7,)",
    "rule_nan": "one that holds NaN or infinity",
    "rule_text": "a str",
    "features_shape": "shape (3, 2)",
    "features_nan": "nan in state 0",
    "features_text": "a str",
    "metric_shape": "a ndarray",
    "metric_nan": "nan",
    "metric_text": "a str",
    "place_shape": "3360, d), got shape (5, 2)",
    "place_nan": "1, d), got nan in row 0",
    "place_text": "1, d), got a str",
    "episode_shape": "a ndarray",
    "episode_nan": "-inf",
    "episode_text": "a str",
    "world_shape": "features must have shape (3, 1, 1) or (3, 2, 1), got (2, 1, 1)",
    "world_nan": "features must be finite, got NaN or infinity",
    "world_text": "must return a TabularMDP or a Gymnasium environment, got str",
    "control_text": "must return a gymnasium.Env, got str",
    "control_shape": "client 0's environment must show finite numbers of its space's shape (3,)",
    "control_nan": "client 0's environment must show finite numbers of its space's shape (3,)",
    "control_other": (
        "must give all clients spaces of client 0's kind and shape, Box(3,) -> Box(1,), got "
        "Box(2,) -> Box(1,) for client 1"
    ),
}


@pytest.mark.parametrize("function", SAID)
def test_what_a_function_should_not_return_is_told_with_its_line(capsys, tmp_path, function):
    seam = function.partition("_")[0]
    setting, form = SEAMS[seam]
    name = f"own_bad:{function}"
    line = refused(capsys, tmp_path, *SMALL, f"--{setting}", *form.format(name).split())
    assert line.startswith(f"{setting} {name}")
    assert f"{ALLOWED.get(seam, '')}{SAID[function]}" in line
    where = {"world_shape": "    return made", "world_nan": "    return made"}  # it raises there
    spoilt_later = ("control_shape", "control_nan", "control_other")
    if function in where:
        assert f", at {tmp_path}/own_bad.py:" in line
    elif function not in spoilt_later:
        assert line.endswith(f", at {tmp_path}/{line_of(f'def {function}(')}")


@pytest.mark.parametrize("seam", SEAMS)
@pytest.mark.parametrize(("how", "said"), [("exit", "SystemExit: 0"), ("raise", "KeyError: 'x'")])
def test_what_a_function_raises_is_told_with_its_line(capsys, tmp_path, seam, how, said):
    setting, form = SEAMS[seam]
    function = f"{seam}_{how}"
    words = form.format(f"own_bad:{function}").split()
    line = refused(capsys, tmp_path, *SMALL, f"--{setting}", *words)
    assert line.startswith(f"{setting} own_bad:{function} ")
    assert f"failed: {said}, at {tmp_path}/own_bad.py:" in line


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ("probabilities=[1.0]", "probabilities must be a NumPy array of numbers, got a list"),
        ("features='abc'", "features must be a NumPy array of numbers, got a str"),
        ("reward=np.array('abc')", "reward must be a NumPy array of numbers, got one of <U3"),
        ("axes=([0.0, 1.0, 2.0],)", "axes must be a NumPy array of numbers, got a list"),
        ("terminal=np.eye(3)[2]", "terminal must be a NumPy array of booleans, got one of float64"),
        ("goal=None", "goal must be a NumPy array of booleans, got a NoneType"),
        ("successors=np.ones((3, 2, 1))", "successors must be a NumPy array of integers, got"),
        ("successors=np.ones((3, 2), int)", "successors and features must have three axes, got"),
        ("features=np.ones((3, 1))", "successors and features must have three axes, got"),
    ],
)
def test_a_world_of_other_things_than_arrays_is_refused(capsys, tmp_path, changes, said):
    path = tmp_path / "own_bad.py"
    path.write_text(SOURCE + f"\ndef world(role, index, rng): return made({changes})\n")
    line = refused(capsys, tmp_path, *SMALL, "--problem.name", "own_bad:world")
    assert line.startswith(f"problem.name own_bad:world failed: DataError: {said}")
    assert line.rpartition(", at ")[2].startswith(f"{path}:")


@pytest.mark.parametrize("name", ["mean", "barycenter", "local", "expert"])
def test_a_rule_called_like_one_of_ours_is_refused(capsys, tmp_path, name):
    line = refused(capsys, tmp_path, *SMALL, "--fusion.rules", f"mean,own_bad:{name}")
    assert line.startswith("fusion.rules must be a function whose name is none of mean, ")
    assert line.endswith(f", got own_bad:{name}")


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("pendulum-papre", "did you mean pendulum-paper?"),
        ("presets/pendulum.yaml", "did you mean pendulum?"),
        ("zzz", "presets: acrobot, acrobot-paper, cartpole, "),
        ("", "presets: acrobot, acrobot-paper, cartpole, "),
    ],
)
def test_a_preset_that_does_not_exist_is_refused(capsys, tmp_path, word, hint):
    line = refused(capsys, tmp_path, word, *SMALL)
    assert line.startswith(f"no command, settings file or preset is called {word}; ")
    assert hint in line


def test_to_programs_presets_are_named_beside_the_problems():
    with pytest.raises(ConfigError, match=r"^problem\.name must be GridWorld, .*pendulum-paper$"):
        fedirl_ray.preset("pendulum-papre")
