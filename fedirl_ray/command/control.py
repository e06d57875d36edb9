"""`control`: federated inverse RL on one continuous control task, from experts to agents."""

import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

from fedirl_ray.cli import PROG, leaves, load, read_file, settings, spell
from fedirl_ray.command.progress import progress_bar
from fedirl_ray.command.results import new_folder, write_rows
from fedirl_ray.command.stopping import stoppable
from fedirl_ray.config import EngineConfig
from fedirl_ray.engine.checkpoint import write_atomically
from fedirl_ray.engine.folder import Kind, failing_late, reopen
from fedirl_ray.engine.jobs import Jobs
from fedirl_ray.errors import ConfigError
from fedirl_ray.laws import require
from fedirl_ray.problem.control.demonstrations import check_target, read_episodes
from fedirl_ray.report.reproduction.control import control_figure, control_text
from fedirl_ray.study.control.config import ControlConfig
from fedirl_ray.study.control.pipeline import ControlStudy, Record, size

PAGE, ROWS, PICTURE, SETTINGS = "results.md", "results.parquet", "curves.png", "control.yaml"
STUDY = Kind(what="a control study", settings=SETTINGS, blank=frozenset())
OCCASION = ("export", "progress", "run-dir", "resume")  # of one invocation, decide no result
WIDTH = 200  # columns that the widest table needs
MANUAL = """\
A federation on one control task: every client's expert is trained by PPO and watched, rewards are
learnt on lattices of states x actions, fused by every rule, and judged by a planner and by agents
trained on them, in the clients' physics and in others. Blind rewards are judged beside them.

  python -m fedirl_ray.run control CartPole-v1 --seeds 3
  python -m fedirl_ray.run control mymodule:myfunction      your own environment: the function takes
                                                            the client and returns a gymnasium.Env
  python -m fedirl_ray.run control --resume runs/DIR        go on; finished pieces are kept

Tasks: Pendulum-v1, CartPole-v1, Acrobot-v1, LunarLanderContinuous-v3, or your own.
Needs: pip install 'fedirl-ray[control]'
"""


@dataclass(frozen=True, kw_only=True)
class Invocation(ControlConfig):
    """The study, where it runs, and where it is kept."""

    engine: EngineConfig = field(default_factory=EngineConfig)
    export: str | None = None
    """Also write every client's demonstrations (of the first seed): to .npz files or Minari data
    sets, {client} standing for the client's number. `--learner.data` reads them."""
    progress: bool = True
    """Show a live progress bar."""
    run_dir: Path | None = None
    """Folder of the results; None: runs/<time>-control/ below the current folder."""
    resume: Path | None = None
    """Go on in this folder, with its settings and any given beside; pieces whose settings are the
    same are not done again."""

    def __post_init__(self) -> None:
        """Check every limit."""
        super().__post_init__()
        both = self.run_dir is not None and self.resume is not None
        require(not both, "resume", "given without run-dir", self.resume)


def command(argv: Sequence[str]) -> int:
    """Run a study, or go on with one; print its tables."""
    words = list(argv)
    name = [] if not words or words[0].startswith("-") else [words.pop(0)]
    asked = _load([*name, *words])
    folder = asked.resume
    if folder is None:
        folder = asked.run_dir or Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-control"
    elif name:
        raise ConfigError(f"resume knows its task, got {name[0]} beside it")
    else:
        asked = _begun(folder, words)
    _check(asked)
    if asked.resume is None:
        place = new_folder(folder, STUDY, _kept(asked))
    else:
        place = reopen(folder, STUDY, "resume")

    def work() -> int:
        with failing_late(folder, STUDY):
            return _run(asked, folder)

    with place:
        return stoppable(
            work,
            lambda: f"finished pieces are kept, go on with: {PROG} control --resume {folder}",
        )


def _check(asked: Invocation) -> None:
    """Refuse what cannot be studied before anything is written."""
    task = asked.task.task()
    if asked.export is not None:
        check_target(asked.clients, asked.export)
    if asked.learner.data is not None:
        for client in range(asked.clients):
            read_episodes(task, float(client), asked.learner.data)


def _load(words: Sequence[str]) -> Invocation:
    """Read `[TASK] [--flag value ...]`, with the task's own budgets as defaults."""
    if not words or words[0].startswith("-"):
        return load(Invocation, words, prog=f"{PROG} control [TASK]", description=MANUAL)
    defaults = ControlConfig.of(words[0])
    tree = settings(defaults)
    own = {"task": {"name": words[0]}, "expert": tree["expert"], "agent": tree["agent"]}
    spelt = [*spell(own), *words[1:]]
    return load(Invocation, spelt, prog=f"{PROG} control [TASK]", description=MANUAL)


def _kept(asked: Invocation) -> dict[str, object]:
    """What a folder remembers: everything that decides results, and where they are computed."""
    tree = settings(asked)
    return {name: tree[name] for name in tree if name not in OCCASION}


def _begun(folder: Path, words: Sequence[str]) -> Invocation:
    """What a folder was begun with, overridden by flags."""
    file = folder / SETTINGS
    if not file.is_file():
        raise ConfigError(f"resume must be the folder of a control study, got {folder}")
    return load(
        Invocation, [*read_file(file, Invocation), *words], prog=f"{PROG} control", description=""
    )


def _run(asked: Invocation, folder: Path) -> int:
    config = ControlConfig(**{f.name: getattr(asked, f.name) for f in fields(ControlConfig)})
    rows: list[Record] = []
    log = logging.getLogger(__name__)
    with (
        Jobs(asked.engine, folder / "jobs", log.warning) as jobs,
        progress_bar(shown=asked.progress) as bar,
    ):
        task = bar.add_task(config.task.name, total=size(config))
        for more in ControlStudy(config, jobs, asked.export).run():
            rows += more
            bar.advance(task)
    write_rows(folder / ROWS, rows)
    title = f"{config.task.name}: clients {config.clients}, seeds {config.seeds}"
    told = control_text(rows, tasks={config.task.name: config.task.task()})
    lines = [f"# {title}", "", f"`{_said(config)}`", "", *told]
    picture = control_figure(rows, title)
    shown = Markdown("\n".join(lines))
    if picture is not None:
        write_atomically(folder / PICTURE, picture)
        lines += ["", f"![{title}]({PICTURE})"]
    write_atomically(folder / PAGE, "\n".join([*lines, ""]).encode())
    Console(width=None if sys.stdout.isatty() else WIDTH).print(shown)
    print(f"\nFolder: {folder}  (the page: {folder / PAGE})")
    return 0


def _said(config: ControlConfig) -> str:
    """The command that says the same: what differs from the task's defaults."""
    usual = dict(leaves(settings(ControlConfig.of(config.task.name))))
    words = [
        f"--{name} {','.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in leaves(settings(config))
        if usual[name] != value
    ]
    return " ".join([f"{PROG} control {config.task.name}", *words])
