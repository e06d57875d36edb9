"""The README says what is so: its commands are accepted, its files are there, its code runs."""

import re
import shlex
from pathlib import Path

import pytest

from fedirl_ray.cli import PROG, load
from fedirl_ray.command.federate import Invocation
from fedirl_ray.run import COMMANDS

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{p.name}" for p in ROOT.glob("docs/*.md"))]
README = (ROOT / "README.md").read_text()


def blocks(language):
    """Contents of the README's fenced code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def invocations():
    """Every `python -m fedirl_ray.run` of the README, without comments and placeholders."""
    found = re.findall(r"python -m fedirl_ray\.run([^`\n]*)", README)
    words = [shlex.split(line, comments=True) for line in found]
    return [one for one in words if not any(set("[]<>") & set(word) for word in one)]


def test_the_test_command_is_what_ci_runs():
    (command,) = [line for line in README.splitlines() if line.endswith("-m pytest")]
    script = (ROOT / ".ci" / "run").read_text().replace("--quiet ", "")
    for step in command.split(" && "):
        assert step in script.splitlines()


def test_the_printed_table_is_the_main_jobs():
    (printed,) = blocks("text")
    assert printed.startswith("GridWorld, 3 clients, 20 seeds: success in %, greedy-0.95 policy")


@pytest.mark.parametrize("words", invocations(), ids=" ".join)
def test_a_command_is_accepted(words, monkeypatch):
    monkeypatch.chdir(ROOT)
    if words and words[0] in {*COMMANDS} - {"federate"}:
        return  # its own test runs it
    if "hilly:hilly" in words:
        monkeypatch.syspath_prepend(ROOT / "docs")
    load(Invocation, words, prog=PROG, description="")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert ((ROOT / page).parent / target).exists(), target


def test_every_fault_names_tests_that_are_there():
    rows = [line.split(" | ") for line in (ROOT / "docs/faults.md").read_text().splitlines()]
    named = {name for row in rows if len(row) == 3 for name in row[2].strip(" |").split(", ")}
    named -= {"tests", "---|---|---"}
    assert len(named) > 30
    for name in named:
        assert (ROOT / "tests" / f"{name}.py").is_file(), name


def test_the_python_of_a_run_runs(tmp_path, monkeypatch):
    example, _ = blocks("python")
    monkeypatch.chdir(tmp_path)
    small = 'RunConfig(seeds=1, clients=2, engine=fedirl_ray.EngineConfig(backend="local"))'
    found = {}
    exec(example.replace("fedirl_ray.RunConfig(seeds=2, clients=2)", f"fedirl_ray.{small}"), found)
    states = range(25)
    assert list(found["reward"](states)) == list(found["same"](states))


def test_the_barycenters_example_runs():
    _, example = blocks("python")
    found = {}
    exec(example.replace("print(", "shown = ("), found)
    converged, iterations, shape = found["shown"]
    assert converged
    assert iterations < 100
    assert shape == (100, 100, 100)
