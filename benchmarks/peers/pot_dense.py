"""POT's dense barycenter: CPU seconds an iteration of one thread, as one line of JSON.

    python pot_dense.py '{"shape": [32, 21, 5], "k": 6, "epsilon": 0.05, "steps": 10}'

Fixed work is left out by taking the difference of two runs.
"""

import json
import os
import sys
import time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]})

import numpy as np  # noqa: E402
import ot  # noqa: E402


def main() -> None:
    task = json.loads(sys.argv[1])
    shape, k, steps = task["shape"], task["k"], task["steps"]
    rows = np.random.default_rng(0).random((k, int(np.prod(shape))))
    rows /= rows.sum(1, keepdims=True)
    axes = [np.linspace(0, 1, m) for m in shape]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))
    cost = ot.dist(points)
    cost /= cost.max()

    def timed(iterations: int) -> float:
        begin = time.process_time()
        ot.bregman.barycenter(
            rows.T, cost, task["epsilon"], numItermax=iterations, stopThr=-1.0, warn=False
        )
        return time.process_time() - begin

    timed(1)
    spans = [timed(1 + steps) - timed(1) for _ in range(task.get("repeats", 3))]
    print(json.dumps({"seconds": float(np.median(spans)) / steps}))


main()
