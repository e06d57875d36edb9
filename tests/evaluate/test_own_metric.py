import sys

import numpy as np
import pytest
from worlds import dense, random_world

from fedirl_ray.config import EvaluationConfig, RunConfig
from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.engine.driver import federate
from fedirl_ray.engine.identity import identify
from fedirl_ray.engine.local import Clients
from fedirl_ray.engine.result import long_table
from fedirl_ray.errors import ConfigError, UserCodeError
from fedirl_ray.problem.mdp import Stack
from fedirl_ray.problem.planning import roll_out
from fedirl_ray.study.objective import Objective

MODULE = """
import numpy as np

def steps(world, visits):
    return visits.sum()

def on_goal(world, visits):
    return visits[world.goal].sum()

def reward(world, visits):
    return float((visits * world.reward).sum())

def spoils(world, visits):
    total = float(visits.sum())
    visits[:] = np.nan
    return total

def spoils_the_world(world, visits):
    world.reward[:] = 0.0
    return 0.0

def words(world, visits): return "abc"
def array(world, visits): return visits
def nan(world, visits): return float("nan")
def raises(world, visits): return 1 // 0
def one(world): return 0.0
"""
RULES = ("local", "mean", "expert", "ceiling")


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A user's module `own_metric`; returns its path."""
    path = tmp_path / "own_metric.py"
    path.write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield path
    sys.modules.pop("own_metric", None)


def config(*functions, **problem):
    names = tuple(f"own_metric:{function}" for function in functions)
    return RunConfig(
        clients=2,
        seeds=1,
        problem=ProblemConfig(size=3, demonstrations=5, expert_discount=1.0, **problem),
        fusion=FusionConfig(rules=RULES),
        evaluation=EvaluationConfig(held_out=2, discounts=(), metrics=names),
    )


def results(run):
    return [found for _, found in federate(run, Clients(run, range(run.clients)))]


def test_visits_are_what_powers_of_the_transition_matrix_say():
    worlds = [random_world(seed) for seed in (0, 1)]
    rng = np.random.default_rng(2)
    policy = rng.dirichlet(np.ones(3), (5, 2, 12)).transpose(0, 3, 2, 1)  # [h, a, k s, c]
    seen = []

    def keep(world, visits):
        seen.append((world, visits))
        return 0.0

    found = roll_out(Stack(worlds), policy, horizon=5, discount=0.9, metrics=[keep])
    assert found.others.shape == (2, 2, 1)
    for (world, visits), (i, c) in zip(seen, np.ndindex(2, 2), strict=True):
        assert np.shares_memory(world.reward, worlds[i].reward)
        wanted, mass = np.zeros((6, 3)), world.initial
        for t in range(5):
            flow = mass[:, None] * policy[t, :, 6 * i : 6 * i + 6, c].T
            wanted += flow
            mass = np.einsum("sa,sat->t", flow, dense(world))
        np.testing.assert_allclose(visits, wanted, atol=1e-14)
        assert visits.sum() == pytest.approx(5.0)


def test_a_metric_is_a_channel_of_every_policy_beside_the_others(module):
    run = config("steps", "reward")
    domain, found = domain_of(run), results(run)
    rows = [row for row in long_table(found, domain) if row.metric.startswith("own_metric:")]
    assert {row.judge for row in rows} == {"greedy-0.95", "soft", "soft-matched"}
    assert {row.rule for row in rows} == set(RULES)
    assert {round(row.value, 9) for row in rows if row.metric.endswith("steps")} == {18.0}
    # Without a discount the true reward of all visits is the return.
    by = {row[2:-1]: row.value for row in long_table(found, domain) if row.split}
    for (split, rule, judge, metric, step), value in by.items():
        if metric == "own_metric:reward":
            assert value == pytest.approx(by[split, rule, judge, "return", step], abs=1e-9)


def test_a_metric_changes_nothing_else_and_cannot(module):
    plain, spoilt = results(config())[0], results(config("spoils", "steps"))[0]
    np.testing.assert_array_equal(plain.theta, spoilt.theta)
    count = plain.client_scores.shape[2]
    np.testing.assert_array_equal(plain.client_scores, spoilt.client_scores[..., :count])
    np.testing.assert_allclose(spoilt.client_scores[..., count:], 18.0)


def test_a_sweep_may_seek_it(module):
    run = config("on_goal")
    domain = domain_of(run)
    objective = Objective.parse("own_metric:on_goal/held-out/mean", domain, RULES)
    found = results(run)
    x = [channel.metric for channel in domain.channels].index("own_metric:on_goal")
    assert objective.read(found, domain) == found[0].held_out_scores[:, 1, x].mean()


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("words", "must return a finite number, got a str"),
        ("array", "must return a finite number, got a ndarray"),
        ("nan", "must return a finite number, got nan"),
        ("one", r"called with \(world, visits\), got 'own_metric:one'"),
        ("nosuch", "no such function in own_metric"),
    ],
)
def test_what_is_no_metric_is_refused_before_a_run(module, function, said):
    with pytest.raises(ConfigError, match=rf"^evaluation.metrics .*{said}"):
        domain_of(config(function)).check()


def test_what_it_raises_is_told_with_the_users_line(module):
    with pytest.raises(UserCodeError, match="assignment destination is read-only"):
        domain_of(config("spoils_the_world")).check()
    with pytest.raises(UserCodeError) as raised:
        domain_of(config("raises")).check()
    number = 1 + MODULE.splitlines().index("def raises(world, visits): return 1 // 0")
    assert str(raised.value) == (
        "evaluation.metrics own_metric:raises failed: ZeroDivisionError: integer division or "
        f"modulo by zero, at {module}:{number}"
    )


@pytest.mark.parametrize(
    ("names", "law"), [(("steps",), "module:function"), (("a:b", "a:b"), "named once each")]
)
def test_a_name_is_a_function_and_said_once(names, law):
    with pytest.raises(ConfigError, match=f"^evaluation.metrics must be {law}, got"):
        EvaluationConfig(metrics=names)


def test_the_modules_content_is_part_of_the_runs_identity(module):
    run = config("steps")
    before = identify(run).inputs["evaluation.metrics"]
    module.write_text(module.read_text() + "\n# changed\n")
    assert identify(run).inputs["evaluation.metrics"] != before
