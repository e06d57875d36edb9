"""A study, run: Optuna is asked for trials and told what came of them.

The folder of a study:

study.yaml       the study, resolved
journal.log      Optuna's journal; or database.yaml: which database it is in (see `study.storage`)
trials/          one Parquet file a trial that ended: its long table
trials.parquet   number, state, values.NAME, params.FIELD, seconds, error: one trial a row
results.parquet  the trials' long tables together, with a column `trial`
environment.json versions, commit, machine
.lock            while a process is at it (see `engine.folder`)

The two tables are written every half minute and when the sweep ends or is interrupted.
"""

import io
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pyarrow as pa
import pyarrow.parquet as pq
from optuna.trial import FrozenTrial, Trial, TrialState

from fedirl_ray.config import RunConfig
from fedirl_ray.engine.checkpoint import write_atomically
from fedirl_ray.engine.record import parquet
from fedirl_ray.engine.result import Row, SeedResult, long_table, sent
from fedirl_ray.engine.tasks import Tasks
from fedirl_ray.errors import ConfigError, RunError
from fedirl_ray.seeds import stream
from fedirl_ray.study.space import Objective, Range, Study, Value
from fedirl_ray.study.storage import mend_journal, open_storage

TRIALS = "trials"
STALE = "stale"
"""Marks a trial that was under way when its driver died: it is run again under another number,"""
AGAIN = "again"
"""which bears the number of the dead one."""
PLANNED = "planned"
"""Place of a trial in the plan of a grid or a star."""
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass
class _Running:
    trial: Trial
    config: RunConfig
    began: float
    results: list[SeedResult] = field(default_factory=list)


