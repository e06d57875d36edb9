"""Local IRL: time beside a dense implementation, and memory of a client's process.

    python -m benchmarks.maxent

Run from the repository's root, on one thread. Times are medians of processor time, so that
neighbours on a shared machine count little, and each ratio is of two times taken in turns, so that
a machine that slows down slows both. The dense side is one client with its transitions as an
S x A x S array, and every expectation as one matrix-vector product (BLAS), which is as fast as
that layout gets. Ours is timed with one client as well, and per client in a block.
"""

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from fedirl_ray.config import EvaluationConfig, IRLConfig, RunConfig
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.irl.block import prepare
from fedirl_ray.irl.maxent import dual, fit
from fedirl_ray.problem.family import horizon
from fedirl_ray.problem.mdp import Stack, TabularMDP

HEAVY = ("torch", "matplotlib", "pandas", "tyro", "pyarrow", "ot", "rich", "scipy.stats")
LEARNER = IRLConfig()


class Dense:
    """One client's world as an S x A x S array."""

    def __init__(self, world: TabularMDP) -> None:
        s, a, b = world.successors.shape
        self.world, self.s, self.a = world, s, a
        self.matrix = np.zeros((s, a, s))
        for branch in range(b):
            at = np.arange(s)[:, None], np.arange(a)[None], world.successors[:, :, branch]
            np.add.at(self.matrix, at, world.probabilities[:, :, branch])
        self.flat = self.matrix.reshape(s * a, s)
        self.features = np.ascontiguousarray(
            np.broadcast_to(world.features, (s, a, world.features.shape[2]))
        )

    def dual(self, theta: np.ndarray, counts: np.ndarray, steps: int) -> tuple[float, np.ndarray]:
        """Dual value and gradient: one soft pass back, one pass of occupancy forward."""
        reward = self.features @ theta
        value, policy = np.zeros(self.s), np.empty((steps, self.s, self.a))
        for t in reversed(range(steps)):
            q = reward + LEARNER.discount * (self.flat @ value).reshape(self.s, self.a)
            peak = q.max(axis=1, keepdims=True)
            weight = np.exp(q - peak)
            total = weight.sum(axis=1, keepdims=True)
            policy[t] = weight / total
            value = (peak + np.log(total))[:, 0]
        visits, mass = np.zeros((self.s, self.a)), self.world.initial
        for t in range(steps):
            flow = mass[:, None] * policy[t]
            visits += LEARNER.discount**t * flow
            mass = flow.ravel() @ self.flat
        expected = visits.ravel() @ self.features.reshape(self.s * self.a, -1)
        return float(self.world.initial @ value - theta @ counts), expected - counts


def seconds(task: Callable[[], object]) -> float:
    """Processor time of one call."""
    began = time.process_time()
    task()
    return time.process_time() - began


def one_pass(size: int, steps: int, block: int, rounds: int) -> dict[str, float]:
    """One soft pass with gradient: dense, ours for one client, ours per client in a block."""
    problem = ProblemConfig(size=size, horizon=steps, demonstrations=5)
    many = prepare(RunConfig(clients=block, problem=problem), 0, range(block))
    dense, alone, together = Dense(many.worlds[0]), Stack(many.worlds[:1]), Stack(many.worlds)
    theta = np.tile([[-1.0, 0.3]], (block, 1))
    value, gradient = dual(alone, theta[:1], many.counts[:1], LEARNER, steps)
    dense_value, dense_gradient = dense.dual(theta[0], many.counts[0], steps)
    np.testing.assert_allclose(value[0], dense_value, rtol=1e-9)  # the same numbers, or no race
    np.testing.assert_allclose(gradient[0], dense_gradient, rtol=1e-9)
    theirs, ours, shared = [], [], []
    for _ in range(rounds):
        theirs.append(seconds(lambda: dense.dual(theta[0], many.counts[0], steps)))
        for _ in range(5):
            ours.append(seconds(lambda: dual(alone, theta[:1], many.counts[:1], LEARNER, steps)))
        shared.append(seconds(lambda: dual(together, theta, many.counts, LEARNER, steps)) / block)
    base, one, each = (statistics.median(times) for times in (theirs, ours, shared))
    return {
        "dense_ms": 1e3 * base,
        "ours_ms": 1e3 * one,
        "ratio": base / one,
        "block": block,
        "in_block_ms": 1e3 * each,
        "ratio_in_block": base / each,
        "dense_mib": dense.matrix.nbytes / 2**20,
        "sparse_mib": (alone.expect.data.nbytes + alone.expect.indices.nbytes) / 2**20,
    }


