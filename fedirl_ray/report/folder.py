"""A run's folder, read back."""

import json
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fedirl_ray.cli import PROG, load, typed
from fedirl_ray.config import RunConfig
from fedirl_ray.domain.domain import SPLITS, Channel, Domain
from fedirl_ray.engine.event import Event
from fedirl_ray.engine.identity import version
from fedirl_ray.engine.record import CONFIG, RunFolder
from fedirl_ray.engine.result import TIMED, SeedResult, judges, mean_over_worlds
from fedirl_ray.errors import DataError
from fedirl_ray.problem.kind import kind_of
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.report.figure import learning_figure, reward_maps
from fedirl_ray.report.measure import Measure, measure_of
from fedirl_ray.report.svg import Format

_ARRAYS = frozenset(field.name for field in fields(SeedResult)) - {TIMED}
_NAMES = frozenset(("rules", "choices", "judges", "metrics", "steps", "fact_names"))
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Run:
    """What a run has left behind; whose kind of world its folder tells, and no code is asked."""

    path: Path
    config: RunConfig
    metric: str
    """Of tables and verdicts."""
    channels: tuple[Channel, ...]
    """What rewards were judged by."""
    summary: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]
    """As in arrays.npz: seeds leading."""
    scores: Mapping[tuple[str, str, str], Floats]
    """The metric by split, judge and rule, once all is learnt: one number a seed."""
    timings: Mapping[str, list[float]]
    """Seconds by rule, one number a seed."""
    events: list[dict[str, Any]]
    environment: Mapping[str, Any]
    figure: bytes | None
    """Its picture, a PNG; None where there is nothing to draw."""

    @property
    def judges(self) -> dict[str, int]:
        """Channels of the metric by judge, the one that tables lead with first."""
        return _judges(self.channels, self.metric)

    @property
    def measure(self) -> Measure:
        """How the metric is shown."""
        return measure_of(self.metric)

    @property
    def seeds(self) -> int:
        """How many there are."""
        return len(next(iter(self.scores.values())))

    def samples(self, split: str, judge: str) -> Floats:
        """The metric by seed and rule, `[seeds, c]`."""
        rules = self.config.fusion.rules
        return np.stack([self.scores[split, judge, rule] for rule in rules], axis=1)

    def by_world(self, split: str) -> Floats:
        """Mean over a split's worlds of all numbers, `[seeds, c, x]`."""
        each = self.arrays["client_scores" if split == SPLITS[0] else "held_out_scores"]
        return np.stack([mean_over_worlds(seed) for seed in each])


class _Channels:
    """What `engine.result.judges` reads of a kind of world."""

    def __init__(self, channels: tuple[Channel, ...], metric: str) -> None:
        self.channels, self.metric = channels, metric


def _judges(channels: tuple[Channel, ...], metric: str) -> dict[str, int]:
    return judges(cast(Domain, _Channels(channels, metric)))


def read_run(path: Path) -> Run:
    """Read the folder of a run that has ended.

    Raises:
        ConfigError: Its settings are not of this version.
        DataError: It has not ended, or a file is missing or cannot be read.
    """
    if not RunFolder(path).finished:
        raise DataError(
            f"{path} must be a run that has ended, got one that has not; "
            f"go on with: {typed('--resume', path)}"
        )
    _require_ours(path)
    config = load(RunConfig, [str(path / CONFIG)], prog=PROG, description="", whole=True)
    arrays = _arrays(path / "arrays.npz")
    events = path / "events.jsonl"
    summary = _json(path / "summary.json", "metric", "gain_of_barycenter", "communication")
    metric, channels = summary["metric"], _channels(path / "arrays.npz", arrays)
    run = Run(
        path=path,
        config=config,
        metric=metric,
        channels=channels,
        summary=summary,
        arrays=arrays,
        scores=_scores(path / "results.parquet", config, metric, channels),
        timings=_json(path / "timings.json"),
        events=[_parse(events, line, "time", *Event._fields) for line in _lines(events)],
        environment=_json(path / "environment.json"),
        figure=None,
    )
    _agree(run)
    return replace(run, figure=_figure(run))


def _require_ours(path: Path) -> None:
    """Refuse what versions before kinds of world have written, and say which."""
    try:
        names = pq.read_schema(path / "results.parquet").names
    except (pa.ArrowException, OSError):
        return  # whoever reads it says what is wrong
    if "policy" in names and "judge" not in names:
        raise DataError(
            f"{path} must be a run that fedirl_ray {version()} can read, got one of an earlier "
            f"form that {_writer(path)} left: report it with that"
        )


def _writer(path: Path) -> str:
    """The version that left a run, in words."""
    try:
        commit = _json(path / "environment.json").get("commit")
    except DataError:
        commit = None
    return RunFolder(path).version + (f" (commit {commit[:12]})" if commit else "")


