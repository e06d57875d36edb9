"""The method's two halves on their own: one client's reward, and the fusion of several.

Letters: `k` clients, `n` support points, `m` episodes, `h` steps, `s` states, `a` actions, `d`
features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fedirl_ray.config import IRLConfig
from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.errors import DataError
from fedirl_ray.fusion.rules import RULES, needs_of
from fedirl_ray.fusion.rules import fuse as fuse_given
from fedirl_ray.fusion.spec import BEST, Fused, Given, Score, Support
from fedirl_ray.irl.maxent import fit as fit_block
from fedirl_ray.laws import names_function, require
from fedirl_ray.problem.demonstrations import (
    Demonstrations,
    feature_expectation,
    require_possible,
)
from fedirl_ray.problem.mdp import Floats, TabularMDP


@dataclass(frozen=True, eq=False)
class FitResult:
    """A reward that one client has learnt."""

    theta: Floats
    """The reward is theta . phi, `[d]`."""
    reward: Floats
    """It in the client's world, `[s, a]`, or `[s, 1]` where features ignore the action."""
    negative_log_likelihood: float
    """Of the demonstrations, without the L2 term, for an episode; below zero where no policy of
    the model can show their features."""
    mismatch: float
    """Largest entry of the gradient at theta."""
    iterations: int
    """Steps of the optimiser."""
    converged: bool
    """Whether the gradient fell below the tolerance; always False of adam."""
    curvature: Floats
    """Of the objective at theta, L2 term included, `[d, d]`."""


def fit(
    world: TabularMDP,
    demonstrations: Demonstrations | tuple[ArrayLike, ArrayLike],
    config: IRLConfig | None = None,
    *,
    start: ArrayLike | None = None,
) -> FitResult:
    """Learn one client's reward from demonstrations, by maximum causal entropy.

    Args:
        world: The client's world; its true reward is not looked at.
        demonstrations: States and actions, integers `[m, h]` each. An episode that ended early
            repeats its last state to the end.
        config: Optimiser, L2 weight, discount and temperature; None: the defaults.
        start: First theta, `[d]`; None: zero.

    Returns:
        The reward; look at `converged`.

    Raises:
        DataError: The demonstrations cannot have happened in the world, or a shape is wrong.

    Example:
        >>> found = fit(world, (states, actions), IRLConfig(l2=0.1))
    """
    config = config or IRLConfig()
    if not isinstance(demonstrations, Demonstrations):
        demonstrations = Demonstrations(*map(np.asarray, demonstrations))
    s, a, d, _ = world.shape
    data = Demonstrations(
        _episodes("states", demonstrations.states, s),
        _episodes("actions", demonstrations.actions, a),
    )
    if data.states.shape != data.actions.shape:
        raise DataError(
            f"states and actions must have one shape, got {data.states.shape} and "
            f"{data.actions.shape}"
        )
    require_possible(world, data, "demonstrations")
    first = None if start is None else _rows("start", start, (d,))[None]
    counts = feature_expectation(world, data, config.discount)
    found = fit_block([world], counts[None], config, data.states.shape[1], start=first)
    assert found.hessian is not None  # it was asked for
    return FitResult(
        theta=found.theta[0],
        reward=world.features @ found.theta[0],
        negative_log_likelihood=float(found.negative_log_likelihood[0]),
        mismatch=float(found.mismatch[0]),
        iterations=int(found.iterations[0]),
        converged=bool(found.converged[0]),
        curvature=found.hessian[0],
    )


def _episodes(name: str, given: ArrayLike, count: int) -> np.ndarray:
    found = np.asarray(given)
    if found.dtype.kind not in "iu" or found.ndim != 2 or 0 in found.shape:
        raise DataError(
            f"{name} must be integers of shape (episodes, steps), got {found.dtype} of shape "
            f"{found.shape}"
        )
    if found.min() < 0 or found.max() >= count:
        raise DataError(f"{name} must lie in 0..{count - 1}, got {found.min()}..{found.max()}")
    return found.astype(np.int32)


