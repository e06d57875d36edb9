"""The kinds of world there are."""

from fedirl_ray.config import RunConfig, narrowed
from fedirl_ray.domain.domain import Domain
from fedirl_ray.domain.tabular import Tabular
from fedirl_ray.problem.kind import kind_of


def domain_of(config: RunConfig) -> Domain:
    """The kind of world that `problem.name` means, under the settings of a run.

    Raises:
        ConfigError: There is no such problem, or a setting means nothing there.
    """
    # Without what a command adds: whoever unpickles jobs would import the command line.
    config = narrowed(config, RunConfig)
    if kind_of(config.problem.name) == "tabular":
        return Tabular(config)
    from fedirl_ray.domain.control import Control  # Gymnasium's environments take time to import

    return Control(config)
