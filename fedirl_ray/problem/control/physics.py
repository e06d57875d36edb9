"""The classic control tasks as pure functions of many states at once.

Each class holds one client's physics, or one value a row where rows belong to different clients.
Formulas and time limits are those of Gymnasium's environments, to which tests hold every step.

Letters: `n` rows, `p` numbers in a state, `q` in an action, `o` in an observation.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from fedirl_ray.problem.mdp import Bools, Floats

Parameter = float | Floats
"""One number for all rows, or one a row `[n]`."""


class Step(NamedTuple):
    """What a step of every row leads to."""

    states: Floats
    """`[n, p]`."""
    reward: Floats
    """The task's own reward, `[n]`."""
    terminated: Bools
    """Whether the episode has ended, `[n]`."""


class Physics(Protocol):
    """A client's dynamics."""

    def reset(self, count: int, rng: np.random.Generator) -> Floats:
        """First states, `[count, p]`."""
        ...

    def step(self, states: Floats, actions: Floats) -> Step:
        """Advance every row.

        Args:
            states: `[n, p]`.
            actions: `[n, q]` in [-1, 1], shares of the most the client can do.
        """
        ...

    def observe(self, states: Floats) -> Floats:
        """What is seen of states, without noise, `[n, o]`."""
        ...


@dataclass(frozen=True)
class Pendulum:
    """Pendulum-v1 with friction. State: angle (0 upright), angular velocity."""

    gravity: Parameter = 10.0
    max_torque: Parameter = 2.0
    damping: Parameter = 0.0
    """Share of the angular velocity lost a second; Gymnasium's own pendulum has none."""

    MAX_SPEED = 8.0
    DT = 0.05

    def reset(self, count: int, rng: np.random.Generator) -> Floats:
        """Any angle, angular velocity in [-1, 1]."""
        return rng.uniform([-math.pi, -1.0], [math.pi, 1.0], size=(count, 2))

    def step(self, states: Floats, actions: Floats) -> Step:
        """Advance by 50 ms; a pendulum's episode never ends."""
        angle, speed = states.T
        torque = np.clip(actions[:, 0], -1.0, 1.0) * self.max_torque
        upright = wrap(angle)
        reward = -(upright**2 + 0.1 * speed**2 + 0.001 * torque**2)
        push = 1.5 * self.gravity * np.sin(angle) + 3.0 * torque - self.damping * speed
        speed = np.clip(speed + push * self.DT, -self.MAX_SPEED, self.MAX_SPEED)
        states = np.stack([angle + speed * self.DT, speed], axis=1)
        return Step(states, reward, np.zeros(len(states), dtype=bool))

    def observe(self, states: Floats) -> Floats:
        """Cosine and sine of the angle, angular velocity."""
        angle, speed = states.T
        return np.stack([np.cos(angle), np.sin(angle), speed], axis=1)


@dataclass(frozen=True)
class CartPole:
    """CartPole-v1. State: position, velocity, angle, angular velocity."""

    gravity: Parameter = 9.8
    force: Parameter = 10.0
    cart: Parameter = 1.0
    """Mass of the cart."""
    pole: Parameter = 0.1
    """Mass of the pole."""
    half_length: Parameter = 0.5

    DT = 0.02
    POSITION_LIMIT = 2.4
    ANGLE_LIMIT = 12.0 * 2.0 * math.pi / 360.0

    def reset(self, count: int, rng: np.random.Generator) -> Floats:
        """All four near zero."""
        return rng.uniform(-0.05, 0.05, size=(count, 4))

    def step(self, states: Floats, actions: Floats) -> Step:
        """Advance by 20 ms; the episode ends once cart or pole is out of bounds."""
        x, speed, angle, turn = states.T
        force = np.where(actions[:, 0] > 0.0, 1.0, -1.0) * self.force
        total = self.cart + self.pole
        moment = self.pole * self.half_length
        cosine, sine = np.cos(angle), np.sin(angle)
        push = (force + moment * turn**2 * sine) / total
        swing = (self.gravity * sine - cosine * push) / (
            self.half_length * (4.0 / 3.0 - self.pole * cosine**2 / total)
        )
        move = push - moment * swing * cosine / total
        x, speed = x + self.DT * speed, speed + self.DT * move
        angle, turn = angle + self.DT * turn, turn + self.DT * swing
        lost = (np.abs(x) > self.POSITION_LIMIT) | (np.abs(angle) > self.ANGLE_LIMIT)
        return Step(np.stack([x, speed, angle, turn], axis=1), np.ones(len(x)), lost)

    def observe(self, states: Floats) -> Floats:
        """The state itself."""
        return states


