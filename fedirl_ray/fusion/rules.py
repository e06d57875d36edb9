"""The fusion rules: many clients' rewards into one.

To add one: write its function and its record in `RULES`, and add its name to `RULE_NAMES` in
`config_fusion.py`; the conformance suite, `fedirl_ray.testing.check_rule`, applies to it.

Letters: `k` clients, `n` support points, `d` features.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from fedirl_ray.config import RunConfig
from fedirl_ray.config_fusion import BY_THEMSELVES, CHOOSING, REFERENCES, FusionConfig, fusing
from fedirl_ray.fusion.maps import blurred
from fedirl_ray.fusion.measure import gibbs_measures, gibbs_reward, to_measures, to_reward
from fedirl_ray.fusion.registration import registered
from fedirl_ray.fusion.robust import geometric_median, trimmed_mean
from fedirl_ray.fusion.selection import auto, select
from fedirl_ray.fusion.signed import signed, signed_median
from fedirl_ray.fusion.spec import Fused, Given, Need, RuleSpec
from fedirl_ray.laws import require
from fedirl_ray.problem.custom import load, user_code
from fedirl_ray.problem.mdp import Floats


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


def rule_named(name: str, setting: str = "fusion.rules") -> RuleSpec:
    """Find a rule.

    Args:
        name: One of `RULES`, or `module:function` of the user's own: a function of `Given`, or a
            `RuleSpec` that says what it needs.
        setting: Where the user named it.

    Raises:
        ConfigError: The user's own cannot be imported, or takes other arguments.
    """
    if name in RULES:
        return RULES[name]
    if name in REFERENCES:
        raise ValueError(f"{name} is a reference, not a fusion rule")
    found = load(name, setting, ("given",))
    spec = found if isinstance(found, RuleSpec) else RuleSpec(found)  # type: ignore[arg-type]
    return replace(spec, label=name)


def find_rules(config: FusionConfig) -> None:
    """Refuse rules of the user's own that cannot be found, before anything is written.

    Raises:
        ConfigError: One cannot be imported, or takes other arguments.
    """
    for rule in fusing(config.rules):
        needs_of(rule, config)


def needs_of(rule: str, config: FusionConfig) -> frozenset[Need]:
    """What a rule needs beside the rewards; one that chooses needs what its candidates do.

    Raises:
        ConfigError: The user's own cannot be imported, or takes other arguments; or a candidate
            asks clients for scores.
    """
    needs = rule_named(rule).needs
    for name in config.candidates if rule in CHOOSING else ():
        own = rule_named(name, "fusion.candidates").needs
        require("scores" not in own, "fusion.candidates", BY_THEMSELVES, name)
        needs |= own
    return needs


def share_aside(config: RunConfig) -> float:
    """Share of its demonstrations that every client of a run keeps aside; 0: nobody scores."""
    rules = config.fusion.rules
    polled = "personal" in rules or any(
        "scores" in needs_of(rule, config.fusion) for rule in fusing(rules)
    )
    return config.federation.aside if polled else 0.0


def _mean(given: Given) -> Fused:
    return Fused(given.weights @ given.thetas)


def _masked_mean(given: Given) -> Fused:
    """At every point the mean of those who know it, which filling leaves as it is."""
    given = given.counted()
    return Fused(given.theta_of(given.weights @ given.maps))


def _median(given: Given) -> Fused:
    return Fused(trimmed_mean(given.thetas, given.weights, trim=0.5))


def _trimmed(given: Given) -> Fused:
    return Fused(trimmed_mean(given.thetas, given.weights, trim=given.config.trim))


def _geometric_median(given: Given) -> Fused:
    given = given.counted()
    return Fused(geometric_median(given.thetas, given.weights))


def _precision(given: Given) -> Fused:
    if given.curvatures is None:
        raise ValueError("precision needs the clients' curvatures, got None")
    total = np.einsum("k,kij->ij", given.weights, given.curvatures)
    pull = np.einsum("k,kij,kj->i", given.weights, given.curvatures, given.thetas)
    return Fused(np.linalg.lstsq(total, pull, rcond=None)[0])


def _blur(given: Given) -> Fused:
    mean = given.weights @ given.rewards
    width = given.config.blur_width
    return Fused(given.theta_of(blurred(mean[None], given.support.where, width)[0]))


def _register(given: Given) -> Fused:
    given = given.counted()
    return Fused(
        given.theta_of(registered(given.maps, given.support.lattice("register"), given.weights))
    )


def _arithmetic(given: Given) -> Fused:
    given = given.counted()
    measures = to_measures(given.maps, given.config)
    density: Floats = given.weights @ measures.density
    reward = to_reward(density, measures, given.weights, given.config)
    return Fused(given.theta_of(reward), density)


def _barycenter(given: Given) -> Fused:
    return _through_measures(given, debiased=False)


def _debiased(given: Given) -> Fused:
    return _through_measures(given, debiased=True)


def _through_measures(given: Given, *, debiased: bool) -> Fused:
    """Rewards to measures, their barycenter, and back to theta."""
    given = given.counted()
    measures = to_measures(given.maps, given.config)
    found = given.transported(measures.density, given.weights, debiased=debiased)
    density = found.measure.ravel()
    reward = to_reward(density, measures, given.weights, given.config)
    return Fused(given.theta_of(reward), density, found.iterations, found.converged)


def _select(given: Given) -> Fused:
    return select(given, fuse)


def _auto(given: Given) -> Fused:
    return auto(given, fuse)


def _gibbs(given: Given) -> Fused:
    """Through exp(R / T) and the debiased barycenter, T in units of the clients' mean range."""
    given, config = given.counted(), given.config
    width = float(given.weights @ np.ptp(given.maps, axis=1))
    temperature = config.gibbs_relative * (width if width > 0.0 else 1.0)
    measures = gibbs_measures(given.maps, temperature)
    found = given.transported(
        measures.density, given.weights, epsilon=config.gibbs_epsilon, debiased=True
    )
    density = found.measure.ravel()
    reward = gibbs_reward(density, temperature, float(given.weights @ measures.mass))
    return Fused(given.theta_of(reward), density, found.iterations, found.converged)


