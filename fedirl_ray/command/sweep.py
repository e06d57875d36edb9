"""`sweep`: many runs side by side, chosen by Optuna from a study file."""

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

from fedirl_ray.atomic import write_atomically
from fedirl_ray.cli import PROG, load, manual, typed
from fedirl_ray.command.stopping import say, stoppable
from fedirl_ray.command.telling import Telling, logged
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.engine.event import LOGGER
from fedirl_ray.engine.folder import Kind, claim, end, failing_late, fresh, reopen, unwritable
from fedirl_ray.engine.record import as_json, environment
from fedirl_ray.engine.tasks import open_tasks
from fedirl_ray.engine.weights import given_weights
from fedirl_ray.fusion.rules import find_rules
from fedirl_ray.laws import require
from fedirl_ray.presets import studies, study_named
from fedirl_ray.privacy.accountant import require_accountant
from fedirl_ray.report.progress import progress_bar
from fedirl_ray.study.archive import COMPLETE, STUDY
from fedirl_ray.study.asking import count_trials, create_study, ended, open_study, shown
from fedirl_ray.study.cost import COST, as_tree, cost_of
from fedirl_ray.study.space import Study, read_study_file
from fedirl_ray.study.storage import DATABASE, JOURNAL, has_password
from fedirl_ray.study.sweep import mend_tables, sweep
from fedirl_ray.study.trials import LOST, TRIALS, publish, trial_table

MANUAL = manual(
    """\
Many runs side by side, chosen by Optuna: a study file fixes some settings, names the others' ranges
and says what makes a trial good.
""",
    ("sweep mine.yaml", "a study file of your own"),
    ("sweep regularisation --trials 40", "one that comes with the package"),
    ("sweep --resume studies/DIR", "go on after a crash or Ctrl-C"),
    ("report studies/DIR", "one page about it"),
    more=f"Studies that come with the package: {', '.join(studies())}.",
)
SHOWN = 10
STUDIES = Kind(
    what="a study",
    settings=STUDY,
    blank=frozenset(("environment.json", DATABASE, JOURNAL, "trials.parquet")),
    made=frozenset((TRIALS, "results.parquet", COST, "report.html")),
)
PUBLISHING = 30.0  # seconds after which the tables of a study under way are written anew


@dataclass(frozen=True, kw_only=True)
class Invocation(Telling):
    """How many trials, where they run, and where they are kept."""

    trials: int | None = None
    """Trials in all, instead of the file's number; with --resume, more than before goes on."""
    run_dir: Path | None = None
    """Folder of the study; None: studies/<time>-<file's name>/ below the current folder."""
    resume: Path | None = None
    """Go on with the study in this folder."""
    overwrite: bool = False
    """Replace the study that is already in the folder."""
    concurrency: int | None = None
    """Trials at once, at most; None: as many as there are CPUs."""
    storage: str | None = None
    """URL of a database to keep the study in, instead of a journal in its folder. The folder knows
    it from then on, but not its password."""

    def __post_init__(self) -> None:
        """Check every limit."""
        for name, value in (("trials", self.trials), ("concurrency", self.concurrency)):
            require(value is None or value >= 1, name, "an integer >= 1", value)
        both = self.run_dir is not None and self.resume is not None
        require(not both, "resume", "given without run-dir", self.resume)


def command(argv: Sequence[str]) -> int:
    """Run a study, or go on with one; print its best trials."""
    named = list(takewhile(lambda word: not word.startswith("-"), argv))
    invocation = load(
        Invocation, argv[len(named) :], prog=f"{PROG} sweep STUDY", description=MANUAL
    )
    folder = invocation.resume
    if folder is not None:
        require(not named, "a study file", "left out with --resume", " ".join(named))
        with logged(invocation), reopen(folder, STUDIES, "resume"):
            return _resume(folder, invocation)
    require(len(named) == 1, "sweep", "given one study file", " ".join(named) or "none")
    path = study_named(named[0])
    study = read_study_file(path)
    if invocation.storage is not None:
        has_password(invocation.storage)  # what is no URL is refused before anything is written
    for fusion in study.fusions():
        find_rules(fusion)
    if not {"clients", "federation.weights"} & study.search.keys():
        given_weights(study.base())
    for start in study.starts():
        require_accountant(start.privacy.unit)
    _check_world(study)
    folder = invocation.run_dir or fresh("studies", path.stem)
    elsewhere = invocation.overwrite and (folder / DATABASE).is_file()
    law = "false for a study in a database, which would stay there"
    require(not elsewhere, "overwrite", law, "true")
    go_on = typed("sweep", "--resume", folder)
    hint = f"go on with its study: {go_on}; --overwrite true replaces it"
    held = claim(folder, STUDIES, "run-dir", overwrite=invocation.overwrite, hint=hint)
    with logged(invocation), held:
        return _begin(study, folder, invocation)


