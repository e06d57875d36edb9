import sys
import textwrap

import numpy as np
import pytest

from fedirl_ray.config import EvaluationConfig, RunConfig
from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.engine.driver import federate
from fedirl_ray.engine.identity import identify
from fedirl_ray.engine.local import Clients
from fedirl_ray.errors import ConfigError, UserCodeError
from fedirl_ray.problem.family import draw_world

MODULE = """
import sys
import numpy as np

def same(world):
    return np.eye(len(world.initial))[:, None]

def flat(world):
    return np.eye(len(world.initial))

def by_action(world):
    s, a, _, _ = world.shape
    return np.broadcast_to(np.arange(a * 2.0).reshape(a, 2), (s, a, 2))

def words(world): return "abc"
def objects(world): return np.full((len(world.initial), 1, 2), None)
def narrow(world): return np.ones((3, 1, 2))
def empty(world): return np.ones((len(world.initial), 1, 0))
def other_actions(world): return np.ones((len(world.initial), 3, 2))
def infinite(world):
    found = np.ones((len(world.initial), 1, 2))
    found[5, 0, 1] = np.inf
    return found
def raises(world): raise KeyError("no such thing")
def leaves(world): sys.exit(0)
def spoils(world): world.initial[:] = 0.0
def two(world, more): return None
def wider_where_it_slips(world):
    d = 2 + (world.probabilities.max(axis=2).min() < 1.0)
    return np.ones((len(world.initial), 1, d))
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A user's module `own_phi`; returns its path."""
    path = tmp_path / "own_phi.py"
    path.write_text(textwrap.dedent(MODULE))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield path
    sys.modules.pop("own_phi", None)


def config(features, **more):
    return RunConfig(
        clients=2,
        seeds=1,
        problem=ProblemConfig(size=3, demonstrations=5, features=features),
        fusion=FusionConfig(rules=("local", "mean", "barycenter", "pooled")),
        evaluation=EvaluationConfig(held_out=2, discounts=()),
        **more,
    )


def result(features):
    run = config(features)
    ((_, found),) = federate(run, Clients(run, range(2)))
    return found


def test_the_same_features_by_the_users_function_give_the_same_run(module):
    built_in = result("one-hot")
    for function in ("same", "flat"):
        own = result(f"own_phi:{function}")
        for name in ("theta", "reward", "client_scores", "held_out_scores"):
            np.testing.assert_array_equal(getattr(own, name), getattr(built_in, name))


def test_features_may_see_the_action(module):
    run = config("own_phi:by_action")
    assert draw_world(run.problem, 0, 0, "client", 0).features.shape == (9, 4, 2)
    domain_of(run).check()
    assert result("own_phi:by_action").reward.shape == (4, 36)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("words", "got a str"),
        ("objects", "got an array of object"),
        ("narrow", r"got shape \(3, 1, 2\)"),
        ("empty", r"got shape \(9, 1, 0\)"),
        ("other_actions", r"got shape \(9, 3, 2\)"),
        ("infinite", "got inf in state 5"),
        ("two", r"called with \(world\), got 'own_phi:two'"),
        ("nosuch", r"got 'own_phi:nosuch' \(no such function in own_phi\)"),
        ("wider_where_it_slips", "the same number of features, got 2 and 3"),
    ],
)
def test_what_is_no_features_is_refused_before_a_run(module, function, said):
    with pytest.raises(ConfigError, match=rf"^problem.features .*{said}") as raised:
        domain_of(config(f"own_phi:{function}")).check()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("raises", "KeyError: 'no such thing'"),
        ("leaves", "SystemExit: 0"),
        ("spoils", "ValueError: assignment destination is read-only"),
    ],
)
def test_what_it_raises_is_told_with_the_users_line(module, function, said):
    lines = module.read_text().splitlines()
    number = 1 + next(i for i, line in enumerate(lines) if line.startswith(f"def {function}("))
    with pytest.raises(UserCodeError, match=said) as raised:
        domain_of(config(f"own_phi:{function}")).check()
    assert str(raised.value).endswith(f", at {module}:{number}")


def test_worlds_that_differ_in_width_are_refused_late_too(module):
    run = config("own_phi:wider_where_it_slips")  # the probe never slips
    with pytest.raises(ConfigError, match="the same number of features"):
        list(federate(run, Clients(run, range(2))))


@pytest.mark.parametrize("name", ["nosuch", "a:b:c", ":f", "a b:c", "m:"])
def test_a_name_that_is_neither_is_refused(name):
    law = "distance, rbf, one-hot or module:function"
    with pytest.raises(ConfigError, match=f"^problem.features must be {law}"):
        ProblemConfig(features=name)


def test_the_modules_content_is_part_of_the_runs_identity(module):
    run = config("own_phi:same")
    before = identify(run).inputs["problem.features"]
    module.write_text(module.read_text() + "\n# changed\n")
    assert identify(run).inputs["problem.features"] != before