def fuse(
    *,
    support: Support | Sequence[ArrayLike],
    thetas: ArrayLike | None = None,
    rewards: ArrayLike | None = None,
    rule: str = "barycenter",
    weights: ArrayLike | None = None,
    curvatures: ArrayLike | None = None,
    score: Score | None = None,
    config: FusionConfig | None = None,
) -> Fused:
    """Fuse several clients' rewards into one, by a rule.

    Args:
        support: Where rewards are compared: features, and axes or the points of a cloud; of
            `rewards`, the axes alone, or a `Support`.
        thetas: The clients' rewards as parameters, `[k, d]`.
        rewards: Or as numbers on the support, `[k, n]`, of any features or none; the fused
            reward's theta is then the reward itself, `[n]` (as if features told every point
            apart, which is for some thousand points at most).
        rule: A rule's name, see `FusionConfig.rules`, or `module:function` of your own.
        weights: alpha, `[k]`, non-negative, scaled to sum to one; None: equal.
        curvatures: Of the clients' objectives, `[k, d, d]`, where the rule needs them
            (`precision`; see `FitResult.curvature`).
        score: Has clients score rewards, where the rule needs it (`select`, `auto`; see
            `Given.score`).
        config: Settings of the rules; None: the defaults.

    Returns:
        The fused reward, and the measure that it comes from; look at `converged`.

    Raises:
        ConfigError: There is no such rule, or a setting does not suit these rewards.
        DataError: A shape is wrong, or a number is not finite.

    Example:
        >>> fuse(rewards=[[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], support=[[0.0, 1.0, 2.0]]).theta
    """
    if (thetas is None) == (rewards is None):
        raise DataError("either thetas or rewards must be given, got both or neither")
    if isinstance(support, Support):
        axes, features, cloud = support.axes, support.features, support.points
    else:
        axes, features = tuple(np.asarray(axis, dtype=np.float64) for axis in support), None
        cloud = None
    points = int(np.prod([len(axis) for axis in axes])) if cloud is None else len(cloud)
    if cloud is not None and features is not None and len(features) != points:
        raise DataError(
            f"support must have a row of features for each of its {points} points, "
            f"got {len(features)}"
        )
    if rewards is not None:
        features = np.eye(points)
    elif features is None:
        raise DataError("support must be a Support, with features, for thetas; got axes alone")
    given = _rows("rewards" if thetas is None else "thetas", rewards if thetas is None else thetas,
                  (None, features.shape[1]))  # fmt: skip
    k, d = given.shape
    alpha = np.full(k, 1.0 / k) if weights is None else _rows("weights", weights, (k,))
    if alpha.min() < 0.0 or alpha.sum() <= 0.0:
        raise DataError(f"weights must be >= 0 and not all zero, got {alpha.tolist()}")
    law = f"{', '.join(RULES)} or module:function"
    require(rule in RULES or names_function(rule), "rule", law, repr(rule))
    needs = needs_of(rule, config or FusionConfig())
    if "curvature" in needs and curvatures is None:
        raise DataError(f"curvatures must be given for {rule}, got None")
    if "scores" in needs and score is None:
        raise DataError(f"score must be given for {rule}, got None")
    return fuse_given(
        rule,
        Given(
            thetas=given,
            weights=alpha / alpha.sum(),
            support=Support(features, axes, cloud),
            config=config or FusionConfig(),
            curvatures=None if curvatures is None else _rows("curvatures", curvatures, (k, d, d)),
            score=None if score is None else _checked(score, k),
        ),
    )


def _checked(score: Score, k: int) -> Score:
    """The same, whose answers are held to what `Given.score` is to return."""
    if not callable(score):
        raise DataError(f"score must be a function of rewards, got {score!r:.80}")

    def ask(thetas: Floats) -> Floats:
        found = _numbers("score's answer", score(thetas), (k, thetas.shape[-2]))
        outside = found[(found < 0.0) | (found > BEST)]
        if outside.size:
            law = f"in [0, {BEST:g}], NaN of clients without an answer"
            raise DataError(f"score's answer must be {law}, got {outside[0]:g}")
        return found

    return ask


def _rows(name: str, given: ArrayLike | None, shape: tuple[int | None, ...]) -> Floats:
    """Finite numbers of a shape; None stands for any length but none."""
    found = _numbers(name, given, shape)
    if not np.isfinite(found).all():
        raise DataError(f"{name} must be finite")
    return found


def _numbers(name: str, given: ArrayLike | None, shape: tuple[int | None, ...]) -> Floats:
    """Numbers of a shape."""
    try:
        found = np.array(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{name} must be numbers, got {given!r:.80}") from None
    fits = found.ndim == len(shape) and all(
        got == want if want is not None else got > 0
        for got, want in zip(found.shape, shape, strict=False)
    )
    if not fits:
        law = ", ".join("any" if want is None else str(want) for want in shape)
        raise DataError(f"{name} must have shape ({law}), got {found.shape}")
    return found