def _check_world(study: Study) -> None:
    """Refuse a world that no trial could run in, where all trials have the same."""
    recorded = study.base().problem.demonstrations_file is not None
    searched = ("problem.", "control.", *(("clients",) if recorded else ()))
    if not any(name.startswith(searched) for name in study.search):
        domain_of(study.base()).check()


def _begin(study: Study, folder: Path, invocation: Invocation) -> int:
    """Write down what a new study is, and run it."""
    study = _as_long_as(invocation, study)
    try:
        (folder / TRIALS).mkdir()
        write_atomically(folder / "environment.json", as_json(environment(study.base())))
        create_study(folder, study, invocation.storage)
        # Last: from here on the study can be resumed.
        settings = yaml.safe_dump(study.plain(), sort_keys=False).encode()
        write_atomically(folder / STUDY, settings)
    except OSError as err:
        raise unwritable(folder, "run-dir", err) from None
    return _run(study, folder, invocation)


def _resume(folder: Path, invocation: Invocation) -> int:
    study = _as_long_as(invocation, read_study_file(folder / STUDY))
    return _run(study, folder, invocation)


def _as_long_as(invocation: Invocation, study: Study) -> Study:
    return study if invocation.trials is None else replace(study, trials=invocation.trials)


def _run(study: Study, folder: Path, invocation: Invocation) -> int:
    return stoppable(
        lambda: _sweep(study, folder, invocation),
        lambda: f"trials that had ended are kept, go on with: {typed('sweep', '--resume', folder)}",
    )


def _sweep(study: Study, folder: Path, invocation: Invocation) -> int:
    count = count_trials(study)
    late = failing_late(folder, STUDIES)
    with late, open_study(folder, study, invocation.storage) as found:
        if invocation.storage is not None and has_password(invocation.storage):
            LOGGER.warning(
                "The password is not kept: to go on, set PGPASSWORD, have it in ~/.pgpass, or "
                "repeat --storage. Kept in %s: the rest of the URL.",
                folder / DATABASE,
            )
        (folder / TRIALS).mkdir(exist_ok=True)
        try:
            _wait(study, found, folder, count, invocation)
        finally:
            publish(study, folder, shown(found))
        _show(study, trial_table(study, shown(found)), [trial.number for trial in best(found)])
        _tell_cost(study, folder, found)
        lost = [trial for trial in shown(found) if trial.user_attrs.get(LOST)]
    print(f"Study folder: {folder}")
    print(f"Its page: {typed('report', folder)}")
    if lost:
        say(
            f"{len(lost)} of {count} trials have not ended, the machine did not let them (trial "
            f"{lost[-1].number}: {lost[-1].user_attrs['error']}); run them again with: "
            f"{typed('sweep', '--resume', folder)}"
        )
        return 1
    end(folder)
    more = count_trials(replace(study, trials=2 * count))  # a grid or a star may have no more
    if more > count:
        print(f"More trials: {typed('sweep', '--resume', folder, '--trials', str(more))}")
    return 0


def _wait(study: Study, found: Any, folder: Path, count: int, invocation: Invocation) -> None:
    """Run all trials that are left, with a progress bar."""
    with progress_bar(shown=invocation.progress) as bar:
        task = bar.add_task("starting", total=count)
        bar.advance(task, min(count, len(ended(found))))
        with open_tasks(study.base().engine, invocation.concurrency) as tasks:
            bar.update(task, description="trials")
            mend_tables(study, found, folder, tasks)
            published = time.monotonic()
            for trial in sweep(study, found, folder, tasks, count):
                bar.advance(task, 0 if trial.user_attrs.get(LOST) else 1)
                if time.monotonic() - published >= PUBLISHING:
                    publish(study, folder, shown(found))
                    published = time.monotonic()


def _tell_cost(study: Study, folder: Path, found: Any) -> None:
    """Write down and print what all trials cost together where they protect data."""
    cost = cost_of(study, [trial.params for trial in found.get_trials(deepcopy=False)])
    if cost is not None:
        write_atomically(folder / COST, as_json(as_tree(cost)))
        print("\n".join(cost.in_words()))


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
