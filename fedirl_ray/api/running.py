"""A run from its settings to its folder, whoever asks for it: a program, or the command line."""

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from fedirl_ray.api.result import Result, load
from fedirl_ray.cli import PROG, typed
from fedirl_ray.cli import load as read_settings
from fedirl_ray.config import RunConfig
from fedirl_ray.domain.domain import Domain
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.engine.checkpoint import Checkpoints
from fedirl_ray.engine.device import require_device
from fedirl_ray.engine.driver import Keep, federate
from fedirl_ray.engine.federation import Federation, require_hidden
from fedirl_ray.engine.fleet import open_fleet
from fedirl_ray.engine.folder import failing_late
from fedirl_ray.engine.identity import IDENTITY, Identity, code_in_words, identify
from fedirl_ray.engine.jobs import Jobs
from fedirl_ray.engine.memory import require_memory
from fedirl_ray.engine.record import CONFIG, RUN, RunFolder
from fedirl_ray.engine.result import SeedResult
from fedirl_ray.engine.tensorboard import require_writer
from fedirl_ray.engine.weights import given_weights
from fedirl_ray.errors import ConfigError
from fedirl_ray.fusion.rules import find_rules
from fedirl_ray.laws import require
from fedirl_ray.privacy.accountant import require_accountant
from fedirl_ray.report.figure import figure_of
from fedirl_ray.report.progress import actors_line, progress_bar
from fedirl_ray.report.summary import summary
from fedirl_ray.report.table import full_text

SAVING = 1.0
"""Seconds of rounds a killed run may lose."""
FREE_IN_WORDS = "engine.* and record.*"
Warn = Callable[[str], None]
T = TypeVar("T", bound=RunConfig)


