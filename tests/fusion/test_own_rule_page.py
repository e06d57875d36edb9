"""The page on rules of one's own, run as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "own-rule.md").read_text("utf-8")
LIMITS = """--clients 2 --seeds 1 --problem.size 3 --problem.demonstrations 3
--evaluation.held-out 2 --record.figure False --progress False --engine.backend local
--run-dir run"""


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)


def test_the_pages_rule_runs_as_it_is_written_and_keeps_to_the_suite(tmp_path):
    rule, record, check = blocks("python")
    (command,) = blocks("sh")
    (tmp_path / "mine.py").write_text(f"{rule}\n\n{record}")
    words = command.split() + LIMITS.split()
    assert words[:3] == ["python", "-m", "fedirl_ray.run"]
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    here = {"cwd": tmp_path, "check": True, "env": {**os.environ, "PYTHONPATH": path}}
    subprocess.run([sys.executable, "-c", check], **here)
    subprocess.run([sys.executable, "-c", check.replace("mine:rule", "mine:surest")], **here)
    done = subprocess.run([sys.executable, *words[1:]], **here, capture_output=True, text=True)
    assert "\n mine:rule " in done.stdout


def test_the_page_names_what_a_rule_is_given():
    from fedirl_ray.fusion.spec import Given

    named = set(re.findall(r"^\| `(\w+)", PAGE, re.M))
    assert named == {*Given.__dataclass_fields__, "maps", "rewards", "solver", "theta_of"}
