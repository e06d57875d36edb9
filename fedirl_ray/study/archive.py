"""A study's folder, read back: what was tried, what came of it, and Optuna's own pictures.

study.yaml       the study as its user wrote it
journal.log      Optuna's journal, the study itself; or database.yaml (see `study.storage`)
trials.parquet   number, state, values.NAME, params.FIELD, seconds, error: one trial a row
results.parquet  trial, seed, round, split, rule, judge, metric, step, value: one number a row
environment.json versions, commit, machine
"""

import json
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from optuna import visualization
from optuna.importance import PedAnovaImportanceEvaluator

from fedirl_ray.cli import leaves
from fedirl_ray.errors import DataError
from fedirl_ray.study.heterogeneity import Level, metric_of
from fedirl_ray.study.storage import DATABASE, JOURNAL, load

STUDY = "study.yaml"
TRIAL = ("number", "state", "seconds", "error")
RESULT = ("trial", "seed", "round", "split", "rule", "judge", "metric", "step", "value")
COMPLETE = "COMPLETE"
FEWEST = 4
"""Trials below which importances say nothing."""


@dataclass(frozen=True)
class Archive:
    """What a study has left behind, so far or for good."""

    path: Path
    plan: str
    """study.yaml, word by word."""
    trials: list[dict[str, Any]]
    """Rows of trials.parquet, by column."""
    results: dict[str, list[Any]]
    """Columns of results.parquet."""
    environment: Mapping[str, Any]
    study: optuna.Study
    """Read from the journal or the database."""

    @property
    def objectives(self) -> list[str]:
        """Names of the objectives, in Optuna's order."""
        prefix = "values."
        columns = self.trials[0] if self.trials else {}
        names = [column.removeprefix(prefix) for column in columns if column.startswith(prefix)]
        counted = len(self.study.directions)
        return names if len(names) == counted else [f"objective {i}" for i in range(counted)]

    @property
    def fixed(self) -> Mapping[str, Any]:
        """Settings that all trials share, by dotted name."""
        plan = yaml.safe_load(self.plan)
        said = plan.get("fixed") if isinstance(plan, Mapping) else None
        return dict(leaves(said)) if isinstance(said, Mapping) else {}

    @property
    def directions(self) -> list[str]:
        """`minimize` or `maximize`, by objective."""
        return [direction.name.lower() for direction in self.study.directions]

    @property
    def best(self) -> list[int]:
        """Numbers of the best trials: one, or with several objectives the Pareto front."""
        if not any(trial["state"] == COMPLETE for trial in self.trials):
            return []
        return sorted(trial.number for trial in self.study.best_trials)

    def tried(self) -> dict[int, dict[str, Level | None]]:
        """Settings of the trials that ended well, by trial and field."""
        return {
            int(trial["number"]): params_of(trial)
            for trial in self.trials
            if trial["state"] == COMPLETE
        }


