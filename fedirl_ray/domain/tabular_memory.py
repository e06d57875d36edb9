"""What a run in tables will hold in memory, from its settings alone.

Letters: `k` clients, `w` worlds, `s` states, `a` actions, `b` successors, `h` steps, `n` support
points, `d` features, `j` rewards a client learns, `c` rules, `p` policies, `r` rounds.
"""

import math

from fedirl_ray.config import RunConfig
from fedirl_ray.config_fusion import fusing
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.evaluate.planner import POLICY_BYTES, policies
from fedirl_ray.fusion.rules import needs_of
from fedirl_ray.problem.family import horizon
from fedirl_ray.problem.mdp import CACHE_BYTES
from fedirl_ray.transport.memory import estimate as barycenter_bytes
from fedirl_ray.transport.memory import slots_for

SIZES = (
    "problem.size",
    "clients",
    "problem.demonstrations",
    "problem.horizon",
    "evaluation.held-out",
    "federation.rounds",
    "seeds",
    "problem.rbf-centres",
)
"""Settings that say how much of something there is."""

BATCH = 512
"""Clients whose demonstrations, and worlds to judge in, lie in memory at once."""
NUMBER = 8  # bytes of a float64
SUCCESSORS = 4  # of a state and an action, at most: stay where one is, or move
ROW = 500  # bytes of a line of the long tables, as Python holds it


def tabular_bytes(config: RunConfig) -> int:
    """Bytes that a run of the local engine holds at its largest, beside the interpreter itself.

    Actors hold the same between them, and a process each. Measured peaks lie within a factor of
    four of it (`tests/engine/test_memory.py`). Of worlds of the user's own the states are unknown,
    and what is held for each of them is left out; so is the number of features of their own.
    """
    problem, k, h = config.problem, config.clients, horizon(config.problem)
    axes, a, d = _shape(problem)
    s = math.prod(axes) if axes else 0
    w, r = config.evaluation.held_out, config.federation.rounds
    fused_by = fusing(config.fusion.rules)
    debiasing = any("debiasing" in needs_of(rule, config.fusion) for rule in fused_by)
    c, p, q = len(config.fusion.rules), len(policies(config)), len(fused_by)
    j = 1 + q
    world = s * a * SUCCESSORS * (NUMBER + 4) + NUMBER * s * (d + 6)
    abreast = max(1, CACHE_BYTES // max(1, s * a * (24 * SUCCESSORS + 5 * NUMBER)))
    abreast = min(abreast, max(k * j, w))
    plan = 3 * NUMBER * h * a * s * abreast + POLICY_BYTES * (h * a * s * c * abreast >= 8_000_000)
    shown = problem.demonstrations * h
    data = 2 * 4 * min(k, BATCH) * shown + 4 * NUMBER * min(k, abreast) * shown
    fits = NUMBER * k * j * d * (d + 12)
    support = max(1, s)
    slots = slots_for(k, support, "float64")
    fused = 3 * NUMBER * k * support + barycenter_bytes(
        k, axes, slots, "float64", second_kernel=debiasing
    )
    books = 4 * r * k * (1 + q + c) + 4 * NUMBER * r * (k + q) * d + NUMBER * r * 2 * c * p
    judged = 2 * NUMBER * (k + w) * c * (p + d)
    seed = judged + 2 * NUMBER * c * (support + d) + r * k * (1 + c) + NUMBER * r * 2 * c * p
    table = ROW * c * (4 * p + 5) + ROW * 2 * c * p * (r if r > 1 else 0)
    worlds = world * (k + min(max(k, w), BATCH))
    return worlds + plan + data + fits + fused + books + judged + config.seeds * (3 * seed + table)


def _shape(problem: ProblemConfig) -> tuple[tuple[int, ...], int, int]:
    """Lattice of states, actions and features of a family's worlds; of your own none is known."""
    match problem.name:
        case "GridWorld" | "SitesWorld" | "FrozenLake-v1":
            axes: tuple[int, ...] = (problem.size, problem.size)
            a = 4
        case "CliffWalking-v1":
            axes, a = (4, 12), 4
        case "Taxi-v4":
            axes, a = (5, 5, 5, 4), 6
        case _:
            return (), 0, 2
    match problem.features:
        case "distance":
            return axes, a, 3
        case "rbf":
            return axes, a, math.prod(min(points, problem.rbf_centres) for points in axes)
        case "one-hot":
            return axes, a, math.prod(axes)
        case _:
            return axes, a, 3
