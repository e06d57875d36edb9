"""How actions are drawn from a policy's outputs, and what the draws' likelihoods are.

Letters: `...` any axes, `u` outputs, `k` numbers that say which action was taken, `q` action axes.
"""

import math
from typing import NamedTuple, Protocol

import numpy as np

from fedirl_ray.evaluate.networks import Singles
from fedirl_ray.problem.control.task import Task
from fedirl_ray.problem.mdp import Floats

LOG_ROOT = 0.5 * math.log(2.0 * math.pi)
LEAST = 1e-30
"""What draws of zero count as, for their logarithm's sake."""


class Score(NamedTuple):
    """An action's log-likelihood, and its slopes."""

    log_prob: Singles
    """`[...]`."""
    outputs: Singles
    """By the policy's outputs, `[..., u]`."""
    log_std: Singles | None
    """By the logarithm of the standard deviations, `[..., u]`; None: there are none."""


class Distribution(Protocol):
    """A policy's actions given its outputs; `log_std` broadcasts against them."""

    kept: int
    """k."""

    def fill(self, noise: Singles, rng: np.random.Generator) -> None:
        """Draw what `draw` needs, one number an output, into a contiguous array."""
        ...

    def draw(self, outputs: Singles, noise: Singles, log_std: Singles) -> Singles:
        """Actions as they are kept, `[..., k]`."""
        ...

    def likeliest(self, outputs: Singles) -> Floats:
        """The likeliest actions as the task takes them, `[..., q]`."""
        ...

    def taken(self, actions: Singles) -> Floats:
        """Actions as the task takes them, `[..., q]` in [-1, 1]."""
        ...

    def score(self, outputs: Singles, actions: Singles, log_std: Singles) -> Score:
        """Log-likelihood of actions as kept, and its slopes."""
        ...

    def entropy_slopes(self, outputs: Singles) -> tuple[Singles | None, float]:
        """Slopes of the entropy by outputs `[..., u]` and by each log_std; None: zeros."""
        ...


class Softmax:
    """One of a task's discrete actions, by logits; kept as its number."""

    kept = 1

    def __init__(self, points: Floats) -> None:
        """Actions `[u, q]`."""
        self._points = points
        self._numbers = np.arange(len(points), dtype=np.float32)

    def fill(self, noise: Singles, rng: np.random.Generator) -> None:
        """Gumbel noise: the largest of logits plus it is a draw from their softmax."""
        rng.standard_exponential(out=noise, dtype=np.float32)
        np.maximum(noise, LEAST, out=noise)
        np.log(noise, out=noise)
        np.negative(noise, out=noise)

    def draw(self, outputs: Singles, noise: Singles, log_std: Singles) -> Singles:
        """Numbers of actions."""
        numbers: Singles = (outputs + noise).argmax(axis=-1)[..., None].astype(np.float32)
        return numbers

    def likeliest(self, outputs: Singles) -> Floats:
        """The action of the largest logit."""
        best: Floats = self._points[outputs.argmax(axis=-1)]
        return best

    def taken(self, actions: Singles) -> Floats:
        """The actions of these numbers."""
        taken: Floats = self._points[actions[..., 0].astype(np.intp)]
        return taken

    def score(self, outputs: Singles, actions: Singles, log_std: Singles) -> Score:
        """One-hot minus probabilities, by logits."""
        hot = actions == self._numbers
        logits, shares, total = _softmax(outputs)
        log_prob = (logits * hot).sum(axis=-1) - np.log(total)
        return Score(log_prob, hot - shares, None)

    def entropy_slopes(self, outputs: Singles) -> tuple[Singles | None, float]:
        """-p (log p + H), by logits."""
        logits, shares, total = _softmax(outputs)
        logits -= np.log(total)[..., None]
        mean = (shares * logits).sum(axis=-1, keepdims=True)
        slopes: Singles = shares * (mean - logits)
        return slopes, 0.0


def _softmax(outputs: Singles) -> tuple[Singles, Singles, Singles]:
    """Logits less the largest and their softmax, `[..., u]`, and its divisor, `[...]`."""
    logits = outputs - outputs.max(axis=-1, keepdims=True)
    shares = np.exp(logits)
    total = shares.sum(axis=-1)
    shares /= total[..., None]
    return logits, shares, total


class Gaussian:
    """Independent normal actions around the outputs; kept as drawn, cut to [-1, 1] when taken."""

    def __init__(self, axes: int) -> None:
        """Actions of that many numbers."""
        self.kept = axes

    def fill(self, noise: Singles, rng: np.random.Generator) -> None:
        """Standard normal noise."""
        rng.standard_normal(out=noise, dtype=np.float32)

    def draw(self, outputs: Singles, noise: Singles, log_std: Singles) -> Singles:
        """Outputs plus noise."""
        return np.asarray(outputs + np.exp(log_std) * noise)

    def likeliest(self, outputs: Singles) -> Floats:
        """The mean."""
        return self.taken(outputs)

    def taken(self, actions: Singles) -> Floats:
        """Within [-1, 1]."""
        return np.minimum(np.maximum(actions, -1.0), 1.0).astype(np.float64)

    def score(self, outputs: Singles, actions: Singles, log_std: Singles) -> Score:
        """Of a normal distribution, by its mean and by the logarithm of its deviation."""
        inverse = np.exp(-log_std)
        apart = (actions - outputs) * inverse
        squared = apart * apart
        log_prob = (-0.5 * squared - (log_std + LOG_ROOT)).sum(axis=-1)
        apart *= inverse
        squared -= 1.0
        return Score(log_prob, apart, squared)

    def entropy_slopes(self, outputs: Singles) -> tuple[Singles | None, float]:
        """The entropy is the sum of log_std and a constant."""
        return None, 1.0


def distribution_of(task: Task) -> tuple[Distribution, int]:
    """What a task's agents draw their actions from, and how many outputs u that takes."""
    if task.discrete:
        return Softmax(task.action.points), task.action.size
    axes = len(task.action.axes)
    return Gaussian(axes), axes
