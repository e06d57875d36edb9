"""Features and metrics of the user's own in control tasks."""

import sys

import numpy as np
import pytest

from fedirl_ray.config import (
    EvaluationConfig,
    FusionConfig,
    IRLConfig,
    ProblemConfig,
    RunConfig,
)
from fedirl_ray.config_control import ControlConfig, PPOConfig
from fedirl_ray.domain.control_judging import Judging, judge_by_planner
from fedirl_ray.domain.control_settings import Learner, TaskSpec
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.domain.reward import load_reward
from fedirl_ray.engine.driver import federate
from fedirl_ray.engine.identity import identify
from fedirl_ray.engine.local import Clients
from fedirl_ray.engine.record import rewards_of
from fedirl_ray.engine.result import long_table
from fedirl_ray.errors import ConfigError, DataError
from fedirl_ray.study.objective import Objective

MODULE = """
import numpy as np
from fedirl_ray.problem.control.basis import RadialBasis
from fedirl_ray.problem.control.paper import CARTPOLE

def bumps(states, actions):
    return RadialBasis(CARTPOLE.support, 6).at(np.concatenate([states, actions], axis=1))

def total(observations, actions, rewards):
    return rewards.sum()

def spoils(observations, actions, rewards):
    steps = float(len(rewards))
    for array in (observations, actions, rewards):
        array[:] = np.nan
    return steps

def well_formed(observations, actions, rewards):
    h = len(rewards)
    kept = observations.shape == (h + 1, 4) and actions.shape == (h, 1)
    apart = np.abs(np.diff(observations, axis=0)).max(axis=1)
    return float(kept and set(np.unique(actions)) <= {-1.0, 1.0} and apart.min() > 0.0)
"""
TINY = PPOConfig(
    steps=128, rows=4, rollout=64, batch=64, epochs=1, hidden=(4,), evaluations=2, episodes=3
)
RULES = ("local", "mean", "barycenter", "true", "expert")
METRICS = ("own_control:total", "own_control:spoils", "own_control:well_formed")


@pytest.fixture(scope="module", autouse=True)
def module(tmp_path_factory):
    """A user's module `own_control`; returns its path."""
    path = tmp_path_factory.mktemp("own") / "own_control.py"
    path.write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(path.parent))
        yield path
    sys.modules.pop("own_control", None)


def config(phi="distance", metrics=(), **control):
    return RunConfig(
        clients=2,
        seeds=1,
        problem=ProblemConfig(name="CartPole-v1", demonstrations=3, features=phi),
        irl=IRLConfig(l2=0.1, iterations=4, discount=0.8),
        fusion=FusionConfig(rules=RULES),
        evaluation=EvaluationConfig(
            held_out=1, discount=0.8, discounts=(), by_round=False, metrics=metrics
        ),
        control=ControlConfig(
            points=(3, 3, 3, 3), episodes=2, expert=TINY, agent=TINY, judged=(1.0,), **control
        ),
    )


OWN = config("own_control:bumps", METRICS)


def found_by(run, fleet):
    ((_, result),) = federate(run, fleet)
    return result


@pytest.fixture(scope="module")
def own(module):
    return found_by(OWN, Clients(OWN, range(2)))


def arrays_of(result):
    return {name: x.tobytes() for name, x in vars(result).items() if name != "seconds"}


def test_radial_features_by_the_users_function_find_the_same_run(own):
    run = config(metrics=METRICS, features=6)
    radial = found_by(run, Clients(run, range(2)))
    assert arrays_of(radial) == arrays_of(own)


def scores_of(own, judge, metric):
    """Of all columns and worlds."""
    channels = domain_of(OWN).channels
    (x,) = (
        x for x, one in enumerate(channels)
        if (one.judge, one.metric) == (judge, metric) and one.step in (0, TINY.steps)
    )  # fmt: skip
    return np.concatenate([own.client_scores, own.held_out_scores])[..., x]


JUDGES = ("agent", "agent-matched", "planner", "planner-matched")


@pytest.mark.parametrize("judge", JUDGES)
def test_every_judges_metrics_are_of_the_episodes_of_its_return(own, judge):
    returned = scores_of(own, judge, "return")
    assert np.isfinite(returned[:, RULES.index("barycenter")]).any()
    np.testing.assert_allclose(scores_of(own, judge, METRICS[0]), returned)
    # A pole earns 1 a step, and spoiling an episode spoils it for nobody.
    np.testing.assert_allclose(scores_of(own, judge, METRICS[1]), returned)
    kept = scores_of(own, judge, METRICS[2])
    np.testing.assert_array_equal(kept, np.where(np.isnan(returned), np.nan, 1.0))


