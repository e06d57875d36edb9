"""A study file: what stays fixed, what is searched, and what makes a trial good. Data, no code.

fixed: {clients: 10, seeds: 20}
search: {fusion.epsilon: {low: 0.01, high: 10.0, log: true}, fusion.sigma: [shared, client]}
objectives: {difference/held-out/barycenter: maximize}
sampler: tpe
trials: 40
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from fedirl_ray.cli import PROG, leaves, load, settings, spell
from fedirl_ray.config import RunConfig
from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.engine.memory import require_memory
from fedirl_ray.errors import ConfigError
from fedirl_ray.laws import require
from fedirl_ray.study.objective import Objective
from fedirl_ray.yaml_file import read_yaml

Sampler = Literal["tpe", "nsga2", "qmc", "random", "grid", "axes"]
Pruner = Literal["none", "median", "hyperband"]
Direction = Literal["minimize", "maximize"]
Value = float | int | str | bool | None

PROBLEM = "problem.name"
"""The setting that decides which others mean something."""
MOST_COMBINATIONS = 100_000
"""Trials a grid may have."""


@dataclass(frozen=True)
class Range:
    """An interval to draw from."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    integer: bool = False


Entry = tuple[Value, ...] | Range
"""What one setting may be: one of some values, or a number of a range."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study that can be run."""

    fixed: Mapping[str, Value | list[Value]]
    """Settings all trials share, by dotted name."""
    search: Mapping[str, Entry]
    """Settings that differ between trials."""
    objectives: Mapping[str, Direction]
    """What makes a trial good, see `study.objective`."""
    centre: Mapping[str, Value] = field(default_factory=dict)
    """Where the axes meet, by dotted name; a setting that is not named here stays where a trial
    without a search would have it."""
    sampler: Sampler = "tpe"
    """tpe, nsga2 (several objectives), qmc, random; grid: every combination of values; axes: one
    setting moves at a time, the others stay at the centre."""
    pruner: Pruner = "none"
    """Gives up trials whose mean over the seeds so far is poor; needs a single objective."""
    trials: int = 40
    """How many are to end. A file that does not say gives a grid or a star all it has."""
    seed: int = 0
    """Of the sampler; the worlds' is the run's own `seed`."""
    max_failures: int = 5
    """Trials that may fail one after the other."""

    @cached_property
    def goals(self) -> list[Objective]:
        """The objectives, in the order of the file."""
        rules, domains = self._rules(), [domain_of(run) for run in self.starts()]
        parsed = [
            [Objective.parse(name, domain, rules) for name in self.objectives] for domain in domains
        ]
        return parsed[0]

    def _rules(self) -> tuple[str, ...]:
        """Fusion rules that every trial runs."""
        first, *others = (fusion.rules for fusion in self.fusions())
        return tuple(rule for rule in first if all(rule in other for other in others))

    def fusions(self) -> list[FusionConfig]:
        """How trials fuse, once for each list of rules that any of them has."""
        name = "fusion.rules"
        entry = self.search.get(name)
        if isinstance(entry, tuple):
            return [self.config({name: value}).fusion for value in entry]
        return [self.base().fusion]

    def base(self) -> RunConfig:
        """The run all trials start from.

        Raises:
            ConfigError: A fixed setting is misspelt or not allowed.
        """
        return self.config({})

    def starts(self) -> list[RunConfig]:
        """The run that all trials of a problem start from, once for each that is searched."""
        return [self.config(problem) for problem in self.problems()]

    def problems(self) -> list[dict[str, Value]]:
        """What says of a trial which problem it is: nothing where that is not searched."""
        entry = self.search.get(PROBLEM)
        return [{PROBLEM: value} for value in entry] if isinstance(entry, tuple) else [{}]

    def config(self, params: Mapping[str, Value]) -> RunConfig:
        """The run of one trial.

        Raises:
            ConfigError: The settings cannot be run together.
        """
        words = spell({**self.fixed, **params})
        return load(RunConfig, list(words), prog=PROG, description="")

    def plan(self) -> list[dict[str, Value]] | None:
        """Every trial of a grid or a star of axes; None where a sampler decides."""
        if self.sampler not in ("grid", "axes"):
            return None
        choices = {name: entry for name, entry in self.search.items() if isinstance(entry, tuple)}
        if self.sampler == "grid":
            return [
                dict(zip(choices, values, strict=True))
                for values in itertools.product(*choices.values())
            ]
        centre = self.meeting()
        moved = [
            {**centre, name: value}
            for name, values in choices.items()
            for value in values
            if value != centre[name]
        ]
        return [centre, *moved]

    def plain(self) -> dict[str, Any]:
        """The mapping that its file holds, everything said."""
        search = {
            name: {key: value for key, value in vars(entry).items() if value not in (None, False)}
            if isinstance(entry, Range)
            else list(entry)
            for name, entry in self.search.items()
        }
        tree: dict[str, Any] = {"fixed": dict(self.fixed), "search": search}
        tree |= {"objectives": dict(self.objectives), "centre": dict(self.centre)}
        rest = ("sampler", "pruner", "trials", "seed", "max_failures")
        return tree | {name.replace("_", "-"): getattr(self, name) for name in rest}

    def meeting(self) -> dict[str, Value]:
        """Where the axes meet."""
        usual = dict(leaves(settings(self.base())))
        return {name: self.centre.get(name, usual[name]) for name in self.search}


