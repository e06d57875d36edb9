"""Settings that suit a problem: files that come with the package, and are read before the user's.

`python -m fedirl_ray.run pendulum` runs presets/pendulum.yaml; whoever names a problem that has one
(`--problem.name Pendulum-v1`) starts from the same settings.
"""

from pathlib import Path

FOLDER = Path(__file__).parent / "presets"
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