@contextmanager
def open_study(folder: Path, study: Study, url: str | None = None) -> Iterator[optuna.Study]:
    """Open a study's storage, or create it with all the trials that are planned ahead.

    A last line that a killed process left unfinished is cut off. Trials that were under way are
    marked as failed and asked for again.

    Args:
        folder: The study's, held by this process.
        study: What is studied.
        url: See `open_storage`.

    Raises:
        ConfigError: The storage cannot be opened.
        RunError: Its database went away while it was used.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    mend_journal(folder)
    with open_storage(folder, url) as (storage, name):
        found = optuna.create_study(
            study_name=name,
            storage=storage,
            directions=list(study.objectives.values()),
            load_if_exists=True,
            pruner=_pruner(study),
        )
        _queue(found, study)
        yield found


def _queue(found: optuna.Study, study: Study) -> None:
    """Ask for every planned trial, and again for those that were under way, once each.

    A driver may be killed between any two of these lines; what it has done is not done again.
    """
    trials = found.get_trials(deepcopy=False)
    planned = {trial.user_attrs.get(PLANNED) for trial in trials}
    for i, params in enumerate(study.plan() or ()):
        if i not in planned:
            found.enqueue_trial(params, user_attrs={PLANNED: i})
    again = {trial.user_attrs.get(AGAIN) for trial in trials}
    for trial in trials:
        if trial.state != TrialState.RUNNING:
            continue
        if trial.number not in again:
            # It may have died before it read what was planned for it.
            params = trial.system_attrs.get("fixed_params", {}) | trial.params
            found.enqueue_trial(params, user_attrs={AGAIN: trial.number})
        found._storage.set_trial_user_attr(trial._trial_id, STALE, True)
        found.tell(trial.number, state=TrialState.FAIL)


def _pruner(study: Study) -> optuna.pruners.BasePruner:
    match study.pruner:
        case "median":
            return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2)
        case "hyperband":
            return optuna.pruners.HyperbandPruner(max_resource=study.base().seeds)
        case "none":
            return optuna.pruners.NopPruner()


def make_sampler(study: Study, number: int) -> optuna.samplers.BaseSampler:
    """Return the sampler of one trial.

    A sampler's own state is kept by no storage, so each trial gets one seeded by (study's seed,
    number): one worker draws the same trials, whether or not the study was interrupted.
    """
    seed = int(stream(study.seed, "sampler", number).integers(2**31))
    match study.sampler:
        case "tpe":
            return optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        case "nsga2":
            return optuna.samplers.NSGAIISampler(seed=seed)
        case "qmc":
            # One sequence for the whole study, whose place in it the storage counts.
            return optuna.samplers.QMCSampler(seed=study.seed, warn_independent_sampling=False)
        case "random" | "grid" | "axes":
            return optuna.samplers.RandomSampler(seed=seed)


def suggest(trial: Trial, study: Study) -> dict[str, Value]:
    """Draw one value for every searched setting."""
    found: dict[str, Value] = {}
    for name, entry in study.search.items():
        if not isinstance(entry, Range):
            chosen: Any = trial.suggest_categorical(name, entry)
            found[name] = chosen
        elif entry.integer:
            step = 1 if entry.step is None else int(entry.step)
            found[name] = trial.suggest_int(
                name, int(entry.low), int(entry.high), step=step, log=entry.log
            )
        else:
            found[name] = trial.suggest_float(
                name, entry.low, entry.high, step=entry.step, log=entry.log
            )
    return found


def count_trials(study: Study) -> int:
    """How many trials a study is to end with."""
    plan = study.plan()
    return study.trials if plan is None else min(study.trials, len(plan))


def ended(found: optuna.Study) -> list[FrozenTrial]:
    """Trials that have ended, without those that are run again."""
    trials = found.get_trials(deepcopy=False, states=ENDED)
    return [trial for trial in trials if not trial.user_attrs.get(STALE)]


def sweep(
    study: Study, found: optuna.Study, folder: Path, tasks: Tasks, count: int
) -> Iterator[FrozenTrial]:
    """Run trials side by side until so many have ended.

    Args:
        study: What is studied.
        found: Its storage, see `open_study`.
        folder: Where long tables are kept.
        tasks: Where trials run.
        count: Trials in all, those that had ended before included.

    Yields:
        Every trial, as it ends.

    Raises:
        RunError: Too many trials failed one after the other.
    """
    running: dict[int, _Running] = {}
    left, failures = count - len(ended(found)), 0
    while left > 0 or running:
        while left > 0 and len(running) < tasks.most:
            left -= 1
            begun = _begin(study, found)
            if isinstance(begun, FrozenTrial):
                failures = _count_failures(study, begun, failures)
                yield begun
                continue
            running[begun.trial.number] = begun
            tasks.start(begun.trial.number, begun.config)
        if not running:
            continue
        came = tasks.next()
        one = running[came.key]
        if isinstance(came.what, SeedResult):
            one.results.append(came.what)
            if not _give_up(study, one):
                continue
            tasks.cancel(came.key)
            end = _tell(found, one, TrialState.PRUNED)
        elif came.what is None:
            _keep(folder, one)
            end = _tell(found, one, TrialState.COMPLETE, values=score(study, one))
        else:
            end = _fail(found, one.trial, one.began, came.what)
        del running[came.key]
        failures = _count_failures(study, end, failures)
        yield end


def _begin(study: Study, found: optuna.Study) -> _Running | FrozenTrial:
    """Ask for a trial; one whose settings cannot be run together has failed already."""
    under_way = found.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    # Those that died with their driver do not count: their places are drawn again.
    found.sampler = make_sampler(study, len(ended(found)) + len(under_way))
    trial, began = found.ask(), time.perf_counter()
    try:
        return _Running(trial, study.config(suggest(trial, study)), began)
    except ConfigError as err:
        return _fail(found, trial, began, err)


def _fail(found: optuna.Study, trial: Trial, began: float, err: Exception) -> FrozenTrial:
    said = " ".join(f"{type(err).__name__}: {err}".split())
    trial.set_user_attr("error", said)
    trial.set_user_attr("seconds", time.perf_counter() - began)
    return found.tell(trial, state=TrialState.FAIL)


def _tell(
    found: optuna.Study, one: _Running, state: TrialState, values: Sequence[float] | None = None
) -> FrozenTrial:
    one.trial.set_user_attr("seconds", time.perf_counter() - one.began)
    return found.tell(one.trial, values, state=state)


def _count_failures(study: Study, trial: FrozenTrial, before: int) -> int:
    """Failures in a row after a trial.

    Raises:
        RunError: They are too many.
    """
    failures = before + 1 if trial.state == TrialState.FAIL else 0
    if failures >= study.max_failures:
        raise RunError(
            f"max-failures {study.max_failures}: that many trials failed one after the other, the "
            f"last, trial {trial.number}, with {trial.user_attrs['error']}"
        )
    return failures


def _give_up(study: Study, one: _Running) -> bool:
    """Report the mean over the seeds so far, and ask whether to go on."""
    if study.pruner == "none":
        return False
    one.trial.report(score(study, one)[0], len(one.results))
    return len(one.results) < one.config.seeds and one.trial.should_prune()


def score(study: Study, one: _Running) -> list[float]:
    """Every objective, averaged over the seeds that have ended."""
    rows = long_table(one.results, one.config)
    return [_read(Objective.parse(name), one, rows) for name in study.objectives]


def _read(objective: Objective, one: _Running, rows: Sequence[Row]) -> float:
    rule = objective.rule
    if objective.metric == "seconds":
        column = one.config.fusion.rules.index(rule)
        return float(np.mean([result.seconds[column] for result in one.results]))
    if objective.metric.startswith("bytes"):
        totals = [sent(rule, result, one.config) for result in one.results]
        return float(np.mean([getattr(t, objective.metric.removeprefix("bytes_")) for t in totals]))
    metric = "success" if objective.metric == "difference" else objective.metric
    policy = next(row.policy for row in rows if row.metric == metric)

    def level(of: str) -> float:
        key = (of, objective.split, policy, metric)
        found = [r.value for r in rows if (r.rule, r.split, r.policy, r.metric) == key]
        return float(np.mean(found))

    return level(rule) - level("mean") if objective.metric == "difference" else level(rule)


def _keep(folder: Path, one: _Running) -> None:
    """Keep a trial's long table; it is told as ended only when that is on disk."""
    rows = long_table(one.results, one.config)
    columns: dict[str, Any] = {"trial": [one.trial.number] * len(rows)}
    columns |= {name: [getattr(row, name) for row in rows] for name in Row._fields}
    write_atomically(folder / TRIALS / f"{one.trial.number:05d}.parquet", parquet(columns))


