"""A study, run: Optuna is asked for trials and told what came of them.

The folder of a study:

study.yaml       the study, resolved
journal.log      Optuna's journal; or database.yaml: which database it is in (see `study.storage`)
trials/          one Parquet file a trial that ended well: its long table (see `study.trials`)
trials.parquet   number, state, values.NAME, params.FIELD, seconds, error: one trial a row
results.parquet  the trials' long tables together, with a column `trial`
environment.json versions, commit, machine
privacy.json     what all trials cost together, where they protect data (see `study.cost`)
.lock            while a process is at it (see `engine.folder`)

The two tables are written every half minute and when the sweep ends or is interrupted.

A trial that fails by its own fault has ended, and its error is kept. One that the machine did not
let end (a worker killed, a node gone, its driver killed) has not: it is asked for again, as a new
trial with the same settings that bears the number of the old one.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from fedirl_ray.config import RunConfig
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.engine.result import SeedResult, long_table
from fedirl_ray.engine.tasks import Failed, Lost, Tasks
from fedirl_ray.errors import ConfigError, DataError, RunError
from fedirl_ray.study.asking import AGAIN, TRY, ended, make_sampler, shown, suggest, well
from fedirl_ray.study.record import Record, record_of, require_unchanged
from fedirl_ray.study.space import Study
from fedirl_ray.study.trials import LOST, keep, torn

TRIES = 3
"""Times that a trial is begun before the machine is given up for it."""


@dataclass
class _Running:
    trial: Trial
    config: RunConfig
    began: float
    results: list[SeedResult] = field(default_factory=list)


def mend_tables(study: Study, found: optuna.Study, folder: Path, tasks: Tasks) -> None:
    """Make the tables again of trials that had ended well but whose files are missing or damaged.

    Each is said on standard error.

    Raises:
        RunError: One could not be made again, or Ray died.
    """
    record, done = record_of(found, folder), {trial.number: trial for trial in well(found)}
    waiting: list[int] = []
    for number, why in torn(folder, list(done)).items():
        print(f"the table of trial {number} {why}; it is run again", file=sys.stderr)
        waiting.append(number)
    running: dict[int, tuple[RunConfig, list[SeedResult]]] = {}
    while waiting or running:
        while waiting and len(running) < tasks.most:
            number = waiting.pop(0)
            config = study.config(done[number].params)
            running[number] = (config, [])
            tasks.start(number, config)
        came = tasks.next()
        config, results = running[came.key]
        match came.what:
            case SeedResult():
                results.append(came.what)
            case None:
                require_unchanged(study, record)
                mark = record.mark(came.key, done[came.key].params)
                keep(folder, mark, came.key, long_table(results, domain_of(config)))
                del running[came.key]
            case Failed(reason) | Lost(reason):
                raise RunError(f"the table of trial {came.key} cannot be made again: {reason}")


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
        Every trial, as it ends. Fewer than `count` have ended at last where the machine did not let
        one end, not even when it was begun again; such a trial is yielded too.

    Raises:
        RunError: Too many trials failed one after the other, Ray died, or a file that the study
            reads has changed.
    """
    record, running = record_of(found, folder), dict[int, _Running]()
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
        del running[came.key]
        if isinstance(came.what, Lost) and _ask_again(found, one, came.what):
            left += 1
            continue
        if came.what is None:
            end = _complete(study, found, folder, record, one)
        elif isinstance(came.what, SeedResult):
            end = _tell(found, one, TrialState.PRUNED)
        else:
            end = _fail(found, one.trial, one.began, came.what.reason)
        failures = _count_failures(study, end, failures)
        yield end


def _begin(study: Study, found: optuna.Study) -> _Running | FrozenTrial:
    """Ask for a trial; one whose settings cannot be run together has failed already."""
    under_way = found.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    # Those that stand in others' place do not count: places of the others are drawn again.
    found.sampler = make_sampler(study, len(shown(found)) + len(under_way))
    trial, began = found.ask(), time.perf_counter()
    try:
        return _Running(trial, study.config(suggest(trial, study)), began)
    except ConfigError as err:
        return _fail(found, trial, began, Failed.of(err).reason)


def _complete(
    study: Study, found: optuna.Study, folder: Path, record: Record, one: _Running
) -> FrozenTrial:
    """Keep and tell a trial whose seeds have all ended."""
    require_unchanged(study, record)
    try:
        values = score(study, one)
    except DataError as err:
        return _fail(found, one.trial, one.began, Failed.of(err).reason)
    mark = record.mark(one.trial.number, one.trial.params)
    keep(folder, mark, one.trial.number, long_table(one.results, domain_of(one.config)))
    return _tell(found, one, TrialState.COMPLETE, values)


def _ask_again(found: optuna.Study, one: _Running, lost: Lost) -> bool:
    """Mark a trial as lost, and have it begun again unless that was done often enough.

    Returns:
        Whether it will be; then it has been told as failed, too.
    """
    tries = int(one.trial.user_attrs.get(TRY, 1))
    again = tries < TRIES
    if again:
        attrs = {AGAIN: one.trial.number, TRY: tries + 1}
        found.enqueue_trial(one.trial.params, user_attrs=attrs)
    one.trial.set_user_attr(LOST, True)
    if again:
        _fail(found, one.trial, one.began, lost.reason)
    return again


def _fail(found: optuna.Study, trial: Trial, began: float, reason: str) -> FrozenTrial:
    trial.set_user_attr("error", reason)
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
    try:
        one.trial.report(score(study, one)[0], len(one.results))
    except DataError:
        return False  # it may be a number in the end, and else the trial fails
    return len(one.results) < one.config.seeds and bool(one.trial.should_prune())


def score(study: Study, one: _Running) -> list[float]:
    """Every objective, averaged over the seeds that have ended.

    Raises:
        DataError: One is no finite number.
    """
    return [goal.read(one.results, domain_of(one.config)) for goal in study.goals]
