import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from fedirl_ray.problem.control.arena import stack_physics
from fedirl_ray.problem.control.paper import ACROBOT, CARTPOLE, PENDULUM, DampedPendulumEnv
from fedirl_ray.problem.control.physics import Pendulum

CLASSIC = (PENDULUM, CARTPOLE, ACROBOT)


def named(task):
    return task.name


def command(task, env, share):
    """A share of the most the client can do, as Gymnasium takes it."""
    if task.discrete:
        return int(np.abs(task.action.points[:, 0] - share).argmin())
    return np.array([share * env.max_torque], dtype=np.float64)


@pytest.mark.parametrize("i", [0.0, 2.5, 5.0])
@pytest.mark.parametrize("task", CLASSIC, ids=named)
def test_every_step_is_gymnasiums(task, i):
    env, physics, rng = task.environment(i), task.physics(i), np.random.default_rng(3)
    env.reset(seed=1)
    for _ in range(300):
        before = np.array(env.state, dtype=np.float64)
        share = task.action.points[rng.integers(task.action.size), 0]
        step = physics.step(before[None], np.array([[share]]))
        seen, reward, terminated, _, _ = env.step(command(task, env, share))
        assert step.states[0] == pytest.approx(np.array(env.state), abs=1e-6)
        assert physics.observe(step.states)[0] == pytest.approx(seen, abs=1e-6)
        assert step.reward[0] == pytest.approx(reward, abs=1e-6)
        assert step.terminated[0] == terminated
        if terminated:
            env.reset()


@given(
    angle=st.floats(-3.0, 3.0),
    speed=st.floats(-8.0, 8.0),
    share=st.floats(-1.0, 1.0),
    i=st.floats(0.0, 7.0),
)
def test_a_pendulum_steps_as_gymnasiums_from_anywhere(angle, speed, share, i):
    env = PENDULUM.environment(i)
    env.reset(seed=0)
    env.state = np.array([angle, speed])
    _, reward, *_ = env.step(np.array([share * env.max_torque]))
    step = PENDULUM.physics(i).step(np.array([[angle, speed]]), np.array([[share]]))
    assert step.states[0] == pytest.approx(env.state, abs=1e-9)
    assert step.reward[0] == pytest.approx(reward, abs=1e-9)


@given(
    share=st.lists(st.floats(-1.0, 1.0), min_size=4, max_size=4),
    action=st.integers(0, 1),
    i=st.floats(0.0, 7.0),
)
def test_a_cart_steps_as_gymnasiums_from_anywhere(share, action, i):
    env = CARTPOLE.environment(i)
    env.reset(seed=0)
    env.state = np.array(share) * [2.4, 3.0, 0.2, 3.5]
    before = np.array(env.state)
    _, reward, terminated, _, _ = env.step(action)
    step = CARTPOLE.physics(i).step(before[None], CARTPOLE.action.points[[action]])
    assert step.states[0] == pytest.approx(np.array(env.state), abs=1e-9)
    assert (step.reward[0], step.terminated[0]) == (reward, terminated)


@given(
    share=st.lists(st.floats(-1.0, 1.0), min_size=4, max_size=4),
    action=st.integers(0, 2),
    i=st.floats(0.0, 7.0),
)
def test_an_acrobot_steps_as_gymnasiums_from_anywhere(share, action, i):
    env = ACROBOT.environment(i)
    env.reset(seed=0)
    env.state = np.array(share) * [math.pi, math.pi, 4.0 * math.pi, 9.0 * math.pi]
    before = np.array(env.state)
    _, reward, terminated, _, _ = env.step(action)
    step = ACROBOT.physics(i).step(before[None], ACROBOT.action.points[[action]])
    # At these speeds a link turns several times in a step, and rounding may pick either end.
    apart = ACROBOT.state.shortest(step.states[0] - env.state)
    assert apart == pytest.approx(np.zeros(4), abs=1e-6)
    assert (step.reward[0], step.terminated[0]) == (reward, terminated)


def test_without_friction_the_damped_pendulum_is_gymnasiums_own():
    from gymnasium.envs.classic_control.pendulum import PendulumEnv

    ours, theirs = DampedPendulumEnv(), PendulumEnv()
    ours.reset(seed=4)
    theirs.reset(seed=4)
    for push in np.linspace(-2.0, 2.0, 50):
        one = ours.step(np.array([push]))
        other = theirs.step(np.array([push]))
        assert one[0] == pytest.approx(other[0])
        assert one[1] == pytest.approx(other[1])


def test_friction_slows_a_pendulum_as_its_equation_of_motion_says(monkeypatch):
    monkeypatch.setattr(Pendulum, "DT", 1e-3)  # so that steps are the equation's own
    damping, speed, share = 0.5, 1.0, 0.3
    physics = Pendulum(gravity=9.81, max_torque=3.0, damping=damping)
    state = np.array([[2.0, speed]])
    for _ in range(1000):
        state = physics.step(state, np.array([[share]])).states

    def motion(_, y):  # unit mass and length
        return [y[1], 1.5 * 9.81 * math.sin(y[0]) + 3.0 * share * 3.0 - damping * y[1]]

    exact = solve_ivp(motion, (0.0, 1.0), [2.0, speed], rtol=1e-9, atol=1e-12).y[:, -1]
    assert state[0] == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize("task", CLASSIC, ids=named)
def test_rows_of_several_clients_step_as_each_alone(task):
    clients, rng = [0.0, 2.5, 5.0, 7.0], np.random.default_rng(5)
    states = task.physics(0.0).reset(4, rng)
    shares = task.action.points[rng.integers(task.action.size, size=4)]
    together = stack_physics(task.physics, clients).step(states, shares)
    for row, i in enumerate(clients):
        alone = task.physics(i).step(states[row : row + 1], shares[row : row + 1])
        assert together.states[row] == pytest.approx(alone.states[0], abs=1e-12)
        assert together.reward[row] == pytest.approx(alone.reward[0])


@pytest.mark.parametrize("task", CLASSIC, ids=named)
def test_what_is_located_is_the_state_up_to_whole_turns(task):
    physics = task.physics(1.0)
    states = physics.reset(50, np.random.default_rng(6))
    apart = task.state.shortest(task.locate(physics.observe(states)) - states)
    assert np.abs(apart).max() < 1e-6