def test_they_are_rows_under_their_own_names_and_a_sweep_may_seek_them(own):
    domain = domain_of(OWN)
    rows = [row for row in long_table([own], domain) if row.metric == METRICS[0]]
    assert {row.judge for row in rows} == set(JUDGES)
    assert {row.rule for row in rows} == set(RULES)
    assert {row.step for row in rows} == {0, TINY.steps}
    objective = Objective.parse(f"{METRICS[0]}/in-distribution/mean", domain, RULES)
    assert np.isfinite(objective.read([own], domain))
    assert domain.channels[0].metric == "return"  # the table's


def test_metrics_change_nothing_else(own):
    plain = config("own_control:bumps")
    found = found_by(plain, Clients(plain, range(2)))
    np.testing.assert_array_equal(found.theta, own.theta)
    count = found.client_scores.shape[2]
    np.testing.assert_array_equal(found.client_scores, own.client_scores[..., :count])


@pytest.fixture
def file(own, tmp_path):
    (tmp_path / "rewards.npz").write_bytes(rewards_of(domain_of(OWN), [own]))
    return tmp_path / "rewards.npz"


SEEN = np.random.default_rng(0).uniform(-3.0, 3.0, (20, 4))
TAKEN = np.arange(20) % 2


def test_a_reward_of_theirs_is_read_where_their_module_is(own, file, monkeypatch):
    reward = load_reward(file, "mean")
    phi = sys.modules["own_control"].bumps(SEEN, 2.0 * TAKEN[:, None] - 1.0)
    wanted = phi @ own.theta[RULES.index("mean")]
    np.testing.assert_allclose(reward(SEEN, TAKEN), wanted, rtol=1e-9)
    monkeypatch.delitem(sys.modules, "own_control")
    with pytest.raises(DataError, match=r"must be imported before it is read: import own_control$"):
        load_reward(file, "mean")
    assert "own_control" not in sys.modules  # no file decides what is imported


@pytest.mark.parametrize(
    ("own_name", "said"),
    [
        ("own_control:nosuch", "must work as they did, got: problem.features must be module"),
        ("own_control:total", "must work as they did, got: problem.features must be module"),
        ("own_control:wide", "must have the 6 of its theta, got 4"),
        ("no name", "must be imported before it is read"),
    ],
)
def test_a_file_that_names_other_features_is_refused(file, own_name, said, monkeypatch):
    module = sys.modules["own_control"]
    monkeypatch.setattr(module, "wide", lambda states, actions: states, raising=False)
    with np.load(file) as arrays:
        np.savez(file, **{**arrays, "basis_own": np.array([own_name])})
    with pytest.raises(DataError, match=said) as caught:
        load_reward(file, "mean")
    assert "\n" not in str(caught.value)


def test_a_file_of_before_is_read_as_radial(file):
    with np.load(file) as arrays:
        before = {name: x for name, x in arrays.items() if name != "basis_own"}
    before |= {"format": np.array(1), "basis_width": np.array([1.0])}
    wanted = load_reward(file, "mean")(SEEN, TAKEN)
    np.savez(file, **before)
    np.testing.assert_allclose(load_reward(file, "mean")(SEEN, TAKEN), wanted, rtol=1e-9)


@pytest.mark.parametrize(("setting", "value"), [("features", 8), ("width", 2.0)])
def test_what_shapes_radial_features_means_nothing_beside_them(setting, value):
    said = f"^control.{setting} means nothing for problem.features own_control:bumps, got {value}$"
    with pytest.raises(ConfigError, match=said):
        domain_of(config("own_control:bumps", **{setting: value}))


def test_their_code_is_part_of_the_runs_identity(module):
    before = identify(OWN).inputs
    assert set(before) == {"problem.features", "evaluation.metrics"}
    module.write_text(MODULE + "\n# changed\n")
    try:
        after = identify(OWN).inputs
        assert all(after[name] != before[name] for name in before)
    finally:
        module.write_text(MODULE)


def test_memory_is_that_of_as_many_features(module):
    as_many = domain_of(config(features=6))
    assert domain_of(OWN).room() == as_many.room()


def test_of_recorded_demonstrations_the_return_alone_is_known():
    how = Judging(0.8, 2, ("expert",), METRICS[:1], 0, 0)
    none, given = np.full((2, 1, 6), np.nan), {"shown.returns": np.array([3.0, 4.0])}
    found = judge_by_planner(
        TaskSpec.of(OWN), 0.0, Learner.of(OWN), how, given, 0, none, np.zeros((2, 1))
    )
    np.testing.assert_array_equal(found["expert"], [3.5, np.nan])
