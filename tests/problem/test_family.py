import gymnasium
import numpy as np
import pytest

from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.errors import ConfigError
from fedirl_ray.problem.family import draw_world, horizon
from fedirl_ray.problem.kind import TABULAR

OWN = """
import gymnasium
import numpy as np
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.problem.family import draw_world

def world(role, index, rng):
    return draw_world(ProblemConfig(size=4), int(rng.integers(1000)), 0, role, index)

def lake(role, index, rng):
    return gymnasium.make("FrozenLake-v1", is_slippery=False)

def cliff(role, index, rng):
    return gymnasium.make("CliffWalking-v1")

def cart(role, index, rng):
    return gymnasium.make("CartPole-v1")

def number(role, index, rng):
    return 7

def nothing():
    return None

constant = 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "ownworlds.py").write_text(OWN)
    (tmp_path / "brokenworlds.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)


def draw(name, role="client", index=0, seed=0):
    return draw_world(ProblemConfig(name=name), 0, seed, role, index)


@pytest.mark.parametrize("name", TABULAR)
def test_a_world_depends_on_its_name_alone_and_not_on_what_was_drawn_before(name):
    forward = [draw(name, index=i) for i in range(3)]
    backward = [draw(name, index=i) for i in reversed(range(3))][::-1]
    for one, other in zip(forward, backward, strict=True):
        assert one.successors.tobytes() == other.successors.tobytes()
        assert one.probabilities.tobytes() == other.probabilities.tobytes()


@pytest.mark.parametrize("name", TABULAR)
def test_clients_held_out_worlds_and_seeds_differ(name):
    worlds = [draw(name), draw(name, index=1), draw(name, role="held-out"), draw(name, seed=1)]
    assert len({world.probabilities.tobytes() for world in worlds}) == 4


@pytest.mark.parametrize("name", TABULAR)
def test_the_probe_never_slips(name):
    assert set(np.unique(draw(name, role="probe").probabilities)) <= {0.0, 1.0}


@pytest.mark.parametrize(
    ("name", "steps"),
    [("GridWorld", 42), ("SitesWorld", 21), ("FrozenLake-v1", 42), ("CliffWalking-v1", 100),
     ("Taxi-v4", 200), ("mine:world", 200)],
)  # fmt: skip
def test_each_family_has_a_horizon_and_the_users_comes_first(name, steps):
    assert horizon(ProblemConfig(name=name, size=7)) == steps
    assert horizon(ProblemConfig(name=name, size=7, horizon=9)) == 9


@pytest.mark.parametrize("name", ["Taxi-v3", "Pendulum-v1", ""])
def test_what_is_no_family_of_tables_is_refused(name):
    for ask in (lambda: draw(name), lambda: horizon(ProblemConfig(name=name))):
        with pytest.raises(ConfigError) as error:
            ask()
        assert str(error.value) == f"problem.name must be a family of tables, got {name!r}"


def test_a_users_function_may_return_a_world(own):
    assert draw("ownworlds:world").shape == (16, 4, 2, 1)
    one, same, other = (draw("ownworlds:world", index=i) for i in (0, 0, 1))
    assert one.probabilities.tobytes() == same.probabilities.tobytes()
    assert one.probabilities.tobytes() != other.probabilities.tobytes()


def test_a_users_function_may_return_an_environment_with_a_table(own):
    world = draw("ownworlds:lake")
    np.testing.assert_array_equal(world.features[:, 0], np.eye(16))
    np.testing.assert_array_equal(world.axes[0], 1.0 - np.eye(16))
    assert np.flatnonzero(world.goal).tolist() == [15]
    table = gymnasium.make("FrozenLake-v1", is_slippery=False).unwrapped.P
    assert all(world.successors[0, a, 0] == table[0][a][0][1] for a in range(4))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nomodule:f", r"got 'nomodule:f' \(ModuleNotFoundError: No module named 'nomodule'\)"),
        (
            "brokenworlds:f",
            r"got 'brokenworlds:f' \(ZeroDivisionError: division by zero, at .*worlds.py:1\)$",
        ),
        ("ownworlds:nosuch", r"\(no such function in ownworlds\)"),
        ("ownworlds:constant", r"\(no such function in ownworlds\)"),
        ("ownworlds:nothing", r"called with \(role, index, rng\)"),
        ("ownworlds:number", "must return a TabularMDP or a Gymnasium environment, got int"),
        ("ownworlds:cart", "must have unwrapped.P .* or return a TabularMDP"),
        ("ownworlds:cliff", "must end some episode with a positive reward"),
        (":f", "module:function that can be imported"),
    ],
)
def test_a_users_function_that_cannot_serve_is_refused_in_one_line(own, name, message):
    with pytest.raises(ConfigError, match=message) as error:
        draw(name)
    assert "\n" not in str(error.value)
