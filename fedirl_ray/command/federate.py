"""`federate`, the default command: run a federation, or go on with one, and print its table."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from fedirl_ray.api.running import checked, taken_up, work
from fedirl_ray.cli import PROG, load, manual, typed
from fedirl_ray.command.stopping import stoppable
from fedirl_ray.command.telling import Telling, logged
from fedirl_ray.config import RunConfig
from fedirl_ray.domain.domain import Domain
from fedirl_ray.engine.event import LOGGER
from fedirl_ray.engine.identity import Identity
from fedirl_ray.engine.record import CONFIG, RunFolder
from fedirl_ray.engine.result import SeedResult
from fedirl_ray.errors import RunError, UserCodeError
from fedirl_ray.laws import require
from fedirl_ray.report.table import main_table

WIDTH = 150  # columns of what is no terminal, as in table.txt
MANUAL = manual(
    """\
Federated inverse reinforcement learning: each client learns a reward from its own expert, the
server fuses the rewards, and every fusion rule is judged in the clients' worlds and in unseen ones.
""",
    ("", "the 5x5 grid-world, 3 clients, 20 seeds"),
    ("--problem.name FrozenLake-v1 --clients 20", ""),
    ("--problem.name CartPole-v1", "continuous control, on a lattice"),
    ("pendulum-paper", "a preset: the paper's budgets"),
    ("mine.yaml --fusion.epsilon 0.1", "defaults, then the file, then the flags"),
    ("--resume runs/DIR", "go on after a crash or Ctrl-C"),
    more=f"All commands: {PROG} --help.",
)


@dataclass(frozen=True, kw_only=True)
class Invocation(Telling, RunConfig):
    """A run, and the folder it is kept in."""

    run_dir: Path | None = None
    """Folder of this run; None: runs/<time>-<problem>/ below the current folder."""
    resume: Path | None = None
    """Go on with the run in this folder; only engine.* and record.* may be changed."""
    overwrite: bool = False
    """Replace the run that is already in the folder."""

    def __post_init__(self) -> None:
        """Check every limit."""
        super().__post_init__()
        both = self.run_dir is not None and self.resume is not None
        require(not both, "resume", "given without run-dir", self.resume)


def command(argv: Sequence[str]) -> int:
    """Run, or go on with, a federation; print its table."""
    invocation = load(Invocation, argv, prog=PROG, description=MANUAL)
    if invocation.resume is not None:
        with logged(invocation), RunFolder.reopen(invocation.resume) as folder:
            config, identity = taken_up(folder, Invocation, argv)
            if not folder.finished:
                return _work(config, folder, identity)
            print((folder.path / "table.txt").read_text("utf-8"), end="")
            print(f"\nThe run in {folder.path} had ended; nothing was left to do.")
            return 0
    identity, overwrite = checked(invocation), invocation.overwrite
    made = RunFolder.create(invocation.run_dir, invocation, identity, overwrite=overwrite)
    with logged(invocation), made as folder:
        return _work(invocation, folder, identity)


def _work(config: Invocation, folder: RunFolder, identity: Identity) -> int:
    anew = ""

    def shown() -> int:
        nonlocal anew
        try:
            domain, results = work(
                config, folder, identity, progress=config.progress, warn=LOGGER.warning
            )
        except RunError as err:
            if isinstance(err.__cause__, UserCodeError) and folder.has_results:
                anew = f"; once your code is mended, begin anew with: {typed(folder.path / CONFIG)}"
            raise
        _show(domain, results, folder)
        return 0

    def advice() -> str:
        on = f"what was finished is kept, go on with: {typed('--resume', folder.path)}"
        return f"{on}{anew}"

    return stoppable(shown, advice)


def _show(domain: Domain, results: Sequence[SeedResult], folder: RunFolder) -> None:
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    console.print(main_table(domain, results, width=console.width), crop=False)
    print(f"\nEngine: {folder.placement()}")
    print(f"Run folder: {folder.path}  (every policy: {folder.path / 'table.txt'})")
    print(f"See it again: cat {shlex.quote(str(folder.path / 'table.txt'))}")
    print(f"Run it again: {typed(folder.path / CONFIG)}")
