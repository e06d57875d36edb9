"""A run's numbers as TensorBoard's event files: a curve over rounds for every rule.

Event files carry the time and the machine's name, so they differ between equal runs.
"""

import shutil
from collections import defaultdict
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean

from fedirl_ray.config import RunConfig
from fedirl_ray.domain.domain import Domain
from fedirl_ray.engine.result import SeedResult, judges, long_table
from fedirl_ray.laws import require

TENSORBOARD = "tensorboard"
"""Their folder in the run's."""
MEAN = "mean"
"""Folder of what is the mean over seeds."""


def require_writer(config: RunConfig) -> None:
    """Refuse a run that asks for event files where nothing can write them.

    Raises:
        ConfigError: tensorboardX is not installed.
    """
    require(
        not config.record.tensorboard or find_spec("tensorboardX") is not None,
        "record.tensorboard",
        "False without tensorboardX (pip install 'fedirl-ray[tensorboard]')",
        config.record.tensorboard,
    )


def write_events(path: Path, domain: Domain, results: Sequence[SeedResult]) -> None:
    """Write the metric by split, judge and rule, round by round, and the last theta's norm.

    Args:
        path: Folder of the event files, one folder a seed and one of their mean; what is there is
            replaced.
        domain: The run's kind of world, and settings.
        results: Its seeds, in order.
    """
    from tensorboardX import SummaryWriter

    last = {judge: domain.channels[x].step for judge, x in judges(domain).items()} | {"": 0}
    curves: dict[str, dict[tuple[str, int], float]] = defaultdict(dict)
    every: dict[tuple[str, int], list[float]] = defaultdict(list)
    for row in long_table(results, domain):
        if row.step != last[row.judge]:
            continue
        if row.metric == domain.metric:
            tag = f"{row.metric}/{row.split}/{row.judge}/{row.rule}"
        elif row.metric == "theta_norm":
            tag = f"theta_norm/{row.rule}"
        else:
            continue
        curves[f"seed-{row.seed}"][tag, row.round] = row.value
        every[tag, row.round].append(row.value)
    curves[MEAN] = {point: fmean(values) for point, values in every.items()}
    shutil.rmtree(path, ignore_errors=True)
    for name, points in curves.items():
        with SummaryWriter(str(path / name)) as writer:
            for (tag, number), value in points.items():
                writer.add_scalar(tag, value, number)
