"""The fusion rules: many clients' rewards into one.

To add one: write its function and its record in `RULES`, and add its name to `RULE_NAMES` in
`config_fusion.py`; the conformance suite, `fedirl_ray.testing.check_rule`, applies to it.

Letters: `k` clients, `n` support points, `d` features.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from fedirl_ray.config_fusion import REFERENCES, FusionConfig
from fedirl_ray.fusion.measure import to_measures, to_reward
from fedirl_ray.fusion.spec import Fused, Given, RuleSpec
from fedirl_ray.problem.custom import load, user_code
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.transport.solver import Solver


def fuse(rule: str, given: Given) -> Fused:
    """Fuse the clients' rewards by one rule.

    Args:
        rule: Any but the references: one of `RULES`, or `module:function` of the user's own.
        given: The clients' rewards, and what they are fused with.

    Returns:
        The fused reward.

    Raises:
        ConfigError: There is no such rule, or what it returns is no finite theta.
        UserCodeError: The user's own rule raised something.
    """
    spec = rule_named(rule)
    if rule in RULES:
        return spec(given)
    with user_code(f"fusion.rules {rule}", spec.fuse):
        return spec(given.read_only())


def rule_named(name: str) -> RuleSpec:
    """Find a rule.

    Args:
        name: One of `RULES`, or `module:function` of the user's own: a function of `Given`, or a
            `RuleSpec` that says what it needs.

    Raises:
        ConfigError: The user's own cannot be imported, or takes other arguments.
    """
    if name in RULES:
        return RULES[name]
    if name in REFERENCES:
        raise ValueError(f"{name} is a reference, not a fusion rule")
    found = load(name, "fusion.rules", ("given",))
    spec = found if isinstance(found, RuleSpec) else RuleSpec(found)  # type: ignore[arg-type]
    return replace(spec, label=name)


def find_rules(config: FusionConfig) -> None:
    """Refuse rules of the user's own that cannot be found, before anything is written.

    Raises:
        ConfigError: One cannot be imported, or takes other arguments.
    """
    for rule in config.rules:
        if rule not in REFERENCES:
            rule_named(rule)


def _mean(given: Given) -> Fused:
    return Fused(given.weights @ given.thetas)


def _median(given: Given) -> Fused:
    return Fused(_trimmed_mean(given.thetas, given.weights, trim=0.5))


def _trimmed(given: Given) -> Fused:
    return Fused(_trimmed_mean(given.thetas, given.weights, trim=given.config.trim))


def _precision(given: Given) -> Fused:
    if given.curvatures is None:
        raise ValueError("precision needs the clients' curvatures, got None")
    total = np.einsum("k,kij->ij", given.weights, given.curvatures)
    pull = np.einsum("k,kij,kj->i", given.weights, given.curvatures, given.thetas)
    return Fused(np.linalg.lstsq(total, pull, rcond=None)[0])


def _arithmetic(given: Given) -> Fused:
    return _through_measures(given, None)


def _barycenter(given: Given) -> Fused:
    return _through_measures(given, _solver_of(given.config))


def _debiased(given: Given) -> Fused:
    return _through_measures(given, _solver_of(given.config, debiased=True))


def _self_control(given: Given) -> Fused:
    """The barycenter of copies of the mean, which hide nothing."""
    copies = np.broadcast_to(given.weights @ given.thetas, given.thetas.shape)
    alike = replace(given, thetas=copies, seen=None)
    return _through_measures(alike, _solver_of(given.config))


def _trimmed_mean(thetas: Floats, weights: Floats, *, trim: float) -> Floats:
    """Mean of each coordinate without the outer `trim` of the weight at either end.

    At trim = 1/2 nothing but the weighted median is left: the midpoint of all values at which
    the cumulated weight passes one half.
    """
    order = np.argsort(thetas, axis=0, kind="stable")
    ranked = np.take_along_axis(thetas, order, axis=0)
    upper = np.cumsum(weights[order], axis=0)
    lower = upper - weights[order]
    if trim >= 0.5:
        # A hair of slack, so that weights which sum to one half in exact arithmetic count so.
        kept = ((lower <= 0.5 + 1e-12) & (upper >= 0.5 - 1e-12)).astype(np.float64)
        kept *= weights[order] > 0.0
    else:
        kept = np.clip(np.minimum(upper, 1.0 - trim) - np.maximum(lower, trim), 0.0, None)
    mean: Floats = (kept * ranked).sum(axis=0) / kept.sum(axis=0)
    return mean


def _solver_of(config: FusionConfig, *, debiased: bool = False) -> Solver:
    """How the rules compute barycenters."""
    return Solver(
        epsilon=config.epsilon,
        cost_scale=config.cost_scale,
        debiased=debiased,
        tol=config.tolerance,
        max_iters=config.iterations,
    )


def _through_measures(given: Given, solver: Solver | None) -> Fused:
    """Rewards to measures, their mean (by transport, or entry by entry), and back to theta."""
    support, config = given.support, given.config
    # A client without weight must not set the shared sigma either.
    counted = given.weights > 0.0
    rewards, weights = given.thetas[counted] @ support.features.T, given.weights[counted]
    if given.seen is not None:
        known = given.seen[counted]
        least = np.where(known, rewards, np.inf).min(axis=1, keepdims=True)
        rewards = np.where(known, rewards, least)
    measures = to_measures(rewards, config)
    iterations, converged = 0, True
    if solver is None:
        density: Floats = weights @ measures.density
    else:
        found = given.barycenter(measures.density, support.axes, weights, solver)
        density = found.measure.ravel()
        iterations, converged = found.iterations, found.converged
    reward = to_reward(density, measures, weights, config)
    return Fused(given.theta_of(reward), density, iterations, converged)


RULES: Mapping[str, RuleSpec] = {
    "mean": RuleSpec(_mean, "parameter mean"),
    "median": RuleSpec(_median, "coordinate median"),
    "trimmed": RuleSpec(_trimmed, "trimmed mean"),
    "precision": RuleSpec(_precision, "precision-weighted mean", frozenset({"curvature"})),
    "arithmetic": RuleSpec(_arithmetic, "arithmetic mean of measures"),
    "barycenter": RuleSpec(_barycenter, "entropic barycenter", transports=True),
    "debiased": RuleSpec(
        _debiased, "debiased barycenter", frozenset({"debiasing"}), transports=True
    ),
    "self-control": RuleSpec(_self_control, "self control (blur alone)", transports=True),
}
"""The rules by name."""
