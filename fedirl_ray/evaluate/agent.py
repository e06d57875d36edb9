"""Acting in a control task by a plan on its lattice.

Letters: `n` rows, `p` state axes, `q` action axes, `s` lattice states, `a` lattice actions.
"""

from collections.abc import Callable

import numpy as np

from fedirl_ray.problem.control.model import LatticeModel
from fedirl_ray.problem.control.physics import Physics
from fedirl_ray.problem.control.planning import SETTLED, LatticePlan
from fedirl_ray.problem.control.task import Task
from fedirl_ray.problem.mdp import Floats, Places
from fedirl_ray.problem.ties import as_good

PlacedReward = Callable[[Floats, Floats], Floats]
"""A reward anywhere: places `[n, p]` and actions `[n, q]` to `[n]`."""


class LatticeAgent:
    """Takes the lattice action that promises most, seen from wherever it stands.

    Actions that promise the same, but for what plans are settled to, are drawn from evenly, as in
    the plan itself. Every step takes one number a row from the stream, whatever ties: agents with
    equal streams that tie everywhere act alike.
    """

    def __init__(
        self,
        task: Task,
        model: LatticeModel,
        plan: LatticePlan,
        reward: PlacedReward | None,
        physics: Physics | None,
        discount: float,
        rng: np.random.Generator,
    ) -> None:
        """Prepare to act.

        Args:
            task: How observations are located.
            model: The lattice the plan was made on.
            plan: What its states are worth.
            reward: The reward it was made for; read together with `physics`.
            physics: To look one true step ahead from the very place; None of either: the plan's Q
                values are interpolated instead.
            discount: Of the plan.
            rng: Decides between actions that promise the same; consumed.
        """
        self._rng = rng
        self._task, self._model, self._reward = task, model, reward
        self._value, self._physics, self._discount = plan.value, physics, discount
        self._q = (plan.advantage + plan.value).T

    def __call__(self, observations: Floats) -> Floats:
        """Actions `[n, q]` for observations `[n, o]`."""
        places = self._task.locate(observations)
        choices = self._model.action.points
        if self._physics is None or self._reward is None:
            promise = self._model.state.read(self._q, places)
            size = np.abs(promise)
        else:
            promise, size = np.empty((2, len(places), len(choices)))
            for number, choice in enumerate(choices):
                acts = np.broadcast_to(choice, (len(places), len(choice)))
                step = self._physics.step(places, acts)
                reached = self._task.locate(self._physics.observe(step.states))
                worth = self._model.state.read(self._value, reached)
                ahead = self._discount * np.where(step.terminated, 0.0, worth)
                now = self._reward(places, acts)
                promise[:, number], size[:, number] = now + ahead, np.abs(now) + np.abs(ahead)
        return choices[self._pick(promise, SETTLED * size)]

    def _pick(self, promise: Floats, room: Floats) -> Places:
        """One of each row's best, `[n]`, of promises `[n, a]` that are sure up to `room`."""
        equal = as_good(promise.T, room.T).T
        rank = np.floor(self._rng.random(len(promise)) * equal.sum(axis=1))
        picked: Places = (equal.cumsum(axis=1) > rank[:, None]).argmax(axis=1)
        return picked
