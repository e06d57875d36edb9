"""Files of settings that come with the package."""

import sys
from pathlib import Path

import pytest

import fedirl_ray
from fedirl_ray.cli import load
from fedirl_ray.config import RunConfig
from fedirl_ray.config_control import USUAL as BUDGET
from fedirl_ray.config_control import PPOConfig
from fedirl_ray.errors import ConfigError
from fedirl_ray.presets import USUAL, names, preset, usual_for
from fedirl_ray.problem.control.paper import TASKS
from fedirl_ray.problem.kind import TABULAR
from fedirl_ray.run import main

DOCS = Path(__file__).parents[1] / "docs"
PAPERS = {
    "Pendulum-v1": (50_000, 500_000),
    "CartPole-v1": (200_000, 30_000),
    "LunarLanderContinuous-v3": (300_000, 2_000_000),
    "Acrobot-v1": (5_000, 25_000),
}
"""Steps of experts and of agents, tables 3 and 4."""


def read(*words):
    return load(RunConfig, words, prog="run", description="")


def test_every_task_of_the_paper_has_its_settings_by_name_and_by_file():
    assert USUAL.keys() == TASKS.keys()
    for name, file in USUAL.items():
        assert file in names()
        by_file, by_name = read(file), read("--problem.name", name)
        assert by_file == by_name != RunConfig()
        assert by_file.problem.name == name
        assert usual_for(name) == preset(file)
    assert all(usual_for(name) is None for name in TABULAR)


@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_budgets_are_its_own(name):
    control = read(f"{USUAL[name]}-paper").control
    assert (control.expert.steps, control.agent.steps) == PAPERS[name]
    for budget in (control.expert, control.agent):
        assert budget == PPOConfig(steps=budget.steps, rows=1, batch=64, learning_rate=3e-3)


def test_the_preset_of_ones_own_environments_says_that_it_needs_one(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    said = "problem.name must be given with preset control: module:function, an environment of your"
    for words in (["control"], ["control", "--seeds", "1"]):
        assert main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(said)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match=f"^{said}"):
        fedirl_ray.preset("control")
    monkeypatch.syspath_prepend(str(DOCS))
    config = read("control", "--problem.name", "hilly:hilly")
    sys.modules.pop("hilly", None)
    assert (config.control.expert, config.control.agent) == (BUDGET, BUDGET)
    assert "true" in config.fusion.rules
