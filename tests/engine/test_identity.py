"""Work is gone on with only under what it was begun with."""

import hashlib
import io
import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from engine.faults import small
from hypothesis import given
from hypothesis import strategies as st

import fedirl_ray
from fedirl_ray.cli import PROG, leaves
from fedirl_ray.config import RunConfig
from fedirl_ray.config_engine import EngineConfig, RecordConfig
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.engine.checkpoint import Checkpoints
from fedirl_ray.engine.driver import federate
from fedirl_ray.engine.identity import (
    FREE,
    IDENTITY,
    Identity,
    code_in_words,
    identify,
    module_digest,
    name_of,
    source_digest,
    version,
)
from fedirl_ray.engine.local import Clients
from fedirl_ray.errors import ConfigError, DataError
from fedirl_ray.run import main

SMALL = [
    "--clients", "2", "--problem.size", "3", "--fusion.rules", "mean", "--evaluation.held-out", "1",
    "--progress", "False", "--record.figure", "False", "--engine.backend", "local",
]  # fmt: skip
MINE = """
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.problem.family import draw_world

def world(role, index, rng):
    return draw_world(ProblemConfig(size=3), 0, index, "client", index)
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


def stopped(folder, *words, seeds=3, after=1):
    """A run that Ctrl-C ends once some seeds are kept."""
    keep = Checkpoints.save_seed

    def save(self, seed, result):
        keep(self, seed, result)
        if seed + 1 == after:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "save_seed", save)
        assert main([*SMALL, *words, "--seeds", str(seeds), "--run-dir", str(folder)]) == 130
    return folder


def content(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refused(folder, capsys, *words, command=()):
    """The one line that refuses to go on; nothing in the folder is touched."""
    before = content(folder)
    capsys.readouterr()
    assert main([*command, "--resume", str(folder), *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert content(folder) == before
    return line


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    return stopped(tmp_path_factory.mktemp("begun") / "run")


def other(value):
    """Values a setting may be edited to that differ from its own; some are not allowed at all."""
    match value:
        case bool():
            return st.just(not value)
        case int():
            return st.integers(1, 9).filter(lambda new: new != value)
        case float():
            return st.floats(0.01, 0.99).filter(lambda new: new != value)
        case []:
            return st.just(["1", "2"])
        case list():
            return st.just([*value, *value[:1]]) | st.just(value[1:] or ["local", "mean"])
        case None:
            return st.integers(1, 9) | st.floats(1.0, 9.0)
        case _:
            return st.sampled_from(["adam", "lbfgs", "shared", "client", "max", "none", "centre",
                                    "rbf", "gibbs", "scale", "anywhere", "FrozenLake-v1"]).filter(
                lambda new: new != value
            )  # fmt: skip


@given(data=st.data())
def test_an_edit_of_any_leaf_of_the_settings_is_refused_by_its_name(begun, data):
    tree = yaml.safe_load((begun / "config.yaml").read_text())
    deciding = sorted(name for name, _ in leaves(tree) if name.partition(".")[0] not in FREE)
    assert len(deciding) > 50
    name = data.draw(st.sampled_from(deciding))
    *groups, last = name.split(".")
    group = tree
    for one in groups:
        group = group[one]
    group[last] = data.draw(other(group[last]))
    before = content(begun)
    try:
        (begun / "config.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
        with pytest.MonkeyPatch.context() as patch:
            said = []
            patch.setattr(sys.stderr, "write", said.append)
            assert main(["--resume", str(begun)]) == 2
    finally:
        (begun / "config.yaml").write_bytes(before[Path("config.yaml")])
    (line,) = "".join(said).splitlines()
    assert name in line
    assert content(begun) == before


@pytest.mark.parametrize("group", FREE)
def test_where_a_run_runs_and_what_it_leaves_may_be_edited(begun, tmp_path, group):
    run = shutil.copytree(begun, tmp_path / "run")
    tree = yaml.safe_load((run / "config.yaml").read_text())
    tree["engine"]["timeout"] = 77.0
    tree["record"]["figure"] = True
    (run / "config.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    assert main(["--resume", str(run)]) == 0
    assert (run / "figure.png").exists()


def test_another_runs_checkpoint_is_refused_by_the_setting_that_differs(begun, tmp_path, capsys):
    run = shutil.copytree(begun, tmp_path / "run")
    theirs = stopped(tmp_path / "other", "--fusion.epsilon", "5", after=2)
    (piece,) = theirs.glob("seeds/seed-00001-*")
    shutil.copy(piece, run / "seeds")
    line = refused(run, capsys)
    assert f"{piece.name} of another: its fusion.epsilon was 5.0, not 0.5" in line


def test_another_seeds_checkpoint_is_refused(begun, tmp_path, capsys):
    run = shutil.copytree(begun, tmp_path / "run")
    (piece,) = run.glob("seeds/seed-00000-*")
    piece.rename(piece.with_name(piece.name.replace("00000", "00001")))
    assert "seed-00001-" in (line := refused(run, capsys))
    assert line.endswith("that was called seed-00000")


def test_another_seeds_round_is_refused_too(tmp_path):
    config = small()
    kept = []
    list(
        federate(config, Clients(config, range(config.clients)), keep=lambda *one: kept.append(one))
    )
    checkpoints = Checkpoints(tmp_path, identify(config), pytest.fail)
    checkpoints.save_round(*kept[0])
    (piece,) = tmp_path.iterdir()
    piece.rename(tmp_path / piece.name.replace("round-00000", "round-00007"))
    with pytest.raises(ConfigError, match="that was called round-00000-00001"):
        checkpoints.rounds()
    others = Checkpoints(tmp_path, identify(replace(config, seed=9)), pytest.fail)
    with pytest.raises(ConfigError, match="its seed was 0, not 9"):
        others.rounds()


def demonstrations(path, state, **more):
    np.savez(
        path,
        client=np.repeat(np.arange(2), 2),
        states=np.full((4, 18), state, dtype=np.int32),
        actions=np.zeros((4, 18), dtype=np.int32),
        **more,
    )


def test_a_demonstrations_file_with_other_content_is_refused_by_its_name(tmp_path, capsys):
    file = tmp_path / "shown.npz"
    demonstrations(file, 0)
    words = ("--problem.demonstrations-file", "shown.npz", "--problem.slip", "0")
    run = stopped(tmp_path / "run", *words)
    kept = file.read_bytes()
    demonstrations(file, 0, note=np.zeros(1))  # no matter how it differs
    line = refused(run, capsys)
    assert line.startswith("problem.demonstrations-file shown.npz must hold what it did when a run")
    file.unlink()
    assert "problem.demonstrations-file must be a readable file" in refused(run, capsys)
    file.write_bytes(kept)
    assert main(["--resume", str(run)]) == 0


def test_a_users_module_with_other_code_is_refused_by_its_setting(tmp_path, capsys):
    (tmp_path / "edited.py").write_text(MINE)
    words = ("--problem.name", "edited:world", "--problem.horizon", "9")
    run = stopped(tmp_path / "run", *words)
    (tmp_path / "edited.py").write_text(MINE.replace("size=3", "size=4"))
    line = refused(run, capsys)
    assert line.startswith("problem.name edited:world must hold what it did when a run was begun")
    (tmp_path / "edited.py").write_text(MINE)
    assert main(["--resume", str(run)]) == 0


def test_a_file_that_changes_under_way_stops_the_run_before_it_is_mixed(
    tmp_path, monkeypatch, capsys
):
    (tmp_path / "moving.py").write_text(MINE)
    keep = Checkpoints.save_seed

    def save(self, seed, result):
        keep(self, seed, result)
        (tmp_path / "moving.py").write_text(MINE.replace("size=3", "size=4"))

    monkeypatch.setattr(Checkpoints, "save_seed", save)
    words = [*SMALL, "--problem.name", "moving:world", "--problem.horizon", "9", "--seeds", "3"]
    assert main([*words, "--run-dir", "run"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("problem.name must hold the same content until the run has ended")
    assert line.endswith(f"go on with: {PROG} --resume run")
    assert len(list((tmp_path / "run" / "seeds").glob("seed-*"))) == 1


def other_code(folder, **more):
    """Make a folder's work another version's."""
    path = folder / IDENTITY
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": "0.0.1"} | more))


def test_a_run_of_another_version_is_refused_by_its_name_and_stays(begun, tmp_path, capsys):
    run = shutil.copytree(begun, tmp_path / "run")
    other_code(run, source="0123")
    (run / "config.yaml").write_text("what: would not be understood\n")
    assert refused(run, capsys) == (
        f"resume must be a run that {code_in_words()} began, got {run} of fedirl_ray 0.0.1 (source "
        f"0123); go on with that, or begin anew with: {PROG} {run / 'config.yaml'}"
    )


def test_a_run_of_the_same_version_whose_code_was_changed_is_refused(begun, tmp_path, capsys):
    run = shutil.copytree(begun, tmp_path / "run")
    other_code(run, version=version(), source="0123")
    assert f"of fedirl_ray {version()} (source 0123)" in refused(run, capsys)


def test_a_checkpoint_of_another_version_is_refused_and_stays(begun, tmp_path, capsys):
    run = shutil.copytree(begun, tmp_path / "run")
    (piece,) = run.glob("seeds/seed-00000-*")
    piece.unlink()
    identity = replace(identify(RunConfig()), version="0.0.1", source="0123")
    with np.load(next(begun.glob("seeds/seed-*"))) as arrays:
        rest = {name: array for name, array in arrays.items() if not name.startswith("kept.")}
    from fedirl_ray.engine.result import SeedResult

    Checkpoints(run / "seeds", identity, pytest.fail).save_seed(0, SeedResult(**rest))
    assert "of fedirl_ray 0.0.1 (source 0123), not of fedirl_ray" in refused(run, capsys)


def test_a_checkpoint_that_says_nothing_of_its_run_is_refused_and_stays(begun, tmp_path, capsys):
    run = shutil.copytree(begun, tmp_path / "run")
    buffer = io.BytesIO()
    np.savez(buffer, theta=np.zeros((1, 2)))
    checksum = hashlib.sha256(buffer.getvalue()).hexdigest()[:16]
    (run / "seeds" / f"seed-00001-{checksum}.npz").write_bytes(buffer.getvalue())
    line = refused(run, capsys)
    assert line.endswith("of an earlier version, which wrote down no identity")
    assert f"seed-00001-{checksum}.npz" in line


def test_an_unfinished_run_without_an_identity_names_the_version_that_began_it(
    begun, tmp_path, capsys
):
    run = shutil.copytree(begun, tmp_path / "run")
    (run / IDENTITY).unlink()
    environment = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps(environment | {"fedirl_ray": "0.4.2"}))
    assert "of fedirl_ray 0.4.2; go on with that, or begin anew" in refused(run, capsys)
    (run / "environment.json").unlink()
    assert "of an earlier version; go on with that" in refused(run, capsys)


def test_a_finished_run_without_an_identity_is_shown_and_reported(tmp_path, capsys):
    two = ("--fusion.rules", "mean,barycenter")
    assert main([*SMALL, *two, "--seeds", "1", "--run-dir", "run"]) == 0
    (tmp_path / "run" / IDENTITY).unlink()
    capsys.readouterr()
    assert main(["--resume", "run"]) == 0
    assert "nothing was left to do" in capsys.readouterr().out
    assert "fusion.epsilon must stay 0.5" in refused(Path("run"), capsys, "--fusion.epsilon", "1")
    assert main(["report", "run"]) == 0


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b'{"settings": 3}', b"[" * 10**5])
def test_an_identity_that_cannot_be_read_is_one_line(begun, tmp_path, capsys, data):
    run = shutil.copytree(begun, tmp_path / "run")
    (run / IDENTITY).write_bytes(data)
    line = refused(run, capsys)
    assert line == f"{run / IDENTITY} must hold the identity of a run, got something else"
    with pytest.raises(DataError):
        Identity.decode(data, run)


def test_an_identity_is_read_back_as_it_was_written(tmp_path):
    identity = identify(RunConfig(problem=ProblemConfig(slip=0.1 + 0.2)))
    assert Identity.decode(identity.encode(), tmp_path) == identity
    assert identity.settings["problem.slip"] == 0.1 + 0.2
    assert identity.settings["fusion.rules"][0] == "local"
    assert not any(name.startswith(("engine.", "record.")) for name in identity.settings)


def test_runs_are_named_after_what_decides_their_results():
    config = RunConfig()
    same = replace(config, engine=EngineConfig(backend="local"), record=RecordConfig(figure=False))
    assert name_of(same) == name_of(config)
    assert name_of(replace(config, seed=1)) != name_of(config)
    assert re.fullmatch("[0-9a-f]{16}", name_of(config))


def test_the_digest_of_the_code_knows_every_file_that_computes(tmp_path, monkeypatch):
    source_digest.cache_clear()
    here = source_digest()
    copy = shutil.copytree(Path(fedirl_ray.__file__).parent, tmp_path / "fedirl_ray")
    monkeypatch.setattr(fedirl_ray, "__file__", str(copy / "__init__.py"))

    def now():
        source_digest.cache_clear()
        return source_digest()

    try:
        assert now() == here  # wherever it lies
        for name in ("report/table.py", "command/federate.py", "run.py"):
            (copy / name).write_text("# only shows\n")
            assert now() == here
        seen = {here}
        for name in ("irl/maxent.py", "engine/driver.py", "domain/control_judging.py", "config.py"):
            (copy / name).write_text((copy / name).read_text() + "\n")
            seen.add(now())
        (copy / "irl" / "maxent.py").rename(copy / "irl" / "other.py")
        seen.add(now())
        assert len(seen) == 6
    finally:
        source_digest.cache_clear()


def test_the_digest_of_a_package_knows_all_its_files(tmp_path):
    for name in ("one/__init__.py", "one/below/two.py", "alone.py", "beside.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    whole, alone = module_digest("one.below.two:f", "s"), module_digest("alone:f", "s")
    assert whole == module_digest("one:f", "s")
    (tmp_path / "beside.py").write_text("x = 2\n")
    assert alone == module_digest("alone:f", "s")
    (tmp_path / "one" / "below" / "two.py").write_text("x = 2\n")
    assert whole != module_digest("one:f", "s")
    (tmp_path / "alone.py").write_text("x = 2\n")
    assert alone != module_digest("alone:f", "s")
    with pytest.raises(ConfigError, match=r"task\.name must be module:function"):
        module_digest("no_such_thing:f", "task.name")
