"""The kinds of world there are."""

from fedirl_ray.config import RunConfig, narrowed
from fedirl_ray.domain.domain import Domain
from fedirl_ray.domain.tabular import Tabular
from fedirl_ray.problem.kind import kind_of


def domain_of(config: RunConfig, aside: float | None = None) -> Domain:
    """The kind of world that `problem.name` means, under the settings of a run.

    Args:
        config: The run.
        aside: Share of their demonstrations that clients keep aside; None: it is looked up in what
            the run's rules need, which takes the user's own rules to be importable.

    Raises:
        ConfigError: There is no such problem, or a setting means nothing there.
    """
    # Without what a command adds: whoever unpickles jobs would import the command line.
    config = narrowed(config, RunConfig)
    if kind_of(config.problem.name) == "tabular":
        return Tabular(config, aside)
    from fedirl_ray.domain.control import Control  # Gymnasium's environments take time to import

    return Control(config, aside)
