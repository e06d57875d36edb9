"""A trained policy as plain arrays: what acts, is saved and travels needs no torch.

Letters: `n` rows, `o` numbers in an observation, `q` action axes, `u` outputs of the last layer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedirl_ray.errors import DataError
from fedirl_ray.problem.control.arena import Policy
from fedirl_ray.problem.control.task import Task
from fedirl_ray.problem.mdp import Floats

SEEN = 10.0
"""Standard deviations from the mean at which an observation is cut."""


@dataclass(frozen=True)
class Actor:
    """Layers of tanh over standardised observations, and a linear one.

    Its outputs are logits of the task's actions where these are discrete, else their means.
    """

    choices: Floats | None
    """Discrete actions, `[u, q]`; None: actions are continuous."""
    centre: Floats
    """Of observations, `[o]`."""
    spread: Floats
    """Of observations, `[o]`, positive."""
    weights: tuple[Floats, ...]
    """One `[inputs, outputs]` a layer."""
    biases: tuple[Floats, ...]
    """One `[outputs]` a layer."""
    deviation: Floats
    """Standard deviation of sampled continuous actions, `[u]`; empty where they are discrete."""

    def __call__(self, observations: Floats) -> Floats:
        """The likeliest actions `[n, q]` for observations `[n, o]`."""
        outputs = self._outputs(observations)
        if self.choices is None:
            return np.clip(outputs, -1.0, 1.0)
        best: Floats = self.choices[outputs.argmax(axis=1)]
        return best

    def sampled(self, rng: np.random.Generator) -> Policy:
        """The same as a policy that draws its actions, as it did while it learnt."""

        def draw(observations: Floats) -> Floats:
            outputs = self._outputs(observations)
            if self.choices is None:
                noise = self.deviation * rng.standard_normal(outputs.shape)
                return np.clip(outputs + noise, -1.0, 1.0)
            # The largest of logits plus Gumbel noise is a draw from their softmax.
            drawn: Floats = self.choices[(outputs + rng.gumbel(size=outputs.shape)).argmax(axis=1)]
            return drawn

        return draw

    def _outputs(self, observations: Floats) -> Floats:
        """What the last layer says, `[n, u]`."""
        hidden = np.clip((observations - self.centre) / self.spread, -SEEN, SEEN)
        layers = list(zip(self.weights, self.biases, strict=True))
        for weight, bias in layers[:-1]:
            hidden = np.tanh(hidden @ weight + bias)
        weight, bias = layers[-1]
        outputs: Floats = hidden @ weight + bias
        return outputs

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything but the task's actions, by name."""
        found = {"centre": self.centre, "spread": self.spread, "deviation": self.deviation}
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            found |= {f"weight.{number}": weight, f"bias.{number}": bias}
        return found

    @classmethod
    def from_arrays(cls, task: Task, arrays: Mapping[str, NDArray[Any]]) -> "Actor":
        """Bring back what `arrays` gave.

        Raises:
            DataError: They are not an actor's, or an actor's of another task.
        """
        count = sum(name.startswith("weight.") for name in arrays)
        try:
            actor = cls(
                task.action.points if task.discrete else None,
                arrays["centre"],
                arrays["spread"],
                tuple(arrays[f"weight.{number}"] for number in range(count)),
                tuple(arrays[f"bias.{number}"] for number in range(count)),
                arrays["deviation"],
            )
            outputs = actor._outputs(actor.centre[None]).shape[1]
        except (KeyError, ValueError, IndexError) as err:
            raise DataError(f"these arrays are not an actor's: {err}") from err
        wanted = task.action.size if task.discrete else len(task.action.axes)
        if outputs != wanted:
            raise DataError(f"an actor of {task.name} has {wanted} outputs, got {outputs}")
        return actor
