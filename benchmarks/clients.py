"""A round of many clients: our engine beside Flower's, on one per-client job and the same cores.

    python -m benchmarks.clients FLOWER/bin/python [--clients 1000] [--rounds 5] [--repeats 2]

FLOWER is a virtual environment with benchmarks/peers/flower-requirements.txt. Run from the
repository's root. The job: a 5x5 grid-world of the client's own, 50 gradient steps (Adam); the
server broadcasts, and takes the mean of what comes back. Three engines take turns, each in a
process of its own, whose memory (with all it starts) is watched from here; a round in which worlds
are drawn comes first and is not counted. Medians over all rounds of all turns.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from typing import Any

from fedirl_ray.study.memory import MIB, PeakMemory

ENGINES = ("looped", "batched", "flower")


def ours(clients: int, rounds: int, *, looped: bool) -> None:
    """Run our engine; print seconds a round."""
    import time

    from fedirl_ray.config import FusionConfig, IRLConfig, RunConfig
    from fedirl_ray.engine.client import RayFleet
    from fedirl_ray.engine.driver import Stopwatch, run_round
    from fedirl_ray.engine.event import ignore
    from fedirl_ray.engine.federation import Federation
    from fedirl_ray.engine.local import Clients
    from fedirl_ray.engine.upload import Order, Upload
    from fedirl_ray.fusion.rules import support_of
    from fedirl_ray.fusion.upload import open_channel
    from fedirl_ray.problem.family import draw_world

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
    support = support_of(draw_world(config.problem, config.seed, 0, "probe", 0))
    channel = open_channel(
        config.heterogeneity, support.features, support.axes, clients, config.seed, 0
    )
    begin = Federation.begin(config, 1, support)
    seconds = []
    with RayFleet(config, holder=Looped if looped else Clients) as fleet:
        for _ in range(rounds + 1):
            began = time.perf_counter()
            state = run_round(config, fleet, 0, begin, support, channel, Stopwatch(), ignore)
            seconds.append(time.perf_counter() - began)
    print(json.dumps({"seconds": seconds[1:], "theta": state.theta[0].tolist()}))


def run(engine: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One turn of one engine: what it printed last, and its peak memory."""
    size = [str(arguments.clients), str(arguments.rounds)]
    if engine == "flower":
        cores = str(len(os.sched_getaffinity(0)))
        command = [arguments.flower, "-m", "benchmarks.peers.flower_clients", *size, cores]
    else:
        command = [sys.executable, "-m", "benchmarks.clients", "--turn", engine, *size]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": "."}
    with (
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process,
        PeakMemory(process.pid) as memory,
    ):
        said, errors = process.communicate()
    if process.returncode:
        sys.exit(f"{engine} failed:\n{errors[-2000:]}")
    return {**json.loads(said.splitlines()[-1]), "peak": memory.bytes}


def main() -> None:
    if sys.argv[1:2] == ["--turn"]:
        ours(int(sys.argv[3]), int(sys.argv[4]), looped=sys.argv[2] == "looped")
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("flower")
    for name, default in (("clients", 1000), ("rounds", 5), ("repeats", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    turns: dict[str, list[dict[str, Any]]] = {engine: [] for engine in ENGINES}
    for _ in range(arguments.repeats):
        for engine in ENGINES:
            turns[engine].append(run(engine, arguments))
            print(engine, turns[engine][-1], file=sys.stderr, flush=True)
    theta = turns["flower"][0]["theta"]
    for engine in ENGINES:  # the same numbers, or no race
        for turn in turns[engine]:
            if max(abs(a - b) for a, b in zip(turn["theta"], theta, strict=True)) > 1e-9:
                sys.exit(f"{engine} found {turn['theta']}, flower {theta}")
    medians = {
        engine: statistics.median(s for turn in turns[engine] for s in turn["seconds"])
        for engine in ENGINES
    }
    print(f"| {arguments.clients} clients | s a round | Flower / ours | bar | peak MiB (PSS) |")
    print("|---|---|---|---|---|")
    for engine, bar in (("flower", ""), ("looped", ">= 1.4"), ("batched", ">= 5")):
        ratio = medians["flower"] / medians[engine]
        peak = statistics.median(turn["peak"] for turn in turns[engine]) / MIB
        print(f"| {engine} | {medians[engine]:.2f} | {ratio:.2f} | {bar} | {peak:.0f} |")


if __name__ == "__main__":
    main()