def read_study_file(path: Path) -> Study:
    """Read a study file and refuse, before anything starts, what could not be run.

    Raises:
        ConfigError: The file cannot be read, or names a setting, value, sampler, pruner or
            objective that there is not; one line.
    """
    tree = read_yaml(path)
    try:
        return parse_study(tree)
    except ConfigError as err:
        raise ConfigError(f"{path}: {err}") from None


def parse_study(tree: Any) -> Study:
    """Build a study from the mapping a study file holds.

    Raises:
        ConfigError: See `read_study_file`.
    """
    require(isinstance(tree, Mapping), "a study", "a mapping", type(tree).__name__)
    known = {one.name.replace("_", "-"): one.name for one in fields(Study)}
    for name in tree:
        require(name in known, "a study's keys", f"among {', '.join(known)}", repr(name))
    for name in ("fixed", "centre", "search", "objectives"):
        may_be_empty = name in ("fixed", "centre")
        said = tree.get(name, {} if may_be_empty else None)
        law = "a mapping" if may_be_empty else "a mapping with at least one entry"
        require(isinstance(said, Mapping) and (bool(said) or may_be_empty), name, law, said)
    plain = {known[key]: value for key, value in tree.items()}
    for part in ("fixed", "centre"):
        plain[part] = _once(part, leaves(tree.get(part, {})))
    said = _once("search", _entries(tree["search"]))
    plain["search"] = {name: _entry(name, entry) for name, entry in said.items()}
    study = Study(**plain)
    _check(study)
    plan = None if "trials" in tree else study.plan()
    return study if plan is None else replace(study, trials=len(plan))


def _once(part: str, said: Iterator[tuple[str, Any]]) -> dict[str, Any]:
    """Settings by the name the flag has, each said once."""
    found: dict[str, Any] = {}
    for spelt, value in said:
        name = spelt.replace("_", "-")
        require(name not in found, f"{part}.{name}", "said once", "twice")
        found[name] = value
    return found


