"""`presets`: the settings and studies that come with the package, a line each."""

from collections.abc import Sequence
from dataclasses import dataclass

from fedirl_ray.cli import PROG, load, manual
from fedirl_ray.presets import STUDIES, about, names, preset, studies

MANUAL = manual(
    "The settings and studies that come with the package.\n",
    ("pendulum --clients 12", "run a preset, with a setting of your own"),
    ("sweep regularisation", "run a study"),
)


@dataclass(frozen=True)
class Invocation:
    """Nothing to set."""


def command(argv: Sequence[str]) -> int:
    """List them."""
    load(Invocation, argv, prog=f"{PROG} presets", description=MANUAL)
    files = {name: preset(name) for name in names()}
    plans = {name: STUDIES / f"{name}.yaml" for name in studies()}
    width = max(map(len, (*files, *plans))) + 2
    for title, own in (("Settings: NAME", files), ("Studies: sweep NAME", plans)):
        print(title.replace(":", f": {PROG}", 1))
        for name, path in own.items():
            print(f"  {name:{width}}{about(path)}")
    return 0
