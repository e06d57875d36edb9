"""`stress`: how time and memory grow with the number of clients, as a table and a picture."""

import dataclasses
import io
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fedirl_ray.cli import PROG, load
from fedirl_ray.command.progress import progress_bar
from fedirl_ray.engine.checkpoint import write_atomically
from fedirl_ray.errors import ConfigError, RunError
from fedirl_ray.report.scaling import scaling_figure, scaling_text
from fedirl_ray.study.stress import Measurement, StressConfig, growth, stress

MANUAL = """\
Run federations of growing size (grid-world, 50 Adam steps a client) and measure start-up, the
parts of a round, memory, bytes and held-out success.

  python -m fedirl_ray.run stress --clients 100,300,1000,3000
  python -m fedirl_ray.run stress --clients 200 --clients-per-actor 1
  python -m fedirl_ray.run stress --time-budget 120       stop before what would not fit
"""
FILES = ("stress.parquet", "summary.json", "table.txt", "scaling.png")


@dataclass(frozen=True, kw_only=True)
class Invocation(StressConfig):
    """What is measured, and the folder it is kept in."""

    run_dir: Path | None = None
    """Folder of the results; None: runs/<time>-stress/ below the current folder."""
    overwrite: bool = False
    """Replace the results that are already in the folder."""
    progress: bool = True
    """Show a live progress bar."""


def command(argv: Sequence[str]) -> int:
    """Measure every size; what was measured is kept when it is interrupted."""
    config = load(Invocation, argv, prog=f"{PROG} stress", description=MANUAL)
    path = config.run_dir or Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-stress"
    _make(path, overwrite=config.overwrite)
    found: list[Measurement] = []
    try:
        _measure(config, path, found)
    except KeyboardInterrupt:
        return _stopped("Interrupted", found, path, 130)
    except RunError as err:
        return _stopped(str(err), found, path, 1)
    print((path / "table.txt").read_text(), end="")
    print(f"\nResults: {path}  (picture: {path / 'scaling.png'})")
    return 0


def _measure(config: Invocation, path: Path, found: list[Measurement]) -> None:
    with progress_bar(shown=config.progress) as bar:
        task = bar.add_task("starting", total=len(config.clients))
        sizes = stress(
            config,
            lambda line: print(line, file=sys.stderr),
            lambda clients: bar.update(task, description=f"{clients} clients"),
        )
        for one in sizes:
            found.append(one)
            _write(path, found, config)
            bar.advance(task)


def _stopped(why: str, found: Sequence[Measurement], path: Path, code: int) -> int:
    sizes = ", ".join(str(one.clients) for one in found)
    kept = f"what was measured ({sizes} clients) is in {path}" if found else "nothing was measured"
    print(f"{why}; {kept}", file=sys.stderr)
    return code


def _make(path: Path, *, overwrite: bool) -> None:
    """Make the folder.

    Raises:
        ConfigError: It cannot be written, or holds something.
    """
    try:
        held = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
        foreign = [name for name in held if name not in FILES]
        if foreign or (held and not overwrite):
            raise ConfigError(
                f"run-dir must be a new or empty folder, got {path} with {(foreign or held)[0]}; "
                "--overwrite True replaces earlier results of stress"
            )
        for name in held:
            (path / name).unlink()
        path.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise ConfigError(
            f"run-dir must be a folder that can be written, got {path}: {err.strerror}"
        ) from err


def _write(path: Path, found: Sequence[Measurement], config: Invocation) -> None:
    """Write all results so far; table.txt last."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([_flat(one) for one in found]), buffer)
    write_atomically(path / "stress.parquet", buffer.getvalue())
    grown = growth(found)
    summary = {
        "size": config.size,
        "rounds": config.rounds,
        "seeds": config.seeds,
        "root_seed": config.seed,
        "measurements": [{**_flat(one), "driver_share": one.driver_share} for one in found],
        "growth": None if grown is None else dataclasses.asdict(grown),
    }
    text = json.dumps(summary, indent=1, allow_nan=False) + "\n"
    write_atomically(path / "summary.json", text.encode())
    write_atomically(path / "scaling.png", scaling_figure(found))
    write_atomically(path / "table.txt", scaling_text(found).encode())


def _flat(one: Measurement) -> dict[str, Any]:
    """A measurement as one row: `fuse.mean`, `fuse.barycenter` ...; None for NaN."""
    row: dict[str, Any] = {}
    for name, value in dataclasses.asdict(one).items():
        parts = value.items() if isinstance(value, dict) else ()
        row |= {f"{name}.{rule}": part for rule, part in parts} or {name: value}
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in row.items()
    }
