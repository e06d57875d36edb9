"""A study file: what stays fixed, what is searched, and what makes a trial good. Data, no code.

fixed: {clients: 10, seeds: 20}
search:
fusion.epsilon: {low: 0.01, high: 10.0, log: true}
fusion.sigma: [shared, client]
objectives: {difference/held-out/barycenter: maximize}
sampler: tpe
trials: 40
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Self, get_args

import yaml

from fedirl_ray.cli import PROG, leaves, load, settings, spell
from fedirl_ray.config import Rule, RunConfig
from fedirl_ray.engine.result import SPLITS
from fedirl_ray.errors import ConfigError
from fedirl_ray.laws import require

Sampler = Literal["tpe", "nsga2", "qmc", "random", "grid", "axes"]
Pruner = Literal["none", "median", "hyperband"]
Direction = Literal["minimize", "maximize"]
Value = float | int | str | bool

METRICS = ("success", "return", "difference")
"""Read in a split, under the run's first policy; `difference` is success beyond the mean's."""
COSTS = ("seconds", "bytes_down", "bytes_up")
"""Of a rule, a seed."""


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
    """METRIC/SPLIT/RULE or COST/RULE, each averaged over seeds."""
    centre: Mapping[str, Value] = field(default_factory=dict)
    """Where the axes meet, by dotted name; a setting that is not named here stays where a trial
    without a search would have it."""
    sampler: Sampler = "tpe"
    """tpe, nsga2 (several objectives), qmc, random; grid: every combination of values; axes: one
    setting moves at a time, the others stay at the centre."""
    pruner: Pruner = "none"
    """Gives up trials whose mean over the seeds so far is poor; needs a single objective."""
    trials: int = 40
    """How many are to end; grid and axes have as many as they have."""
    seed: int = 0
    """Of the sampler; the worlds' is the run's own `seed`."""
    max_failures: int = 5
    """Trials that may fail one after the other."""

    def base(self) -> RunConfig:
        """The run all trials start from.

        Raises:
            ConfigError: A fixed setting is misspelt or not allowed.
        """
        return self.config({})

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
    try:
        tree = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as err:
        why = getattr(err, "strerror", None) or err
        raise ConfigError(f"{path} must be a readable study file: {why}") from None
    except yaml.YAMLError as err:
        raise ConfigError(f"{path} must be a YAML file: {' '.join(str(err).split())}") from None
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
    search = {name: _entry(name, said) for name, said in _entries(tree["search"])}
    plain = {known[key]: value for key, value in tree.items()}
    plain |= {name: dict(leaves(tree.get(name, {}))) for name in ("fixed", "centre")}
    plain["search"] = search
    study = Study(**plain)
    _check(study)
    return study


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
        require(len(set(map(str, said))) == len(said), where, "a list of different values", said)
        return tuple(said)
    law = "a list of values, or a mapping with low, high and perhaps log, step, integer"
    allowed = {"low", "high", "log", "step", "integer"}
    right = isinstance(said, Mapping) and {"low", "high"} <= set(said) <= allowed
    require(right, where, law, said)
    try:
        # YAML reads 1e-3 as a word.
        numbers = {key: float(said[key]) for key in ("low", "high")}
        step = None if said.get("step") is None else float(said["step"])
    except (TypeError, ValueError):
        raise ConfigError(f"{where} must have numbers for its ends and step, got {said}") from None
    require(numbers["low"] <= numbers["high"], where, "a range with low <= high", said)
    log, integer = bool(said.get("log", False)), bool(said.get("integer", False))
    require(not log or numbers["low"] > 0.0, where, "above 0 where log is true", said)
    require(step is None or (step > 0.0 and not log), where, "without step where log is true", said)
    return Range(**numbers, log=log, step=step, integer=integer)


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
    rules = study.base().fusion.rules
    for name, entry in study.search.items():
        ends = entry if isinstance(entry, tuple) else _ends(entry)
        for value in ends:
            study.config({name: value})
    for objective, direction in study.objectives.items():
        _check_objective(objective, direction, rules)
    if study.sampler in ("grid", "axes"):
        for name, entry in study.search.items():
            law = f"a list of values with the sampler {study.sampler}"
            require(isinstance(entry, tuple), f"search.{name}", law, entry)
    strays = sorted(set(study.centre) - set(study.search))
    require(not strays, "centre", "of settings that are searched", ", ".join(strays))
    if study.sampler == "axes":
        for name, value in study.meeting().items():
            entry = study.search[name]
            listed = isinstance(entry, tuple) and value in entry
            require(listed, f"search.{name}", f"a list with {value}, where the axes meet", entry)


def _ends(entry: Range) -> tuple[Value, Value]:
    return (int(entry.low), int(entry.high)) if entry.integer else (entry.low, entry.high)


def _check_objective(name: str, direction: Any, rules: tuple[Rule, ...]) -> None:
    require(direction in get_args(Direction), f"objectives.{name}",
            "minimize or maximize", direction)  # fmt: skip
    metric, *rest = name.split("/")
    law = (
        f"{'|'.join(METRICS)}/{'|'.join(SPLITS)}/RULE or {'|'.join(COSTS)}/RULE, "
        f"RULE among {', '.join(rules)}"
    )
    placed = metric in METRICS and len(rest) == 2 and rest[0] in SPLITS
    right = (placed or (metric in COSTS and len(rest) == 1)) and rest[-1] in rules
    require(right, "objectives", law, name)


@dataclass(frozen=True)
class Objective:
    """One objective, taken apart."""

    metric: str
    split: str | None
    rule: Rule

    @classmethod
    def parse(cls, name: str) -> Self:
        """Take a checked name apart."""
        metric, *rest = name.split("/")
        rule: Any = rest[-1]
        return cls(metric, rest[0] if len(rest) == 2 else None, rule)
