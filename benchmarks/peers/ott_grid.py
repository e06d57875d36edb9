"""OTT-JAX's separable grid solver: seconds an iteration, as one line of JSON.

    python ott_grid.py '{"shape": [32, 21, 5], "k": 6, "epsilon": 0.05, "log": false, "steps": 100}'

Compilation and fixed work are left out by taking the difference of two jitted runs. CPU seconds of
one thread, float64, cost scaled to a largest value of 1.
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


def main() -> None:
    task = json.loads(sys.argv[1])
    shape, k, steps = task["shape"], task["k"], task["steps"]
    rows = np.random.default_rng(0).random((k, int(np.prod(shape))))
    rows = jax.numpy.asarray(rows / rows.sum(1, keepdims=True))
    scale = np.sqrt(len(shape))
    axes = [jax.numpy.linspace(0, 1 / scale, m) for m in shape]
    geometry = grid.Grid(x=axes, epsilon=task["epsilon"])
    problem = barycenter_problem.FixedBarycenterProblem(geometry, rows)

    def runner(iterations: int):
        solver = discrete_barycenter.FixedBarycenter(
            threshold=-1.0,
            inner_iterations=10,
            min_iterations=iterations,
            max_iterations=iterations,
            lse_mode=task["log"],
        )
        run = jax.jit(solver)
        run(problem).histogram.block_until_ready()

        def timed() -> float:
            begin = time.process_time()
            run(problem).histogram.block_until_ready()
            return time.process_time() - begin

        return timed

    few, many = runner(10), runner(10 + steps)
    spans = [many() - few() for _ in range(task.get("repeats", 3))]
    print(json.dumps({"seconds": float(np.median(spans)) / steps}))


main()
