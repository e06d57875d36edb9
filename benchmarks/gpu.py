"""Barycenters on a GPU: is it right, and how long does a step take? Under three minutes.

    python -m benchmarks.gpu
    python -m benchmarks.gpu --device cpu

Needs torch, numpy and this package; OTT-JAX is measured beside it where it is installed and sees a
GPU. Every row is checked against the numpy path before it is timed: the script fails if one is not
right. A step is the difference of two runs of plain steps (noise measures, epsilon .05), so set-up,
capture and looks at the error are left out, as they are for OTT. `--device cpu` runs small lattices
through the same code, as a check: its milliseconds are of no interest.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fedirl_ray import barycenter
from fedirl_ray.transport.advance import in_process
from fedirl_ray.transport.barycenter import prepare
from fedirl_ray.transport.shard import make_shard
from fedirl_ray.transport.solver import Solver, solve
from fedirl_ray.transport.step import Step

Shape = tuple[int, ...]
CASES: list[tuple[Shape, int]] = [
    ((32, 21, 5), 6),
    ((9, 9, 5, 5, 5), 20),
    ((15, 15, 11, 11, 5), 20),
    ((100, 100, 100), 20),
]
SMALL = [((8, 6, 4), 3), ((9, 9, 5), 5), ((60, 50), 2)]
EPSILON = 0.05
STEPS = 40
"""Plain steps that are checked, and counted from."""
RIGHT = {"float64": 1e-10, "float32": 1e-4, "tf32": 5e-2}
"""Largest L1 distance from numpy's barycenter after as many steps."""
BUDGET = 8.0
"""Seconds that the timing of one number may take, about."""


def noise(shape: Shape, k: int) -> tuple[Any, list[Any]]:
    rows = np.random.default_rng(0).random((k, *shape))
    return rows, [np.linspace(0, 1, m) for m in shape]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, ... or cpu for a check")
    options = parser.parse_args()
    try:
        import torch
    except ModuleNotFoundError:
        print("torch is not installed: pip install 'fedirl-ray[torch]'")
        return 2
    on_gpu = options.device.startswith("cuda")
    if on_gpu and not torch.cuda.is_available():
        print("torch sees no GPU on this machine: --device cpu checks the code without one")
        return 2
    if not on_gpu:
        torch.set_num_threads(1)
    name = torch.cuda.get_device_name(options.device) if on_gpu else "CPU: a check, not a benchmark"
    print(f"torch {torch.__version__}, numpy {np.__version__}, {name}")
    print(f"{'lattice':>14} {'K':>3} {'dtype':>8} {'ms a step':>10} {'launches':>9} {'L1':>9}   ")
    wrong = 0
    for shape, k in CASES if on_gpu else SMALL:
        wrong += sum(not row(torch, shape, k, dtype, options.device) for dtype in dtypes(on_gpu))
        if on_gpu:
            ott(shape, k)
    print("all right" if not wrong else f"{wrong} rows are not right")
    return 1 if wrong else 0


def dtypes(on_gpu: bool) -> list[str]:
    return ["float64", "float32", "tf32"] if on_gpu else ["float64", "float32"]


def row(torch: Any, shape: Shape, k: int, dtype: Any, device: str) -> bool:
    """Print a row of the table; return whether it is right."""
    rows, axes = noise(shape, k)
    options: dict[str, Any] = {"epsilon": EPSILON, "tol": 0.0, "anderson": 0, "max_iters": STEPS}
    there = torch.as_tensor(rows, device=device)
    # A million points take numpy long: its barycenter is reached well before, there to rounding.
    fewer = STEPS if rows.size < 10**7 else 12
    options["max_iters"] = fewer
    ours = barycenter(rows, axes, **options).measure
    found = barycenter(there, axes, backend="torch", dtype=dtype, **options).measure
    gap = float(np.abs(found.cpu().numpy() - ours).sum())
    right = gap <= RIGHT[dtype]
    solver = Solver(epsilon=EPSILON, tol=0.0, anderson=0, max_iters=5, backend="torch", dtype=dtype)
    task = prepare(there, axes, None, solver)
    alone = in_process([make_shard(task.problem, task.rows, task.weights)])
    log_b = solve(alone, task.problem, task.weights, solver).log_b
    step = Step(log_b, EPSILON, "plain")
    repeat: Callable[[Step, int], Any] = alone.repeat  # type: ignore[attr-defined]

    def run(count: int) -> float:
        begin = time.perf_counter()
        repeat(step, count)
        if device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter() - begin

    run(5)
    budget = BUDGET if device != "cpu" else 0.2
    count = max(5, min(2000, int(budget / 6 / max(run(5) / 5, 1e-7))))
    spans = [run(10 + count) - run(10) for _ in range(5)]
    calls = launches(torch, alone, step)
    mark = "" if right else f"NOT RIGHT: more than {RIGHT[dtype]:g}"
    print(
        f"{'x'.join(map(str, shape)):>14} {k:>3} {dtype:>8} "
        f"{1e3 * statistics.median(spans) / count:>10.4f} {calls:>9} {gap:>9.1e}   {mark}",
        flush=True,
    )
    return right


def launches(torch: Any, alone: Any, step: Step) -> int:
    """Return how many calls that move numbers a step makes where no graph bundles them."""
    from torch.utils._python_dispatch import TorchDispatchMode

    moving: list[str] = []

    class Calls(TorchDispatchMode):  # type: ignore[misc]
        def __torch_dispatch__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            result = function(*args, **(kwargs or {}))
            if not function.is_view and not function.__name__.startswith("empty"):
                moving.append(function.__name__)
            return result

    with Calls():
        alone.shard.problem.fixed_point.decode(alone(step).total)
    return len(moving)


def ott(shape: Shape, k: int) -> None:
    """Print OTT-JAX's row, in float64 and kernel mode, where it is installed and sees a GPU."""
    try:
        import jax
        from ott.geometry import grid
        from ott.problems.linear import barycenter_problem
        from ott.solvers.linear import discrete_barycenter
    except ModuleNotFoundError:
        return
    if jax.default_backend() != "gpu":
        return
    jax.config.update("jax_enable_x64", True)
    rows, _ = noise(shape, k)
    rows = jax.numpy.asarray(rows.reshape(k, -1) / rows.reshape(k, -1).sum(1, keepdims=True))
    axes = [jax.numpy.linspace(0, 1 / np.sqrt(len(shape)), m) for m in shape]
    geometry = grid.Grid(x=axes, epsilon=EPSILON)
    problem = barycenter_problem.FixedBarycenterProblem(geometry, rows)

    def runner(steps: int) -> Callable[[], float]:
        made = discrete_barycenter.FixedBarycenter(
            threshold=-1.0,
            inner_iterations=10,
            min_iterations=steps,
            max_iterations=steps,
            lse_mode=False,
        )
        compiled = jax.jit(made)
        compiled(problem).histogram.block_until_ready()

        def timed() -> float:
            begin = time.perf_counter()
            compiled(problem).histogram.block_until_ready()
            return time.perf_counter() - begin

        return timed

    few, many = runner(10), runner(110)
    spans = [many() - few() for _ in range(5)]
    print(
        f"{'x'.join(map(str, shape)):>14} {k:>3} {'OTT-JAX':>8} "
        f"{10 * statistics.median(spans):>10.4f}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
