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
        task, model, found, reward if ahead else None, physics if ahead else None, GAMMA, stream(3)
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
        Cliff(), GAMMA, stream(3),
    )  # fmt: skip
    seen = np.random.default_rng(1).uniform(-0.1, 0.1, size=(6, 4))
    assert (agent(seen) == choice).all()


def acts(task, constant, *, ahead=True, scale=1.0, lattice=None):
    """Actions and returns of an agent for a reward that is the same everywhere."""
    physics = task.physics(0.0)
    state = lattice or task.state
    model = model_from_physics(task, physics, state, task.action, stream(0, "lattice"))
    table = np.full(model.reward.shape, constant)
    found = plan(model, table, discount=GAMMA, temperature=0.0)

    def reward(places, _):
        return np.full(len(places), constant)

    given = (reward, physics) if ahead else (None, None)
    agent = LatticeAgent(task, model, found, *given, GAMMA, stream(7, "ties"))
    played = play(task, [0.0] * 8, agent, stream(1, "play"), steps=40)
    return played.actions, played.returns


@pytest.mark.parametrize("ahead", [True, False])
def test_all_constant_rewards_are_the_same_coin(ahead):
    actions, returns = acts(PENDULUM, 1.0, ahead=ahead)
    for constant in (3.0, -1.0, 1.1, 0.0, 1e-9, -7e12):
        again, others = acts(PENDULUM, constant, ahead=ahead)
        np.testing.assert_array_equal(again, actions)
        np.testing.assert_array_equal(others, returns)


def test_actions_that_tie_are_taken_equally_often():
    actions, _ = acts(PENDULUM, 1.0)
    values, often = np.unique(actions, return_counts=True)
    np.testing.assert_array_equal(values, PENDULUM.action.points[:, 0])
    share = 1.0 / len(values)
    spread = np.sqrt(share * (1.0 - share) / actions.size)
    assert (np.abs(often / actions.size - share) < 4.0 * spread).all()


class Gap(CartPole):
    """Nothing moves, nothing ends."""

    def step(self, states, actions):
        return Step(states, np.zeros(len(states)), np.zeros(len(states), dtype=bool))


@pytest.mark.parametrize(("worth", "gap"), [(1.0, 1e-7), (1e8, 1.0), (1e-8, 1e-15)])
def test_a_tie_is_a_share_of_the_values_at_hand(worth, gap):
    model = model_from_physics(CARTPOLE, Gap(), CARTPOLE.state, CARTPOLE.action, stream(2))
    even = np.zeros_like(model.reward)
    found = LatticePlan(np.full(model.state.size, worth), even, even + 0.5)
    seen = np.random.default_rng(1).uniform(-0.1, 0.1, size=(200, 4))

    def acting(better):
        def reward(places, actions):
            return np.where(actions[:, 0] > 0.0, better, 0.0) + 0.0 * places[:, 0]

        agent = LatticeAgent(CARTPOLE, model, found, reward, Gap(), GAMMA, stream(4))
        return agent(seen)[:, 0]

    assert (acting(gap) > 0.0).all()
    assert 60 < (acting(1e-5 * gap) > 0.0).sum() < 140