def to_convergence(clients: int, size: int, rounds: int) -> dict[str, float]:
    """Fits of many clients to the default tolerance."""
    run = RunConfig(clients=clients, problem=ProblemConfig(size=size))
    block, steps = prepare(run, 0, range(clients)), horizon(run.problem)
    times = [
        seconds(lambda: fit(block.worlds, block.counts, LEARNER, steps)) for _ in range(rounds)
    ]
    found = fit(block.worlds, block.counts, LEARNER, steps)
    return {
        "seconds": statistics.median(times),
        "steps": steps,
        "converged": int(found.converged.sum()),
        "iterations": int(found.iterations.max()),
    }


class Probe:
    """A client that says how much memory its process has used."""

    def __init__(self, config: RunConfig) -> None:
        from fedirl_ray.engine.local import Clients

        self.client = Clients(config, (0,))

    def work(self) -> None:
        """A seed's work: learn, fuse, and judge."""
        from fedirl_ray.engine.driver import federate

        list(federate(self.client.config, self.client))

    def memory(self) -> dict[str, object]:
        """MiB of this process: resident, unshared, highest resident; and what is imported."""
        import resource

        import psutil

        used = psutil.Process().memory_full_info()
        return {
            "rss": used.rss / 2**20,
            "uss": used.uss / 2**20,
            "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
            "heavy": [name for name in HEAVY if name in sys.modules],
        }


class Empty:
    """An actor without any work, to compare with."""

    memory = Probe.memory


def actor_memory(size: int) -> dict[str, dict[str, object]]:
    """Memory of a client actor's process after a seed's work, and of an empty actor's."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import logging

    import ray

    config = RunConfig(
        clients=1,
        seeds=1,
        problem=ProblemConfig(size=size),
        evaluation=EvaluationConfig(held_out=1),
    )
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    try:
        remote = ray.remote(num_cpus=0)
        client, empty = remote(Probe).remote(config), remote(Empty).remote()
        ray.get(client.work.remote())
        return {
            "client": ray.get(client.memory.remote()),
            "empty": ray.get(empty.memory.remote()),
        }
    finally:
        ray.shutdown()


def main() -> None:
    """Measure everything; print a table, and one line for machines."""
    threadpool_limits(limits=1)
    small = one_pass(20, 60, block=8, rounds=25)
    large = one_pass(50, 120, block=2, rounds=5)
    many = to_convergence(20, 20, rounds=5)
    memory = actor_memory(20)
    client, empty = memory["client"], memory["empty"]

    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, one thread; "
        f"Python {platform.python_version()}, numpy {np.__version__}\n"
    )
    print("| local IRL, one thread | dense S x A x S | ours | ratio | bar |")
    print("|---|---|---|---|---|")
    for label, found, bar in (
        ("soft pass with gradient, 20x20, horizon 60", small, ">= 8"),
        ("soft pass with gradient, 50x50, horizon 120", large, ">= 70"),
    ):
        dense = f"{found['dense_ms']:.1f} ms"
        print(f"| {label} | {dense} | {found['ours_ms']:.2f} ms | {found['ratio']:.1f} | {bar} |")
        print(
            f"| the same, per client in a block of {found['block']} | {dense} | "
            f"{found['in_block_ms']:.2f} ms | {found['ratio_in_block']:.1f} | |"
        )
    print(
        f"| transitions, 50x50 | {large['dense_mib']:.0f} MiB | {large['sparse_mib']:.2f} MiB | "
        f"{large['dense_mib'] / large['sparse_mib']:.0f} | |"
    )
    print(
        f"| 20 clients, 20x20, horizon {many['steps']}, to convergence "
        f"({many['converged']} converged, {many['iterations']} steps at most) | | "
        f"{many['seconds']:.2f} s | | < 3 s |"
    )
    print("\n| process, MiB | resident | unshared | peak resident | heavy modules imported |")
    print("|---|---|---|---|---|")
    for label, used in (("client actor, 20x20, after a seed", client), ("empty actor", empty)):
        print(
            f"| {label} | {used['rss']:.0f} | {used['uss']:.0f} | {used['peak']:.0f} | "
            f"{', '.join(used['heavy']) or 'none'} |"  # type: ignore[arg-type]
        )
    print(f"\n{json.dumps({'small': small, 'large': large, 'many': many, 'memory': memory})}")


if __name__ == "__main__":
    main()
