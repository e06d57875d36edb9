"""`reproduce`: the paper's tables and theorems, ours beside the paper's numbers."""

import difflib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import Progress

from fedirl_ray.atomic import write_atomically
from fedirl_ray.cli import PROG, load, manual, settings, typed
from fedirl_ray.command.results import new_folder, read_rows, write_rows
from fedirl_ray.command.stopping import stoppable
from fedirl_ray.command.telling import Telling, logged
from fedirl_ray.config_engine import EngineConfig
from fedirl_ray.engine.event import LOGGER
from fedirl_ray.engine.folder import Kind, end, failing_late, fresh, reopen
from fedirl_ray.engine.identity import IDENTITY, Identity, code_in_words, read_identity
from fedirl_ray.errors import ConfigError
from fedirl_ray.laws import require
from fedirl_ray.privacy.accountant import require_accountant
from fedirl_ray.report.progress import progress_bar
from fedirl_ray.report.reproduction.page import compose, draw
from fedirl_ray.study.reproduction.parts import GRID, NAMES, PARTS, Name, estimate
from fedirl_ray.study.reproduction.plan import Plan, Record, Scale

PAGE = "results.md"
SETTINGS = "reproduce.yaml"
REPRODUCTION = Kind(
    what="a reproduction",
    settings=SETTINGS,
    blank=frozenset((IDENTITY,)),
    made=frozenset(
        (PAGE, "theorem1-ratio.png", "theorem2-ratio.png",
         *(f"{name}.{kind}" for name in NAMES for kind in ("parquet", "png")))
    ),
)  # fmt: skip
WIDTH = 200  # columns that the widest table needs
MANUAL = manual(
    "The paper's tables and theorems, measured here and put beside the paper's numbers.\n",
    ("reproduce table1 --scale smoke", "one part, small"),
    ("reproduce figure2", "one part, at laptop scale"),
    ("reproduce --resume runs/DIR", "go on; what is finished is kept"),
    more="""\
Parts on the grid: table1, table2, choices (table 1 under choices that the paper leaves open),
theorem1, theorem2, gaussians (barycenters beside the closed form), communication, displaced (maps
that clients see displaced, where transport wins); all of these. Beside them unseen, the registered
test of the rule auto, with --seed 1000.
Parts on control tasks, which take up to 90 minutes on two cores each:
figure2 (Pendulum, CartPole), figure3 (LunarLander, which needs pip install 'fedirl-ray[control]',
and Acrobot), refinement (return against the lattice's resolution), scale (what fusing costs).
And privacy (success and attacks against epsilon; needs pip install 'fedirl-ray[privacy]').""",
)


def _local() -> EngineConfig:
    """Small federations are done sooner without actors."""
    return EngineConfig(backend="local")


@dataclass(frozen=True, kw_only=True)
class Invocation(Telling):
    """What to reproduce, and where to keep it."""

    part: Name | Literal["all"] = "all"
    """Which part; usually given as the first word."""
    scale: Scale = "laptop"
    """smoke: 1 or 2 seeds, small; laptop: 20 seeds; paper: the paper's seeds where it names them
    (3 in table 2), else 20, longer series and solvers run to the end."""
    seed: int = 0
    """Root seed; every other stream derives from it."""
    engine: EngineConfig = field(default_factory=_local)
    run_dir: Path | None = None
    """Folder of the results; None: runs/<time>-reproduce/ below the current folder."""
    resume: Path | None = None
    """Go on in this folder, with the same scale and seed; finished parts are not run again."""
    overwrite: bool = False
    """Replace the reproduction that is already in the folder."""

    def __post_init__(self) -> None:
        """Check every limit."""
        require(self.seed >= 0, "seed", "an integer >= 0", self.seed)
        both = self.run_dir is not None and self.resume is not None
        require(not both, "resume", "given without run-dir", self.resume)


def command(argv: Sequence[str]) -> int:
    """Run the parts asked for that are not finished, and write the page of all that are."""
    words = _named_part(argv)
    asked = load(Invocation, words, prog=f"{PROG} reproduce", description=MANUAL)
    if asked.part == "privacy":
        require_accountant(asked.part, "part", "another")
    if asked.resume is not None:
        with logged(asked), reopen(asked.resume, REPRODUCTION, "resume"):
            return _work(_resumed(asked.resume, words), asked.resume)
    folder = asked.run_dir or fresh("runs", "reproduce")
    tree = {name: settings(asked)[name] for name in ("part", "scale", "seed", "engine")}
    begun, overwrite = _identify(asked), asked.overwrite
    with logged(asked), new_folder(folder, REPRODUCTION, tree, begun, overwrite=overwrite):
        return _work(asked, folder)


