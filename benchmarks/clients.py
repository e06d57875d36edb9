"""A round of many clients: our engine beside its peers', on one per-client job and the same cores.

    python -m benchmarks.clients [--flower FLOWER/bin/python] [--pfl PFL/bin/python]
        [--clients 1000] [--rounds 5] [--repeats 2]

FLOWER and PFL are virtual environments with benchmarks/peers/flower-requirements.txt and
pfl-requirements.txt. Run from the repository's root. The job: a 5x5 grid-world of the client's own,
50 gradient steps (Adam); the server broadcasts, and takes the mean of what comes back. The engines
take turns, each in a process of its own, whose memory (with all it starts) is watched from here; a
round in which worlds are drawn comes first and is not counted. Medians over all rounds of all
turns. With several sizes (`--clients 300 1000 3000`) also the slope of log seconds over log
clients, least squares.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from fedirl_ray.study.memory import MIB, PeakMemory

OURS = ("looped", "batched")
PEERS = ("flower", "pfl")
EXACT, SINGLE = 1e-9, 1e-6  # how far thetas may differ; pfl-research reduces in single precision
LEAST_ROUNDS = 3  # counted rounds below which a median says little


def ours(clients: int, rounds: int, *, looped: bool) -> None:
    """Run our engine; print seconds a round."""
    import time

    from fedirl_ray.config import IRLConfig, RunConfig
    from fedirl_ray.config_fusion import FusionConfig
    from fedirl_ray.domain.kinds import domain_of
    from fedirl_ray.engine.client import RayFleet
    from fedirl_ray.engine.event import ignore
    from fedirl_ray.engine.federation import Federation
    from fedirl_ray.engine.local import Clients
    from fedirl_ray.engine.round import run_round, stage_of
    from fedirl_ray.engine.stopwatch import Stopwatch
    from fedirl_ray.engine.upload import Order, Upload

    class Looped(Clients):
        """Takes its clients one by one, as Flower does."""

        def fit(self, order: Order) -> list[Upload]:
            batch = super().fit
            return [one for client in order.clients for one in batch(order.part((client,)))]

    config = RunConfig(
        clients=clients,
        irl=IRLConfig(optimizer="adam", iterations=50),
        fusion=FusionConfig(rules=("mean",)),
    )
    stage = stage_of(domain_of(config), 0)
    begin = Federation.begin(config, 1, stage.support)
    seconds = []
    with RayFleet(config, holder=Looped if looped else Clients) as fleet:
        for _ in range(rounds + 1):
            began = time.perf_counter()
            state = run_round(config, fleet, 0, begin, stage, Stopwatch(), ignore)
            seconds.append(time.perf_counter() - began)
    print(json.dumps({"seconds": seconds[1:], "theta": state.theta[0].tolist()}))


def command(engine: str, arguments: argparse.Namespace, clients: int) -> list[str]:
    """What starts one turn of one engine."""
    size = [str(clients), str(arguments.rounds)]
    cores = str(len(os.sched_getaffinity(0)))
    match engine:
        case "flower":
            return [arguments.flower, "-m", "benchmarks.peers.flower_clients", *size, cores]
        case "pfl":
            shared = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", cores]
            return [arguments.pfl, *shared, "-m", "benchmarks.peers.pfl_clients", *size]
        case _:
            return [sys.executable, "-m", "benchmarks.clients", "--turn", engine, *size]


def run(engine: str, arguments: argparse.Namespace, clients: int) -> dict[str, Any]:
    """One turn of one engine: the numbers that it printed, and its peak memory."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": "."}
    with (
        subprocess.Popen(
            command(engine, arguments, clients),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
        PeakMemory(process.pid) as memory,
    ):
        said, errors = process.communicate()
    if process.returncode:
        sys.exit(f"{engine} failed:\n{errors[-2000:]}")
    (numbers,) = (line for line in said.splitlines() if line.startswith('{"seconds"'))
    return {**json.loads(numbers), "peak": memory.bytes}


def race(engines: Sequence[str], arguments: argparse.Namespace, clients: int) -> dict[str, float]:
    """Let the engines take turns at one size, print their table; median seconds by engine."""
    turns: dict[str, list[dict[str, Any]]] = {engine: [] for engine in engines}
    for _ in range(arguments.repeats):
        for engine in engines:
            turns[engine].append(run(engine, arguments, clients))
            print(engine, turns[engine][-1], file=sys.stderr, flush=True)
    theta = turns["looped"][0]["theta"]
    for engine in engines:  # the same numbers, or no race
        allowed = SINGLE if engine == "pfl" else EXACT
        for turn in turns[engine]:
            if max(abs(a - b) for a, b in zip(turn["theta"], theta, strict=True)) > allowed:
                sys.exit(f"{engine} found {turn['theta']}, looped {theta}")
    medians = {
        engine: statistics.median(s for turn in turns[engine] for s in turn["seconds"])
        for engine in engines
    }
    peers = [engine for engine in engines if engine in PEERS]
    print(f"\n| {clients} clients | s a round | peak MiB (PSS) |", end="")
    print("".join(f" {peer} / it |" for peer in peers) + "\n" + "|---" * (3 + len(peers)) + "|")
    for engine in engines:
        peak = statistics.median(turn["peak"] for turn in turns[engine]) / MIB
        ratios = "".join(f" {medians[peer] / medians[engine]:.2f} |" for peer in peers)
        print(f"| {engine} | {medians[engine]:.2f} | {peak:.0f} |{ratios}", flush=True)
    return medians


def main() -> None:
    if sys.argv[1:2] == ["--turn"]:
        ours(int(sys.argv[3]), int(sys.argv[4]), looped=sys.argv[2] == "looped")
        return
    parser = argparse.ArgumentParser(description=__doc__)
    for peer in PEERS:
        parser.add_argument(f"--{peer}")
    parser.add_argument("--clients", type=int, nargs="+", default=[1000])
    for name, default in (("rounds", 5), ("repeats", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    if arguments.rounds < LEAST_ROUNDS:
        parser.error(f"--rounds must be >= {LEAST_ROUNDS}, got {arguments.rounds}")
    engines = [*OURS, *(peer for peer in PEERS if getattr(arguments, peer))]
    medians = [race(engines, arguments, clients) for clients in arguments.clients]
    if len(medians) > 1:
        print("\nSlope of log seconds over log clients:")
        for engine in engines:
            seconds = [one[engine] for one in medians]
            slope = np.polyfit(np.log(arguments.clients), np.log(seconds), 1)[0]
            print(f"{engine} {slope:.2f}")


if __name__ == "__main__":
    main()
