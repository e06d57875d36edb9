"""What an iteration over Ray costs beside its arithmetic, by the way the vectors travel.

    python -m benchmarks.shards
    python -m benchmarks.shards --whole --k 100

Milliseconds of wall time, medians. `driver` is what the package does: the step goes out and the
integer vectors come back through the object store, and the driver adds them. `tree` adds them in
pairs in tasks and brings one vector back. `gloo` is torch.distributed between the actors.

`--whole` times the steps of the package's own crew of actors at a million points instead: on
one actor and on two, with one BLAS thread each.
"""

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402
import ray  # noqa: E402

from fedirl_ray.engine.shard import shard_crew  # noqa: E402
from fedirl_ray.transport.barycenter import Task, prepare  # noqa: E402
from fedirl_ray.transport.solver import Solver, solve  # noqa: E402
from fedirl_ray.transport.step import Step, Term  # noqa: E402


@ray.remote(num_cpus=1)
class Worker:
    """Answers a vector at once: only the way there and back takes time."""

    def ready(self) -> None:
        """Return when the actor runs."""

    def term(self, log_b: np.ndarray) -> np.ndarray:
        """Return a vector of integers as long as `log_b`."""
        return log_b.view(np.int64)

    def join(self, rank: int, world: int, port: int) -> None:
        """Meet the other workers."""
        import torch.distributed as dist

        dist.init_process_group(
            "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world
        )

    def gloo(self, n: int, times: int) -> float:
        """Return the median seconds of an all-reduce of `n` integers."""
        import torch
        import torch.distributed as dist

        total, spans = torch.ones(n, dtype=torch.int64), []
        for _ in range(times):
            begin = time.perf_counter()
            dist.all_reduce(total)
            spans.append(time.perf_counter() - begin)
        return float(np.median(spans))


@ray.remote(num_cpus=0)
def add(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    return one + two


def median(action: Callable[[], Any], times: int = 9) -> float:
    action()
    spans = []
    for _ in range(times):
        begin = time.perf_counter()
        action()
        spans.append(time.perf_counter() - begin)
    return 1e3 * float(np.median(spans))


def cube(k: int) -> Task:
    """Return the barycenter of `k` noise measures on a million points, plain steps only."""
    rows = np.random.default_rng(0).random((k, 10**6))
    solver = Solver(epsilon=0.05, tol=0.0, max_iters=9, domain="plain", anderson=0)
    return prepare(rows, [np.linspace(0, 1, 100)] * 3, None, solver)


def seconds_a_step(task: Task, workers: int) -> float:
    """Return the median wall seconds of the steps that are neither first nor measured."""
    spans = []
    with shard_crew(task, workers) as crew:

        def advance(step: Step) -> Term:
            begin = time.perf_counter()
            term = crew.advance(step)
            if step.mix and not step.measure:
                spans.append(time.perf_counter() - begin)
            return term

        solve(advance, task.problem, task.weights, task.solver)
    return float(np.median(spans))


def whole(k: int) -> None:
    """Print the seconds of an iteration on one and on two actors."""
    task = cube(k)
    one, two = seconds_a_step(task, 1), seconds_a_step(task, 2)
    print(f"1M points, K = {k}: {one:.2f} s on one actor, {two:.2f} on two: {one / two:.2f} times")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gloo", action="store_true", help="needs torch")
    parser.add_argument("--whole", action="store_true", help="time whole iterations instead")
    parser.add_argument("--k", type=int, default=100, help="clients of --whole (default 100)")
    options = parser.parse_args()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    if options.whole:
        whole(options.k)
        ray.shutdown()
        return
    workers = [Worker.remote() for _ in range(2)]
    ray.get([worker.ready.remote() for worker in workers])
    if options.gloo:
        ray.get([w.join.remote(i, 2, 29531) for i, w in enumerate(workers)])
    print(f"{'n':>9} {'driver':>8} {'tree':>8} {'gloo':>8}   ms an iteration, 2 workers")
    for n in (10**4, 10**5, 10**6):
        log_b = np.random.default_rng(0).random(n)

        def driver(log_b: np.ndarray = log_b) -> np.ndarray:
            shared = ray.put(log_b)
            return sum(ray.get([worker.term.remote(shared) for worker in workers]))

        def tree(log_b: np.ndarray = log_b) -> np.ndarray:
            shared = ray.put(log_b)
            return ray.get(add.remote(*[worker.term.remote(shared) for worker in workers]))

        row = [median(driver), median(tree)]
        if options.gloo:
            row.append(1e3 * max(ray.get([w.gloo.remote(n, 9) for w in workers])))
        print(f"{n:>9} " + " ".join(f"{value:8.2f}" for value in row), flush=True)
    ray.shutdown()


if __name__ == "__main__":
    main()
