"""Files that come with the package: settings that suit a problem, read before the user's; studies.

`fedirl pendulum` runs presets/pendulum.yaml; whoever names a problem that has one
(`--problem.name Pendulum-v1`) starts from the same settings. `fedirl sweep scale` runs
sweeps/scale.yaml, whose home is at the top of the repository, where this package links to it.
"""

import difflib
import itertools
import re
from pathlib import Path

from fedirl_ray.errors import ConfigError

FOLDER = Path(__file__).parent / "presets"
STUDIES = Path(__file__).parent / "sweeps"
USUAL = {
    "Pendulum-v1": "pendulum",
    "CartPole-v1": "cartpole",
    "Acrobot-v1": "acrobot",
    "LunarLanderContinuous-v3": "lander",
}
"""Presets by the problem whose defaults they are."""
OWN = "control"
"""That of continuous control of the user's own."""


def names() -> list[str]:
    """All presets."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def studies() -> list[str]:
    """All studies that come with the package."""
    return sorted(path.stem for path in STUDIES.glob("*.yaml"))


def about(path: Path) -> str:
    """What a file is for: the first sentence of the comment that it begins with."""
    lines = path.read_text("utf-8").splitlines()
    comment = itertools.takewhile(lambda line: line.startswith("#"), lines)
    text = " ".join(line.strip("# ") for line in comment)
    return re.split(r"(?<=[.?]) ", text, maxsplit=1)[0]


def study_named(word: str) -> Path:
    """The study file that a word on the command line means: a path, or the name of one of ours.

    Raises:
        ConfigError: It is no path of a YAML file, and none of ours.
    """
    path = Path(word)
    if word in studies() and not path.is_file():
        return STUDIES / f"{word}.yaml"
    if not (path.suffix or path.exists()):
        near = difflib.get_close_matches(word, studies(), n=1)
        hint = (
            f"did you mean {near[0]}?" if near else f"those of the package: {', '.join(studies())}"
        )
        raise ConfigError(f"no study file is called {word}; {hint}")
    return path


def preset(name: str) -> Path:
    """The file of a preset, whether there is one or not."""
    return FOLDER / f"{name}.yaml"


def file_named(word: str) -> Path:
    """The file that a word on the command line means: a path, or a preset's name."""
    path = Path(word)
    return preset(word) if word in names() and not path.is_file() else path


def usual_for(problem: str) -> Path | None:
    """What a problem's settings are where the user says nothing; None: the fields' own defaults.

    Raises:
        ConfigError: There is no such problem.
    """
    if problem in USUAL:
        return preset(USUAL[problem])
    if ":" not in problem:
        return None
    # Only now: whoever names a problem of the package need not wait for what reads others.
    from fedirl_ray.problem.kind import kind_of

    return preset(OWN) if kind_of(problem) == "control" else None
