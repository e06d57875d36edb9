"""Displaced maps: where transport is compared with what an engineer would do without it.

Clients hold the same map of goals and hazards, each displaced; rewards are judged where nothing is.
"""

from collections.abc import Iterator

from fedirl_ray.engine.result import Row
from fedirl_ray.problem.family import draw_world
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.study.reproduction import tables
from fedirl_ray.study.reproduction.plan import Plan, Record
from fedirl_ray.study.reproduction.tables import Setting

FUSED = ("mean", "barycenter", "blur", "register", "signed", "gibbs", "self-signed")
RULES = ",".join(("local", "personal", *FUSED, "select", "auto", "expert", "plus-one"))
"""A constant reward, plus-one, leaves every action as good: its policy is the random one."""
SITES = (
    "--problem.name SitesWorld --problem.features one-hot --problem.slip 0.2 "
    "--problem.expert-discount 0.95 --irl.discount 0.95 --irl.l2 0.1 --evaluation.discounts 0.95"
)
CENTRE = (
    "--problem.goal centre --problem.goal-shift 0.5 --problem.obstacles 0.15 "
    "--problem.layout 0.5 --problem.slip 0.25 --irl.l2 0.1 --irl.optimizer adam --irl.step 0.05 "
    "--irl.iterations 200 --evaluation.discounts 0.95"
)
"""The centre of the map of dials (sweeps/map-grid-8.yaml)."""
MAPS = {
    "not displaced": "",
    "moved by 1": "--problem.frame-shift 1",
    "moved by 2": "--problem.frame-shift 2",
    "moved by 3": "--problem.frame-shift 3",
    "moved by 2, turned 15 degrees, stretched 10 %": (
        "--problem.frame-shift 2 --problem.frame-turn 15 --problem.frame-scale 10"
    ),
    "sites moved by 2, each alone": "--problem.site-shift 2",
    "sites moved by 3, each alone": "--problem.site-shift 3",
    "three goals, sites moved by 3": "--problem.goals 3 --problem.site-shift 3",
    "moved by 3, 5 demonstrations": "--problem.frame-shift 3 --problem.demonstrations 5",
    "moved by 3, RBF": ("--problem.frame-shift 3 --problem.features rbf --problem.rbf-centres 9"),
}
"""Flags by what happens to a client's map; lengths are the largest, in cells."""
PICTURED = "moved by 3"
"""Of which the maps themselves are kept."""
MAP, TRUTH = "map", "true"


def settings(plan: Plan) -> list[Setting]:
    """Maps of sites, then the goal of the package's own grid-world in different places."""
    seeds = plan.at(smoke=2, laptop=20, paper=60)
    more = plan.at(smoke=2, laptop=60, paper=60)
    size, clients = 16, plan.at(smoke=4, laptop=10, paper=10)
    maps = [PICTURED] if plan.scale == "smoke" else list(MAPS)
    found = [_sites(name, MAPS[name], size, clients, seeds) for name in maps]
    if plan.scale != "smoke":
        found.insert(3, _sites("moved by 2", MAPS["moved by 2"], size, 4, seeds))
        found.append(_sites("moved by 4", "--problem.frame-shift 4", 24, clients, seeds))
    for features in ("one-hot", "rbf")[: plan.at(smoke=1, laptop=2, paper=2)]:
        flags = f"{CENTRE} --problem.features {features}"
        found.append(Setting(f"goal moved, {features}", flags, 8, 6, more, RULES))
    return found


def _sites(title: str, flags: str, size: int, clients: int, seeds: int) -> Setting:
    return Setting(title, f"{SITES} {flags}".strip(), size, clients, seeds, RULES)


def steps(plan: Plan) -> int:
    """One step a seed of a setting."""
    return tables.steps(settings, plan)


def run(plan: Plan) -> Iterator[list[Record]]:
    """Run every setting; of the first seed of one, the maps too."""
    for one in tables.seeds_of(settings, plan):
        rows = one.rows()
        if (one.setting.title, one.number) == (PICTURED, 0):
            rows += _maps(one)
        yield rows


def _maps(one: tables.Seed) -> Iterator[Record]:
    """Rewards on the support, a row a point: the truth's, every client's, every rule's."""
    config = one.domain.config
    world = draw_world(config.problem, config.seed, one.number, "held-out", 0)
    features = one.domain.ground(one.number).support.features
    maps: dict[str, Floats] = {TRUTH: world.reward[:, 0]}
    for client, theta in enumerate(one.result.client_theta):
        maps[f"client {client}"] = features @ theta
    maps |= dict(zip(config.fusion.rules, one.result.reward, strict=True))
    for name, reward in maps.items():
        for point, value in enumerate(reward):
            row = Row(one.number, 1, "", name, "", MAP, point, float(value))
            yield one.marked(row)
