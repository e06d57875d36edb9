"""How time and memory grow with the number of clients, measured size by size.

Each size is a run of its own: actors started, worlds drawn, rounds run, rules judged, all ended.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from fedirl_ray.config import EvaluationConfig, FederationConfig, IRLConfig, RunConfig
from fedirl_ray.config_engine import EngineConfig
from fedirl_ray.config_fusion import FusionConfig, fusing
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.engine.driver import lay, run_seed
from fedirl_ray.engine.event import Event, Started, unwatched
from fedirl_ray.engine.fleet import open_fleet
from fedirl_ray.engine.jobs import Jobs
from fedirl_ray.engine.result import SeedResult, samples
from fedirl_ray.engine.stopwatch import Stopwatch
from fedirl_ray.engine.upload import traffic
from fedirl_ray.evaluate.comparison import compare
from fedirl_ray.laws import require, require_positive
from fedirl_ray.study.memory import PeakMemory

STEPS = 50  # gradient steps of a client's fit, as in the paper


@dataclass(frozen=True, kw_only=True)
class StressConfig:
    """What is measured."""

    clients: tuple[int, ...] = (100, 300, 1000, 3000)
    """Numbers of clients, each a run of its own, in this order."""
    size: int = 5
    """Side of the grid in cells."""
    rounds: int = 1
    """Rounds of broadcast, local learning and fusion."""
    seeds: int = 1
    """Repetitions of every size; from two on the difference of the rules has an interval."""
    rules: tuple[str, ...] = ("mean", "barycenter")
    """Rules that fuse; each keeps a federation of its own."""
    seed: int = 0
    """Root seed."""
    time_budget: float | None = None
    """Seconds in all: a size that would not fit, going by the one before, is not begun."""
    engine: EngineConfig = field(default_factory=EngineConfig)

    def __post_init__(self) -> None:
        """Check every limit."""
        for count in self.clients:
            require(count >= 1, "clients", "integers >= 1", count)
        require(len(self.clients) > 0, "clients", "a list of integers", "none")
        require(fusing(self.rules) == self.rules, "rules", "rules that fuse", ",".join(self.rules))
        if self.time_budget is not None:
            require_positive("time-budget", self.time_budget)
        for name in ("backend", "address"):
            usual, got = getattr(EngineConfig(), name), getattr(self.engine, name)
            law = f"{usual} in stress, which times Ray's actors by one machine's clock"
            require(got == usual, f"engine.{name}", law, got)
        self.run(self.clients[0])  # the run's own limits

    def run(self, clients: int) -> RunConfig:
        """The run of one size: clients fit by a fixed number of Adam steps, as in the paper."""
        return RunConfig(
            clients=clients,
            seeds=self.seeds,
            seed=self.seed,
            problem=ProblemConfig(size=self.size),
            irl=IRLConfig(optimizer="adam", iterations=STEPS),
            fusion=FusionConfig(rules=self.rules),
            federation=FederationConfig(rounds=self.rounds),
            evaluation=EvaluationConfig(discounts=(), by_round=False),
            engine=self.engine,
        )


@dataclass(frozen=True)
class Measurement:
    """One size. Seconds are means over seeds and rounds unless said otherwise."""

    clients: int
    actors: str
    """Where the clients were put, and why."""
    start: float
    """Seconds until every actor was up, Ray's own start among them; once."""
    worlds: float
    """Seconds to draw a seed's worlds and demonstrations, a seed."""
    round: float
    """Seconds of a round, the sum of the next five and of what the driver did between."""
    broadcast: float
    """Seconds until the actor that was done last had its order and began. One machine's clock
    times both ends, which all processes of a stress run share."""
    local: float
    """Seconds that actor spent learning."""
    upload: float
    """Seconds from its end until every upload was with the driver."""
    door: float
    """Seconds to check the uploads."""
    fuse: dict[str, float]
    """Seconds to fuse, by rule."""
    evaluate: float
    """Seconds to judge all rules in the clients' worlds and the held-out ones, a seed."""
    peak: float
    """Bytes of the driver and all it started, at most (PSS)."""
    down: dict[str, int]
    """Bytes to a client in a round, by rule."""
    up: dict[str, int]
    """Bytes from a client in a round, by rule."""
    success: dict[str, float]
    """Success in the held-out worlds, mean over seeds."""
    difference: dict[str, float]
    """Its paired difference to the parameter mean."""
    half_width: dict[str, float]
    """Half of that difference's 95 % interval; NaN of one seed."""
    total: float
    """Seconds the whole size took."""

    @property
    def driver_share(self) -> float:
        """Share of a round that is not the clients' learning and its messages."""
        return 1.0 - (self.broadcast + self.local + self.upload) / self.round


