"""Exact transport between two discrete measures, with what the solver says of itself."""

import warnings
from typing import NamedTuple

import numpy as np

from fedirl_ray.errors import in_short
from fedirl_ray.transport.axis import Floats

MOST_STEPS = 10**8
"""Simplex steps. POT's own 100,000 end too early from some 3,600 points against 3,600 on; a hundred
million are more than any two measures need whose cost matrix fits a machine's memory."""


class Transport(NamedTuple):
    """Where the network simplex ended."""

    cost: float
    """Of the plan found, never below zero; that of the optimal plan only if there is no `flaw`."""
    error: float
    """Largest L1 distance of the plan's marginals from the measures; rounding if optimal."""
    flaw: str | None
    """One line where the plan is not optimal: what the solver says."""


def exact_transport(p: Floats, q: Floats, cost: Floats, max_steps: int = MOST_STEPS) -> Transport:
    """Solve the transport problem by POT's network simplex.

    Args:
        p: `[n]`, positive; normalised to sum 1.
        q: `[m]`, likewise.
        cost: `[n, m]`.
        max_steps: Most steps of the simplex.
    """
    import ot

    p, q = p / p.sum(), q / q.sum()
    with warnings.catch_warnings():
        # The same as the log's, which is read.
        warnings.simplefilter("ignore")
        value, log = ot.emd2(
            p, q, np.ascontiguousarray(cost), numItermax=max_steps, log=True, return_matrix=True
        )
    plan = log["G"]
    error = max(
        float(np.abs(plan.sum(axis=1) - p).sum()), float(np.abs(plan.sum(axis=0) - q).sum())
    )
    flaw = log["warning"]
    if flaw is not None:
        flaw = f"POT's network simplex: {in_short(flaw)}"
    return Transport(max(0.0, float(value)), error, flaw)
