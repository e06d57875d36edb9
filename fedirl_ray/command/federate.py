"""`federate`, the default command: run a federation, or go on with one, and print its table."""

import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from fedirl_ray.cli import PROG, load, typed
from fedirl_ray.command.progress import actors_line, progress_bar
from fedirl_ray.command.stopping import say, stoppable
from fedirl_ray.config import RunConfig
from fedirl_ray.engine.checkpoint import Checkpoints
from fedirl_ray.engine.driver import Keep, federate
from fedirl_ray.engine.federation import Federation
from fedirl_ray.engine.fleet import open_fleet
from fedirl_ray.engine.folder import failing_late
from fedirl_ray.engine.identity import Identity, code_in_words, identify
from fedirl_ray.engine.memory import require_memory
from fedirl_ray.engine.record import CONFIG, RUN, RunFolder
from fedirl_ray.engine.tensorboard import require_writer
from fedirl_ray.engine.weights import given_weights
from fedirl_ray.errors import ConfigError
from fedirl_ray.fusion.rules import find_rules
from fedirl_ray.irl.block import prepare
from fedirl_ray.laws import require
from fedirl_ray.report.figure import reward_maps
from fedirl_ray.report.table import full_text, main_table

SAVING = 1.0  # seconds of rounds a killed run may lose
WIDTH = 150  # columns of what is no terminal, as in table.txt
MANUAL = """\
Federated inverse reinforcement learning: each client learns a reward from its own expert, the
server fuses the rewards, and every fusion rule is judged in the clients' worlds and in unseen ones.

  python -m fedirl_ray.run                                the 5x5 grid-world, 3 clients, 20 seeds
  python -m fedirl_ray.run --problem.name FrozenLake-v1 --clients 20
  python -m fedirl_ray.run mine.yaml --fusion.epsilon 0.1  defaults, then the file, then the flags
  python -m fedirl_ray.run --resume runs/DIR               go on after a crash or Ctrl-C
"""


@dataclass(frozen=True, kw_only=True)
class Invocation(RunConfig):
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
        with RunFolder.reopen(invocation.resume) as folder:
            return _resume(folder, argv)
    require_writer(invocation)
    find_rules(invocation.fusion)
    given_weights(invocation)
    require_memory(invocation)
    # What cannot be run is refused before anything is written, recorded data of any client too.
    recorded = invocation.problem.demonstrations_file is not None
    prepare(invocation, 0, range(invocation.clients if recorded else 1))
    identity = identify(invocation)
    overwrite = invocation.overwrite
    with RunFolder.create(invocation.run_dir, invocation, identity, overwrite=overwrite) as folder:
        return _run(invocation, folder, identity)


def _resume(folder: RunFolder, argv: Sequence[str]) -> int:
    begun = folder.identity
    if not folder.finished:
        _same_code(folder, begun)  # before its settings are read, which other code may not know
    file = str(folder.path / CONFIG)
    config = load(Invocation, [file, *argv], prog=PROG, description=MANUAL)
    require_writer(config)
    identity = identify(config)
    alone = load(Invocation, [file], prog=PROG, description="")
    identity.require(begun or identify(alone), "a run", "engine.* and record.*")
    if folder.finished:
        print((folder.path / "table.txt").read_text("utf-8"), end="")
        print(f"\nThe run in {folder.path} had ended; nothing was left to do.")
        return 0
    return _run(config, folder, identity)


def _same_code(folder: RunFolder, begun: Identity | None) -> None:
    """Refuse to go on with what other code has begun: its seeds may not be what ours would be."""
    by = folder.version if begun is None else begun.code
    if begun is None or not begun.is_of_this_code:
        raise ConfigError(
            f"resume must be a run that {code_in_words()} began, got {folder.path} of {by}; go on "
            f"with that, or begin anew with: {typed(folder.path / CONFIG)}"
        )


def _run(config: RunConfig, folder: RunFolder, identity: Identity) -> int:
    def work() -> int:
        with failing_late(folder.path, RUN):
            return _federate(config, folder, identity)

    return stoppable(
        work,
        lambda: f"what was finished is kept, go on with: {typed('--resume', folder.path)}",
    )


def _federate(config: RunConfig, folder: RunFolder, identity: Identity) -> int:
    kept = Checkpoints(folder.seeds, identity, say)
    done, begun = kept.seeds(), kept.rounds()
    with progress_bar(shown=config.record.progress) as bar:
        task = bar.add_task(f"starting {config.clients} clients", total=config.seeds)
        bar.advance(task, len(done))
        with open_fleet(config, folder.report, actors_line(bar)) as fleet:
            bar.update(task, description="seeds")
            keep = _every(SAVING, kept.save_round)
            for seed, result in federate(
                config, fleet, done, begun=begun, keep=keep, report=folder.report
            ):
                identity.require_content(identify(config).inputs, "the run")
                kept.save_seed(seed, result)
                done[seed] = result
                bar.advance(task)
    results = [done[seed] for seed in range(config.seeds)]
    figure = reward_maps(config, results[0]) if config.record.figure else None
    folder.finish(config, results, full_text(config, results), figure)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    console.print(main_table(config, results, width=console.width), crop=False)
    print(f"\nEngine: {folder.placement()}")
    print(f"Run folder: {folder.path}  (every policy: {folder.path / 'table.txt'})")
    print(f"See it again: cat {shlex.quote(str(folder.path / 'table.txt'))}")
    print(f"Run it again: {typed(folder.path / CONFIG)}")
    return 0


def _every(seconds: float, keep: Keep) -> Keep:
    """Skip what comes too soon after the last: a round may take less than its checkpoint."""
    last = time.monotonic()

    def patient(seed: int, state: Federation) -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            keep(seed, state)
            last = time.monotonic()

    return patient
