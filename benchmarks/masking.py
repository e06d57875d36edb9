"""What it takes to fuse a round by sums over clients, with masks and without.

    python benchmarks/masking.py --clients 10,100,1000 --size 5

Every client's side and the server's run in this process, one after the other, on one thread: a
client's own part is the last column over the number of clients.
"""

import argparse
from time import perf_counter

import numpy as np
from threadpoolctl import threadpool_limits

from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.fusion.rules import fuse
from fedirl_ray.fusion.spec import Given, Support
from fedirl_ray.fusion.sums import fuse_sums
from fedirl_ray.privacy.masking import SecureSum
from fedirl_ray.seeds import stream

RULES = ("mean", "barycenter")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", default="10,100,1000")
    parser.add_argument("--size", type=int, default=5, help="side of the grid in cells")
    asked = parser.parse_args()
    threadpool_limits(1)
    print("rule, clients, sums taken: seconds by single uploads, by sums, under masks; difference")
    for rule in RULES:
        for clients in map(int, asked.clients.split(",")):
            print(measured(rule, clients, asked.size), flush=True)


def measured(rule: str, clients: int, size: int) -> str:
    """One row."""
    rng = stream(0, "benchmark", "masking", clients)
    support = Support(rng.normal(size=(size * size, 2)), (np.arange(float(size)),) * 2)
    config = FusionConfig(sigma="client")
    given = Given(rng.normal(size=(clients, 2)), np.full(clients, 1 / clients), support, config)
    begin = perf_counter()
    clear = fuse(rule, given)
    seconds = [perf_counter() - begin]
    for key in (None, bytes(32)):
        sums = SecureSum(tuple(range(clients)), 3, key)
        begin = perf_counter()
        found = fuse_sums(rule, given, sums)
        seconds.append(perf_counter() - begin)
    off = np.abs(found.theta - clear.theta).max()
    taken = ", ".join(f"{one:.3f}" for one in seconds)
    return f"{rule}, {clients}, {sums.number}: {taken}; {off:.1e}"


if __name__ == "__main__":
    main()
