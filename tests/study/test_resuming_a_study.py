"""Only the study that was begun is gone on with: its settings, its trials, its storage."""

import shutil
import sqlite3
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from fedirl_ray.engine.identity import code_in_words, source_digest
from fedirl_ray.engine.tasks import LocalTasks
from fedirl_ray.errors import RunError
from fedirl_ray.run import main
from fedirl_ray.study.asking import open_study
from fedirl_ray.study.space import read_study_file
from fedirl_ray.study.sweep import sweep

PLAN = {
    "fixed": {
        "clients": 2,
        "seeds": 1,
        "problem": {"size": 3, "demonstrations": 2, "obstacles": 0.1},
        "irl": {"optimizer": "adam", "iterations": 5},
        "fusion.rules": ["mean", "barycenter"],
        "evaluation": {"held-out": 2, "discounts": [0.9]},
        "engine.backend": "local",
    },
    "search": {"fusion.sigma": ["shared", "client"], "fusion.epsilon": [0.1, 1.0]},
    "objectives": {"success/held-out/barycenter": "maximize"},
    "sampler": "random",
    "trials": 2,
}
QUIET = ("--progress", "False")
NAME = "success/held-out/barycenter"


def begin(folder, *words, **change):
    path = folder.parent / f"{folder.name}.yaml"
    path.write_text(yaml.safe_dump({**PLAN, **change}))
    assert main(["sweep", str(path), "--run-dir", str(folder), *words, *QUIET]) == 0
    return folder


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A study of two trials in a journal."""
    return begin(tmp_path_factory.mktemp("studies") / "one")


@pytest.fixture
def study(begun, tmp_path):
    return Path(shutil.copytree(begun, tmp_path / "s"))


def resume(folder, *words):
    return main(["sweep", "--resume", str(folder), *words, *QUIET])


def content(folder):
    """Every file of a folder, to the byte."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def edit(folder, change):
    path = folder / "study.yaml"
    tree = yaml.safe_load(path.read_text())
    change(tree)
    path.write_text(yaml.safe_dump(tree, sort_keys=False))


def turned(mapping):
    """The same mapping in the opposite order."""
    return dict(reversed(mapping.items()))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            lambda tree: tree["search"]["fusion.sigma"].append("0.5"),
            "search.fusion.sigma must stay ['shared', 'client'] when a study is resumed, got "
            "['shared', 'client', '0.5']; only trials, max-failures, fixed.engine.* and",
        ),
        (
            lambda tree: tree["search"]["fusion.sigma"].remove("client"),
            "search.fusion.sigma must stay ['shared', 'client'] when",
        ),
        (
            lambda tree: tree["search"].update({"fusion.epsilon": {"low": 0.1, "high": 1.0}}),
            "search.fusion.epsilon must stay [0.1, 1.0] when a study is resumed, got "
            '{"low": 0.1, "high": 1.0}',
        ),
        (
            lambda tree: tree["search"].update({"problem.slip": [0.1]}),
            "search.problem.slip must stay None when a study is resumed, got [0.1]",
        ),
        (
            lambda tree: tree["search"].pop("fusion.sigma"),
            "search.fusion.sigma must stay ['shared', 'client'] when a study is resumed, got None",
        ),
        (
            lambda tree: tree.update(search=turned(tree["search"])),
            "search must stay in its order when a study is resumed, fusion.epsilon, fusion.sig",
        ),
        (
            lambda tree: tree["objectives"].update({"success/held-out/mean": "maximize"}),
            "objectives.success/held-out/mean must stay None when a study is resumed, got maxi",
        ),
        (
            lambda tree: tree["objectives"].update({NAME: "minimize"}),
            f"objectives.{NAME} must stay maximize when a study is resumed, got minimize",
        ),
        (
            lambda tree: tree["fixed"].update({"irl.iterations": 6}),
            "fixed.irl.iterations must stay 5 when a study is resumed, got 6",
        ),
        (lambda tree: tree.update(seed=1), "seed must stay 0 when a study is resumed, got 1"),
        (
            lambda tree: tree.update(sampler="tpe"),
            "sampler must stay random when a study is resumed, got tpe",
        ),
        (
            lambda tree: tree.update(pruner="median"),
            "pruner must stay none when a study is resumed, got median",
        ),
    ],
)
def test_a_study_file_that_was_edited_is_refused_by_what_changed(study, change, line, capsys):
    edit(study, change)
    before = content(study)
    assert resume(study, "--trials", "4") == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(line)
    assert content(study) == before


def test_what_changes_no_result_may_be_edited(study):
    def change(tree):
        tree.update({"trials": 3, "max-failures": 9})
        tree["fixed"].update({"engine.timeout": 99.0, "record.figure": False})

    edit(study, change)
    assert resume(study) == 0
    assert len(pq.read_table(study / "trials.parquet")) == 3


