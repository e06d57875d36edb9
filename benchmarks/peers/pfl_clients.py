"""Rounds of pfl-research's simulation on the job of `benchmarks.clients`, which starts this.

    PYTHONPATH=. PFL/bin/python -m torch.distributed.run --standalone --nproc-per-node CORES \
        -m benchmarks.peers.pfl_clients CLIENTS ROUNDS

pfl-research shares a cohort out over processes only through a framework's collectives, so it runs
on PyTorch (gloo), one process a core, as it documents for work on CPUs; the job itself stays the
NumPy one. Its reduction is in single precision, so theta agrees to about seven digits.
"""

import itertools
import json
import sys
import time
from typing import Any

import numpy as np
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import FederatedAlgorithm
from pfl.common_types import Population
from pfl.context import CentralContext
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.internal.ops import pytorch_ops
from pfl.internal.ops.selector import set_framework_module
from pfl.metrics import Metrics
from pfl.model.base import Model
from pfl.stats import MappedVectorStatistics

from benchmarks.peers.job import learn


class Theta(Model):
    """The server's parameters: the mean of what came back."""

    def __init__(self) -> None:
        self.theta = np.zeros(2)

    def apply_model_update(self, statistics: Any) -> tuple["Theta", Metrics]:
        """Take the mean."""
        self.theta = statistics["theta"].numpy() / statistics.weight
        return self, Metrics()


class Rounds(FederatedAlgorithm):
    """Every client learns from zero in every round; rounds are timed."""

    def __init__(self, clients: int, rounds: int) -> None:
        super().__init__()
        self.clients, self.rounds = clients, rounds
        self.seconds: list[float] = []
        self.began = 0.0

    def get_next_central_contexts(
        self, model: Any, iteration: int, *params: Any
    ) -> tuple[Any, Any, Metrics]:
        """Ask all clients; one round more than is counted, for the worlds."""
        if iteration > self.rounds:
            return None, model, Metrics()
        self.began = time.perf_counter()
        context = CentralContext(
            current_central_iteration=iteration,
            do_evaluation=False,
            cohort_size=self.clients,
            population=Population.TRAIN,
            algorithm_params=None,
            model_train_params=None,
        )
        return (context,), model, Metrics()

    def simulate_one_user(
        self, model: Any, user_dataset: Any, central_context: Any
    ) -> tuple[Any, Metrics]:
        """One client's job."""
        (client,) = user_dataset.raw_data[0]
        theta = learn(int(client), self.clients, np.zeros(2))
        return MappedVectorStatistics({"theta": torch.from_numpy(theta)}, weight=1.0), Metrics()

    def process_aggregated_statistics(
        self, central_context: Any, aggregate_metrics: Any, model: Any, statistics: Any
    ) -> tuple[Any, Metrics]:
        """Take the mean; the round is over."""
        found = model.apply_model_update(statistics)
        self.seconds.append(time.perf_counter() - self.began)
        return found


def main() -> None:
    clients, rounds = (int(word) for word in sys.argv[1:3])
    torch.set_num_threads(1)
    set_framework_module(pytorch_ops)
    users = FederatedDataset(
        lambda client: Dataset((np.array([client]),), user_id=str(client)),
        itertools.cycle(range(clients)).__next__,
    )
    algorithm = Rounds(clients, rounds)
    model = algorithm.run(None, SimulatedBackend(users, users), Theta(), None)
    if pytorch_ops.distributed.global_rank == 0:
        print(json.dumps({"seconds": algorithm.seconds[1:], "theta": model.theta.tolist()}))
    if pytorch_ops.distributed.world_size > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
