"""The paper's four control tasks with its appendix A's physics for client `i`.

Choices where the appendix is silent: a pendulum's friction is scaled from .1 a second (Gymnasium's
has none to scale); Acrobot's torque grows with mass times length, as the weight to lift does; an
action is a share of what the client can do, so that all clients share its axis.
"""

import math
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.classic_control.acrobot import AcrobotEnv
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.envs.classic_control.pendulum import PendulumEnv

from fedirl_ray.errors import ConfigError
from fedirl_ray.problem.control.physics import Acrobot, CartPole, Pendulum
from fedirl_ray.problem.control.task import Task, axes, choices
from fedirl_ray.problem.mdp import Floats

FRICTION = 0.1
TURN = math.pi


class DampedPendulumEnv(PendulumEnv):
    """Gymnasium's pendulum with friction, which it has no attribute for."""

    damping: float = 0.0

    def step(self, u: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Brake during the step by what the damping takes off the velocity at its start."""
        assert self.state is not None
        # Friction enters the equation of motion beside the torque, so an equal torque stands in.
        angle, speed = self.state
        torque = float(np.clip(u, -self.max_torque, self.max_torque)[0])
        push = 1.5 * self.g / self.l * np.sin(angle) + 3.0 * torque / (self.m * self.l**2)
        _, reward, terminated, truncated, info = super().step(np.array([torque]))  # type: ignore[no-untyped-call]
        speed = speed + (push - self.damping * speed) * self.dt
        speed = np.clip(speed, -self.max_speed, self.max_speed)
        self.state = np.array([angle + speed * self.dt, speed])
        return self._get_obs(), float(reward), terminated, truncated, info  # type: ignore[no-untyped-call]


def pendulum(i: float) -> Pendulum:
    """Client i's pendulum."""
    return Pendulum(
        gravity=9.81 + 0.2 * i,
        max_torque=2.0 * (1.0 + 0.1 * i),
        damping=FRICTION * (1.0 + 0.05 * i),
    )


def pendulum_environment(i: float) -> gymnasium.Env[Any, Any]:
    """The same in Gymnasium; its action space is rebuilt, or every agent stays limited to 2."""
    physics: Any = pendulum(i)  # one client's: plain numbers
    env = DampedPendulumEnv()
    env.g, env.max_torque, env.damping = physics.gravity, physics.max_torque, physics.damping
    most = np.float32(env.max_torque)
    env.action_space = gymnasium.spaces.Box(-most, most, shape=(1,), dtype=np.float32)
    return env


def cartpole(i: float) -> CartPole:
    """Client i's cart and pole."""
    mass = 1.0 + 0.05 * i
    return CartPole(
        gravity=9.8 * (1.0 + 0.005 * i),
        force=10.0 * (1.0 + 0.1 * i),
        cart=mass,
        pole=0.1 * mass,
        half_length=0.5 * (1.0 + 0.05 * i),
    )


def cartpole_environment(i: float) -> gymnasium.Env[Any, Any]:
    """The same in Gymnasium, which does not derive total mass and moment anew by itself."""
    physics: Any = cartpole(i)  # one client's: plain numbers
    env = CartPoleEnv()
    env.gravity, env.force_mag = physics.gravity, physics.force
    env.masscart, env.masspole, env.length = physics.cart, physics.pole, physics.half_length
    env.total_mass = env.masscart + env.masspole
    env.polemass_length = env.masspole * env.length
    return env


def acrobot(i: float) -> Acrobot:
    """Client i's two links."""
    grown = 1.0 + 0.05 * i
    return Acrobot(mass=grown, length=grown, torque=grown * grown)


def acrobot_environment(i: float) -> gymnasium.Env[Any, Any]:
    """The same in Gymnasium; centres of mass move with the lengths."""
    physics: Any = acrobot(i)  # one client's: plain numbers
    env = AcrobotEnv()
    env.LINK_MASS_1 = env.LINK_MASS_2 = physics.mass
    env.LINK_LENGTH_1 = env.LINK_LENGTH_2 = physics.length
    env.LINK_COM_POS_1 = env.LINK_COM_POS_2 = 0.5 * physics.length
    env.AVAIL_TORQUE = [-physics.torque, 0.0, physics.torque]
    return env


def lander_environment(i: float) -> gymnasium.Env[Any, Any]:
    """Client i's lander in its wind.

    Raises:
        ConfigError: Box2D is not installed.
    """
    try:
        from gymnasium.envs.box2d.lunar_lander import LunarLander
    except gymnasium.error.DependencyNotInstalled as err:
        raise ConfigError(
            "LunarLanderContinuous-v3 needs Box2D: pip install 'fedirl-ray[control]'"
        ) from err
    return LunarLander(
        continuous=True, enable_wind=True, wind_power=10.0 + i, turbulence_power=1.0 + 0.2 * i
    )


def _angle_first(observations: Floats) -> Floats:
    cosine, sine, speed = observations.T
    return np.stack([np.arctan2(sine, cosine), speed], axis=1)


def _two_angles(observations: Floats) -> Floats:
    one, other = (np.arctan2(observations[:, k + 1], observations[:, k]) for k in (0, 2))
    return np.stack([one, other, observations[:, 4], observations[:, 5]], axis=1)


def _flight(observations: Floats) -> Floats:
    """Position, velocity, angle and turn of a lander, without its legs."""
    return observations[:, :6]


PENDULUM = Task(
    name="Pendulum-v1",
    environment=pendulum_environment,
    physics=pendulum,
    locate=_angle_first,
    state=axes(("angle", -TURN, TURN, 32, True), ("speed", -8.0, 8.0, 21)),
    action=axes(("torque", -1.0, 1.0, 5)),
    discrete=False,
    noise=0.005,
    steps=200,
    demonstrated=200,
    expert_return=-250.0,
    reference="trained agents of stable-baselines3's zoo: -150 to -230 on client 0's task",
    positions=(0,),
)
CARTPOLE = Task(
    name="CartPole-v1",
    environment=cartpole_environment,
    physics=cartpole,
    locate=np.asarray,
    state=axes(
        ("x", -CartPole.POSITION_LIMIT, CartPole.POSITION_LIMIT, 5),
        ("speed", -3.0, 3.0, 5),
        ("angle", -CartPole.ANGLE_LIMIT, CartPole.ANGLE_LIMIT, 7),
        ("turn", -3.5, 3.5, 5),
    ),
    action=choices("force", 2),
    discrete=True,
    noise=0.005,
    steps=500,
    demonstrated=500,
    expert_return=475.0,
    reference="Gymnasium's reward threshold: 475",
    positions=(0, 2),
)
ACROBOT = Task(
    name="Acrobot-v1",
    environment=acrobot_environment,
    physics=acrobot,
    locate=_two_angles,
    state=axes(
        ("one", -TURN, TURN, 9, True),
        ("two", -TURN, TURN, 9, True),
        ("speed one", -Acrobot.MAX_SPEEDS[0], Acrobot.MAX_SPEEDS[0], 5),
        ("speed two", -Acrobot.MAX_SPEEDS[1], Acrobot.MAX_SPEEDS[1], 5),
    ),
    action=choices("torque", 3),
    discrete=True,
    noise=0.005,
    steps=500,
    demonstrated=500,
    expert_return=-110.0,
    reference="Gymnasium's reward threshold: -100",
    positions=(0, 1),
)
LANDER = Task(
    name="LunarLanderContinuous-v3",
    environment=lander_environment,
    physics=None,
    locate=_flight,
    # Limits from recorded landings, of which fewer than two steps in a hundred lie beyond. Tumbling
    # falls do, and are moved to the limit: what counts is that they are lost.
    state=axes(
        ("x", -1.0, 1.0, 5),
        ("y", -0.1, 1.6, 6),
        ("vx", -1.2, 1.2, 5),
        ("vy", -1.2, 0.4, 5),
        ("angle", -0.6, 0.6, 5),
        ("turn", -1.0, 1.0, 3),
    ),
    # main: off, off, full (off up to 0, from 50 % thrust beyond); side: full left, off, full right
    # (off within .5). With -1 and 1 alone, an engine at 0 would count as half on.
    action=axes(("main", -1.0, 1.0, 3), ("side", -1.0, 1.0, 3)),
    discrete=False,
    noise=0.0,
    steps=1000,
    demonstrated=1000,
    expert_return=150.0,
    reference="Gymnasium's reward threshold: 200, without wind",
    positions=(0, 1, 4),
)

TASKS = {task.name: task for task in (PENDULUM, CARTPOLE, ACROBOT, LANDER)}
"""The paper's tasks by the names of their environments."""
