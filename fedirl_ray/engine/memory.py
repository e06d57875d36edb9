"""What a run will hold in memory, from its settings alone, asked before any work begins.

Letters: `k` clients, `w` worlds, `s` states, `a` actions, `b` successors, `h` steps, `n` support
points, `d` features, `j` rewards a client learns, `c` rules, `p` policies, `r` rounds.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from fedirl_ray.config import ProblemConfig, RunConfig
from fedirl_ray.engine.federation import federated
from fedirl_ray.errors import ConfigError
from fedirl_ray.evaluate.planner import POLICY_BYTES, policies
from fedirl_ray.fusion.rules import RULES
from fedirl_ray.problem.family import horizon
from fedirl_ray.problem.mdp import CACHE_BYTES
from fedirl_ray.transport.memory import available, slots_for
from fedirl_ray.transport.memory import estimate as barycenter_bytes

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

T = TypeVar("T")

SHOWN = 40  # characters of a refused value that are shown
NUMBER = 8  # bytes of a float64
SUCCESSORS = 4  # of a state and an action, at most: stay where one is, or move
ROW = 500  # bytes of a line of the long tables, as Python holds it


def require_memory(config: RunConfig) -> None:
    """Refuse a run that this machine cannot hold.

    Raises:
        ConfigError: It needs more than there is; names the setting that asks for most.
    """
    require_room(config, estimate, SIZES)


def require_room(config: T, estimate: Callable[[T], int], sizes: Sequence[str]) -> None:
    """Refuse what this machine cannot hold.

    Args:
        config: A tree of dataclasses with defaults.
        estimate: Bytes that it asks for.
        sizes: Its settings that say how much of something there is, as the user types them.

    Raises:
        ConfigError: It needs more than there is. Names the setting that asks for most: without
            which, brought back to its default, least would be needed.
    """
    needed, there = estimate(config), available()
    if there is None or needed <= there:
        return
    usual = type(config)()
    name = min(sizes, key=lambda one: estimate(_with(config, one, _value(usual, one))))
    told = str(_value(config, name))
    told = told if len(told) <= SHOWN else f"{told[:SHOWN]}..."
    raise ConfigError(
        f"{name} must leave room in this machine's memory, got {told}: that needs about "
        f"{_said(needed)}, and {_said(there)} are available"
    )


def estimate(config: RunConfig) -> int:
    """Bytes that a run of the local engine holds at its largest, beside the interpreter itself.

    Actors hold the same between them, and a process each. Measured peaks lie within a factor of
    four of it (`tests/engine/test_memory.py`). Of worlds of the user's own the states are unknown,
    and what is held for each of them is left out.
    """
    problem, k, h = config.problem, config.clients, horizon(config.problem)
    axes, a, d = _shape(problem)
    s = math.prod(axes) if axes else 0
    w, r = config.evaluation.held_out, config.federation.rounds
    c, p, q = len(config.fusion.rules), len(policies(config)), len(federated(config))
    j = 1 + q
    world = s * a * SUCCESSORS * (NUMBER + 4) + NUMBER * s * (d + 6)
    abreast = max(1, CACHE_BYTES // max(1, s * a * (24 * SUCCESSORS + 5 * NUMBER)))
    abreast = min(abreast, max(k * j, w))
    plan = 3 * NUMBER * h * a * s * abreast + POLICY_BYTES * (h * a * s * c * abreast >= 8_000_000)
    shown = problem.demonstrations * h
    data = 2 * 4 * k * shown + 4 * NUMBER * min(k, abreast) * shown
    fits = NUMBER * k * j * d * (d + 12)
    support = max(1, s)
    # What rules of the user's own ask for is unknown until their code runs.
    debiased = any("debiasing" in RULES[rule].needs for rule in federated(config) if rule in RULES)
    slots = slots_for(k, support, "float64")
    fused = 3 * NUMBER * k * support + barycenter_bytes(
        k, axes, slots, "float64", second_kernel=debiased
    )
    books = 4 * r * k * (1 + q + c) + 4 * NUMBER * r * (k + q) * d + NUMBER * r * 2 * c * p
    judged = 2 * NUMBER * (k + w) * c * (p + d)
    seed = judged + 2 * NUMBER * c * (support + d) + r * k * (1 + c) + NUMBER * r * 2 * c * p
    table = ROW * c * (4 * p + 5) + ROW * 2 * c * p * (r if r > 1 else 0)
    worlds = world * (k + max(k, w))
    return worlds + plan + data + fits + fused + books + judged + config.seeds * (3 * seed + table)


def _shape(problem: ProblemConfig) -> tuple[tuple[int, ...], int, int]:
    """Lattice of states, actions and features of a family's worlds; of your own none is known."""
    match problem.name:
        case "GridWorld" | "FrozenLake-v1":
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


def _value(config: Any, name: str) -> Any:
    """A setting, by the name the user types."""
    for part in name.replace("-", "_").split("."):
        config = getattr(config, part)
    return config


def _with(config: T, name: str, value: Any) -> T:
    """The same with another value of one setting."""
    first, _, rest = name.replace("-", "_").partition(".")
    inner = _with(getattr(config, first), rest, value) if rest else value
    changed: T = dataclasses.replace(cast(Any, config), **{first: inner})
    return changed


def _said(amount: int) -> str:
    """An amount of memory in words."""
    if amount >= 2**60:
        return "over a million TiB"
    return f"{amount / 2**30:,.1f} GiB"
