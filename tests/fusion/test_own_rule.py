"""A rule of the user's own: found, called, checked and blamed; and the suite that tries it."""

import re
import sys
from dataclasses import replace

import numpy as np
import pytest

from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.errors import ConfigError, RunError, UserCodeError
from fedirl_ray.fusion.rules import RULES, find_rules, fuse
from fedirl_ray.fusion.spec import Fused, Given, RuleSpec, support_of
from fedirl_ray.problem.family import draw_world
from fedirl_ray.testing import check_rule

SUPPORT = support_of(draw_world(ProblemConfig(size=4), 0, 0, "probe", 0))
SOURCE = """
import numpy as np
from fedirl_ray.fusion.spec import Fused, RuleSpec

def mine(given):
    return given.weights @ given.thetas

def by_rewards(given):
    return given.theta_of(given.weights @ given.rewards)

def moved(given):
    shifted = given.rewards - given.rewards.min(axis=1, keepdims=True) + 0.1
    found = given.solver(
        shifted / shifted.sum(axis=1, keepdims=True), given.support.axes, weights=given.weights,
        epsilon=0.5, cost_scale="none", tol=1e-7, max_iters=500,
    )
    density = found.measure.ravel()
    return Fused(given.theta_of(density), density, found.iterations, found.converged)

def sure(given):
    return np.diagonal(given.curvatures, axis1=1, axis2=2).sum(axis=0)

surest = RuleSpec(sure, "the surest", frozenset({"curvature"}))

def short(given): return np.zeros(1)
def hole(given): return np.array([0.0, np.nan])
def word(given): return "mean"
def nothing(given): return None
def many(given): return [0.0, 0.0]
def whole(given): return np.zeros(2, dtype=int)
def masked(given): return np.ma.zeros(2)
def thin(given): return Fused(np.zeros(2), np.ones(3))
def vague(given): return Fused(np.zeros(2), None, "many")
def two(given, more): return np.zeros(2)
def leaves(given): raise SystemExit(0)
def writes(given):
    given.support.features[:] = 0.0
    return np.zeros(2)
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    """Writes the user's module; returns its path."""
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "own_rules.py"
    path.write_text(SOURCE)
    sys.modules.pop("own_rules", None)
    yield path
    sys.modules.pop("own_rules", None)


def given(**changed):
    rng = np.random.default_rng(0)
    held = Given(rng.normal(size=(3, 2)), np.array([0.5, 0.3, 0.2]), SUPPORT, FusionConfig())
    return replace(held, **changed)


def test_a_function_of_what_is_given_is_a_rule():
    held = given()
    found = fuse("own_rules:mine", held)
    assert found.theta.tobytes() == fuse("mean", held).theta.tobytes()
    assert found.measure is None


def test_a_rule_may_work_on_rewards_and_move_mass():
    held = given()
    np.testing.assert_allclose(held.rewards, held.thetas @ SUPPORT.features.T)
    by_rewards = fuse("own_rules:by_rewards", held).theta
    np.testing.assert_allclose(by_rewards, fuse("mean", held).theta, rtol=1e-10)
    moved = fuse("own_rules:moved", held)
    np.testing.assert_allclose(moved.measure.sum(), 1.0, rtol=1e-9)
    assert moved.converged
    assert moved.iterations > 0


def test_a_record_says_what_a_rule_needs_and_keeps_the_name_it_was_asked_by():
    held = given(curvatures=np.tile(np.diag([1.0, 2.0]), (3, 1, 1)))
    assert fuse("own_rules:surest", held).theta.tolist() == [3.0, 6.0]
    find_rules(FusionConfig(rules=("mean", "local", "own_rules:surest")))


@pytest.mark.parametrize(
    ("name", "got"),
    [
        ("short", "theta as a NumPy array of 2 finite floats, shape (2,), got one of shape (1,)"),
        ("hole", "theta as a NumPy array of 2 finite floats, shape (2,), got one that holds NaN"),
        ("word", "got a str"),
        ("nothing", "got a NoneType"),
        ("many", "got a list"),
        ("whole", "got an array of int64"),
        ("masked", "got a MaskedArray"),
        ("thin", "measure as a NumPy array of 16 finite floats, shape (16,), got one of shape"),
        ("vague", "an integer as iterations and True or False as converged, got 'many' and True"),
    ],
)
def test_what_is_no_theta_is_refused_in_one_line(name, got):
    said = f"^fusion.rules own_rules:{name} must return .*{re.escape(got)}.*$"
    with pytest.raises(ConfigError, match=said):
        fuse(f"own_rules:{name}", given())


