"""How fast, how large, how exact the lattice barycenter is, beside its peers.

    python -m benchmarks.barycenter --quick
    python -m benchmarks.barycenter --peers .venv-peers/bin/python --json benchmarks/barycenter.json

CPU seconds of one thread on one core, medians; an iteration's cost is the difference of two runs,
so that checks and set-up are left out. Peers run in their own interpreter (benchmarks/peers), in
turn with ours. The machine's GEMM rate and memory bandwidth are measured in the same run.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402

from fedirl_ray import barycenter  # noqa: E402

PENDULUM, ACROBOT = (32, 21, 5), (9, 9, 5, 5, 5)
FINE, CUBE = (15, 15, 11, 11, 5), (100, 100, 100)
EPSILON = 0.05


def noise(shape: Sequence[int], k: int) -> tuple[np.ndarray, list[np.ndarray]]:
    rows = np.random.default_rng(0).random((k, math.prod(shape)))
    return rows, [np.linspace(0, 1, m) for m in shape]


def bumps(shape: Sequence[int], k: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Three Gaussian bumps of random place, width and height a client, on a floor of 1 %."""
    rng = np.random.default_rng(0)
    axes = [np.linspace(0, 1, m) for m in shape]
    grid = np.meshgrid(*axes, indexing="ij")
    rows = []
    for _ in range(k):
        row = np.zeros(shape)
        for _ in range(3):
            centre, width = rng.random(len(shape)), 0.05 + 0.2 * rng.random()
            square = sum((x - c) ** 2 for x, c in zip(grid, centre, strict=True))
            row += rng.random() * np.exp(-square / (2 * width**2))
        rows.append(row + 0.01 * row.max())
    return np.array(rows), axes


def span(action: Callable[[], Any]) -> float:
    begin = time.process_time()
    action()
    return time.process_time() - begin


def ours(shape: Sequence[int], k: int, steps: int, repeats: int = 5, **options: Any) -> float:
    """CPU seconds of one iteration."""
    rows, axes = noise(shape, k)
    options = {"epsilon": EPSILON, "tol": 0.0, "anderson": 0, **options}

    def run(iterations: int) -> float:
        return span(lambda: barycenter(rows, axes, max_iters=iterations, **options))

    run(11)
    return float(np.median([run(11 + steps) - run(11) for _ in range(repeats)])) / steps


def peer(python: str | None, script: str, **task: Any) -> float | None:
    """CPU seconds of one of a peer's iterations; `None` without its interpreter."""
    if python is None:
        return None
    path = Path(__file__).parent / "peers" / script
    task = {"epsilon": EPSILON, **task}
    answer = subprocess.run(
        [python, str(path), json.dumps(task)], capture_output=True, text=True, check=False
    )
    if answer.returncode:
        print(f"  {script} failed: {answer.stderr.strip().splitlines()[-1]}")
        return None
    return float(json.loads(answer.stdout.splitlines()[-1])["seconds"])


def show(label: str, value: float, bar: str, *, met: bool | None, out: dict[str, Any]) -> None:
    mark = {True: "met", False: "NOT MET", None: ""}[met]
    print(f"  {label:<64} {value:>10.4g}   {bar:<18} {mark}", flush=True)
    out[label] = {"value": value, "bar": bar, "met": met}


def machine() -> tuple[float, float]:
    """Return GEMM rate (flop/s) and streaming bandwidth (bytes/s) of one thread."""
    a, b = np.random.default_rng(0).random((2, 768, 768))
    c = np.empty_like(a)
    rate = 2 * 768**3 / np.median([span(lambda: np.matmul(a, b, out=c)) for _ in range(15)])
    x, y, z = (np.ones(2**24) for _ in range(3))
    stream = 24 * len(x) / np.median([span(lambda: np.add(x, y, out=z)) for _ in range(7)])
    return float(rate), float(stream)


def roofline(shape: Sequence[int], k: int, seconds: float, rates: tuple[float, float]) -> float:
    """Share of the lower of the two rates, for dense axes.

    Arithmetic: two products along each axis. Traffic, where a client's vectors leave the cache: two
    measures or scalings read, one written, and each product reads and writes the lattice.
    """
    n = math.prod(shape)
    flops = 4.0 * k * n * sum(shape)
    moved = 8.0 * k * n * (4 * len(shape) + 3) if n * 8 > 2**22 else 0.0
    return max(flops / rates[0], moved / rates[1]) / seconds


