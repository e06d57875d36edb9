"""Seconds until a barycenter is within 1e-6 of the converged one, beside OTT-JAX.

    python -m benchmarks.answer --peers .venv-peers/bin/python
    python -m benchmarks.answer --shapes 15x15x11x11x5 --epsilons 0.05

CPU seconds of one thread, K = 6, medians of seven and five calls. Ours is a whole call with `tol`
1e-6, checks, set-up and looks at the error included; that its L1 distance from the answer is below
1e-6 is checked. OTT runs in kernel mode, compiled beforehand, for the number of iterations that it
needs (a multiple of ten), and never looks at its error. The answer is ours at `tol` 3e-13, which
OTT's tells us is not ours alone.
"""

import argparse
import json
import math
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.barycenter import bumps, noise, span
from fedirl_ray import barycenter

GOAL, TOL = 1e-6, 1e-6
NEAR = {0.5: 10, 0.05: 20, 0.01: 70, 0.005: 150}
"""Where to begin to look for the number of iterations that OTT needs."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", metavar="PYTHON", help="interpreter with peers/requirements.txt")
    parser.add_argument("--shapes", default="32x21x5,9x9x5x5x5")
    parser.add_argument("--epsilons", default="0.5,0.05,0.01,0.005")
    parser.add_argument("--near", default="{}", help="JSON: OTT's iterations, by row, if known")
    options = parser.parse_args()
    near = json.loads(options.near)
    print(f"{'lattice':>14} {'':>5} {'epsilon':>7} {'ours, ms':>9} {'steps':>5} {'L1':>8}", end="")
    print(f" {'OTT, ms':>8} {'steps':>5} {'times':>6}")
    for words in options.shapes.split(","):
        shape = tuple(map(int, words.split("x")))
        for kind, make in (("bumps", bumps), ("noise", noise)):
            rows, axes = make(shape, 6)
            rows = rows.reshape(6, *shape)
            for epsilon in map(float, options.epsilons.split(",")):
                row(options.peers, words, kind, rows, axes, epsilon, near)


def row(
    python: str | None,
    words: str,
    kind: str,
    rows: np.ndarray,
    axes: list[np.ndarray],
    epsilon: float,
    near: dict[str, int],
) -> None:
    answer = barycenter(rows, axes, epsilon=epsilon, tol=3e-13).measure
    found = barycenter(rows, axes, epsilon=epsilon, tol=TOL)
    gap = float(np.abs(found.measure - answer).sum())
    assert gap < GOAL
    spans = [span(lambda: barycenter(rows, axes, epsilon=epsilon, tol=TOL)) for _ in range(7)]
    ours = float(np.median(spans))
    print(f"{words:>14} {kind:>5} {epsilon:>7g} {1e3 * ours:>9.2f} ", end="")
    print(f"{found.iterations:>5} {gap:>8.1e}", end="", flush=True)
    theirs = peer(python, rows, answer, epsilon, near.get(f"{words} {kind} {epsilon:g}"))
    if theirs is not None and theirs["seconds"] is not None:
        times = theirs["seconds"] / ours
        print(f" {1e3 * theirs['seconds']:>8.2f} {theirs['iterations']:>5} {times:>6.1f}", end="")
    print(flush=True)


def peer(
    python: str | None, rows: np.ndarray, answer: np.ndarray, epsilon: float, near: int | None
) -> dict[str, Any] | None:
    if python is None:
        return None
    script = Path(__file__).parent / "peers" / "ott_answer.py"
    with tempfile.TemporaryDirectory() as folder:
        files = {"rows": f"{folder}/rows.npy", "answer": f"{folder}/answer.npy"}
        np.save(files["rows"], rows)
        np.save(files["answer"], answer)
        closest = min(NEAR, key=lambda one: abs(math.log(one / epsilon)))
        task = {**files, "epsilon": epsilon, "near": near or NEAR[closest]}
        done = subprocess.run(
            [python, str(script), json.dumps(task)], capture_output=True, text=True, check=False
        )
    if done.returncode:
        print(f"  ott_answer.py failed: {done.stderr.strip().splitlines()[-1]}", end="")
        return None
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