def _agree(run: Run) -> None:
    """Refuse files that are not of one run."""
    path, config, arrays = run.path, run.config, run.arrays
    rules = config.fusion.rules
    said = {"clients": config.clients, "seeds": list(range(config.seeds))}
    said["root_seed"] = config.seed
    for name, value in said.items():
        if run.summary.get(name) != value:
            raise DataError(
                f"{path / 'summary.json'} must be of the run in {CONFIG}, whose {name} is {value}, "
                f"got {run.summary.get(name)}"
            )
    shape = (config.seeds, config.clients, len(rules))
    found_shape = arrays["client_scores"].shape[:3]
    if found_shape != shape or tuple(arrays["rules"].tolist()) != rules:
        raise DataError(
            f"{path / 'arrays.npz'} must hold seeds, clients and rules of {CONFIG}, {shape}, got "
            f"{found_shape} of {', '.join(map(str, arrays['rules'].tolist()))}"
        )
    table = path / "results.parquet"
    for split in SPLITS:
        means = run.by_world(split)
        for judge, channel in run.judges.items():
            for c, rule in enumerate(rules):
                found, kept = run.scores.get((split, judge, rule)), means[:, c, channel]
                if found is None or found.shape != kept.shape:
                    raise DataError(
                        f"{table} must hold the {run.metric} of {rule} in every seed of {CONFIG}, "
                        f"{split} by {judge}"
                    )
                # By an absolute part of what a share is told in, and a relative one of returns.
                if not np.allclose(found, kept, rtol=1e-9, atol=1e-6, equal_nan=True):
                    raise DataError(
                        f"{table} must hold what arrays.npz holds, "
                        f"got another {run.metric} of {rule}"
                    )
    if not run.scores:
        raise DataError(f"{table} must hold the {run.metric} of every rule, got none")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as err:
        raise DataError(f"{path} must be a readable file: {err.strerror}") from None


def _lines(path: Path) -> list[bytes]:
    """Lines that are whole; a run killed while writing one may have left a part."""
    return [line for line in _read(path).splitlines(keepends=True) if line.endswith(b"\n")]


def _parse(path: Path, text: bytes, *names: str) -> dict[str, Any]:
    """Read a JSON object that has some names."""
    try:
        tree = json.loads(text)
    except ValueError as err:
        raise DataError(f"{path} must be JSON: {err}") from None
    if not isinstance(tree, dict):
        raise DataError(f"{path} must hold JSON objects, got a {type(tree).__name__}")
    _require_all(path, tree, names)
    return tree


def _require_all(path: Path, tree: Container[str], names: Iterable[str]) -> None:
    """Refuse what an older or foreign program has written."""
    missing = sorted(name for name in names if name not in tree)
    if missing:
        raise DataError(f"{path} must hold {missing[0]}, got a file without it")


def _json(path: Path, *names: str) -> dict[str, Any]:
    return _parse(path, _read(path), *names)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
    except Exception as err:  # zipfile, zlib and NumPy's header reader raise what they meet
        raise DataError(f"{path} must be an .npz file without pickles: {err!r}") from None
    _require_all(path, arrays, _ARRAYS | _NAMES)
    return arrays


def _channels(path: Path, arrays: Mapping[str, NDArray[Any]]) -> tuple[Channel, ...]:
    """What the scores are, by the names beside them."""
    lists = [arrays[name].tolist() for name in ("judges", "metrics", "steps")]
    count = arrays["client_scores"].shape[-1]
    if any(len(one) != count for one in lists):
        raise DataError(f"{path} must name the judge, metric and step of its {count} scores")
    return tuple(
        Channel(str(judge), str(metric), int(step))
        for judge, metric, step in zip(*lists, strict=True)
    )


def _scores(
    path: Path, config: RunConfig, metric: str, channels: tuple[Channel, ...]
) -> dict[tuple[str, str, str], Floats]:
    """The metric after the last round, by judges that have learnt all they will."""
    names = ("seed", "round", "split", "rule", "judge", "metric", "step", "value")
    try:
        table = pq.read_table(path)
        columns = [table[name].to_pylist() for name in names]
    except (pa.ArrowException, OSError, KeyError) as err:
        raise DataError(f"{path} must be a run's long table: {str(err).splitlines()[0]}") from None
    steps = {judge: channels[x].step for judge, x in _judges(channels, metric).items()}
    rounds = config.federation.rounds
    found: dict[tuple[str, str, str], dict[int, float]] = {}
    for seed, number, split, rule, judge, what, step, value in zip(*columns, strict=True):
        if what == metric and number == rounds and step == steps.get(judge):
            found.setdefault((split, judge, rule), {})[seed] = value
    return {key: np.array([by[seed] for seed in sorted(by)]) for key, by in found.items()}


def draw_run(run: Run, form: Format) -> bytes | None:
    """Draw a run's figure anew.

    Nothing of the user's own is asked for again: reading a folder runs nobody's code.

    Returns:
        Its learning curves, or else its reward maps; None where there is neither.
    """
    scores = {split: run.by_world(split) for split in SPLITS}
    curves = learning_figure(run.config, run.channels, run.metric, scores, form)
    return curves if curves is not None else _maps(run, form)


def _figure(run: Run) -> bytes | None:
    """The run's own picture, or its reward maps drawn anew."""
    path = run.path / "figure.png"
    if path.is_file():
        png = _read(path)
        if not png.startswith(PNG):
            raise DataError(f"{path} must be a PNG, got something else")
        return png
    return _maps(run, "png")


def _maps(run: Run, form: Format) -> bytes | None:
    problem = run.config.problem
    if ":" in problem.name or ":" in problem.features or kind_of(problem.name) != "tabular":
        return None
    arrays = {name: run.arrays[name][0] for name in _ARRAYS}
    result = SeedResult(**arrays, seconds=np.full(0, np.nan))
    first = next(iter(run.judges.values()))
    return reward_maps(run.config, result, run.measure, channel=first, form=form)
