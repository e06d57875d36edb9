"""The run folder, and its only writer.

identity.json     what decides the results, as it was when the run was begun (see `engine.identity`)
config.yaml       settings that decide the results; fed back, they give the same run
environment.json  versions, commit, machine
seeds/            finished seeds and rounds while the run is under way (see `engine.checkpoint`)
.lock, .replaced  while a process is at it (see `engine.folder`)
results.parquet   seed, round, split, rule, judge, metric, step, value: one number a row
summary.json      means, paired differences, intervals
arrays.npz        theta, rewards, measures, scores by world; seeds leading; and the names of what
                  they hold: rules, what rules could choose, and judges, metrics and steps of the
                  scores
rewards.npz       what was learnt, to be used elsewhere (see `domain.reward`)
timings.json      seconds by rule
events.jsonl      placement, refused uploads, replaced actors: what happened on the way
table.txt, figure.png
tensorboard/      event files, if asked for (see `engine.tensorboard`)
report.html       the page that the report command writes

timings.json, events.jsonl, environment.json, tensorboard/ and report.html tell of the machine; all
others are the same bytes whenever a run is repeated or resumed.
"""

import contextlib
import importlib.metadata
import io
import json
import math
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

import fedirl_ray
from fedirl_ray.atomic import write_atomically
from fedirl_ray.cli import settings, typed
from fedirl_ray.config import RunConfig, narrowed
from fedirl_ray.domain.domain import Domain
from fedirl_ray.domain.reward import packed
from fedirl_ray.engine.checkpoint import any_in, drop_torn_line
from fedirl_ray.engine.event import LOGGER, Event
from fedirl_ray.engine.folder import Kind, claim, end, fresh, reopen, slug, unwritable
from fedirl_ray.engine.identity import IDENTITY, Identity, read_identity, version
from fedirl_ray.engine.result import (
    Row,
    SeedResult,
    long_table,
    stack,
)
from fedirl_ray.engine.tensorboard import TENSORBOARD, write_events
from fedirl_ray.fusion.selection import choices
from fedirl_ray.laws import require

CONFIG = "config.yaml"
EVENTS = "events.jsonl"
ON_DEMAND = frozenset((TENSORBOARD, "report.html", "rounds.parquet"))
"""What is in the folder only if it was asked for."""
RESULTS = frozenset(
    ("results.parquet", "summary.json", "arrays.npz", "rewards.npz", "timings.json", "table.txt")
)
"""What is in the folder of every run that has ended."""
RUN = Kind(
    what="a run",
    settings=CONFIG,
    blank=frozenset((IDENTITY, "environment.json", EVENTS)),
    made=ON_DEMAND | RESULTS | {"seeds", "figure.png"},
)


