"""Commands stopped at random moments: is any signal lost, any end hung, any result changed?

    python -m benchmarks.soak --interrupts 100 --terms 30 --kills 30 --seed 0 --minutes 120

Each interrupt (SIGINT, to the process group half the time, twice in a third of the cases) and each
SIGTERM strikes a command drawn at random, at a moment drawn at random from its start to its
measured end. Each SIGKILL strikes a federation on Ray, which is then resumed and compared, byte for
byte, with one that was left alone. Counts are printed at the end; the exit code is 1 if any is
wrong. Everything is written below a temporary folder, which is removed.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

FINAL = ("arrays.npz", "results.parquet", "summary.json", "table.txt")
LATE = 5.0  # seconds after the signal from which an exit code 0 means that it was lost
HUNG = 120.0  # seconds after the signal after which a command counts as hung
GONE = 45.0  # seconds in which a command's processes have to go
SMALL = ["--progress", "False"]
FEDERATE = [
    *("--seeds", "4", "--clients", "3", "--problem.size", "4", "--federation.rounds", "3"),
    *("--fusion.rules", "local,mean,barycenter", "--evaluation.held-out", "5"),
    *("--record.figure", "False", "--progress", "False"),
]
STUDY = """\
fixed: {problem.size: 3, clients: 2, seeds: 2, problem.demonstrations: 5}
search: {fusion.epsilon: [0.05, 0.1, 0.2, 0.4]}
objectives: {success/held-out/barycenter: maximize}
sampler: grid
"""


class Struck(NamedTuple):
    """What came of a command that got a signal."""

    code: int | None
    said: str
    seconds: float
    """From the signal to the end."""
    left: bool
    """Whether any of its processes outlived it by `GONE`."""


def commands(top: Path) -> dict[str, list[str]]:
    """Every command with arguments that keep it busy for some seconds; `{dir}` is its folder."""
    study = top / "study.yaml"
    study.write_text(STUDY)
    return {
        "federate": [*FEDERATE, "--run-dir", "{dir}"],
        "local": [*FEDERATE, "--engine.backend", "local", "--seeds", "40", "--run-dir", "{dir}"],
        "stress": ["stress", "--size", "3", "--clients", "2,4,6", *SMALL, "--run-dir", "{dir}"],
        "sweep": ["sweep", str(study), *SMALL, "--run-dir", "{dir}"],
        "reproduce": [
            *("reproduce", "communication", "--scale", "smoke", "--engine.backend", "ray"),
            *(*SMALL, "--run-dir", "{dir}"),
        ],
        "control": [
            *("--problem.name", "CartPole-v1", "--seeds", "1", "--clients", "2"),
            *("--control.expert.steps", "4096", "--control.agent.steps", "4096"),
            *("--record.figure", "False", "--progress", "False", "--run-dir", "{dir}"),
        ],
        "report": ["report", str(top / "whole")],
    }


def start(words: list[str], place: Path) -> "subprocess.Popen[str]":
    """Start a command in a process group and a Ray folder of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "fedirl_ray.run", *words],
        env={**os.environ, "RAY_TMPDIR": str(place)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A job in the background would hand down deafness to SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def strike(
    words: list[str], place: Path, number: int, after: float, *, group: bool, twice: bool
) -> Struck:
    """Start a command, send it a signal, and wait for its end."""
    process = start(words, place)
    try:
        process.wait(timeout=after)
    except subprocess.TimeoutExpired:
        send = os.killpg if group else os.kill
        for _ in range(2 if twice else 1):
            send(process.pid, number)
            time.sleep(0.05)
    began = time.monotonic()
    try:
        _, said = process.communicate(timeout=HUNG)
        code: int | None = process.returncode
    except subprocess.TimeoutExpired:
        process.kill()
        _, said = process.communicate()
        code = None
    except BaseException:  # the soak itself is stopped
        process.kill()
        raise
    seconds = time.monotonic() - began
    deadline = time.monotonic() + GONE
    while (left := any(place.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.2)
    return Struck(code, said, seconds, left)


def judge(struck: Struck, expected: int) -> str:
    """What is wrong with an end; `well` or `done before` if nothing is."""
    if struck.code is None:
        return "hung"
    if "Traceback" in struck.said or "Exception ignored" in struck.said:
        return "traceback"
    if struck.left:
        return "processes left"
    if struck.code == 0:
        return "lost" if struck.seconds > LATE else "done before"
    return "well" if struck.code == expected else "wrong exit code"


def files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FINAL}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("interrupts", 100), ("terms", 30), ("kills", 30), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--minutes", type=float, default=120.0, help="stop after so many")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # cleans up first
    rng = random.Random(asked.seed)
    ends = time.monotonic() + 60.0 * asked.minutes
    counts: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory(prefix="soak-", dir="/tmp") as name:
        top = Path(name)
        place = top / "ray"
        place.mkdir()  # Ray's own folders, which go with it
        whole, began = top / "whole", time.monotonic()
        _, said = start([*FEDERATE, "--run-dir", str(whole)], place).communicate()
        if not (whole / FINAL[-1]).exists():
            raise SystemExit(f"a run does not end well when it is left alone: {said}")
        took = time.monotonic() - began
        known = commands(top)
        plan = [signal.SIGINT] * asked.interrupts + [signal.SIGTERM] * asked.terms
        plan += [signal.SIGKILL] * asked.kills
        rng.shuffle(plan)
        for turn, number in enumerate(plan):
            if time.monotonic() > ends:
                print(f"{len(plan) - turn} of {len(plan)} left out: {asked.minutes:g} min are up")
                break
            kind = "federate" if number == signal.SIGKILL else rng.choice(sorted(known))
            after = rng.uniform(0.5, 1.0 if kind == "report" else took)
            group, twice = rng.random() < 0.5, rng.random() < 1 / 3
            folder = top / f"{turn}"
            words = [word.replace("{dir}", str(folder)) for word in known[kind]]
            if number == signal.SIGKILL:
                struck = strike(words, place, number, after, group=False, twice=False)
                outcome = "processes left" if struck.left else resumed(words, folder, place, whole)
            else:
                struck = strike(words, place, number, after, group=group, twice=twice)
                outcome = judge(struck, 128 + number)
            counts.setdefault(signal.Signals(number).name, Counter())[outcome] += 1
            if outcome not in ("well", "done before"):
                last = (struck.said.strip().splitlines() or [""])[-1][:200]
                end = f"{outcome} (exit code {struck.code}, {struck.seconds:.0f} s)"
                print(f"{turn} {number.name} {kind} after {after:.2f} s: {end}: {last}", flush=True)
    for name, found in sorted(counts.items()):
        print(f"{name}: {', '.join(f'{count} {what}' for what, count in sorted(found.items()))}")
    return int(any(set(found) - {"well", "done before"} for found in counts.values()))


def resumed(words: list[str], folder: Path, place: Path, whole: Path) -> str:
    """Go on with a killed run, and hold it against the whole one."""
    if (folder / "config.yaml").exists():
        words = ["--resume", str(folder)]
    process = start(words, place)
    _, said = process.communicate(timeout=10 * HUNG)
    if process.returncode:
        return f"not resumed ({said.strip()[:100]})"
    return "well" if files(folder) == files(whole) else "different bytes"


if __name__ == "__main__":
    sys.exit(main())
