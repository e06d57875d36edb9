"""MaxEnt IRL on a lattice: the stationary, discounted problem of continuous control.

Two objectives, both with lambda / 2 |theta|^2 on top:

`likelihood`: minus the mean log-likelihood of the demonstrated actions under the soft-optimal
policy (Ziebart 2010, causal likelihood). It is bounded below whatever the demonstrations.

`matching`: the dual of maximum causal entropy, E[V(s_0)] - theta . mu (the paper, section 2.1).
Interpolation adds diffusion, so the true demonstrations' feature counts may lie beyond what any
policy on the lattice can do; then the dual has no minimum and lambda alone sets the length of
theta. A negative value says so.

Letters: `s` lattice states, `a` lattice actions, `n` = s x a support points (actions fastest),
`d` features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fedirl_ray.config import IRLConfig
from fedirl_ray.irl.descent import adam, lbfgs
from fedirl_ray.irl.shown import Shown
from fedirl_ray.problem.control.basis import lattice_reward
from fedirl_ray.problem.control.model import LatticeModel
from fedirl_ray.problem.control.planning import Chain, LatticePlan, plan
from fedirl_ray.problem.mdp import Floats

Goal = Literal["likelihood", "matching"]


@dataclass(frozen=True)
class LatticeFit:
    """A reward fitted to demonstrations."""

    theta: Floats
    """`[d]`."""
    objective: float
    """Without the L2 term: nats a step (likelihood), or the dual's value, which is below zero where
    the lattice cannot do what was demonstrated (matching)."""
    gradient: float
    """Largest entry of the gradient, L2 term and pull included."""
    iterations: int
    converged: bool
    """Whether the gradient fell below the tolerance; always False for adam."""


class LatticeIRL:
    """One client's objective. Within a fit, plans are warm-started from call to call."""

    def __init__(
        self,
        model: LatticeModel,
        features: Floats,
        shown: Shown,
        config: IRLConfig,
        goal: Goal,
        counts: Floats | None = None,
    ) -> None:
        """Hold what the objective needs.

        Args:
            model: The client's lattice.
            features: Phi, `[n, d]`.
            shown: Its demonstrations.
            config: Discount (below 1), temperature.
            goal: Which objective.
            counts: Feature counts, `[d]`, instead of those that demonstrations come to.
        """
        self._model, self._features, self.shown = model, features, shown
        self._config, self._goal = config, goal
        self._value: Floats | None = None
        self._counts = self._project(shown.visits) if counts is None else counts

    @property
    def dimension(self) -> int:
        """Number of features d."""
        return int(self._features.shape[1])

    @property
    def scale(self) -> float:
        """What the gradient is compared with, at least 1: its largest demonstrated entry.

        The discounted feature counts of an episode, as for tabular worlds; in nats where those are
        the objective's.
        """
        counts = float(np.abs(self._counts).max(initial=0.0))
        return max(1.0, counts / (self._config.temperature if self._goal == "likelihood" else 1.0))

    def begin(self) -> None:
        """Forget former calls, so that what comes next does not depend on them."""
        self._value = None

    def __call__(self, theta: Floats) -> tuple[float, Floats]:
        """Value and gradient `[d]` at theta `[d]`, without the L2 term."""
        found = self.plan(theta)
        chain = Chain(self._model, found.policy, self._config.discount)
        if self._goal == "matching":
            visits = chain.visits(self._model.initial) * found.policy
            value = float(self._model.initial @ found.value - theta @ self._counts)
            return value, self._project(visits) - self._counts
        # d log pi / d theta = (dQ - dV) / temperature, and dQ = phi + discount P dV: what is shown
        # beyond what is expected enters once, and its future counts through the chain.
        steps, temperature = self.shown.steps, self._config.temperature
        surplus = steps - steps.sum(axis=0) * found.policy
        source = self._config.discount * (self._model.push @ surplus.ravel())
        flow = surplus + chain.visits(source) * found.policy
        value = float(np.log(len(steps)) - (steps * found.advantage).sum() / temperature)
        return value, -self._project(flow) / temperature

    def curvature(self, theta: Floats) -> Floats:
        """Fisher information of theta in one demonstrated step, `[d, d]`.

        The mean over demonstrated states of the covariance, under the soft-optimal policy, of
        d log pi / d theta: how well the demonstrations tell each direction of theta.
        """
        found = self.plan(theta)
        chain = Chain(self._model, found.policy, self._config.discount)
        a, s = found.policy.shape
        features = self._features.reshape(s, a, -1)
        earned = np.einsum("as,sad->sd", found.policy, features)
        value = np.stack([chain.value(column) for column in earned.T], axis=1)
        ahead = self._config.discount * (self._model.expect @ value).reshape(a, s, -1)
        slope = (features.transpose(1, 0, 2) + ahead - value) / self._config.temperature
        weight = self.shown.steps.sum(axis=0) * found.policy
        fisher: Floats = np.einsum("as,asd,ase->de", weight, slope, slope, optimize=True)
        return fisher

    def plan(self, theta: Floats) -> LatticePlan:
        """The soft-optimal policy that theta explains the client by."""
        found = plan(
            self._model,
            lattice_reward(self._features, theta, self._model.action.size),
            discount=self._config.discount,
            temperature=self._config.temperature,
            start=self._value,
        )
        self._value = found.value
        return found

    def _project(self, flow: Floats) -> Floats:
        """Features summed over a flow `[a, s]`, `[d]`."""
        sums: Floats = flow.T.ravel() @ self._features
        return sums


def fit_lattice(
    clients: Sequence[LatticeIRL],
    config: IRLConfig,
    *,
    start: Floats | None = None,
    pull: float = 0.0,
    iterations: int | None = None,
) -> LatticeFit:
    """Fit one reward to one client's demonstrations, or to those of several together.

    Args:
        clients: Whose mean objective is minimised, each under its own dynamics.
        config: Optimiser, L2 weight; the clients' discount and temperature are their own. The
            tolerance is relative to the largest of the clients' scales.
        start: First theta, `[d]`; default zero.
        pull: Weight of |theta - start|^2 / 2.
        iterations: Largest number of steps; default config.iterations.

    Returns:
        The fit; it does not depend on what the clients were asked before.
    """
    begin = np.zeros(clients[0].dimension) if start is None else start
    most = config.iterations if iterations is None else iterations
    for client in clients:
        client.begin()

    def slope(theta: Floats) -> Floats:
        """Of the L2 term and the pull."""
        return config.l2 * theta + pull * (theta - begin)

    def together(theta: Floats) -> tuple[float, Floats]:
        each = [client(theta) for client in clients]
        value = sum(value for value, _ in each) / len(each)
        gradient: Floats = np.mean([gradient for _, gradient in each], axis=0)
        return value, gradient

    def objective(thetas: Floats, _: object) -> tuple[Floats, Floats]:
        theta = thetas[0]
        value, gradient = together(theta)
        away = theta - begin
        value += 0.5 * (config.l2 * float(theta @ theta) + pull * float(away @ away))
        return np.array([value]), (gradient + slope(theta))[None]

    limit = np.array([most])
    if config.optimizer == "adam":
        found = adam(objective, begin[None], step=config.step, iterations=limit)
    else:
        tolerance = np.array([config.tolerance * max(client.scale for client in clients)])
        found = lbfgs(objective, begin[None], tolerance=tolerance, iterations=limit)
    theta: Floats = found.theta[0]
    value, gradient = together(theta)
    return LatticeFit(
        theta,
        value,
        float(np.abs(gradient + slope(theta)).max()),
        int(found.iterations[0]),
        bool(found.converged[0]),
    )
