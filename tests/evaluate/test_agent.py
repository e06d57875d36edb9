import numpy as np
import pytest

from fedirl_ray.evaluate.agent import LatticeAgent
from fedirl_ray.problem.control.arena import play
from fedirl_ray.problem.control.model import model_from_physics
from fedirl_ray.problem.control.paper import ACROBOT, CARTPOLE, PENDULUM
from fedirl_ray.problem.control.physics import CartPole, Step
from fedirl_ray.problem.control.planning import LatticePlan, plan
from fedirl_ray.seeds import stream

GAMMA = 0.99


def returns_of(task, *, ahead, client=1.0):
    """Returns of a plan for the true reward."""
    physics = task.physics(client)
    model = model_from_physics(task, physics, task.state, task.action, stream(0, "lattice"))
    found = plan(model, model.reward, discount=GAMMA, temperature=0.0)

    def reward(places, actions):
        return physics.step(places, actions).reward

    agent = LatticeAgent(
        task, model, found, reward if ahead else None, physics if ahead else None, GAMMA
    )
    return play(task, [client] * 40, agent, stream(1, "play")).returns


@pytest.mark.parametrize(
    ("task", "least"), [(PENDULUM, -250.0), (CARTPOLE, 300.0), (ACROBOT, -200.0)],
    ids=lambda x: getattr(x, "name", ""),
)  # fmt: skip
def test_looking_one_step_ahead_a_coarse_plan_solves_the_task(task, least):
    chance = np.random.default_rng(0)
    random = play(
        task,
        [1.0] * 40,
        lambda seen: task.action.points[chance.integers(task.action.size, size=len(seen))],
        stream(1, "play"),
    ).returns
    found = returns_of(task, ahead=True)
    assert found.mean() > least
    assert found.mean() > random.mean() + 5.0 * random.std() / np.sqrt(40)


def test_without_physics_the_plan_alone_acts():
    found = returns_of(PENDULUM, ahead=False)
    assert found.mean() > -500.0  # chance: about -1200


class Cliff(CartPole):
    """Steering left ends the episode; nothing moves."""

    def step(self, states, actions):
        return Step(states, np.zeros(len(states)), actions[:, 0] < 0.0)


@pytest.mark.parametrize(("worth", "choice"), [(1.0, 1.0), (-1.0, -1.0)])
def test_nothing_is_expected_after_an_episodes_end(worth, choice):
    model = model_from_physics(CARTPOLE, Cliff(), CARTPOLE.state, CARTPOLE.action, stream(2))
    value = np.full(model.state.size, worth)
    even = np.zeros_like(model.reward)
    agent = LatticeAgent(
        CARTPOLE, model, LatticePlan(value, even, even + 0.5), lambda places, _: 0.0 * places[:, 0],
        Cliff(), GAMMA,
    )  # fmt: skip
    seen = np.random.default_rng(1).uniform(-0.1, 0.1, size=(6, 4))
    assert (agent(seen) == choice).all()