def params_of(trial: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's settings, by field."""
    prefix = "params."
    return {k.removeprefix(prefix): v for k, v in trial.items() if k.startswith(prefix)}


def read_study(path: Path) -> Archive:
    """Read a study's folder.

    Raises:
        ConfigError: Its database cannot be opened.
        DataError: A file is missing or cannot be read.
    """
    kept = DATABASE if (path / DATABASE).is_file() else JOURNAL
    missing = [
        name for name in (kept, "trials.parquet", "results.parquet") if not (path / name).is_file()
    ]
    if missing:
        raise DataError(f"{path} must be a study with {missing[0]}, got none")
    environment = path / "environment.json"
    try:
        said = json.loads(environment.read_text("utf-8")) if environment.is_file() else {}
        plan = (path / STUDY).read_text("utf-8")
    except ValueError as err:
        raise DataError(f"{path} must hold readable text: {err}") from None
    results = _table(path / "results.parquet", ("trial", "value"))
    if "judge" not in results.column_names:
        by = said.get("fedirl_ray", "an earlier version")
        raise DataError(f"{path} is of fedirl_ray {by}, whose tables this version does not read")
    return Archive(
        path=path,
        plan=plan,
        trials=[
            {name: _known(value) for name, value in row.items()}
            for row in _table(path / "trials.parquet", TRIAL).to_pylist()
        ],
        results=_table(path / "results.parquet", RESULT).to_pydict(),
        environment=said,
        study=_open(path),
    )


def _table(path: Path, columns: Iterable[str]) -> pa.Table:
    """Read a table that has some columns at least."""
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as err:
        raise DataError(f"{path} must be a Parquet file: {str(err).splitlines()[0]}") from None
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise DataError(f"{path} must have a column {missing[0]}, got {table.column_names}")
    return table


def _known(value: Any) -> Any:
    """A cell; NaN, which some writers put where nothing is, as None."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _open(folder: Path) -> optuna.Study:
    """The study of a folder; a last line of its journal that was torn is passed over."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return load(folder)


def pictures(archive: Archive) -> list[tuple[str, str]]:
    """Optuna's own pictures of a study, where it has enough trials for them.

    Returns:
        Title and Plotly figure (as JSON) of each.
    """
    with warnings.catch_warnings():
        # That a plot or a measure is experimental is no news to whoever reads the page.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # Minded in `_importances`.
        warnings.filterwarnings("ignore", ".*to achieve low `target` values", UserWarning)
        return [(title, str(figure.to_json())) for title, figure in _draw(archive)]


def _draw(archive: Archive) -> Iterator[tuple[str, Any]]:
    complete = len(archive.tried())
    if complete == 0:
        return
    archive = _as_shown(archive)
    study, names = archive.study, archive.objectives
    if 2 <= len(names) <= 3:
        yield "Pareto front", visualization.plot_pareto_front(study, target_names=names)
    for i, name in enumerate(names):
        # Optuna wants a target only where there are several.
        read: Any = (lambda trial, i=i: trial.values[i]) if len(names) > 1 else None
        about: Any = {"target": read, "target_name": name}
        yield f"History of {name}", visualization.plot_optimization_history(study, **about)
        yield (
            f"Parallel coordinates of {name}",
            visualization.plot_parallel_coordinate(study, **about),
        )
        told = {trial[f"values.{name}"] for trial in archive.trials if trial["state"] == COMPLETE}
        if complete >= FEWEST and len(told) > 1 and len(varied(archive)) > 1:
            yield f"Importances for {name}", _importances(archive, i)


def unit_of(archive: Archive, objective: str) -> tuple[float, str]:
    """What an objective is shown in: shares in %, their differences in points, others as told."""
    shares = metric_of(archive.results["metric"]) == "success"
    words = {"success": "%", "difference": "points" if shares else ""}
    word = words.get(objective.partition("/")[0], "")
    return (100.0 if word else 1.0), word


def _as_shown(archive: Archive) -> Archive:
    """The same study with its objectives in the units that pages show."""
    units = [unit_of(archive, name)[0] for name in archive.objectives]
    if set(units) == {1.0}:
        return archive
    study = optuna.create_study(directions=archive.study.directions)
    for trial in archive.study.get_trials():
        if trial.values is not None:
            trial.values = [unit * value for unit, value in zip(units, trial.values, strict=True)]
        trial.intermediate_values = {}
        study.add_trial(trial)
    return replace(archive, study=study)


def _importances(archive: Archive, objective: int) -> Any:
    """How much each field decides whether a trial is among the good ones."""
    several = len(archive.objectives) > 1
    sign = -1.0 if archive.directions[objective] == "maximize" else 1.0
    return visualization.plot_param_importances(
        archive.study,
        # Unlike Optuna's default it needs no further library.
        evaluator=PedAnovaImportanceEvaluator(),
        # A target of its own is read as lower is better; alone, the study's direction is known.
        target=(lambda trial: sign * trial.values[objective]) if several else None,
        target_name=archive.objectives[objective],
    )


def varied(archive: Archive) -> list[str]:
    """Fields that took more than one value among the trials that ended well."""
    tried = list(archive.tried().values())
    names = list(dict.fromkeys(name for fields in tried for name in fields))
    return [name for name in names if len({fields.get(name) for fields in tried}) > 1]