_DEBIASING = frozenset[Need]({"debiasing"})
_FUSING = {
    "mean": RuleSpec(_mean, "parameter mean"),
    "masked-mean": RuleSpec(_masked_mean, "mean of those who know"),
    "median": RuleSpec(_median, "coordinate median"),
    "trimmed": RuleSpec(_trimmed, "trimmed mean"),
    "geometric-median": RuleSpec(_geometric_median, "geometric median"),
    "precision": RuleSpec(_precision, "precision-weighted mean", frozenset({"curvature"})),
    "blur": RuleSpec(_blur, "blurred mean", blurs=True),
    "register": RuleSpec(_register, "mean of registered maps", frozenset({"lattice"})),
    "arithmetic": RuleSpec(_arithmetic, "arithmetic mean of measures"),
    "barycenter": RuleSpec(_barycenter, "entropic barycenter", transports=True),
    "debiased": RuleSpec(_debiased, "debiased barycenter", _DEBIASING, transports=True),
    "gibbs": RuleSpec(_gibbs, "debiased barycenter, exponential", _DEBIASING, transports=True),
    "signed": RuleSpec(signed, "barycenter of signed measures", transports=True),
    "signed-median": RuleSpec(signed_median, "median of signed measures", transports=True),
}


def _controlled(rule: str, label: str) -> RuleSpec:
    """A rule on copies of the mean: what is left of it where there is nothing to move."""
    spec = _FUSING[rule]
    return replace(spec, fuse=lambda given: spec.fuse(given.alike()), label=label)


RULES: Mapping[str, RuleSpec] = _FUSING | {
    "self-control": _controlled("barycenter", "self control (blur alone)"),
    **{
        f"self-{rule}": _controlled(rule, f"self control of {rule}")
        for rule in ("debiased", "gibbs", "signed", "signed-median", "blur")
    },
    "select": RuleSpec(
        _select, "select (by clients' scores)", frozenset({"scores"}), transports=True
    ),
    "auto": RuleSpec(_auto, "auto (signed or select)", frozenset({"scores"}), transports=True),
}
"""The rules by name."""