def measure(config: RunConfig, started: Started = unwatched) -> Measurement:
    """Run one size, and end its actors.

    Args:
        config: The run.
        started: Told how many actors are up, while they start.
    """
    began = time.perf_counter()
    events: list[Event] = []
    clock = Stopwatch()
    results: list[SeedResult] = []
    with PeakMemory() as memory, open_fleet(config, events.append, started) as fleet:
        start = time.perf_counter() - began
        domain = domain_of(config)
        jobs = Jobs(fleet)
        laid = lay(domain, fleet, jobs)
        for seed in range(config.seeds):
            with clock.timing("worlds"):
                fleet.prepare(seed)
            results.append(
                run_seed(domain, fleet, jobs, seed, laid, report=events.append, clock=clock)
            )
    rules, d = config.fusion.rules, results[0].theta.shape[1]
    compared = compare(samples(domain, results, "held-out")[:, :, 0], rules)
    seconds, rounds = clock.seconds, config.seeds * config.federation.rounds
    return Measurement(
        clients=config.clients,
        actors=next(event.reason for event in events if event.what == "placed"),
        start=start,
        worlds=seconds["worlds"] / config.seeds,
        round=seconds["round"] / rounds,
        broadcast=seconds["broadcast"] / rounds,
        local=seconds["work"] / rounds,
        upload=seconds["upload"] / rounds,
        door=seconds["door"] / rounds,
        fuse={rule: seconds[rule] / rounds for rule in rules},
        evaluate=seconds["evaluate"] / config.seeds,
        peak=memory.bytes,
        down={rule: traffic(rule, d, config.fusion).down for rule in rules},
        up={rule: traffic(rule, d, config.fusion).up for rule in rules},
        success={rule: one.mean for rule, one in compared.items()},
        difference={rule: one.difference.mean for rule, one in compared.items()},
        half_width={rule: one.difference.half_width for rule, one in compared.items()},
        total=time.perf_counter() - began,
    )


def stress(
    config: StressConfig,
    say: Callable[[str], None],
    begin: Callable[[int], None],
    started: Started = unwatched,
) -> Iterator[Measurement]:
    """Measure one size after the other.

    Args:
        config: The sizes.
        say: Told, in one line, why sizes are left out.
        begin: Told the number of clients about to be measured.
        started: Told how many of their actors are up, while they start.

    Yields:
        Each size once it has ended.
    """
    began = time.perf_counter()
    last: Measurement | None = None
    for clients in config.clients:
        if last is not None and config.time_budget is not None:
            needs = last.total * max(1.0, clients / last.clients)
            left = config.time_budget - (time.perf_counter() - began)
            if needs > left:
                say(
                    f"{clients} clients and what follows are left out: they need about "
                    f"{needs:.0f} s, and time-budget leaves {max(0.0, left):.0f} s"
                )
                return
        begin(clients)
        last = measure(config.run(clients), started)
        yield last


@dataclass(frozen=True)
class Growth:
    """How a quantity grows from the least to the greatest size of a list."""

    slope: float
    """Of log seconds a round over log clients, least squares; 1 is proportional."""
    bytes_per_client: float
    """Memory of each further client, least squares."""


GROWS_FROM = 300
"""Clients below which a round's fixed costs hide how it grows."""


def growth(found: Sequence[Measurement]) -> Growth | None:
    """Fit how time and memory grow; None with fewer than two sizes of `GROWS_FROM` or more."""
    large = [one for one in found if one.clients >= GROWS_FROM]
    if len({one.clients for one in large}) < 2:
        return None
    clients = np.array([one.clients for one in large], dtype=np.float64)
    slope = np.polyfit(np.log(clients), np.log([one.round for one in large]), 1)[0]
    per_client = np.polyfit(clients, [one.peak for one in large], 1)[0]
    return Growth(float(slope), float(per_client))