@dataclass(frozen=True)
class Acrobot:
    """Acrobot-v1. State: angle of the first link (0 hanging), of the second, their velocities."""

    mass: Parameter = 1.0
    """Of each link."""
    length: Parameter = 1.0
    """Of each link; its centre of mass lies half-way. Moments of inertia stay 1."""
    torque: Parameter = 1.0
    """At the joint between the links."""

    DT = 0.2
    MAX_SPEEDS = (4.0 * math.pi, 9.0 * math.pi)
    GRAVITY = 9.8

    def reset(self, count: int, rng: np.random.Generator) -> Floats:
        """Hanging, all four near zero."""
        return rng.uniform(-0.1, 0.1, size=(count, 4))

    def step(self, states: Floats, actions: Floats) -> Step:
        """Advance by .2 s (Runge-Kutta); the episode ends once the tip is a link's length up."""
        torque = np.rint(actions[:, 0]) * self.torque
        at = states.T
        first = self._slope(at, torque)
        second = self._slope(at + 0.5 * self.DT * first, torque)
        third = self._slope(at + 0.5 * self.DT * second, torque)
        fourth = self._slope(at + self.DT * third, torque)
        after = at + self.DT / 6.0 * (first + 2.0 * second + 2.0 * third + fourth)
        after[:2] = wrap(after[:2])
        for speed, most in zip(after[2:], self.MAX_SPEEDS, strict=True):
            np.clip(speed, -most, most, out=speed)
        up = -np.cos(after[0]) - np.cos(after[0] + after[1]) > 1.0
        return Step(np.ascontiguousarray(after.T), np.where(up, 0.0, -1.0), up)

    def _slope(self, at: Floats, torque: Floats) -> Floats:
        """Time derivative `[4, n]` (Sutton & Barto's book)."""
        one, two, one_speed, two_speed = at
        m, link, mid, inertia, g = self.mass, self.length, 0.5 * self.length, 1.0, self.GRAVITY
        d1 = m * mid**2 + m * (link**2 + mid**2 + 2.0 * link * mid * np.cos(two)) + 2.0 * inertia
        d2 = m * (mid**2 + link * mid * np.cos(two)) + inertia
        phi2 = m * mid * g * np.cos(one + two - math.pi / 2.0)
        phi1 = (
            -m * link * mid * two_speed**2 * np.sin(two)
            - 2.0 * m * link * mid * two_speed * one_speed * np.sin(two)
            + (m * mid + m * link) * g * np.cos(one - math.pi / 2.0)
            + phi2
        )
        bend = torque + d2 / d1 * phi1 - m * link * mid * one_speed**2 * np.sin(two) - phi2
        two_gain = bend / (m * mid**2 + inertia - d2**2 / d1)
        one_gain = -(d2 * two_gain + phi1) / d1
        return np.stack([one_speed, two_speed, one_gain, two_gain])

    def observe(self, states: Floats) -> Floats:
        """Cosine and sine of both angles, angular velocities."""
        one, two, one_speed, two_speed = states.T
        sides = (np.cos(one), np.sin(one), np.cos(two), np.sin(two))
        return np.stack([*sides, one_speed, two_speed], axis=1)


def wrap(angle: Floats) -> Floats:
    """The same angles in [-pi, pi)."""
    wrapped: Floats = np.mod(angle + math.pi, 2.0 * math.pi) - math.pi
    return wrapped