def _entries(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Entries by dotted name, nested or not; a mapping with `low` is a range, not a group."""
    for name, said in tree.items():
        if isinstance(said, Mapping) and "low" not in said:
            yield from _entries(said, f"{prefix}{name}.")
        else:
            yield prefix + name, said


def _entry(name: str, said: Any) -> Entry:
    where = f"search.{name}"
    if isinstance(said, list):
        require(bool(said), where, "a list with at least one value", said)
        plain = all(isinstance(value, float | int | str | None) for value in said)
        require(plain, where, "a list of words, numbers, true, false and null", said)
        different = len(set(map(str, said))) == len(set(said)) == len(said)
        require(different, where, "a list of different values", said)
        return tuple(said)
    law = "a list of values, or a mapping with low, high and perhaps log, step, integer"
    allowed = {"low", "high", "log", "step", "integer"}
    right = isinstance(said, Mapping) and {"low", "high"} <= set(said) <= allowed
    require(right, where, law, said)
    for key in ("log", "integer"):
        flag = said.get(key, False)
        require(isinstance(flag, bool), f"{where}.{key}", "true or false", flag)
    step = None if said.get("step") is None else _number(where, said["step"])
    entry = Range(
        _number(where, said["low"]),
        _number(where, said["high"]),
        said.get("log", False),
        step,
        said.get("integer", False),
    )
    _check_range(where, entry, said)
    return entry


def _number(where: str, said: Any) -> float:
    """A number, which YAML reads as a word where it is spelt 1e-3."""
    try:
        number = math.nan if isinstance(said, bool) else float(said)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    require(math.isfinite(number), where, "of finite numbers, ends and step", said)
    return number


def _check_range(where: str, entry: Range, said: Any) -> None:
    """Refuse what could not be drawn from as it is written."""
    require(entry.low <= entry.high, where, "a range with low <= high", said)
    require(not entry.log or entry.low > 0.0, where, "above 0 where log is true", said)
    ends = (entry.low, entry.high, 1.0 if entry.step is None else entry.step)
    whole = not entry.integer or all(number.is_integer() for number in ends)
    require(whole, where, "of whole numbers where integer is true", said)
    if entry.step is None:
        return
    require(not entry.log, where, "without step where log is true", said)
    require(entry.step > 0.0, where, "of a step above 0", said)
    low, high, step = (Decimal(str(number)) for number in ends)
    require((high - low) % step == 0, where, "a range that its step divides", said)


def _check(study: Study) -> None:
    """Refuse what breaks a law, above all settings that do not exist."""
    require(study.sampler in get_args(Sampler), "sampler",
            f"among {', '.join(get_args(Sampler))}", study.sampler)  # fmt: skip
    require(study.pruner in get_args(Pruner), "pruner",
            f"among {', '.join(get_args(Pruner))}", study.pruner)  # fmt: skip
    for name, least in (("trials", 1), ("seed", 0), ("max_failures", 1)):
        value = getattr(study, name)
        right = isinstance(value, int) and not isinstance(value, bool) and value >= least
        require(right, name.replace("_", "-"), f"an integer >= {least}", value)
    single = len(study.objectives) == 1
    require(
        single or study.pruner == "none", "pruner", "none with several objectives", study.pruner
    )
    fixed_too = sorted(set(study.fixed) & set(study.search))
    require(not fixed_too, "search", "of settings that are not fixed too", ", ".join(fixed_too))
    problem = study.problems()[0]
    for name, entry in study.search.items():
        ends = entry if isinstance(entry, tuple) else _ends(entry)
        for value in ends:
            require_memory(study.config(problem | {name: value}))
    for objective, direction in study.objectives.items():
        ways = get_args(Direction)
        require(direction in ways, f"objectives.{objective}", "minimize or maximize", direction)
    study.goals  # noqa: B018  each is parsed, and refused where there is no such
    if study.sampler in ("grid", "axes"):
        for name, entry in study.search.items():
            law = f"a list of values with the sampler {study.sampler}"
            require(isinstance(entry, tuple), f"search.{name}", law, entry)
        count = math.prod(len(entry) for entry in study.search.values() if isinstance(entry, tuple))
        law = f"of at most {MOST_COMBINATIONS} combinations with the sampler grid"
        few = study.sampler != "grid" or count <= MOST_COMBINATIONS
        require(few, "search", law, count)
    strays = sorted(set(study.centre) - set(study.search))
    require(not strays, "centre", "of settings that are searched", ", ".join(strays))
    if study.sampler == "axes":
        for name, value in study.meeting().items():
            entry = study.search[name]
            listed = isinstance(entry, tuple) and value in entry
            require(listed, f"search.{name}", f"a list with {value}, where the axes meet", entry)


def _ends(entry: Range) -> tuple[Value, Value]:
    return (int(entry.low), int(entry.high)) if entry.integer else (entry.low, entry.high)
