import dataclasses
import inspect
import json
import shlex
import sys

import numpy as np
import pytest
import yaml

import fedirl_ray
from fedirl_ray import RunConfig, preset
from fedirl_ray.api import result as result_module
from fedirl_ray.engine.identity import Identity
from fedirl_ray.errors import ConfigError, DataError
from fedirl_ray.run import main

SMALL = {
    "clients": 2,
    "seeds": 2,
    "problem": {"size": 3, "demonstrations": 5},
    "fusion.rules": ("mean", "barycenter", "expert"),
    "evaluation.held_out": 2,
    "evaluation.discounts": (),
    "engine.backend": "local",
    "record.figure": False,
}
FLAGS = shlex.split(
    "--clients 2 --seeds 2 --problem.size 3 --problem.demonstrations 5 --fusion.rules "
    "mean,barycenter,expert --evaluation.held-out 2 --evaluation.discounts --engine.backend local "
    "--record.figure False --progress False"
)
OF_THE_MACHINE = {"timings.json", "events.jsonl", "environment.json", "config.yaml"}


def small(**more):
    return preset("GridWorld", **(SMALL | more))


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A small run."""
    return fedirl_ray.run(small(), folder=tmp_path_factory.mktemp("run") / "here")


def contents(folder):
    return {
        path.name: path.read_bytes() for path in folder.iterdir() if path.name not in OF_THE_MACHINE
    }


def test_it_is_the_command_lines_run_to_the_byte(kept, tmp_path, capsys):
    assert main([*FLAGS, "--run-dir", str(tmp_path / "there")]) == 0
    capsys.readouterr()
    assert contents(tmp_path / "there") == contents(kept.folder)
    assert "rewards.npz" in contents(kept.folder)


def test_it_prints_nothing_and_goes_where_it_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    found = fedirl_ray.run(small(seeds=1))
    assert found.folder.parent.name == "runs"
    assert found.folder.is_dir()
    assert capsys.readouterr() == ("", "")


def test_a_bar_can_be_shown(tmp_path, capsys):
    fedirl_ray.run(small(seeds=1), folder=tmp_path / "run", progress=True)
    assert capsys.readouterr().out == ""


def test_what_is_there_is_replaced_only_if_asked(kept, tmp_path):
    with pytest.raises(ConfigError, match="must be a new or empty folder"):
        fedirl_ray.run(small(), folder=kept.folder)
    found = fedirl_ray.run(small(seeds=1), folder=tmp_path / "run")
    assert fedirl_ray.run(small(), folder=found.folder, overwrite=True).config.seeds == 2


def test_what_cannot_be_run_leaves_no_folder(tmp_path):
    config = small(**{"evaluation.metrics": ("no_such_module:f",)})
    with pytest.raises(ConfigError, match=r"^evaluation.metrics must be module:function"):
        fedirl_ray.run(config, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_interrupted_run_is_gone_on_with_to_the_same_bytes(kept, tmp_path, monkeypatch):
    def stops(self, seed, result, keep=fedirl_ray.engine.checkpoint.Checkpoints.save_seed):
        keep(self, seed, result)
        raise KeyboardInterrupt

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("fedirl_ray.engine.checkpoint.Checkpoints.save_seed", stops)
        with pytest.raises(KeyboardInterrupt):
            fedirl_ray.run(small(), folder=folder)
    with pytest.raises(DataError, match=r"a run that has ended, got .* --resume"):
        fedirl_ray.load(folder)
    assert fedirl_ray.resume(folder).table() == kept.table()
    assert contents(folder) == contents(kept.folder)
    assert fedirl_ray.resume(folder).table() == kept.table()  # had ended: loaded


def test_damaged_work_is_told_as_a_warning(tmp_path, monkeypatch):
    def stops(self, seed, result, keep=fedirl_ray.engine.checkpoint.Checkpoints.save_seed):
        keep(self, seed, result)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("fedirl_ray.engine.checkpoint.Checkpoints.save_seed", stops)
        with pytest.raises(KeyboardInterrupt):
            fedirl_ray.run(small(), folder=tmp_path / "run")
    (seed,) = (tmp_path / "run" / "seeds").glob("*.npz")
    seed.write_bytes(seed.read_bytes()[:-9])
    with pytest.warns(UserWarning, match="is damaged"):
        fedirl_ray.resume(tmp_path / "run")


def test_other_codes_run_is_not_gone_on_with(tmp_path, kept, monkeypatch):
    monkeypatch.setattr(Identity, "is_of_this_code", False)
    (tmp_path / "run").mkdir()
    for name in ("config.yaml", "identity.json", "environment.json"):
        (tmp_path / "run" / name).write_bytes((kept.folder / name).read_bytes())
    with pytest.raises(ConfigError, match="resume must be a run that fedirl_ray"):
        fedirl_ray.resume(tmp_path / "run")


def test_a_result_is_what_its_folder_holds(kept):
    again = fedirl_ray.load(str(kept.folder))
    assert again.config == kept.config == small()
    assert again.rules == ("mean", "barycenter", "expert")
    assert again.table().startswith("GridWorld, 2 clients, 2 seeds: success in %")
    assert again.summary["metric"] == "success"
    assert repr(again) == f"Result('{kept.folder}': GridWorld, 2 clients, 2 seeds, 3 rules)"
    rows = again.to_arrow().to_pylist()
    assert set(rows[0]) == {
        "seed", "round", "split", "rule", "judge", "metric", "step", "value"
    }  # fmt: skip
    mean = again.summary["success"]["held-out"]["greedy-0.95"]["barycenter"]["mean"]
    of_it = [
        row["value"]
        for row in rows
        if (row["split"], row["judge"], row["rule"], row["metric"])
        == ("held-out", "greedy-0.95", "barycenter", "success")
    ]
    assert np.mean(of_it) == pytest.approx(mean)


def test_its_rewards_are_those_of_its_arrays(kept):
    with np.load(kept.folder / "arrays.npz", allow_pickle=False) as arrays:
        for seed in (0, 1):
            wanted = arrays["reward"][seed, 1]
            found = kept.reward("barycenter", seed)(np.arange(9))
            np.testing.assert_allclose(found, wanted, atol=1e-14)


def test_without_pandas_a_data_frame_is_refused_in_one_line(kept, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match=r"^to_pandas needs pandas, .* pip install pandas"):
        kept.to_pandas()


@pytest.mark.parametrize("name", ["summary.json", "table.txt", "results.parquet"])
def test_a_file_that_is_gone_is_named(kept, tmp_path, name):
    for path in kept.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    found = fedirl_ray.load(tmp_path)
    (tmp_path / name).unlink()
    read = {
        "summary.json": lambda: found.summary,
        "table.txt": found.table,
        "results.parquet": found.to_arrow,
    }[name]
    with pytest.raises(DataError, match=rf"{name} must be a"):
        read()


def test_what_is_no_run_is_not_loaded(kept, tmp_path):
    with pytest.raises(DataError, match=r"that of a run \(with config.yaml\), got"):
        fedirl_ray.load(tmp_path / "nosuch")
    for path in kept.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    tree = yaml.safe_load((tmp_path / "config.yaml").read_text())
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**tree, "of-another-age": 1}))
    environment = json.loads((tmp_path / "environment.json").read_text())
    (tmp_path / "environment.json").write_text(json.dumps({**environment, "fedirl_ray": "0.0.7"}))
    with pytest.raises(DataError, match=r"this version knows, got .* of fedirl_ray 0.0.7: .*of-an"):
        fedirl_ray.load(tmp_path)


def test_a_preset_is_a_problems_settings_and_what_differs():
    assert preset("GridWorld") == RunConfig()
    own = preset("GridWorld", clients=5, irl={"l2": 0.5}, **{"fusion.cost_scale": "max"})
    assert (own.clients, own.irl.l2, own.fusion.cost_scale) == (5, 0.5, "max")
    group = fedirl_ray.EvaluationConfig(held_out=3, discounts=(), metrics=("a.b:c", "d:e"))
    assert preset("GridWorld", evaluation=group).evaluation == group
    file = preset("GridWorld", problem={"demonstrations_file": None}).problem.demonstrations_file
    assert file is None


def test_control_tasks_start_from_their_files():
    usual = preset("CartPole-v1")
    assert usual.problem.name == "CartPole-v1"
    assert usual != dataclasses.replace(RunConfig(), problem=usual.problem)
    assert preset("cartpole") == usual
    assert preset("CartPole-v1", clients=2).clients == 2


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("CartPol-v1", {}, "problem.name must be"),
        ("GridWorld", {"nosuch": 1}, "no setting is called --nosuch"),
        ("GridWorld", {"problem": {"sise": 1}}, "did you mean --problem.size"),
        ("GridWorld", {"clients": 0}, "clients must be an integer >= 1, got 0"),
        ("GridWorld", {"clients": "many"}, "clients must be an integer, got 'many'"),
    ],
)
def test_a_preset_that_cannot_be_is_refused(name, changes, said):
    with pytest.raises(ConfigError, match=said):
        preset(name, **changes)


def test_signatures_are_typed_and_documented():
    for function in (fedirl_ray.run, fedirl_ray.resume, fedirl_ray.load, fedirl_ray.preset,
                     fedirl_ray.fit, fedirl_ray.fuse, fedirl_ray.load_reward):  # fmt: skip
        signature = inspect.signature(function)
        assert signature.return_annotation is not inspect.Signature.empty
        for name, parameter in signature.parameters.items():
            assert parameter.annotation is not inspect.Parameter.empty
            assert f"{name}:" in function.__doc__.replace("**", "")
    assert result_module.Result.__doc__
