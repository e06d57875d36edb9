"""Rounds of Flower's simulation engine on the job of `benchmarks.clients`, which starts this.

    PYTHONPATH=. FLOWER/bin/python -m benchmarks.peers.flower_clients CLIENTS ROUNDS CORES

Flower's settings are the best it documents for work on CPUs: one core a client, so that its pool
has as many actors as there are cores. Replies are polled every 20 ms, where Flower's own loop
(`Grid.send_and_receive`) sleeps three seconds.
"""

import importlib
import json
import os
import sys
import time

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation

from benchmarks.peers.job import learn

POLL = 0.02  # seconds


def make_client() -> ClientApp:
    """A client that trains on the data of its partition."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        (start,) = message.content["theta"].to_numpy_ndarrays()
        client, clients = (
            int(context.node_config[name]) for name in ("partition-id", "num-partitions")
        )
        reply = {
            "theta": ArrayRecord([learn(client, clients, start)]),
            "client": MetricRecord({"client": client}),
        }
        return Message(content=RecordDict(reply), reply_to=message)

    return app


def make_server(
    clients: int, rounds: int, seconds: list[float], thetas: list[np.ndarray]
) -> ServerApp:
    """A server that broadcasts zero, waits for everybody and takes the mean."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        while len(nodes := list(grid.get_node_ids())) < clients:
            time.sleep(POLL)
        for _ in range(rounds + 1):
            began = time.perf_counter()
            content = RecordDict({"theta": ArrayRecord([np.zeros(2)])})
            waiting = set(
                grid.push_messages(
                    [Message(content=content, dst_node_id=n, message_type="train") for n in nodes]
                )
            )
            learnt: dict[int, np.ndarray] = {}
            while waiting:
                for reply in grid.pull_messages(waiting):
                    waiting.remove(reply.metadata.reply_to_message_id)
                    (theta,) = reply.content["theta"].to_numpy_ndarrays()
                    learnt[int(reply.content["client"]["client"])] = theta
                time.sleep(POLL)
            thetas.append(np.mean([learnt[i] for i in range(clients)], axis=0))
            seconds.append(time.perf_counter() - began)

    return app


def main() -> None:
    clients, rounds, cores = (int(word) for word in sys.argv[1:4])
    seconds: list[float] = []
    thetas: list[np.ndarray] = []
    run_simulation(
        server_app=make_server(clients, rounds, seconds, thetas),
        client_app=make_client(),
        num_supernodes=clients,
        backend_config={
            "init_args": {"num_cpus": cores, "include_dashboard": False},
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        },
    )
    print(json.dumps({"seconds": seconds[1:], "theta": thetas[-1].tolist()}))


if __name__ == "__main__":
    # Under its real name, so that actors import the module, and keep its cache, instead of getting
    # its functions by value.
    importlib.import_module("benchmarks.peers.flower_clients").main()
