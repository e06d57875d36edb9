"""`control`: federated inverse RL on one continuous control task, from experts to agents."""

import sys
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markdown import Markdown

from fedirl_ray.cli import PROG, leaves, load, read_file, settings, spell, typed
from fedirl_ray.command.progress import progress_bar
from fedirl_ray.command.results import new_folder, write_rows
from fedirl_ray.command.stopping import say, stoppable
from fedirl_ray.config import EngineConfig, narrowed
from fedirl_ray.engine.checkpoint import write_atomically
from fedirl_ray.engine.fleet import open_workers
from fedirl_ray.engine.folder import Kind, failing_late, fresh, reopen
from fedirl_ray.engine.identity import (
    IDENTITY,
    Identity,
    code_in_words,
    digest_of,
    module_digest,
    read_identity,
    rules_digest,
)
from fedirl_ray.engine.jobs import Jobs
from fedirl_ray.engine.memory import require_room
from fedirl_ray.errors import ConfigError
from fedirl_ray.fusion.rules import find_rules
from fedirl_ray.laws import require
from fedirl_ray.problem.control.demonstrations import check_target, read_episodes
from fedirl_ray.report.control_section import PAGE, PICTURE, SETTINGS
from fedirl_ray.report.reproduction.control import control_figure, control_text
from fedirl_ray.study.control.config import SIZES, ControlConfig
from fedirl_ray.study.control.pipeline import ControlStudy, Record, size

ROWS = "results.parquet"
STUDY = Kind(what="a control study", settings=SETTINGS, blank=frozenset((IDENTITY,)))
OCCASION = ("export", "progress", "run-dir", "resume")  # of one invocation
FREE = ("engine", *OCCASION)  # decide no result
WIDTH = 200  # columns that the widest table needs
MANUAL = """\
A federation on one control task: every client's expert is trained by PPO and watched, rewards are
learnt on lattices of states x actions, fused by every rule, and judged by a planner and by agents
trained on them, in the clients' physics and in others. Blind rewards are judged beside them.

  python -m fedirl_ray.run control CartPole-v1 --seeds 3
  python -m fedirl_ray.run control mymodule:myfunction      your own environment: the function takes
                                                            the client and returns a gymnasium.Env
  python -m fedirl_ray.run control runs/DIR/control.yaml    the same study again
  python -m fedirl_ray.run control --resume runs/DIR        go on; finished pieces are kept

Tasks: Pendulum-v1, CartPole-v1, Acrobot-v1, LunarLanderContinuous-v3, or your own.
LunarLander needs: pip install 'fedirl-ray[control]'
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
    """Go on in this folder, with its settings; only engine.*, export and progress may be changed.
    Finished pieces are not done again."""

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
    if asked.resume is None:
        folder = asked.run_dir or fresh("runs", "control")
        identity = _identify(asked)
        with new_folder(folder, STUDY, _kept(asked), identity):
            return _study(asked, folder)
    if name:
        raise ConfigError(f"resume knows its task, got {name[0]} beside it")
    with reopen(asked.resume, STUDY, "resume"):
        return _resume(asked.resume, words)


def _resume(folder: Path, words: Sequence[str]) -> int:
    """Go on; under other code all pieces are done again, where none of the results is out yet."""
    begun = read_identity(folder)
    changed = begun is None or not begun.is_of_this_code
    by = "an earlier version" if begun is None else begun.code
    if changed and (folder / PAGE).is_file():
        raise ConfigError(
            f"resume must be a study that {code_in_words()} began, got {folder}, which {by} has "
            f"ended; begin anew with: {typed('control', folder / SETTINGS)}"
        )
    file = str(folder / SETTINGS)
    asked = _load([file, *words])
    identity = _identify(asked)
    identity.require(begun or _identify(_load([file])), "a study", "engine.*, export and progress")
    if changed:
        say(f"{folder} was begun by {by}: all its pieces are done again")
        write_atomically(folder / IDENTITY, identity.encode())
    return _study(asked, folder)


def _study(asked: Invocation, folder: Path) -> int:
    def work() -> int:
        with failing_late(folder, STUDY):
            return _run(asked, folder)

    return stoppable(
        work,
        lambda: f"finished pieces are kept, go on with: {typed('control', '--resume', folder)}",
    )


def _identify(asked: Invocation) -> Identity:
    """What decides a study's results; refuses what cannot be studied before anything is written."""
    require_room(asked, lambda study: study.room, SIZES)
    task, inputs = asked.task.task(), {}
    if asked.export is not None:
        check_target(asked.clients, asked.export)
    if ":" in asked.task.name:
        inputs["task.name"] = module_digest(asked.task.name, "task.name")
    find_rules(asked.fusion)
    inputs |= rules_digest(asked.fusion)
    if asked.learner.data is not None:
        shown = [read_episodes(task, float(i), asked.learner.data) for i in range(asked.clients)]
        arrays = [np.ascontiguousarray(array) for one in shown for array in astuple(one)]
        inputs["learner.data"] = digest_of(array.tobytes() for array in arrays)
    tree = settings(asked)
    return Identity.of({name: tree[name] for name in tree if name not in FREE}, inputs)


def _load(words: Sequence[str]) -> Invocation:
    """Read `[TASK or FILE.yaml] [--flag value ...]`, the task's own budgets as defaults."""
    prog, said = f"{PROG} control [TASK]", list(words)
    if said and not said[0].startswith("-"):
        first = said.pop(0)
        if first.endswith((".yaml", ".yml")) or Path(first).is_file():
            said = [*read_file(Path(first), Invocation), *said]
        else:
            said = ["--task.name", first, *said]
        # What the words say of the task alone decides its budgets.
        tree = settings(
            ControlConfig.of(load(Invocation, said, prog=prog, description=MANUAL).task.name)
        )
        said = [*spell({"expert": tree["expert"], "agent": tree["agent"]}), *said]
    return load(Invocation, said, prog=prog, description=MANUAL)


def _kept(asked: Invocation) -> dict[str, object]:
    """What a folder remembers: everything that decides results, and where they are computed."""
    tree = settings(asked)
    return {name: tree[name] for name in tree if name not in OCCASION}


def _run(asked: Invocation, folder: Path) -> int:
    config = narrowed(asked, ControlConfig)
    rows: list[Record] = []
    with (
        open_workers(asked.engine) as workers,
        progress_bar(shown=asked.progress) as bar,
    ):
        jobs = Jobs(workers, folder / "jobs", say)
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
        word
        for name, value in leaves(settings(config))
        if usual[name] != value
        for word in (f"--{name}", ",".join(map(str, value)) if isinstance(value, list) else value)
    ]
    return typed("control", config.task.name, *words)
