"""`sweep`: many runs side by side, chosen by Optuna from a study file."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml
from rich import box
from rich.console import Console
from rich.table import Table

from fedirl_ray.cli import PROG, load
from fedirl_ray.command.progress import progress_bar
from fedirl_ray.engine.checkpoint import write_atomically
from fedirl_ray.engine.record import as_json, environment
from fedirl_ray.engine.tasks import open_tasks
from fedirl_ray.errors import ConfigError, RunError
from fedirl_ray.laws import require
from fedirl_ray.study.archive import COMPLETE, JOURNAL, STUDY
from fedirl_ray.study.space import Range, Study, read_study_file
from fedirl_ray.study.sweep import (
    TRIALS,
    count_trials,
    ended,
    open_study,
    publish,
    sweep,
    trial_table,
)

MANUAL = """\
Many runs side by side, chosen by Optuna: a study file fixes some settings, names the others' ranges
and says what makes a trial good.

  python -m fedirl_ray.run sweep sweeps/regularisation.yaml --trials 40
  python -m fedirl_ray.run sweep --resume studies/DIR        go on after a crash or Ctrl-C
  python -m fedirl_ray.run report studies/DIR                one page about it
"""
SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """How many trials, where they run, and where they are kept."""

    trials: int | None = None
    """Trials in all, instead of the file's number; with --resume, more than before goes on."""
    study_dir: Path | None = None
    """Folder of the study; None: studies/<time>-<file's name>/ below the current folder."""
    resume: Path | None = None
    """Go on with the study in this folder."""
    concurrency: int | None = None
    """Trials at once, at most; None: as many as there are CPUs."""
    storage: str | None = None
    """URL of a database to keep the study in, instead of a journal in its folder."""
    progress: bool = True
    """Show a live progress bar."""

    def __post_init__(self) -> None:
        """Check every limit."""
        for name, value in (("trials", self.trials), ("concurrency", self.concurrency)):
            require(value is None or value >= 1, name, "an integer >= 1", value)
        both = self.study_dir is not None and self.resume is not None
        require(not both, "resume", "given without study-dir", self.resume)


def command(argv: Sequence[str]) -> int:
    """Run a study, or go on with one; print its best trials."""
    named = list(takewhile(lambda word: not word.startswith("-"), argv))
    invocation = load(
        Invocation, argv[len(named) :], prog=f"{PROG} sweep STUDY.yaml", description=MANUAL
    )
    study, folder = _open(named, invocation)
    try:
        return _run(study, folder, invocation)
    except KeyboardInterrupt:
        return _stopped("Interrupted", folder, 130)
    except RunError as err:
        return _stopped(str(err), folder, 1)
    except OSError as err:
        return _stopped(f"{err.strerror}: {err.filename}", folder, 1)


def _open(named: Sequence[str], invocation: Invocation) -> tuple[Study, Path]:
    """Read the study, and make its folder if it is new."""
    if invocation.resume is not None:
        require(not named, "a study file", "left out with --resume", " ".join(named))
        folder = invocation.resume
        if not (folder / STUDY).is_file():
            raise ConfigError(f"resume must be the folder of a study (with {STUDY}), got {folder}")
        study = read_study_file(folder / STUDY)
        more = study.trials if invocation.trials is None else invocation.trials
        (folder / TRIALS).mkdir(exist_ok=True)
        begun = any((folder / TRIALS).iterdir())
        if begun and invocation.storage is None and not (folder / JOURNAL).is_file():
            raise ConfigError(
                f"storage must be named again for a study kept in a database, got None: {folder} "
                f"has no {JOURNAL}"
            )
        return replace(study, trials=more), folder
    require(len(named) == 1, "sweep", "given one study file", " ".join(named) or "none")
    path = Path(named[0])
    study = read_study_file(path)
    if invocation.trials is not None:
        study = replace(study, trials=invocation.trials)
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{path.stem}"
    folder = invocation.study_dir or Path("studies", name)
    try:
        if folder.is_dir() and any(folder.iterdir()):
            raise ConfigError(
                f"study-dir must be a new or empty folder, got {folder}; "
                f"go on with its study: {PROG} sweep --resume {folder}"
            )
        (folder / TRIALS).mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "environment.json", as_json(environment(study.base())))
        write_atomically(folder / STUDY, yaml.safe_dump(_plain(study), sort_keys=False).encode())
    except OSError as err:
        raise ConfigError(
            f"study-dir must be a folder that can be written, got {folder}: {err.strerror}"
        ) from None
    return study, folder


