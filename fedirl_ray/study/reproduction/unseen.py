"""The test of `auto` that was registered before it was run.

Worlds, settings, seeds and what counts were fixed, and committed, before root seed 1000 was looked
at; none of the worlds took part in choosing `auto`'s thresholds. The claim: its held-out value is
in no world below the parameter mean's (each world's own 95 % interval), and above it on average.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fedirl_ray.engine.result import Row
from fedirl_ray.fusion.displacement import Evidence
from fedirl_ray.fusion.selection import choices
from fedirl_ray.study.reproduction import tables
from fedirl_ray.study.reproduction.plan import Plan, Record
from fedirl_ray.study.reproduction.tables import Setting

ROOT = 1_000
"""Root seed of the registered test."""
SEEDS = 60
RULES = "mean,barycenter,blur,register,signed,select,auto,expert,plus-one"
AUTO = "auto"
FOUND, CHOSE = "displaced", "chose"
"""Metrics of its rows: whether maps counted as displaced, and whose answer was taken."""
_FIT = "--problem.expert-discount 0.95 --irl.discount 0.95 --irl.l2 0.1 --evaluation.discounts 0.95"
_SITES = f"--problem.name SitesWorld --problem.slip 0.2 {_FIT}"
_OWN = "--problem.name fedirl_ray.study.reproduction.objectworld"
_PENDULUM = "--problem.name Pendulum-v1 --control.agents False"


@dataclass(frozen=True)
class Unseen:
    """A world of the test."""

    title: str
    flags: str
    size: int | None
    clients: int
    moved: bool
    """Whether clients see their map displaced."""


WORLDS = (
    Unseen(
        "goal moved by up to 3, obstacles",
        f"--problem.goal centre --problem.goal-shift 0.5 --problem.features one-hot {_FIT}",
        12,
        8,
        True,
    ),
    Unseen(
        "six sites, two goals, moved by up to 3",
        f"{_SITES} --problem.features one-hot --problem.sites 6 --problem.goals 2 "
        "--problem.frame-shift 3",
        20,
        12,
        True,
    ),
    Unseen(
        "large sites, each moved by up to 2, 144 RBF",
        f"{_SITES} --problem.features rbf --problem.rbf-centres 12 --problem.site-radius 1.6 "
        "--problem.site-shift 2",
        18,
        6,
        True,
    ),
    Unseen(
        "turned by up to 25 degrees, stretched by up to 15 %",
        f"{_SITES} --problem.features one-hot --problem.site-radius 0.8 --problem.frame-turn 25 "
        "--problem.frame-scale 15 --problem.frame-shift 1",
        14,
        8,
        True,
    ),
    Unseen(
        "objectworld, moved by up to 2",
        f"{_OWN}:displaced --problem.horizon 24 {_FIT}",
        None,
        8,
        True,
    ),
    Unseen(
        "pendulum, sensors off by up to 1", f"{_PENDULUM} --control.sensor-offset 1", None, 6, True
    ),
    Unseen(
        "goal in one place, obstacles",
        f"--problem.goal centre --problem.features one-hot {_FIT}",
        12,
        8,
        False,
    ),
    Unseen(
        "six sites, two goals, nothing moved",
        f"{_SITES} --problem.features one-hot --problem.sites 6 --problem.goals 2",
        20,
        12,
        False,
    ),
    Unseen(
        "FrozenLake, slips anywhere",
        f"--problem.name FrozenLake-v1 --problem.features one-hot --problem.slip 0.4 "
        f"--problem.slip-to anywhere {_FIT}",
        8,
        8,
        False,
    ),
    Unseen(
        "CliffWalking, further cliff",
        f"--problem.name CliffWalking-v1 --problem.features one-hot --problem.slip 0.3 {_FIT}",
        None,
        8,
        False,
    ),
    Unseen("objectworld", f"{_OWN}:still --problem.horizon 24 {_FIT}", None, 8, False),
    Unseen(
        "four sites, three in ten lie",
        f"{_SITES} --problem.features one-hot --heterogeneity.adversaries 0.3",
        14,
        10,
        False,
    ),
    Unseen(
        "four sites, noisy experts",
        f"{_SITES} --problem.features one-hot --heterogeneity.expert-temperature 0.6",
        14,
        10,
        False,
    ),
    Unseen(
        "four sites, half of the map hidden",
        f"{_SITES} --problem.features one-hot --heterogeneity.hidden-support 0.5",
        14,
        10,
        False,
    ),
    Unseen("pendulum, sensors right", _PENDULUM, None, 6, False),
)


def settings(plan: Plan) -> list[Setting]:
    """A federation a world."""
    seeds = plan.at(smoke=2, laptop=SEEDS, paper=SEEDS)
    worlds = WORLDS[:: plan.at(smoke=8, laptop=1, paper=1)]
    return [Setting(one.title, one.flags, one.size, one.clients, seeds, RULES) for one in worlds]


def steps(plan: Plan) -> int:
    """One step a seed of a world."""
    return tables.steps(settings, plan)


def run(plan: Plan) -> Iterator[list[Record]]:
    """Run every world, seed by seed, with what `auto` saw and took."""
    for one in tables.seeds_of(settings, plan):
        yield [*one.rows(), *_verdict(one)]


def _verdict(one: tables.Seed) -> Iterator[Record]:
    fusion = one.domain.config.fusion
    column, names = fusion.rules.index(AUTO), choices(fusion)
    evidence = Evidence(*one.result.displacement[-1, column])
    taken = int(one.result.chosen[-1, column])
    told = {FOUND: float(evidence.found), "J": evidence.blur_takes, "rho": evidence.peaks_keep}
    if taken >= 0:
        told[f"{CHOSE} {names[taken]}"] = 1.0
    for name, value in told.items():
        yield one.marked(Row(one.number, 1, "", AUTO, "", name, 0, float(np.float64(value))))
