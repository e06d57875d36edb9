"""What a fusion rule is: what it is given, what it gives back, and what else it needs.

Letters: `k` clients, `n` support points, `d` features.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, Protocol, Self, get_args

import numpy as np

from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.errors import ConfigError, DataError
from fedirl_ray.fusion.displacement import Evidence
from fedirl_ray.fusion.maps import filled
from fedirl_ray.fusion.recover import recover_theta
from fedirl_ray.laws import require
from fedirl_ray.problem.mdp import Bools, Floats, TabularMDP, locked
from fedirl_ray.transport.barycenter import BarycenterResult, barycenter_in_process
from fedirl_ray.transport.cloud import Cloud
from fedirl_ray.transport.ground import Where
from fedirl_ray.transport.solver import Solver

Need = Literal["curvature", "debiasing", "lattice", "scores"]
"""curvature: clients upload that of their likelihood, d x d numbers; debiasing: the solver is asked
for debiased barycenters, which take a second kernel's memory; lattice: axes that maps can be moved
along (see `fusion.registration`); scores: clients keep demonstrations aside, and score the rewards
that the rule asks them about."""


@dataclass(frozen=True)
class Support:
    """The shared support: where rewards are compared and fused."""

    features: Floats
    """Phi of the probe, `[n, d]`."""
    axes: tuple[Floats, ...] = ()
    """Lattice axes whose lengths multiply to n (see `TabularMDP.axes`)."""
    points: Floats | None = None
    """Instead of axes, the points themselves `[n, D]`: a cloud, whose cell is its neighbourhood
    (cost scale `"neighbours"` of `fedirl_ray.barycenter`)."""

    def __post_init__(self) -> None:
        """Check that it is a lattice or a cloud."""
        if self.points is not None and self.axes:
            raise DataError("a Support must have axes or points, got both")

    @cached_property
    def where(self) -> tuple[Floats, ...] | Cloud:
        """What barycenters are told of it: the axes, or the cloud."""
        return self.axes if self.points is None else Cloud.of(self.points, "neighbours")

    def lattice(self, rule: str) -> tuple[Floats, ...]:
        """Return the axes for a rule that reads them.

        Raises:
            ConfigError: The support is a cloud.
        """
        if self.points is not None:
            raise ConfigError(
                f"rule {rule} needs a lattice, and the support is a cloud of "
                f"{len(self.points)} points"
            )
        return self.axes

    @cached_property
    def moments(self) -> tuple[Floats, Floats]:
        """Mean of the features, `[d]`, and a root of their covariance, at most `[d, d]`.

        theta . mean is a reward's mean over the support, |root theta| its spread: no reward has to
        be written out for them.
        """
        mean = self.features.mean(axis=0)
        root = np.linalg.qr(self.features - mean, mode="r") / np.sqrt(len(self.features))
        return mean, root


def support_of(probe: TabularMDP) -> Support:
    """Read the shared support off the probe.

    Features that ignore the action make rewards that are constant along it; the action axis then
    changes no barycenter and is left out.
    """
    _, actions, d, feature_actions = probe.shape
    # Different actions are all equally far apart.
    action_axis = (1.0 - np.eye(actions),) if feature_actions > 1 else ()
    return Support(probe.features.reshape(-1, d), (*probe.axes, *action_axis))


class Barycenter(Protocol):
    """What a rule needs of `fedirl_ray.barycenter`, wherever it is computed."""

    def __call__(
        self, measures: Floats, where: Where, weights: Floats | None, solver: Solver
    ) -> BarycenterResult:
        """Return the barycenter."""
        ...


BEST = 2.0
"""Largest score: two overlaps of one each."""


class Score(Protocol):
    """Asks the clients of a round how well rewards do, see `Given.score`."""

    def __call__(self, thetas: Floats) -> Floats:
        """Return the scores."""
        ...


@dataclass(frozen=True)
class Given:
    """What a rule is given: the uploads let in to its federation in one round."""

    thetas: Floats
    """The clients' rewards as parameters, `[k, d]`."""
    weights: Floats
    """alpha, `[k]`, non-negative, sum to one."""
    support: Support
    """Where rewards are compared."""
    config: FusionConfig
    """Settings of the rules."""
    seen: Bools | None = None
    """Support points each client's reward is known at, `[k, n]`; None: all."""
    curvatures: Floats | None = None
    """Of the clients' likelihoods at their optima, with lambda I, `[k, d, d]`; None where the rule
    does not need `curvature`."""
    barycenter: Barycenter = barycenter_in_process
    """Computes barycenters, with the bytes of `fedirl_ray.barycenter`."""
    score: Score | None = None
    """Has clients score rewards by the demonstrations they keep aside: of `[c, d]`, or of
    `[k, c, d]`, where each is asked about its own, `[k, c]` in [0, 2], larger is better; NaN of
    clients without an answer. None where the rule does not need `scores`."""

    @cached_property
    def rewards(self) -> Floats:
        """The clients' rewards on the support, `[k, n]`: theta . phi, hidden points too."""
        return self.thetas @ self.support.features.T

    @cached_property
    def maps(self) -> Floats:
        """The clients' rewards on the support, `[k, n]`, as rules on maps take them.

        At hidden points, the weighted mean of the clients that know the point; where none does,
        the client's own mean over what it knows.
        """
        if self.seen is None:
            return self.rewards
        return filled(self.rewards, self.seen, self.weights)

    def counted(self) -> Self:
        """The clients whose weight is above zero; others must not set scales or shifts either."""
        held = self.weights > 0.0
        if held.all():
            return self
        return replace(
            self,
            thetas=self.thetas[held],
            weights=self.weights[held],
            seen=None if self.seen is None else self.seen[held],
            curvatures=None if self.curvatures is None else self.curvatures[held],
        )

    def alike(self) -> Self:
        """As many copies of the clients' mean, which hide nothing."""
        copies = np.broadcast_to(self.weights @ self.thetas, self.thetas.shape)
        return replace(self, thetas=copies, seen=None)

    def solver(
        self,
        measures: Floats,
        where: Where,
        *,
        weights: Floats | None = None,
        **settings: Any,
    ) -> BarycenterResult:
        """Return `fedirl_ray.barycenter`, computed wherever that is quicker."""
        return self.barycenter(measures, where, weights, Solver(**settings))

    def transported(self, measures: Floats, weights: Floats, **changes: Any) -> BarycenterResult:
        """The barycenter of measures on the support, as the settings say but for some changes.

        Args:
            measures: `[j, n]`.
            weights: `[j]`, positive, sum to one.
            changes: Fields of `Solver`.

        Raises:
            ConfigError: The cost is to be scaled as a lattice's, on a cloud.
        """
        config = self.config
        if self.support.points is not None:
            law = "none on a cloud, whose cell is its neighbourhood"
            require(config.cost_scale == "none", "fusion.cost-scale", law, config.cost_scale)
        usual: dict[str, Any] = {
            "epsilon": config.epsilon,
            "cost_scale": config.cost_scale,
            "tol": config.tolerance,
            "max_iters": config.iterations,
        }
        return self.barycenter(measures, self.support.where, weights, Solver(**(usual | changes)))

    def theta_of(self, reward: Floats) -> Floats:
        """The theta `[d]` closest to a reward on the support `[n]`, in least squares."""
        return recover_theta(self.support.features, reward, intercept=self.config.intercept)

    def read_only(self) -> Self:
        """The same, in arrays that refuse to be written to: other rules go on with them."""
        support = self.support
        features, *axes = map(locked, (support.features, *support.axes))
        points = None if support.points is None else locked(support.points)
        return replace(
            self,
            thetas=locked(self.thetas),
            weights=locked(self.weights),
            support=Support(features, tuple(axes), points),
            seen=None if self.seen is None else locked(self.seen),
            curvatures=None if self.curvatures is None else locked(self.curvatures),
        )


