"""A run's numbers as TensorBoard's event files: one scalar a rule, seeds as steps.

Event files carry the time and the machine's name, so they differ between equal runs.
"""

import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from fedirl_ray.config import RunConfig
from fedirl_ray.domain.domain import Domain
from fedirl_ray.engine.result import SeedResult, judges, long_table
from fedirl_ray.laws import require

TENSORBOARD = "tensorboard"
"""Their folder in the run's."""


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
    """Write the metric by split, policy and rule, and the norm of theta by rule.

    Args:
        path: Folder of the event files; what is there is replaced.
        domain: The run's kind of world, and settings.
        results: Its seeds, in order: the steps.
    """
    from tensorboardX import SummaryWriter

    last = {judge: domain.channels[x].step for judge, x in judges(domain).items()} | {"": 0}
    shutil.rmtree(path, ignore_errors=True)
    with SummaryWriter(str(path)) as writer:
        for row in long_table(results, domain):
            if row.round < domain.config.federation.rounds or row.step != last[row.judge]:
                continue
            if row.metric == domain.metric:
                tag = f"{row.metric}/{row.split}/{row.judge}/{row.rule}"
            elif row.metric == "theta_norm":
                tag = f"theta_norm/{row.rule}"
            else:
                continue
            writer.add_scalar(tag, row.value, row.seed)
