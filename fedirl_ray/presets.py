"""Settings that suit a problem: files that come with the package, and are read before the user's.

`python -m fedirl_ray.run pendulum` runs presets/pendulum.yaml; whoever names a problem that has one
(`--problem.name Pendulum-v1`) starts from the same settings.
"""

from pathlib import Path

from fedirl_ray.problem.kind import kind_of

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


def usual_for(problem: str) -> Path | None:
    """What a problem's settings are where the user says nothing; None: the fields' own defaults.

    Raises:
        ConfigError: There is no such problem.
    """
    if problem in USUAL:
        return preset(USUAL[problem])
    return preset(OWN) if ":" in problem and kind_of(problem) == "control" else None