def run(
    config: RunConfig,
    *,
    folder: Path | str | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> Result:
    """Run a federation and keep it in a folder.

    Args:
        config: All settings, see `RunConfig` and `preset`.
        folder: Where; None: runs/<time>-<problem>/ below the current folder.
        overwrite: Replace a run that is already there.
        progress: Show a live bar on standard error.

    Returns:
        The run. A run that is interrupted or fails keeps what it had finished: see `resume`.

    Raises:
        ConfigError: These settings cannot be run; nothing is written then.
        DataError: A file that they name cannot be used.
        RunError: It had to stop.

    Example:
        >>> result = fedirl_ray.run(RunConfig(seeds=5), folder="runs/first")
        >>> print(result.table())
    """
    identity = checked(config)
    place = None if folder is None else Path(folder)
    with RunFolder.create(place, config, identity, overwrite=overwrite) as held:
        work(config, held, identity, progress=progress, warn=_warn)
    return load(held.path)


def resume(folder: Path | str, *, progress: bool = False) -> Result:
    """Go on with a run that was interrupted, to the same bytes; one that had ended is loaded.

    Args:
        folder: The run's.
        progress: Show a live bar on standard error.

    Raises:
        ConfigError: There is no run there, other code began it, or what it read has changed.
        RunError: It had to stop again.
    """
    with RunFolder.reopen(Path(folder)) as held:
        config, identity = taken_up(held, RunConfig)
        if not held.finished:
            work(config, held, identity, progress=progress, warn=_warn)
    return load(folder)


def checked(config: RunConfig) -> Identity:
    """Refuse what cannot be run before anything is written, recorded data of any client too.

    Returns:
        What decides the run's results.

    Raises:
        FedirlError: Says which setting, or which file.
    """
    require_writer(config)
    require_accountant(config.privacy.unit)
    require_device(config.engine)
    find_rules(config.fusion)
    require_hidden(config)
    given_weights(config)
    require_memory(config)
    domain_of(config).check()
    return identify(config)


def taken_up(folder: RunFolder, schema: type[T], argv: Sequence[str] = ()) -> tuple[T, Identity]:
    """The settings of a run that is to be gone on with.

    Args:
        folder: The run's.
        schema: What to read them into.
        argv: Settings to change, as flags.

    Returns:
        Settings, and what decides the run's results.

    Raises:
        ConfigError: Something differs that results depend on.
    """
    begun = folder.identity
    if not folder.finished:
        _require_same_code(folder, begun)  # before its settings are read, which it may not know
    file = str(folder.path / CONFIG)
    config = read_settings(schema, [file, *argv], prog=PROG, description="", whole=True)
    require_writer(config)
    require_accountant(config.privacy.unit)
    require_device(config.engine)
    identity = identify(config)
    alone = read_settings(schema, [file], prog=PROG, description="", whole=True)
    begun = begun or identify(alone)
    if folder.finished or folder.has_results:
        identity.require(begun, "a run", FREE_IN_WORDS)
    else:
        # Jobs are named by the content that they read: what is kept of others still holds.
        identity.require(replace(begun, inputs=identity.inputs), "a run", FREE_IN_WORDS)
        if identity.inputs != begun.inputs:
            checked(config)
            folder.write(IDENTITY, identity.encode())
    if config.record.demonstrations != alone.record.demonstrations:  # else: checked when it began
        target = config.record.demonstrations
        require(not folder.finished, "record.demonstrations", "asked for while a run is on", target)
        domain_of(config).check()
    return config, identity


def _require_same_code(folder: RunFolder, begun: Identity | None) -> None:
    """Refuse to go on with what other code has begun: its seeds may not be what ours would be."""
    by = folder.version if begun is None else begun.code
    if begun is None or not begun.is_of_this_code:
        raise ConfigError(
            f"resume must be a run that {code_in_words()} began, got {folder.path} of {by}; go on "
            f"with that, or begin anew with: {typed(folder.path / CONFIG)}"
        )


def work(
    config: RunConfig, folder: RunFolder, identity: Identity, *, progress: bool, warn: Warn
) -> tuple[Domain, list[SeedResult]]:
    """Do what is left of a run, and write what it has found.

    Args:
        config: The run.
        folder: Its folder, held.
        identity: What decides its results.
        progress: Show a live bar.
        warn: Told, in one line each, of finished work that is damaged.

    Returns:
        The kind of world, and all seeds.

    Raises:
        RunError: It had to stop; what is finished is kept.
    """
    with failing_late(folder.path, RUN):
        results = _federated(config, folder, identity, progress=progress, warn=warn)
        domain = domain_of(config)
        figure = figure_of(domain, results) if config.record.figure else None
        few = summary(domain, results)
        folder.finish(domain, results, few, full_text(domain, results), figure)
    return domain, results


def _federated(
    config: RunConfig, folder: RunFolder, identity: Identity, *, progress: bool, warn: Warn
) -> list[SeedResult]:
    kept = Checkpoints(folder.seeds, identity, warn)
    done, begun = kept.seeds(), kept.rounds()
    with progress_bar(shown=progress) as bar:
        task = bar.add_task(f"starting {config.clients} clients", total=config.seeds)
        bar.advance(task, len(done))
        with open_fleet(config, folder.report, actors_line(bar)) as fleet:
            bar.update(task, description="seeds")

            def told(kind: str, count: int, whole: int) -> None:
                stage = f", {kind} {count} of {whole}" if count < whole else ""
                bar.update(task, description=f"seeds{stage}")

            jobs = Jobs(fleet, folder.seeds, warn, progress=told)
            keep = _every(SAVING, kept.save_round)
            for seed, result in federate(
                config, fleet, done, begun=begun, keep=keep, report=folder.report, jobs=jobs
            ):
                identity.require_content(identify(config).inputs, "the run")
                kept.save_seed(seed, result)
                done[seed] = result
                bar.advance(task)
    return [done[seed] for seed in range(config.seeds)]


def _every(seconds: float, keep: Keep) -> Keep:
    """Skip what comes too soon after the last: a round may take less than its checkpoint."""
    last = time.monotonic()

    def patient(seed: int, state: Federation) -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            keep(seed, state)
            last = time.monotonic()

    return patient


def _warn(line: str) -> None:
    warnings.warn(line, stacklevel=2)