@dataclass(frozen=True)
class Fused:
    """One rule's answer."""

    theta: Floats
    """`[d]`."""
    measure: Floats | None = None
    """Fused probability measure `[n]`, of the rules that make one."""
    iterations: int = 0
    """Barycenter iterations."""
    converged: bool = True
    """Whether the barycenter reached its tolerance."""
    chosen: str = ""
    """The rule that this is the answer of, of rules that choose between others."""
    displacement: Evidence | None = None
    """What told whether the clients' maps are displaced, of rules that ask."""


@dataclass(frozen=True)
class RuleSpec:
    """A fusion rule; a plain function is one that needs nothing more."""

    fuse: Callable[[Given], Fused | Floats]
    """Returns theta `[d]`, or `Fused`."""
    label: str = "a rule of your own"
    """What tables call it; one of the user's own is called by its name there."""
    needs: frozenset[Need] = frozenset()
    """What it needs beside the rewards."""
    transports: bool = False
    """Whether it moves mass, so that it gives even equal clients back blurred by epsilon."""
    blurs: bool = False
    """Whether it blurs by `fusion.blur-width`, without moving mass."""

    def __post_init__(self) -> None:
        """Check what it needs."""
        for need in self.needs:
            if need not in get_args(Need):
                raise ConfigError(
                    f"a rule's needs must be among {', '.join(get_args(Need))}, got {need!r}"
                )

    def __call__(self, given: Given) -> Fused:
        """Fuse, and check what comes of it.

        Raises:
            ConfigError: It is no finite theta of the support's features, or no `Fused` of one.
        """
        found = self.fuse(given)
        fused = found if isinstance(found, Fused) else Fused(found)
        n, d = given.support.features.shape
        theta = self._checked("theta", fused.theta, d)
        measure = None if fused.measure is None else self._checked("measure", fused.measure, n)
        if type(fused.iterations) is not int or type(fused.converged) is not bool:
            got = f"{fused.iterations!r} and {fused.converged!r}"[:80]
            law = "an integer as iterations and True or False as converged"
            raise ConfigError(f"fusion.rules {self.label} must return {law}, got {got}")
        told = fused.displacement is None or type(fused.displacement) is Evidence
        if type(fused.chosen) is not str or not told:
            got = f"{fused.chosen!r} and {fused.displacement!r}"[:80]
            law = "a name as chosen and an Evidence or None as displacement"
            raise ConfigError(f"fusion.rules {self.label} must return {law}, got {got}")
        return replace(fused, theta=theta, measure=measure)

    def _checked(self, what: str, found: Any, count: int) -> Floats:
        """An array as `count` finite numbers."""
        if type(found) is not np.ndarray:
            got = f"a {type(found).__name__}"
        elif not np.issubdtype(found.dtype, np.floating):
            got = f"an array of {found.dtype}"
        elif found.shape != (count,):
            got = f"one of shape {found.shape}"
        elif not np.isfinite(found).all():
            got = "one that holds NaN or infinity"
        else:
            return found.astype(np.float64)
        raise ConfigError(
            f"fusion.rules {self.label} must return {what} as a NumPy array of {count} finite "
            f"floats, shape ({count},), got {got}"
        )
