"""A run's folder, read back."""

import json
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fedirl_ray.cli import PROG, load, typed
from fedirl_ray.config import RunConfig
from fedirl_ray.engine.event import Event
from fedirl_ray.engine.record import CONFIG, RunFolder
from fedirl_ray.engine.result import SPLITS, TIMED, SeedResult, mean_over_worlds
from fedirl_ray.errors import DataError
from fedirl_ray.report.figure import reward_maps

_ARRAYS = frozenset(field.name for field in fields(SeedResult)) - {TIMED}
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Run:
    """What a run has left behind."""

    path: Path
    config: RunConfig
    summary: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]
    """As in arrays.npz: seeds leading."""
    success: Mapping[tuple[str, str, str], NDArray[np.float64]]
    """Success by split, policy and rule, one number a seed."""
    timings: Mapping[str, list[float]]
    """Seconds by rule, one number a seed."""
    events: list[dict[str, Any]]
    environment: Mapping[str, Any]
    figure: bytes | None
    """Its reward maps, a PNG; None where its worlds are no grid."""

    @property
    def policies(self) -> list[str]:
        """Policies that success is known under, the one that tables lead with first."""
        return list(dict.fromkeys(policy for _, policy, _ in self.success))

    @property
    def seeds(self) -> int:
        """How many there are."""
        return len(next(iter(self.success.values())))


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
    config = load(RunConfig, [str(path / CONFIG)], prog=PROG, description="")
    arrays = _arrays(path / "arrays.npz")
    events = path / "events.jsonl"
    summary = _json(path / "summary.json", "success", "gain_of_barycenter", "communication")
    success = _success(path / "results.parquet")
    _agree(path, config, summary, arrays, success)
    return Run(
        path=path,
        config=config,
        summary=summary,
        arrays=arrays,
        success=success,
        timings=_json(path / "timings.json"),
        events=[_parse(events, line, "time", *Event._fields) for line in _lines(events)],
        environment=_json(path / "environment.json"),
        figure=_figure(path / "figure.png", config, arrays),
    )


def _agree(
    path: Path,
    config: RunConfig,
    summary: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
    success: Mapping[tuple[str, str, str], NDArray[np.float64]],
) -> None:
    """Refuse files that are not of one run."""
    rules = config.fusion.rules
    said = {"clients": config.clients, "seeds": list(range(config.seeds))}
    said["root_seed"] = config.seed
    for name, value in said.items():
        if summary.get(name) != value:
            raise DataError(
                f"{path / 'summary.json'} must be of the run in {CONFIG}, whose {name} is {value}, "
                f"got {summary.get(name)}"
            )
    shape = (config.seeds, config.clients, len(rules))
    if arrays["client_success"].shape[:3] != shape:
        raise DataError(
            f"{path / 'arrays.npz'} must hold seeds, clients and rules of {CONFIG}, {shape}, got "
            f"{arrays['client_success'].shape[:3]}"
        )
    table = path / "results.parquet"
    means = {
        each: np.array([mean_over_worlds(seed) for seed in arrays[each]])
        for each in ("client_success", "held_out_success")
    }
    for p, policy in enumerate(dict.fromkeys(policy for _, policy, _ in success)):
        for split, each in zip(SPLITS, means, strict=True):
            for c, rule in enumerate(rules):
                found = success.get((split, policy, rule))
                kept = means[each][:, c, p]
                if found is None or found.shape != kept.shape:
                    raise DataError(
                        f"{table} must hold the success of {rule} in every seed of {CONFIG}, "
                        f"{split} under {policy}"
                    )
                if not np.allclose(found, kept, atol=1e-6, equal_nan=True):
                    raise DataError(
                        f"{table} must hold what arrays.npz holds, got another success of {rule}"
                    )
    if not success:
        raise DataError(f"{table} must hold the success of every rule, got none")


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
    _require_all(path, arrays, _ARRAYS)
    return arrays


def _success(path: Path) -> dict[tuple[str, str, str], NDArray[np.float64]]:
    try:
        table = pq.read_table(path)
        columns = [
            table[name].to_pylist()
            for name in ("seed", "rule", "split", "policy", "metric", "value")
        ]
    except (pa.ArrowException, OSError, KeyError) as err:
        raise DataError(f"{path} must be a run's long table: {str(err).splitlines()[0]}") from None
    found: dict[tuple[str, str, str], dict[int, float]] = {}
    for seed, rule, split, policy, metric, value in zip(*columns, strict=True):
        if metric == "success":
            found.setdefault((split, policy, rule), {})[seed] = value
    return {key: np.array([by[seed] for seed in sorted(by)]) for key, by in found.items()}


def _figure(path: Path, config: RunConfig, arrays: Mapping[str, NDArray[Any]]) -> bytes | None:
    """The run's own picture, or the same drawn anew.

    Worlds of the user's own are not asked for again: reading a folder runs nobody's code.
    """
    if path.is_file():
        png = _read(path)
        if not png.startswith(PNG):
            raise DataError(f"{path} must be a PNG, got something else")
        return png
    if ":" in config.problem.name:
        return None
    first = {name: arrays[name][0] for name in _ARRAYS}
    return reward_maps(config, SeedResult(**first, seconds=np.full(0, np.nan)))
