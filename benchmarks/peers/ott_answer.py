"""OTT-JAX's grid solver: seconds until it is within 1e-6 of an answer, as one line of JSON.

    python ott_answer.py '{"rows": "rows.npy", "answer": "answer.npy", "epsilon": 0.05}'

`rows` `[k, *shape]` and `answer` `[*shape]` are files of numpy's. Kernel mode, float64, one thread,
compiled beforehand; it is given the number of iterations it needs (a multiple of 10, as it looks at
its error every 10; it is not asked to). CPU seconds, the median of a few repeats.
"""

import json
import os
import sys
import time

os.environ["XLA_FLAGS"] = (
    "--xla_cpu_multi_thread_eigen=false --xla_force_host_platform_device_count=1"
)
os.environ["OMP_NUM_THREADS"] = "1"
os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]})

import jax  # noqa: E402
import numpy as np  # noqa: E402
from ott.geometry import grid  # noqa: E402
from ott.problems.linear import barycenter_problem  # noqa: E402
from ott.solvers.linear import discrete_barycenter  # noqa: E402

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_platforms", "cpu")

MOST = 20_000
"""Iterations after which it is given up."""


def main() -> None:
    task = json.loads(sys.argv[1])
    rows, answer = np.load(task["rows"]), np.load(task["answer"]).ravel()
    shape, goal = rows.shape[1:], task.get("goal", 1e-6)
    rows = rows.reshape(len(rows), -1)
    rows = jax.numpy.asarray(rows / rows.sum(1, keepdims=True))
    scale = np.sqrt(len(shape))
    axes = [jax.numpy.linspace(0, 1 / scale, m) for m in shape]
    geometry = grid.Grid(x=axes, epsilon=task["epsilon"])
    problem = barycenter_problem.FixedBarycenterProblem(geometry, rows)

    def solver(tens: int):
        made = discrete_barycenter.FixedBarycenter(
            threshold=-1.0,
            inner_iterations=10,
            min_iterations=10 * tens,
            max_iterations=10 * tens,
            lse_mode=False,
        )
        return jax.jit(made)

    def gap(tens: int) -> float:
        found = np.asarray(solver(tens)(problem).histogram)
        return float(np.abs(found / found.sum() - answer).sum())

    high = max(1, task.get("near", 10) // 10)
    if high > 1 and gap(high - 1) < goal:
        high = 1
    while not gap(high) < goal:
        high *= 2
        if 10 * high > MOST:
            print(json.dumps({"seconds": None, "iterations": None, "gap": gap(high // 2)}))
            return
    low = high - 1 if high == task.get("near", 0) // 10 else high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if gap(middle) < goal else (middle, high)
    run = solver(high)
    run(problem).histogram.block_until_ready()
    spans = []
    for _ in range(task.get("repeats", 5)):
        begin = time.process_time()
        run(problem).histogram.block_until_ready()
        spans.append(time.process_time() - begin)
    seconds = float(np.median(spans))
    print(json.dumps({"seconds": seconds, "iterations": 10 * high, "gap": gap(high)}))


main()