def against_peers(python: str | None, quick: bool, out: dict[str, Any]) -> None:
    print("an iteration against POT (dense) and OTT-JAX (grid), times faster")
    for shape, k, steps, pot_bar, ott_bar in [
        (PENDULUM, 6, 300, 200, 4.5),
        (ACROBOT, 6, 100, 500, 5),
        (ACROBOT, 20, 60, 500, 5),
        (FINE, 20, 6, None, 5),
    ]:
        if quick and shape is FINE:
            continue
        name = f"{'x'.join(map(str, shape))}, K = {k}"
        before = ours(shape, k, steps)
        ott = peer(python, "ott_grid.py", shape=shape, k=k, log=False, steps=max(10, steps // 3))
        mean = (before + ours(shape, k, steps)) / 2
        show(f"{name}: ours, ms", 1e3 * mean, "", met=None, out=out)
        if ott:
            show(
                f"{name}: OTT kernel mode",
                ott / mean,
                f">= {ott_bar}",
                met=ott / mean >= ott_bar,
                out=out,
            )
        if pot_bar and not (quick and shape is ACROBOT):
            pot = peer(
                python or sys.executable, "pot_dense.py", shape=shape, k=k, steps=4, repeats=2
            )
            if pot:
                show(
                    f"{name}: POT dense",
                    pot / mean,
                    f">= {pot_bar}",
                    met=pot / mean >= pot_bar,
                    out=out,
                )
        if k == 6 or shape is FINE:
            log = ours(shape, 6, max(4, steps // 10), 3, domain="log")
            show(f"{name[:-6]} K = 6: ours in logarithms, ms", 1e3 * log, "", met=None, out=out)
            ott = peer(python, "ott_grid.py", shape=shape, k=6, log=True, steps=10, repeats=2)
            if ott:
                show(
                    f"{name[:-6]} K = 6: OTT log mode",
                    ott / log,
                    ">= 5",
                    met=ott / log >= 5,
                    out=out,
                )


def limits(quick: bool, out: dict[str, Any]) -> None:
    print("the machine, and our share of it")
    rates = machine()
    show("GEMM, Gflop/s", rates[0] / 1e9, "", met=None, out=out)
    show("memory, GB/s", rates[1] / 1e9, "", met=None, out=out)
    small = roofline(PENDULUM, 6, ours(PENDULUM, 6, 300), rates)
    show("share of the roofline at 3,360, K = 6", small, ">= 0.6", met=small >= 0.6, out=out)
    if quick:
        return
    from fedirl_ray.transport import kernel

    factored = ours(CUBE, 6, 5, 3)
    pays, kernel.factors_pay = kernel.factors_pay, lambda *_: False
    try:
        dense = ours(CUBE, 6, 5, 3)
    finally:
        kernel.factors_pay = pays
    single = ours(CUBE, 6, 5, 3, dtype="float32")
    large = roofline(CUBE, 6, dense, rates)
    show("share of the roofline at 1M, dense axes", large, ">= 0.5", met=large >= 0.5, out=out)
    show("1M: ms a client and iteration", 1e3 * factored / 6, "", met=None, out=out)
    show(
        "1M: factors against dense axes",
        dense / factored,
        ">= 2",
        met=dense / factored >= 2,
        out=out,
    )
    show(
        "1M: float32 against float64",
        factored / single,
        ">= 1.8",
        met=factored / single >= 1.8,
        out=out,
    )


def scaling(out: dict[str, Any]) -> None:
    print("slope of log time over log size")
    sizes = [(16,) * d for d in (3, 4, 5)]
    times = [ours(shape, 2, max(4, 3 * 10**6 // math.prod(shape)), 3) for shape in sizes]
    points = np.log([math.prod(shape) * len(shape) for shape in sizes])
    slope = float(np.polyfit(points, np.log(times), 1)[0])
    show(
        "n x axes, 16 points an axis, n = 4,096 to 1,048,576",
        slope,
        "<= 1.1",
        met=slope <= 1.1,
        out=out,
    )
    counts = [4, 8, 16, 32]
    times = [ours(PENDULUM, k, 100, 3) for k in counts]
    slope = float(np.polyfit(np.log(counts), np.log(times), 1)[0])
    show("K = 4 to 32 at 3,360", slope, "<= 1.1", met=slope <= 1.1, out=out)


def convergence(out: dict[str, Any]) -> None:
    print("iterations to an L1 error of 1e-6 on 32x21x5, K = 6")
    for kind, make in (("bumps", bumps), ("noise", noise)):
        rows, axes = make(PENDULUM, 6)
        for epsilon in (0.5, 0.05, 0.01, 0.002):
            result = barycenter(rows, axes, epsilon=epsilon, tol=1e-6)
            bar = "<= 350" if epsilon == 0.002 else ""
            met = result.converged and result.iterations <= 350 if bar else None
            show(f"{kind}, epsilon {epsilon}", result.iterations, bar, met=met, out=out)


def accuracy(out: dict[str, Any]) -> None:
    import ot

    print("accuracy")
    rng = np.random.default_rng(0)
    axes = [np.sort(rng.random(m)) for m in (6, 5, 4)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    cost = ot.dist(points)
    rows, weights = rng.random((4, 120)) ** 2 + 1e-9, np.array([0.1, 0.2, 0.3, 0.4])
    rows /= rows.sum(1, keepdims=True)
    theirs = ot.bregman.barycenter(
        rows.T, cost / cost.max(), 0.05, weights, method="sinkhorn_log", numItermax=20000,
        stopThr=1e-14,
    )  # fmt: skip
    mine = barycenter(rows, axes, weights=weights, epsilon=0.05, tol=1e-12).measure.ravel()
    gap = float(np.abs(mine - theirs).sum())
    show("L1 against POT sinkhorn_log, unequal weights", gap, "<= 1e-10", met=gap <= 1e-10, out=out)
    x = np.linspace(0, 1, 200)
    pair = [np.exp(-((x - m) ** 2) / (2 * 0.06**2)) for m in (0.35, 0.65)]
    for debiased, bar in ((False, ""), (True, "0.95 to 1.05")):
        p = barycenter(pair, [x], epsilon=0.05, debiased=debiased, tol=1e-6).measure
        ratio = float(np.sqrt(p @ x**2 - (p @ x) ** 2) / 0.06)
        met = abs(ratio - 1) <= 0.05 if debiased else None
        show(
            f"std over the exact one, {'' if debiased else 'not '}debiased",
            ratio,
            bar,
            met=met,
            out=out,
        )


def memory(quick: bool, out: dict[str, Any]) -> None:
    print("peak memory beside the input, in units of K n float64; and seconds")
    code = (
        "import sys, numpy as np; from fedirl_ray import barycenter\n"
        "def hwm():\n"
        "    status = open('/proc/self/status').read()\n"
        "    return int(status.split('VmHWM:')[1].split()[0])\n"
        "shape, k, its = eval(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])\n"
        "n = int(np.prod(shape)); rows = np.empty((k, n)); rng = np.random.default_rng(0)\n"
        "for row in rows: row[:] = rng.random(n)\n"
        "barycenter(np.ones((1, 8)), [np.arange(8.0)], epsilon=.1)\n"
        "base = hwm()\n"
        "options = {'tol': 0.0, 'anderson': 0} if its > 30 else {}\n"
        "r = barycenter(rows, [np.linspace(0, 1, m) for m in shape], epsilon=.05, max_iters=its,"
        " **options)\n"
        "peak = hwm()\n"
        "print((peak - base) / 8 / k / n * 1024, peak / 2**20, r.seconds)\n"
    )
    for shape, k, iterations in [(FINE, 20, 30), (CUBE, 20, 100)]:
        if quick and shape is CUBE:
            continue
        run = [sys.executable, "-c", code, str(shape), str(k), str(iterations)]
        answer = subprocess.run(run, capture_output=True, text=True, check=True).stdout
        units, peak, seconds = map(float, answer.split())
        name = f"{'x'.join(map(str, shape))}, K = {k}"
        if shape is FINE:
            show(f"{name}: K n float64", units, "<= 4", met=units <= 4, out=out)
        else:
            show(f"{name}: peak GiB, input included", peak, "<= 1.5", met=peak <= 1.5, out=out)
            show(
                f"{name}: wall s of 100 iterations, 1 core",
                seconds,
                "<= 40",
                met=seconds <= 40,
                out=out,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under two minutes")
    parser.add_argument("--peers", metavar="PYTHON", help="interpreter with peers/requirements.txt")
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    options = parser.parse_args()
    out: dict[str, Any] = {}
    limits(options.quick, out)
    accuracy(out)
    convergence(out)
    memory(options.quick, out)
    if not options.quick:
        scaling(out)
    against_peers(options.peers, options.quick, out)
    if options.json:
        options.json.write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