def trial_table(study: Study, trials: Sequence[FrozenTrial]) -> dict[str, list[Any]]:
    """One trial a row, as columns."""
    columns: dict[str, list[Any]] = {
        "number": [trial.number for trial in trials],
        "state": [trial.state.name for trial in trials],
    }
    for i, name in enumerate(study.objectives):
        columns[f"values.{name}"] = [
            trial.values[i] if trial.state == TrialState.COMPLETE else None for trial in trials
        ]
    for name in study.search:
        columns[f"params.{name}"] = _one_kind([trial.params.get(name) for trial in trials])
    for name in ("seconds", "error"):
        columns[name] = [trial.user_attrs.get(name) for trial in trials]
    return columns


def _one_kind(values: list[Any]) -> list[Any]:
    """A Parquet column holds one type: numbers beside words are spelt out."""
    kinds = {isinstance(value, str | bool) for value in values if value is not None}
    return [None if v is None else str(v) for v in values] if len(kinds) > 1 else values


def publish(study: Study, found: optuna.Study, folder: Path) -> None:
    """Write trials.parquet and results.parquet from what is kept."""
    trials = ended(found)
    write_atomically(folder / "trials.parquet", parquet(trial_table(study, trials)))
    done = {t.number for t in trials if t.state == TrialState.COMPLETE}
    kept = [p for p in sorted((folder / TRIALS).glob("*.parquet")) if int(p.stem) in done]
    if kept:
        buffer = io.BytesIO()
        pq.write_table(pa.concat_tables([pq.read_table(path) for path in kept]), buffer)
        write_atomically(folder / "results.parquet", buffer.getvalue())
