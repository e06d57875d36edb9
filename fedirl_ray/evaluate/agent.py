"""Acting in a control task by a plan on its lattice.

Letters: `n` rows, `p` state axes, `q` action axes, `s` lattice states, `a` lattice actions.
"""

from collections.abc import Callable

import numpy as np

from fedirl_ray.problem.control.model import LatticeModel
from fedirl_ray.problem.control.physics import Physics
from fedirl_ray.problem.control.planning import LatticePlan
from fedirl_ray.problem.control.task import Task
from fedirl_ray.problem.mdp import Floats

PlacedReward = Callable[[Floats, Floats], Floats]
"""A reward anywhere: places `[n, p]` and actions `[n, q]` to `[n]`."""


class LatticeAgent:
    """Takes the lattice action that promises most, seen from wherever it stands."""

    def __init__(
        self,
        task: Task,
        model: LatticeModel,
        plan: LatticePlan,
        reward: PlacedReward | None,
        physics: Physics | None,
        discount: float,
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
        """
        self._task, self._model, self._reward = task, model, reward
        self._value, self._physics, self._discount = plan.value, physics, discount
        self._q = (plan.advantage + plan.value).T

    def __call__(self, observations: Floats) -> Floats:
        """Actions `[n, q]` for observations `[n, o]`."""
        places = self._task.locate(observations)
        choices = self._model.action.points
        promise = np.empty((len(places), len(choices)))
        if self._physics is None or self._reward is None:
            promise = self._model.state.read(self._q, places)
        else:
            for number, choice in enumerate(choices):
                acts = np.broadcast_to(choice, (len(places), len(choice)))
                step = self._physics.step(places, acts)
                reached = self._task.locate(self._physics.observe(step.states))
                ahead = np.where(step.terminated, 0.0, self._model.state.read(self._value, reached))
                promise[:, number] = self._reward(places, acts) + self._discount * ahead
        best: Floats = choices[promise.argmax(axis=1)]
        return best
