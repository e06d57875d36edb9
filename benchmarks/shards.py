"""What an iteration over Ray costs beside its arithmetic, by the way the vectors travel.

    python -m benchmarks.shards

Milliseconds of wall time, medians. `driver` is what the package does: the step goes out and the
integer vectors come back through the object store, and the driver adds them. `tree` adds them in
pairs in tasks and brings one vector back. `gloo` is torch.distributed between the actors.
"""

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import numpy as np
import ray


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gloo", action="store_true", help="needs torch")
    options = parser.parse_args()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
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
