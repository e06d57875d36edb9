"""What reports say of what a run promises, and of what its server saw."""

from dataclasses import asdict
from typing import Any

from fedirl_ray.config import RunConfig
from fedirl_ray.privacy.protection import SIMULATED, promise_of


def promise_tree(config: RunConfig) -> dict[str, Any]:
    """The promise as summary.json holds it, its words included; empty where there is none."""
    found, lines = promise_of(config), promise_lines(config)
    if found is None:
        return {"privacy": {"unit": "none", "in_words": lines}} if lines else {}
    cost = asdict(found.cost)
    return {
        "privacy": {
            "unit": found.unit,
            "adjacency": found.adjacency,
            "trusted": found.trusted,
            "mechanism": "Gaussian",
            "noise_in_sensitivities": found.multiplier,
            **cost,
            "noise": SIMULATED if found.simulated else "operating system's entropy",
            "in_words": lines,
        }
    }


def promise_lines(config: RunConfig) -> list[str]:
    """The promise, and what the server saw, as lines under a table."""
    found = promise_of(config)
    return [*([] if found is None else found.in_words()), *_server(config)]


def _server(config: RunConfig) -> list[str]:
    privacy = config.privacy
    if privacy.aggregation == "clear":
        return []
    how = "under pairwise masks, simulated in one process"
    how = how if privacy.aggregation == "masked" else "without masks: for comparison, hides nothing"
    return [f"The server summed over clients, at least {privacy.min_cohort} of them, {how}."]