def test_a_study_without_a_record_of_what_it_is_is_not_gone_on_with(study, capsys):
    journal = study / "journal.log"
    lines = [line for line in journal.read_text().splitlines() if '"settings"' not in line]
    journal.write_text("\n".join([*lines, ""]))
    before = content(study)
    assert resume(study, "--trials", "3") == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert f"got {study} of an earlier version, which did not write down what it was" in said
    assert content(study) == before
    assert main(["report", str(study)]) == 0


def test_a_trials_table_in_anothers_place_is_refused(study, tmp_path, capsys):
    tables = sorted((study / "trials").iterdir())
    kept = [path.read_bytes() for path in tables]
    for path, other in zip(tables, reversed(kept), strict=True):
        path.write_bytes(other)
    before = content(study)
    assert resume(study, "--trials", "3") == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"{tables[0]} must be of trial 0 of study ")
    assert "got trial 1 of study " in said
    assert {path: data for path, data in content(study).items() if path in before} == before

    other = begin(tmp_path / "other")
    for path, data in zip(tables, kept, strict=True):
        path.write_bytes(data)
    shutil.copy(other / "trials" / "00001.parquet", tables[1])
    capsys.readouterr()
    assert resume(study, "--trials", "3") == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"{tables[1]} must be of trial 1 of study ")
    tables[1].write_bytes(kept[1])
    assert resume(study, "--trials", "3") == 0


def test_a_trials_table_that_is_gone_or_damaged_is_made_again(study, capsys):
    whole, values = content(study), pq.read_table(study / "trials.parquet").to_pydict()
    first, second = sorted((study / "trials").iterdir())
    first.unlink()
    second.write_bytes(second.read_bytes()[:-50])
    assert resume(study) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "the table of trial 0 is not there; it is run again"
    assert said[1].startswith("the table of trial 1 cannot be read (")
    assert said[1].endswith("); it is run again")
    assert len(said) == 2
    for path in (first, second, study / "results.parquet"):
        assert path.read_bytes() == whole[path]
    assert pq.read_table(study / "trials.parquet").to_pydict() == values


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (Path.unlink, "must hold the journal.log or the database.yaml of its study, got neither"),
        (lambda path: path.write_bytes(b""), "must be the journal of one study, got 0"),
        (
            lambda path: path.write_bytes(b"no journal\n" + path.read_bytes()),
            "must be the journal of a study: ",
        ),
    ],
)
def test_a_journal_that_is_gone_or_none_is_one_line(study, damage, line, capsys):
    damage(study / "journal.log")
    before = content(study)
    assert resume(study, "--trials", "3") == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert line in said
    assert content(study) == before


def test_a_database_named_relatively_is_the_same_from_every_folder(tmp_path, monkeypatch, capsys):
    home, away = tmp_path / "home", tmp_path / "away"
    home.mkdir()
    away.mkdir()
    (home / "plan.yaml").write_text(yaml.safe_dump(PLAN))
    words = ("plan.yaml", "--run-dir", "st", "--storage", "sqlite:///trials.db")
    monkeypatch.chdir(home)
    assert main(["sweep", *words, *QUIET]) == 0
    study = home / "st"
    before = pq.read_table(study / "trials.parquet").to_pylist()
    assert f"sqlite:///{home}/trials.db" in (study / "database.yaml").read_text()
    monkeypatch.chdir(away)
    assert resume("../home/st", "--trials", "3") == 0
    assert pq.read_table(study / "trials.parquet").to_pylist()[:2] == before
    assert main(["report", str(study)]) == 0
    assert not list(away.iterdir())

    # A database that has moved is followed only where the study is in it.
    (home / "trials.db").rename(away / "moved.db")
    capsys.readouterr()
    kept = content(tmp_path)
    assert resume(study, "--trials", "4") == 2
    (said,) = capsys.readouterr().err.splitlines()
    url = f"sqlite:///{home}/trials.db"
    assert said == f"a study's database must be there, got {url}, which is not"
    empty = away / "empty.db"
    with sqlite3.connect(empty) as connection:
        connection.execute("create table numbers (number integer)")
    begin(tmp_path / "other", "--storage", f"sqlite:///{away}/other.db")
    capsys.readouterr()
    for name, line in (("empty.db", "storage must be a database with studies of Optuna's, got sqlite:///"),
                       ("other.db", f"the study of {study} must be in its database")):  # fmt: skip
        before = content(away)
        assert resume(study, "--trials", "4", "--storage", f"sqlite:///{away}/{name}") == 2
        (said,) = capsys.readouterr().err.splitlines()
        assert said.startswith(line)
        assert content(away) == before
    assert {path: data for path, data in content(study).items() if path in kept} == {
        path: data for path, data in kept.items() if path.is_relative_to(study)
    }
    assert resume(study, "--trials", "4", "--storage", f"sqlite:///{away}/moved.db") == 0
    assert len(pq.read_table(study / "trials.parquet")) == 4
    assert resume(study, "--trials", "5") == 0  # remembered


