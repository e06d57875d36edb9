"""What fusing costs on the lattices that were too large for the paper's solver."""

import time
import tracemalloc
from collections.abc import Iterator

import numpy as np

from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.fusion.rules import fuse
from fedirl_ray.fusion.spec import Given, Support
from fedirl_ray.problem.control.basis import RadialBasis
from fedirl_ray.problem.control.paper import ACROBOT, LANDER
from fedirl_ray.problem.control.task import Task
from fedirl_ray.problem.lattice import ground_of
from fedirl_ray.seeds import stream
from fedirl_ray.study.reproduction.plan import Plan, Record

FLEETS = (12, 24)
RULES: tuple[str, ...] = ("mean", "arithmetic", "barycenter", "debiased")
FEATURES = 64
TASKS = (LANDER, ACROBOT)


def steps(plan: Plan) -> int:
    """One step a task and number of clients."""
    return len(TASKS) * len(FLEETS)


def run(plan: Plan) -> Iterator[list[Record]]:
    """Fuse random rewards of every fleet by every rule, and take time and memory.

    Clients' theta scatter around a common one half as far as it is long: what is fused decides
    neither time nor memory but for the barycenter's number of iterations, which is in the row.
    """
    for task in TASKS:
        for clients in FLEETS:
            yield _fleet(task, clients, plan)


def _fleet(task: Task, clients: int, plan: Plan) -> list[Record]:
    lattice = task.support
    support = Support(RadialBasis(lattice, FEATURES).at(lattice.points), ground_of(lattice))
    rng = stream(plan.seed, "scale", task.name, clients)
    thetas = rng.normal(size=FEATURES) + 0.5 * rng.normal(size=(clients, FEATURES))
    weights = np.full(clients, 1.0 / clients)
    given = Given(thetas, weights, support, FusionConfig())
    rows: list[Record] = []
    for rule in RULES:
        begin = time.perf_counter()
        fused = fuse(rule, given)
        seconds = time.perf_counter() - begin
        tracemalloc.start()
        fuse(rule, given)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        rows.append(
            {
                "task": task.name,
                "axes": len(lattice.axes),
                "support": lattice.size,
                "clients": clients,
                "rule": rule,
                "seconds": seconds,
                "mebibytes": peak / 2**20,
                "iterations": fused.iterations,
                "converged": fused.converged,
            }
        )
    return rows
