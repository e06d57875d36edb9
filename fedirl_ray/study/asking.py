"""What Optuna is asked for: every trial of a plan, again what has not ended, else what it draws.

A trial that stands in another's place bears that one's number. From the trials alone it can be
told, whenever a driver was killed, which have ended and which are still to be asked for.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from fedirl_ray.seeds import stream
from fedirl_ray.study.record import begin, record_of, require_same
from fedirl_ray.study.space import Range, Study, Value
from fedirl_ray.study.storage import alone, create_storage, mend_journal, open_storage
from fedirl_ray.study.trials import LOST, require_own

AGAIN = "again"
"""Attribute of a trial: the number of the one that it is instead of."""
TRY = "try"
"""How many times the machine has been given a trial in a row, by one driver."""
PLANNED = "planned"
"""Place of a trial in the plan of a grid or a star."""
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


def create_study(folder: Path, study: Study, url: str | None = None) -> None:
    """Create a study's storage, and write down there what the study is.

    Raises:
        ConfigError: The storage cannot be opened.
        RunError: Its database went away while it was used.
    """
    _hush()
    with create_storage(folder, url, list(study.objectives.values())) as made:
        begin(study, made)


@contextmanager
def open_study(folder: Path, study: Study, url: str | None = None) -> Iterator[optuna.Study]:
    """Open a study's storage, and ask for all trials that are planned ahead.

    A last line that a killed process left unfinished is cut off. Trials that were under way, or
    that the machine did not let end, are asked for again.

    Args:
        folder: The study's, held by this process.
        study: What is studied.
        url: See `open_storage`.

    Raises:
        ConfigError: The storage cannot be opened, or is that of another study, or a table is
            that of another trial.
        RunError: Its database went away while it was used.
    """
    _hush()
    with open_storage(folder, url) as (storage, name):
        found = optuna.load_study(study_name=name, storage=storage, pruner=_pruner(study))
        record = record_of(found, folder)
        require_same(study, record, folder)
        require_own(folder, {t.number: record.mark(t.number, t.params) for t in well(found)})
        with alone(found, folder, url):
            mend_journal(folder)
            _queue(found, study)
            yield found


def _hush() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def _queue(found: optuna.Study, study: Study) -> None:
    """Ask for every planned trial, and again for those that have not ended, once each.

    A driver may be killed between any two of these lines; what it has done is not done again.
    """
    trials = found.get_trials(deepcopy=False)
    planned = {trial.user_attrs.get(PLANNED) for trial in trials}
    for i, params in enumerate(study.plan() or ()):
        if i not in planned:
            found.enqueue_trial(params, user_attrs={PLANNED: i})
    again = replaced(trials)
    for trial in trials:
        dead = trial.state == TrialState.RUNNING
        if trial.number not in again and (dead or trial.user_attrs.get(LOST)):
            params = _settings(trial, trials, study)
            found.enqueue_trial(params, user_attrs={AGAIN: trial.number})
        if dead:
            found.tell(trial.number, state=TrialState.FAIL)


def _settings(trial: FrozenTrial, trials: Sequence[FrozenTrial], study: Study) -> dict[str, Value]:
    """What a trial is to be run with again; nothing if it died before all was drawn.

    Then it is drawn anew, and the same: see `make_sampler`.
    """
    if trial.params.keys() == study.search.keys():
        return dict(trial.params)
    if PLANNED in trial.user_attrs:
        return (study.plan() or [])[int(trial.user_attrs[PLANNED])]
    if AGAIN in trial.user_attrs:
        return _settings(trials[trial.user_attrs[AGAIN]], trials, study)
    return {}


def replaced(trials: Sequence[FrozenTrial]) -> set[int]:
    """Numbers of the trials in whose place others stand."""
    return {trial.user_attrs[AGAIN] for trial in trials if AGAIN in trial.user_attrs}


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


def shown(found: optuna.Study) -> list[FrozenTrial]:
    """Trials that have ended or were lost, without those in whose place others stand."""
    trials = found.get_trials(deepcopy=False)
    again = replaced(trials)
    return [trial for trial in trials if trial.state in ENDED and trial.number not in again]


def ended(found: optuna.Study) -> list[FrozenTrial]:
    """Trials that have ended: well, given up by the pruner, or failed by their own fault."""
    return [trial for trial in shown(found) if not trial.user_attrs.get(LOST)]


def well(found: optuna.Study) -> list[FrozenTrial]:
    """Trials that have ended well, each with a table on disk."""
    return [trial for trial in ended(found) if trial.state == TrialState.COMPLETE]