class RunFolder:
    """One run on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seeds = path / "seeds"

    @classmethod
    @contextlib.contextmanager
    def create(
        cls, path: Path | None, config: RunConfig, identity: Identity, *, overwrite: bool
    ) -> Iterator["RunFolder"]:
        """Make the folder of a new run, write down what it is, and hold it.

        Args:
            path: Where; None: runs/<time>-<problem>/ below the current folder.
            config: The run.
            identity: What decides its results.
            overwrite: Replace a run that is already there.

        Raises:
            ConfigError: The folder cannot be written, holds something, or is another process's.
        """
        if path is None:
            path = fresh("runs", slug(config.problem.name))
        hint = "--overwrite true replaces a run"
        with claim(path, RUN, "run-dir", overwrite=overwrite, hint=hint):
            folder = cls(path)
            try:
                folder.seeds.mkdir()
                folder.write("environment.json", as_json(environment(config)))
                folder.write(IDENTITY, identity.encode())
                # Last: from here on the run can be resumed.
                tree = settings(narrowed(config, RunConfig))
                folder.write(CONFIG, yaml.safe_dump(tree, sort_keys=False).encode())
            except OSError as err:
                raise unwritable(path, "run-dir", err) from err
            yield folder

    @classmethod
    @contextlib.contextmanager
    def reopen(cls, path: Path) -> Iterator["RunFolder"]:
        """Open the folder of a run to go on with it, and hold it.

        Raises:
            ConfigError: There is no run there, what it had found is no longer there, or another
                process is at it.
        """
        with reopen(path, RUN, "resume"):
            folder = cls(path)
            if folder.finished:
                lost = ", ".join(sorted(name for name in RESULTS if not (path / name).is_file()))
                law = f"a run with all its files (again: {typed(path / CONFIG)})"
                require(not lost, "resume", law, f"{path}, which had ended, without {lost}")
                folder.tidy_up()  # it died while it did
            else:
                folder.seeds.mkdir(exist_ok=True)
                drop_torn_line(path / EVENTS)  # a full disk tears lines, too
            yield folder

    @property
    def identity(self) -> Identity | None:
        """What the run was begun with; None: earlier versions did not write it down.

        Raises:
            DataError: The file that says so is damaged.
        """
        return read_identity(self.path)

    @property
    def version(self) -> str:
        """The version that began the run, in words."""
        try:
            said = json.loads((self.path / "environment.json").read_text("utf-8"))["fedirl_ray"]
        except (OSError, ValueError, KeyError, TypeError):
            return "an earlier version"
        return f"fedirl_ray {said}"

    @property
    def finished(self) -> bool:
        """Whether the run in this folder has ended."""
        return (self.path / "table.txt").is_file()

    @property
    def has_results(self) -> bool:
        """Whether a seed or a round of it is kept, which all its settings and content decide."""
        return any_in(self.seeds)

    def write(self, name: str, data: bytes) -> None:
        """Write one file whole."""
        write_atomically(self.path / name, data)

    def report(self, event: Event) -> None:
        """Add a line to events.jsonl, and log it."""
        LOGGER.debug("%s", event)
        line = {"time": time.strftime("%Y-%m-%dT%H:%M:%S"), **event._asdict()}
        with (self.path / EVENTS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def placement(self) -> str:
        """Where the clients ran, the last time anything did."""
        lines = (self.path / EVENTS).read_text("utf-8").splitlines()
        placed = [event for event in map(json.loads, lines) if event["what"] == "placed"]
        return str(placed[-1]["reason"])

    def finish(
        self,
        domain: Domain,
        results: Sequence[SeedResult],
        summary: Mapping[str, Any],
        table: str,
        figure: bytes | None,
    ) -> None:
        """Write what the run has found; the checkpoints have done their work."""
        config = domain.config
        self.write("results.parquet", parquet(_table(Row, long_table(results, domain))))
        self.write("summary.json", as_json(summary))
        buffer = io.BytesIO()
        arrays = stack(results) | names_of(domain)
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        self.write("arrays.npz", buffer.getvalue())
        self.write("rewards.npz", rewards_of(domain, results))
        self.write("timings.json", as_json(timings(config, results)))
        if figure is not None:
            self.write("figure.png", figure)
        if config.record.tensorboard:
            write_events(self.path / TENSORBOARD, domain, results)
        self.write("table.txt", table.encode())  # last: its presence says that all is there
        self.tidy_up()

    def tidy_up(self) -> None:
        """Remove what a run that has ended needs no more."""
        shutil.rmtree(self.seeds, ignore_errors=True)
        end(self.path)


def names_of(domain: Domain) -> dict[str, Any]:
    """Names of what the arrays of a run hold, along their axes `c`, `x` and `f`."""
    return {
        "rules": np.array(domain.config.fusion.rules),
        "judges": np.array([channel.judge for channel in domain.channels]),
        "metrics": np.array([channel.metric for channel in domain.channels]),
        "steps": np.array([channel.step for channel in domain.channels]),
        "choices": np.array(choices(domain.config.fusion)),
        "fact_names": np.array(domain.facts, dtype=np.str_),
    }


def rewards_of(domain: Domain, results: Sequence[SeedResult]) -> bytes:
    """What was learnt, as the bytes of a file that needs no more of the run."""
    theta, offset, reward = (
        np.stack([getattr(result, name) for result in results])
        for name in ("theta", "offset", "reward")
    )
    bases = [domain.exported(seed) for seed in range(len(results))]
    problem, rules = domain.config.problem.name, domain.config.fusion.rules
    return packed(domain.kind, problem, rules, theta, offset, reward, bases)


def timings(config: RunConfig, results: Sequence[SeedResult]) -> dict[str, list[float]]:
    """Seconds of every rule and seed."""
    table = np.stack([result.seconds for result in results])
    return {
        rule: table[:, c].tolist()
        for c, rule in enumerate(config.fusion.rules)
        if not np.isnan(table[:, c]).any()
    }


def environment(config: RunConfig) -> dict[str, Any]:
    """Versions, commit and machine."""
    names = ("ray", "numpy", "scipy", "POT", "gymnasium", "pyarrow")
    source = Path(fedirl_ray.__file__).parent
    ask = ["git", "-C", str(source), "rev-parse", "HEAD"]
    try:
        commit = subprocess.run(ask, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:  # no git on this machine
        commit = ""
    return {
        "fedirl_ray": version(),
        "commit": commit or None,
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in names},
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "seed": config.seed,
    }


def as_json(tree: Mapping[str, Any]) -> bytes:
    """A tree as the bytes of a JSON file, null for what is no number."""
    return (json.dumps(_finite(tree), indent=1, allow_nan=False) + "\n").encode()


def _finite(tree: Any) -> Any:
    """JSON knows no NaN: null."""
    if isinstance(tree, Mapping):
        return {key: _finite(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_finite(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree


def _table(kind: type[NamedTuple], rows: Sequence[Any]) -> pa.Table:
    return pa.table({name: [getattr(row, name) for row in rows] for name in kind._fields})


def parquet(table: pa.Table) -> bytes:
    """A table as the bytes of a Parquet file."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()