def _plain(study: Study) -> dict[str, Any]:
    """A study as the mapping its file holds, everything said."""
    search = {
        name: {key: value for key, value in vars(entry).items() if value not in (None, False)}
        if isinstance(entry, Range)
        else list(entry)
        for name, entry in study.search.items()
    }
    tree: dict[str, Any] = {"fixed": dict(study.fixed), "search": search}
    tree |= {"objectives": dict(study.objectives), "centre": dict(study.centre)}
    rest = ("sampler", "pruner", "trials", "seed", "max_failures")
    return tree | {name.replace("_", "-"): getattr(study, name) for name in rest}


def _run(study: Study, folder: Path, invocation: Invocation) -> int:
    count = count_trials(study)
    found = open_study(folder, study, invocation.storage)
    engine = study.base().engine
    try:
        with progress_bar(shown=invocation.progress) as bar:
            task = bar.add_task("starting", total=count)
            bar.advance(task, min(count, len(ended(found))))
            with open_tasks(engine, invocation.concurrency) as tasks:
                bar.update(task, description="trials")
                for _ in sweep(study, found, folder, tasks, count):
                    bar.advance(task)
    finally:
        publish(study, found, folder)
    _show(study, trial_table(study, ended(found)), [trial.number for trial in best(found)])
    print(f"Study folder: {folder}")
    if invocation.storage is None:
        print(f"Its page: {PROG} report {folder}")
    print(f"More trials: {PROG} sweep --resume {folder} --trials {2 * count}")
    return 0


def best(found: Any) -> list[Any]:
    """The best trial, or the Pareto front; none where none ended well."""
    complete = any(trial.state.name == COMPLETE for trial in ended(found))
    return list(found.best_trials) if complete else []


def _show(study: Study, columns: dict[str, list[Any]], chosen: Sequence[int]) -> None:
    """Print the best trials, and what became of all."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    kind = "best trial" if len(study.objectives) == 1 else "Pareto front"
    states = columns["state"]
    counts = ", ".join(f"{states.count(s)} {s.lower()}" for s in dict.fromkeys(states))
    table.title = f"{kind}; {len(states)} trials: {counts}"
    table.add_column("trial", justify="right")
    for name in study.objectives:
        table.add_column(name, justify="right")
    table.add_column("settings")
    # A star has many settings, and moves one of them.
    still = study.meeting() if study.sampler == "axes" else {}
    for number in chosen[:SHOWN]:
        row = columns["number"].index(number)
        scores = [f"{columns[f'values.{name}'][row]:.4g}" for name in study.objectives]
        said = {name: columns[f"params.{name}"][row] for name in study.search}
        moved = {name: value for name, value in said.items() if value != still.get(name)}
        table.add_row(str(number), *scores, "\n".join(map(_assignment, moved.items())))
    Console().print(table)
    if len(chosen) > SHOWN:
        print(f"... and {len(chosen) - SHOWN} more in trials.parquet")


def _assignment(setting: tuple[str, Any]) -> str:
    name, value = setting
    return f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"


def _stopped(why: str, folder: Path, code: int) -> int:
    """Say in one line why a study stopped and how to go on with it."""
    print(
        f"{why}; trials that had ended are kept, go on with: {PROG} sweep --resume {folder}",
        file=sys.stderr,
    )
    return code
