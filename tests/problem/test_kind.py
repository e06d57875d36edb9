import pytest

from fedirl_ray.errors import ConfigError
from fedirl_ray.problem.control.paper import TASKS
from fedirl_ray.problem.kind import CONTROL, TABULAR, kind_of

OWN = """
def world(role, index, rng): ...
def task(i): ...
def physics(i=0): ...
def any(*arguments): ...
def nothing(): ...
def four(a, b, c, d): ...
"""
KNOWN = (
    "GridWorld, SitesWorld, FrozenLake-v1, CliffWalking-v1, Taxi-v4, Pendulum-v1, CartPole-v1, "
    "Acrobot-v1, LunarLanderContinuous-v3 or module:function"
)


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "kinds_of_ones_own.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)


def test_every_name_of_the_package_has_a_kind():
    assert {name: kind_of(name) for name in TABULAR} == dict.fromkeys(TABULAR, "tabular")
    assert {name: kind_of(name) for name in TASKS} == dict.fromkeys(CONTROL, "control")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("world", "tabular"), ("task", "control"), ("physics", "control"), ("any", "tabular")],
)
def test_what_a_users_function_is_called_with_tells_its_kind(own, name, kind):
    assert kind_of(f"kinds_of_ones_own:{name}") == kind


@pytest.mark.parametrize("name", ["nothing", "four"])
def test_a_users_function_of_neither_kind_is_refused(own, name):
    with pytest.raises(ConfigError) as error:
        kind_of(f"kinds_of_ones_own:{name}")
    law = "problem.name must be called with (role, index, rng) or (i), got"
    assert str(error.value).startswith(f"{law} 'kinds_of_ones_own:{name}'(")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Taxi-v3", "problem.name Taxi-v3 is out of date, use Taxi-v4"),
        ("FrozenLake-v0", "problem.name FrozenLake-v0 is out of date, use FrozenLake-v1"),
        ("Pendulum-v0", "problem.name Pendulum-v0 is out of date, use Pendulum-v1"),
        ("gridworld", f"problem.name must be {KNOWN}, got 'gridworld'; perhaps GridWorld"),
        (
            "fedirl_ray/GridWorld-v0",
            f"problem.name must be {KNOWN}, got 'fedirl_ray/GridWorld-v0'; perhaps GridWorld",
        ),
        (
            "CliffWalkingSlippery-v1",
            f"problem.name must be {KNOWN}, got 'CliffWalkingSlippery-v1'; perhaps CliffWalking-v1",
        ),
        (
            "FrozenLake8x8-v1",
            f"problem.name must be {KNOWN}, got 'FrozenLake8x8-v1'; perhaps FrozenLake-v1",
        ),
        ("CartPol-v1", f"problem.name must be {KNOWN}, got 'CartPol-v1'; perhaps CartPole-v1"),
        ("", f"problem.name must be {KNOWN}, got ''"),
    ],
)
def test_an_unknown_name_is_refused_with_what_is_allowed(name, said):
    with pytest.raises(ConfigError) as error:
        kind_of(name)
    assert str(error.value) == said