@pytest.mark.parametrize(
    ("name", "said", "line"),
    [
        ("leaves", "SystemExit: 0", "def leaves(given): raise SystemExit(0)"),
        ("writes", "ValueError: assignment destination is read-only", "features[:] = 0.0"),
    ],
)
def test_what_a_rule_raises_names_it_and_its_line(module, name, said, line):
    lines = module.read_text().splitlines()
    number = next(i for i, text in enumerate(lines, 1) if line in text)
    said = f"fusion.rules own_rules:{name} failed: {said}, at {module}:{number}"
    with pytest.raises(UserCodeError, match=f"^{re.escape(said)}$"):
        fuse(f"own_rules:{name}", given())
    assert SUPPORT.features.any()


def test_what_ends_a_run_is_not_blamed_on_the_rule_that_asked_for_a_barycenter():
    def lost(*arguments):
        raise RunError("Ray is gone")

    with pytest.raises(RunError, match=r"^Ray is gone$"):
        fuse("own_rules:moved", given(barycenter=lost))


def test_a_rule_of_other_arguments_is_refused_before_it_is_called():
    said = r"called with \(given\), got 'own_rules:two' \(missing a required argument: 'more'\)"
    with pytest.raises(ConfigError, match=said):
        find_rules(FusionConfig(rules=("mean", "own_rules:two")))


def test_a_need_that_is_none_is_refused():
    with pytest.raises(
        ConfigError, match="among curvature, debiasing, lattice, scores, got 'luck'"
    ):
        RuleSpec(lambda given: given.thetas[0], needs=frozenset({"luck"}))


def first_of(given):
    return given.thetas[0]


def unweighted(given):
    return given.thetas.mean(axis=0)


def louder(given):
    return 2.0 * given.weights @ given.thetas


def shrunk(given):
    mean = given.weights @ given.thetas
    spread = np.sqrt(given.weights @ ((given.thetas - mean) ** 2).sum(axis=1))
    return mean / (1.0 + spread)


def careless(given):
    given.weights[:] = 1.0 / len(given.weights)
    return given.weights @ given.thetas


def endless(given):
    return np.full(2, np.inf)


def lucky(given):
    return given.weights @ given.thetas + 1e-9 * np.random.default_rng().normal(size=2)


def blurred(given):
    return RULES["barycenter"].fuse(given)


def improper(given):
    return Fused(given.weights @ given.thetas, np.ones(len(given.support.features)))


def blind_to_zero(given):
    return given.weights @ given.thetas * (given.weights > 0.0).all()


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (first_of, "the clients' order must not matter"),
        (unweighted, "a client of weight zero must not matter"),
        (louder, "clients that agree must be given what they agree on"),
        (shrunk, "rewards in other units must fuse to the same reward in those units"),
        (careless, "a rule must leave what it is given alone, weights changed"),
        (endless, "a rule of your own must return theta as a NumPy array of 2 finite floats"),
        (lucky, "a rule must be deterministic"),
        (blurred, "clients that agree must be given what they agree on"),
        (improper, "a measure must hold no negative number and sum to one"),
        (blind_to_zero, "a client of weight zero must not matter"),
    ],
)
def test_the_suite_says_in_a_sentence_what_a_rule_breaks(rule, said):
    with pytest.raises(AssertionError, match=f"^{re.escape(said)}[^\n]*$"):
        check_rule(rule)


def test_the_suite_lets_a_sound_rule_through_by_name_as_a_record_and_as_a_function():
    check_rule("own_rules:by_rewards")
    check_rule(lambda given: given.weights @ given.thetas)
    check_rule(RuleSpec(blurred, transports=True))
    with pytest.raises(ConfigError, match="must be module:function"):
        check_rule("own_rules:none")
