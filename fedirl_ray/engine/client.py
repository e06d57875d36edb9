"""The clients' side of a run, as Ray actors."""

import itertools
import logging
import os
from collections.abc import Sequence
from dataclasses import fields
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np

from fedirl_ray.config import RunConfig
from fedirl_ray.engine.local import Clients
from fedirl_ray.errors import ConfigError
from fedirl_ray.evaluate.planner import Judgement
from fedirl_ray.irl.maxent import Fit
from fedirl_ray.problem.family import Role
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.problem.planning import Outcome

# Read by Ray when it is imported: silences a notice about accelerators nobody asked for.
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
import ray

ROOMY = 8  # clients a CPU up to which each gets an actor of its own


class Placement(NamedTuple):
    """Which clients share an actor."""

    blocks: tuple[range, ...]
    """Client numbers of each actor, consecutive."""
    reason: str
    """Why, for the record."""


def place(config: RunConfig, cpus: int) -> Placement:
    """Decide which clients share an actor; never changes a result.

    Args:
        config: Number of clients, and clients an actor if given.
        cpus: The cluster's CPUs.

    Returns:
        Blocks of near-equal size.
    """
    clients, asked = config.clients, config.engine.clients_per_actor
    if isinstance(asked, int):
        count, why = -(-clients // asked), f"engine.clients-per-actor {asked}"
    elif clients <= ROOMY * cpus:
        count, why = clients, f"at most {ROOMY} clients a CPU: one actor each"
    else:
        count, why = cpus, f"more than {ROOMY} clients a CPU: one block a CPU"
    edges = np.linspace(0, clients, count + 1).astype(int)
    blocks = tuple(range(a, b) for a, b in itertools.pairwise(edges))
    return Placement(blocks, f"{clients} clients in {count} actors ({why})")


class RayFleet:
    """All clients of a run in actors that serve every seed; a context manager.

    Answers are gathered in the clients' order, never in order of arrival.
    """

    def __init__(self, config: RunConfig) -> None:
        self._joined = not ray.is_initialized()
        if self._joined:
            connect(config.engine.address, workers=config.clients)
        self.placement = place(config, max(1, _cpus()))
        # Actors wait far more than they work: no CPU is set aside for any of them, so that
        # hundreds fit on a laptop.
        actor = ray.remote(num_cpus=0)(Clients)
        self._actors: list[Any] = [
            actor.remote(config, tuple(block)) for block in self.placement.blocks
        ]

    def __enter__(self) -> Self:
        """Nothing to do: the actors are starting."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the actors, and Ray if this fleet started it."""
        for actor in self._actors:
            ray.kill(actor)
        if self._joined:
            ray.shutdown()

    def learn(self, seed: int, start: Floats | None) -> Fit:
        """Fit every client's reward, each on its own actor."""
        parts: list[Fit] = ray.get(
            [
                actor.learn.remote(seed, None if start is None else start[block.start : block.stop])
                for actor, block in zip(self._actors, self.placement.blocks, strict=True)
            ]
        )
        names = [field.name for field in fields(Fit)]
        return Fit(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def pool(self, seed: int) -> Floats:
        """Fit one reward to everybody's data, on one actor."""
        theta: Floats = ray.get(self._actors[0].pool.remote(seed))
        return theta

    def judge(
        self, seed: int, role: Role, indices: Sequence[int], thetas: Floats, matched: Floats
    ) -> tuple[Judgement, Outcome]:
        """Judge rewards: clients in their own worlds, held-out worlds shared out evenly."""
        if role == "client":
            cuts = [(block.start, block.stop) for block in self.placement.blocks]
        else:
            edges = np.linspace(0, len(indices), len(self._actors) + 1).astype(int)
            cuts = [(a, b) for a, b in itertools.pairwise(edges) if a < b]
        parts = ray.get(
            [
                actor.judge.remote(seed, role, indices[a:b], thetas[a:b], matched[a:b])
                for actor, (a, b) in zip(self._actors, cuts, strict=False)
            ]
        )
        judged, ceiling = zip(*parts, strict=True)
        return (
            Judgement(*(np.concatenate(table) for table in zip(*judged, strict=True))),
            Outcome(*(np.concatenate(table) for table in zip(*ceiling, strict=True))),
        )


def _cpus() -> int:
    """CPUs of the cluster."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return int(resources.get("CPU", 1))


def connect(address: str | None, *, workers: int) -> None:
    """Join a Ray cluster, or start one on this machine that only this process uses.

    Args:
        address: `auto`, `HOST:PORT`, or None.
        workers: Processes that may start at once without Ray warning of it.

    Raises:
        ConfigError: No cluster answers there.
    """
    try:
        ray.init(
            address=address or "local",
            include_dashboard=False if address is None else None,
            configure_logging=True,
            logging_level=logging.ERROR,
            log_to_driver=False,
            _system_config=(
                {"worker_maximum_startup_concurrency": max(8, workers)} if address is None else None
            ),
        )
    except (ConnectionError, ValueError, RuntimeError) as err:
        reason = str(err).splitlines()[0]
        raise ConfigError(
            f"engine.address must be a running Ray cluster, got {address}: {reason}"
        ) from err
