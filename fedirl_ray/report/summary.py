"""A run in few numbers: what summary.json holds."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fedirl_ray.domain.domain import SPLITS, Domain
from fedirl_ray.engine.result import SeedResult, judges, samples, sent
from fedirl_ray.engine.upload import traffic
from fedirl_ray.evaluate.comparison import compare, split_gain
from fedirl_ray.evaluate.statistics import Interval
from fedirl_ray.fusion.selection import choices
from fedirl_ray.report.choice import choices_told
from fedirl_ray.report.promise import promise_tree

UNITS = {
    "success": "shares: 1 is all episodes; tables and pages show %, and points of it",
    "return": "true return of an episode",
}


def summary(domain: Domain, results: Sequence[SeedResult]) -> dict[str, Any]:
    """Means, spreads, paired differences and the split of the barycenter's gain."""
    config = domain.config
    rules, names = config.fusion.rules, list(judges(domain))
    asked = str(config.federation.weights)
    weights = {} if asked == "equal" else {"weights": asked}
    tables: dict[str, Any] = {}
    gains: dict[str, Any] = {}
    for split in SPLITS:
        each = samples(domain, results, split)
        for p, policy in enumerate(names):
            by_rule = compare(each[:, :, p], rules)
            tables.setdefault(split, {})[policy] = {
                rule: {
                    "mean": found.mean,
                    "std": found.spread,
                    "difference": found.difference.mean,
                    **_said_of(found.difference),
                }
                for rule, found in by_rule.items()
            }
            gain = split_gain(each[:, :, p], rules)
            if gain is not None:
                gains.setdefault(split, {})[policy] = {
                    field.name: {"mean": value.mean, **_said_of(value)}
                    for field in dataclasses.fields(gain)
                    for value in [getattr(gain, field.name)]
                }
    return {
        "clients": config.clients,
        "seeds": list(range(config.seeds)),
        "root_seed": config.seed,
        "seeds_vary": domain.varies,
        "compared_to": "mean",
        **weights,
        **promise_tree(config),
        "metric": domain.metric,
        "unit": UNITS.get(domain.metric, domain.metric),
        domain.metric: tables,
        "gain_of_barycenter": gains,
        "clients_with_unachievable_demonstrations": int(
            sum((result.negative_log_likelihood < 0.0).sum() for result in results)
        ),
        "clients_not_converged": int(sum((~result.fit_converged).sum() for result in results)),
        **({"choices": chosen} if (chosen := _choices(domain, results)) else {}),
        "communication": communication(domain, results),
    }


def _choices(domain: Domain, results: Sequence[SeedResult]) -> Mapping[str, Any]:
    """What rules that choose have chosen, and why."""
    fusion = domain.config.fusion
    chosen, displacement = (
        np.stack([getattr(result, name) for result in results])
        for name in ("chosen", "displacement")
    )
    return choices_told(fusion.rules, choices(fusion), chosen, displacement)


def _said_of(found: Interval) -> dict[str, Any]:
    """How sure a mean is, and what that rests on (see `evaluate.statistics`)."""
    return {
        "half_width_95": found.half_width,
        "method": found.method,
        "p_value": found.p_value,
        "doubt": found.doubt,
    }


def communication(domain: Domain, results: Sequence[SeedResult]) -> dict[str, Any]:
    """Bytes up and down, by client and round and in all, and who took part, by seed and round."""
    d = results[0].theta.shape[1]
    rules: dict[str, Any] = {}
    for rule in domain.config.fusion.rules:
        each = traffic(rule, d, domain.config.fusion)
        totals = [sent(rule, result, domain) for result in results]
        rules[rule] = {
            "bytes_down_per_client_and_round": each.down,
            "bytes_up_per_client_and_round": each.up,
            "bytes_down": sum(total.down for total in totals),
            "bytes_up": sum(total.up for total in totals),
        }
    return {
        "rules": rules,
        "clients_asked": [result.asked.sum(axis=1).tolist() for result in results],
        "uploads_admitted": [result.heard.sum(axis=1).tolist() for result in results],
    }
