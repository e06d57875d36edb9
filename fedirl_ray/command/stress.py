"""`stress`: how time and memory grow with the number of clients, as a table and a picture."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedirl_ray.atomic import write_atomically
from fedirl_ray.cli import PROG, load, manual
from fedirl_ray.command.results import write_rows
from fedirl_ray.command.stopping import stoppable
from fedirl_ray.command.telling import Telling, logged
from fedirl_ray.engine.event import LOGGER
from fedirl_ray.engine.folder import Kind, claim, end, failing_late, fresh
from fedirl_ray.engine.memory import require_memory
from fedirl_ray.engine.record import as_json
from fedirl_ray.fusion.rules import find_rules
from fedirl_ray.report.progress import actors_line, progress_bar
from fedirl_ray.report.scaling import scaling_figure, scaling_text
from fedirl_ray.study.stress import Measurement, StressConfig, growth, stress

MANUAL = manual(
    """\
Run federations of growing size (grid-world, 50 Adam steps a client) and measure start-up, the
parts of a round, memory, bytes and held-out success.
""",
    ("stress --clients 100,300,1000,3000", ""),
    ("stress --clients 200 --engine.clients-per-actor 1", ""),
    ("stress --time-budget 120", "stop before what would not fit"),
)
MEASUREMENTS = Kind(
    what="a stress run",
    settings=None,
    blank=frozenset(),
    made=frozenset(("stress.parquet", "summary.json", "table.txt", "scaling.png")),
)
NOTHING = "nothing was measured"


@dataclass(frozen=True, kw_only=True)
class Invocation(Telling, StressConfig):
    """What is measured, and the folder it is kept in."""

    run_dir: Path | None = None
    """Folder of the results; None: runs/<time>-stress/ below the current folder."""
    overwrite: bool = False
    """Replace the results that are already in the folder."""


def command(argv: Sequence[str]) -> int:
    """Measure every size; what was measured is kept when it is interrupted."""
    config = load(Invocation, argv, prog=f"{PROG} stress", description=MANUAL)
    find_rules(config.run(config.clients[0]).fusion)
    for clients in config.clients:
        require_memory(config.run(clients))
    path = config.run_dir or fresh("runs", "stress")
    hint = "--overwrite true replaces earlier results of stress"
    found: list[Measurement] = []

    def advice() -> str:
        sizes = ", ".join(str(one.clients) for one in found)
        return f"what was measured ({sizes} clients) is in {path}" if found else NOTHING

    def work() -> int:
        with failing_late(path, MEASUREMENTS):
            return _measure(config, path, found)

    with (
        logged(config),
        claim(path, MEASUREMENTS, "run-dir", overwrite=config.overwrite, hint=hint),
    ):
        return stoppable(work, advice)


def _measure(config: Invocation, path: Path, found: list[Measurement]) -> int:
    with progress_bar(shown=config.progress) as bar:
        task = bar.add_task("starting", total=len(config.clients))
        sizes = stress(
            config,
            LOGGER.warning,
            lambda clients: bar.update(task, description=f"{clients} clients"),
            actors_line(bar),
        )
        for one in sizes:
            found.append(one)
            _write(path, found, config)
            bar.advance(task)
    end(path)
    print((path / "table.txt").read_text("utf-8"), end="")
    print(f"\nResults: {path}  (picture: {path / 'scaling.png'})")
    return 0


def _write(path: Path, found: Sequence[Measurement], config: Invocation) -> None:
    """Write all results so far; table.txt last."""
    write_rows(path / "stress.parquet", [_flat(one) for one in found])
    grown = growth(found)
    summary = {
        "size": config.size,
        "rounds": config.rounds,
        "seeds": config.seeds,
        "root_seed": config.seed,
        "measurements": [{**_flat(one), "driver_share": one.driver_share} for one in found],
        "growth": None if grown is None else dataclasses.asdict(grown),
    }
    write_atomically(path / "summary.json", as_json(summary))
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