def test_a_database_that_ends_with_the_process_is_refused(tmp_path, capsys):
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(PLAN))
    for url in ("sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"):
        words = ("--run-dir", str(tmp_path / "s"), "--storage", url)
        assert main(["sweep", str(path), *words, *QUIET]) == 2
        (said,) = capsys.readouterr().err.splitlines()
        assert said.startswith("storage must be a database in a file, such as sqlite:///")
        assert not (tmp_path / "s").exists()


def test_a_study_in_a_database_has_one_folder(tmp_path, capsys):
    study = begin(tmp_path / "s", "--storage", f"sqlite:///{tmp_path}/studies.db")
    twin = shutil.copytree(study, tmp_path / "twin")
    before = content(tmp_path)
    capsys.readouterr()
    assert resume(twin, "--trials", "3") == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"a study must be in one folder, got {twin}; s-")
    assert said.endswith(f" is that of {study}: go on there, or remove that")
    assert content(tmp_path) == before
    shutil.rmtree(study)  # now the twin is where the study has moved to
    assert resume(twin, "--trials", "3") == 0
    assert len(pq.read_table(twin / "trials.parquet")) == 3


def test_a_record_of_a_relative_path_is_refused(tmp_path, monkeypatch, capsys):
    study = begin(tmp_path / "s", "--storage", f"sqlite:///{tmp_path}/studies.db")
    path = study / "database.yaml"
    path.write_text(path.read_text().replace(f"{tmp_path}/", ""))
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    for words in (["sweep", "--resume", str(study), *QUIET], ["report", str(study)]):
        assert main(words) == 2
        (said,) = capsys.readouterr().err.splitlines()
        assert said == f"{path} must hold the absolute path of a file, got sqlite:///studies.db"


WORLD = """
import numpy as np
from fedirl_ray.problem.mdp import TabularMDP

def world(role, index, rng):
    successors = np.array([[[1], [0]], [[1], [1]]], dtype=np.int32)
    return TabularMDP(
        successors=successors, probabilities=np.ones((2, 2, 1)), initial=np.array([1.0, 0.0]),
        terminal=np.array([False, True]), goal=np.array([False, True]),
        features=np.eye(2)[:, None, :], reward=np.array([[0.0], [1.0]]), axes=(np.arange(2.0),))
"""


@pytest.mark.parametrize("searched", [False, True])
def test_a_study_of_a_users_code_is_not_gone_on_with_after_the_code(
    searched, tmp_path, monkeypatch, capsys
):
    module = tmp_path / f"mine_{searched}.py"
    module.write_text(WORLD)
    monkeypatch.syspath_prepend(tmp_path)
    name = f"{module.stem}:world"
    fixed = {key: value for key, value in PLAN["fixed"].items() if key != "problem"}
    search = {"fusion.epsilon": [0.1, 1.0]}
    if searched:
        search["problem.name"] = [name, "GridWorld"]
    else:
        fixed["problem.name"] = name
    study = begin(tmp_path / "s", fixed=fixed, search=search)
    assert resume(study, "--trials", "3") == 0
    module.write_text(WORLD.replace("[1.0]", "[2.0]"))
    before = content(study)
    capsys.readouterr()
    assert resume(study, "--trials", "4") == 2
    (said,) = capsys.readouterr().err.splitlines()
    where = "search.problem.name" if searched else "fixed.problem.name"
    assert said.startswith(where)
    assert "must hold what it did when a study was begun, got other content (SHA-256 " in said
    assert content(study) == before


def test_code_that_changes_under_way_ends_a_study_before_it_is_mixed(tmp_path, monkeypatch, capsys):
    module = tmp_path / "restless.py"
    module.write_text(WORLD)
    monkeypatch.syspath_prepend(tmp_path)
    fixed = {key: value for key, value in PLAN["fixed"].items() if key != "problem"}
    fixed["problem.name"] = "restless:world"
    study = begin(tmp_path / "s", fixed=fixed, search={"fusion.epsilon": [0.1, 1.0]})
    kept = content(study / "trials")
    parsed = read_study_file(study / "study.yaml")
    with open_study(study, parsed) as found:
        going = sweep(parsed, found, study, LocalTasks(), 4)
        next(going)
        module.write_text(f"{WORLD}\n# another")
        with pytest.raises(RunError, match=r"^fixed.problem.name must hold the same content until"):
            next(going)
    assert len(content(study / "trials")) == len(kept) + 1


def test_a_study_of_other_code_is_not_gone_on_with(study, capsys):
    journal = study / "journal.log"
    journal.write_text(journal.read_text().replace(source_digest(), "0123456789abcdef"))
    before = content(study)
    assert resume(study, "--trials", "3") == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"resume must be a study that {code_in_words()} began, got {study} of ")
    assert said.endswith("(source 0123456789abcdef); go on with that, or begin anew")
    assert content(study) == before
