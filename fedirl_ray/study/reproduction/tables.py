"""The paper's tables 1 and 2, and what becomes of table 1 under choices it leaves open."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

from fedirl_ray.cli import PROG, load
from fedirl_ray.config import RunConfig
from fedirl_ray.domain.domain import Domain
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.engine.driver import federate
from fedirl_ray.engine.fleet import open_fleet
from fedirl_ray.engine.result import Row, SeedResult, long_table
from fedirl_ray.study.reproduction.plan import Plan, Record

RULES = (
    "local,mean,median,trimmed,precision,arithmetic,barycenter,debiased,self-control,"
    "pooled,expert,ceiling"
)
CLIENTS = {5: 3, 10: 10, 20: 20}
"""The paper's number of clients by side of its grid."""
WEAK = (0.0, 0.25, 0.5)
"""Shares of weak clients in the paper's table 2."""


@dataclass(frozen=True)
class Published:
    """Success in %, mean and standard deviation, as the paper prints it."""

    inside_mean: tuple[float, float]
    inside_barycenter: tuple[float, float]
    outside_mean: tuple[float, float]
    outside_barycenter: tuple[float, float]
    inside_local: tuple[float, float] | None = None


TABLE_1 = {
    5: Published((85.1, 11.9), (90.5, 9.8), (78.4, 7.3), (82.6, 8.1), (84.2, 12.6)),
    10: Published((81.6, 14.2), (89.1, 10.7), (76.1, 8.0), (80.3, 9.9), (80.9, 13.9)),
    20: Published((73.5, 14.5), (76.4, 13.4), (75.3, 23.0), (81.4, 19.0), (73.7, 14.0)),
}
"""The paper's table 1 by side of the grid."""
TABLE_2 = {
    0.0: Published((81.97, 3.10), (81.97, 1.97), (86.43, 1.86), (88.27, 2.21)),
    0.25: Published((84.43, 3.35), (86.20, 3.15), (84.83, 2.76), (85.50, 3.02)),
    0.5: Published((80.17, 7.94), (85.27, 2.76), (82.13, 0.91), (85.67, 2.73)),
}
"""The paper's table 2 by share of weak clients."""


@dataclass(frozen=True)
class Setting:
    """One federation: what it changes, on which grid, with how many seeds."""

    title: str
    flags: str
    size: int | None
    """Side of the grid; None: what the world has."""
    clients: int
    seeds: int
    rules: str = RULES

    @property
    def name(self) -> str:
        """What its rows are marked with."""
        grid = "" if self.size is None else f"{self.size}x{self.size}, "
        return f"{self.title}: {grid}{self.clients} clients"

    def arguments(self, plan: Plan) -> str:
        """The flags that say the same to `federate`."""
        grid = "" if self.size is None else f"--problem.size {self.size} "
        grid += f"--clients {self.clients} --seeds {self.seeds}"
        root = f" --seed {plan.seed}" if plan.seed else ""
        return f"{grid}{root} --fusion.rules {self.rules} {self.flags}".strip()

    def config(self, plan: Plan) -> RunConfig:
        """Read those flags."""
        words = self.arguments(plan).split()
        return replace(load(RunConfig, words, prog=PROG, description=""), engine=plan.engine)


Settings = Callable[[Plan], list[Setting]]

WELL_POSED, UNDERFIT = "well posed", "underfit"
FITS = {WELL_POSED: "", UNDERFIT: "--irl.optimizer adam --irl.iterations 50"}
CHOICES = {
    "weak L2, one demonstration": "--problem.demonstrations 1 --irl.l2 0.01",
    "weak L2": "--irl.l2 0.01",
    "ground cost scaled to 1": "--fusion.cost-scale max",
    "each client its own sigma": "--fusion.sigma client",
    "least squares with an intercept": "--fusion.intercept True",
    "gibbs measures": "--fusion.measure gibbs",
    "slips in any direction": "--problem.slip-to anywhere",
}


def table1(plan: Plan) -> list[Setting]:
    """The paper's three grids, each with clients fitted to convergence and underfit."""
    seeds = plan.at(smoke=2, laptop=20, paper=20)
    sizes = list(CLIENTS)[: plan.at(smoke=1, laptop=3, paper=3)]
    return [
        Setting(title, flags, size, CLIENTS[size], seeds)
        for size in sizes
        for title, flags in FITS.items()
    ]


def table2(plan: Plan) -> list[Setting]:
    """Weak clients on the 5x5 grid; at the paper's scale its three seeds."""
    seeds = plan.at(smoke=2, laptop=20, paper=3)
    fit = "--irl.optimizer adam --irl.iterations 200"
    return [
        Setting(
            f"weak clients {share:g}", f"{fit} --heterogeneity.weak-clients {share:g}", 5, 10, seeds
        )
        for share in WEAK
    ]


def choices(plan: Plan) -> list[Setting]:
    """Table 1's smaller grids with one choice made otherwise at a time."""
    seeds = plan.at(smoke=1, laptop=20, paper=20)
    sizes = list(CLIENTS)[: plan.at(smoke=1, laptop=2, paper=2)]
    return [
        Setting(title, flags, size, CLIENTS[size], seeds)
        for title, flags in CHOICES.items()
        for size in sizes
    ]


def steps(settings: Settings, plan: Plan) -> int:
    """One step a seed of a setting."""
    return sum(setting.seeds for setting in settings(plan))


def run(settings: Settings, plan: Plan) -> Iterator[list[Record]]:
    """Run every setting; yields the long table of one seed at a time, marked with its setting."""
    for one in seeds_of(settings, plan):
        yield one.rows()


class Seed(NamedTuple):
    """One seed of a setting, and what it has found."""

    setting: Setting
    domain: Domain
    number: int
    result: SeedResult

    def rows(self) -> list[Record]:
        """Its long table."""
        found = long_table([self.result], self.domain)
        return [self.marked(row._replace(seed=self.number)) for row in found]

    def marked(self, row: Row) -> Record:
        """A row with what the setting is."""
        return asdict(self.setting) | {"setting": self.setting.name} | row._asdict()


def seeds_of(settings: Settings, plan: Plan) -> Iterator[Seed]:
    """Run every setting, seed by seed."""
    for setting in settings(plan):
        config = setting.config(plan)
        domain = domain_of(config)
        with open_fleet(config) as fleet:
            for seed, result in federate(config, fleet):
                yield Seed(setting, domain, seed, result)