def _work(asked: Invocation, folder: Path) -> int:
    plan = Plan(scale=asked.scale, seed=asked.seed, engine=asked.engine, folder=folder)

    def work() -> int:
        with failing_late(folder, REPRODUCTION):
            return _run(asked, plan, folder)

    return stoppable(
        work,
        lambda: f"finished parts are kept, go on with: {typed('reproduce', '--resume', folder)}",
    )


def _identify(asked: Invocation) -> Identity:
    """What decides the rows of a part."""
    return Identity.of({"scale": asked.scale, "seed": asked.seed}, {})


def _named_part(argv: Sequence[str]) -> list[str]:
    """Turn a first word that names a part into the flag that says the same."""
    if not argv or argv[0].startswith("-"):
        return list(argv)
    known = (*NAMES, "all")
    if argv[0] not in known:
        near = difflib.get_close_matches(argv[0], known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"parts: {', '.join(known)}"
        raise ConfigError(f"no part is called {argv[0]}; {hint}")
    return ["--part", *argv]


def _resumed(folder: Path, words: Sequence[str]) -> Invocation:
    """What a folder was begun with, overridden by the flags that may be.

    Other code draws its page, but adds no part to those that are finished.
    """
    file, prog = str(folder / SETTINGS), f"{PROG} reproduce"
    asked = load(Invocation, [file, *words], prog=prog, description=MANUAL)
    alone = load(Invocation, [file], prog=prog, description=MANUAL)
    begun, identity = read_identity(folder), _identify(asked)
    identity.require(begun or _identify(alone), "a reproduction", "part and engine.*")
    if begun is not None and begun.is_of_this_code:
        return asked
    by = "an earlier version" if begun is None else begun.code
    finished = [name for name in NAMES if _table(folder, name).is_file()]
    if not finished:
        LOGGER.warning("%s was begun by %s, and nothing in it is finished", folder, by)
        write_atomically(folder / IDENTITY, identity.encode())
    elif set(_wanted(asked)) - set(finished):
        raise ConfigError(
            f"resume must be a reproduction that {code_in_words()} began, got {folder} of {by}; go "
            f"on with that, or begin anew in another folder: {PROG} reproduce {asked.part} "
            f"--scale {asked.scale} --seed {asked.seed}"
        )
    return asked


def _wanted(asked: Invocation) -> Sequence[Name]:
    return GRID if asked.part == "all" else (asked.part,)


def _run(asked: Invocation, plan: Plan, folder: Path) -> int:
    wanted = _wanted(asked)
    left = [name for name in wanted if not _table(folder, name).is_file()]
    kept = [name for name in wanted if name not in left]
    if kept:
        LOGGER.info("Kept from before: %s", ", ".join(kept))
    if left and plan.scale != "smoke":
        minutes = sum(estimate(name, plan) for name in left) / 60.0
        LOGGER.info("About %.0f min of one core: %s", minutes, ", ".join(left))
    with progress_bar(shown=asked.progress) as bar:
        for name in left:
            write_rows(_table(folder, name), _rows(name, plan, bar))
    done = {name: read_rows(path) for name in NAMES if (path := _table(folder, name)).is_file()}
    drawn = {name: draw(name, rows) for name, rows in done.items()}
    for pictures in drawn.values():
        for file, png in pictures.items():
            write_atomically(folder / file, png)
    write_atomically(folder / PAGE, compose(done, drawn, plan).encode())
    end(folder)
    shown = compose({name: done[name] for name in wanted}, {}, plan)
    Console(width=None if sys.stdout.isatty() else WIDTH).print(Markdown(shown))
    print(f"\nFolder: {folder}  (the page: {folder / PAGE})")
    return 0


def _rows(name: Name, plan: Plan, bar: Progress) -> list[Record]:
    """Do a part's steps."""
    task = bar.add_task(name, total=PARTS[name].steps(plan))
    rows: list[Record] = []
    for more in PARTS[name].run(plan):
        rows += more
        bar.advance(task)
    return rows


def _table(folder: Path, name: Name) -> Path:
    return folder / f"{name}.parquet"
