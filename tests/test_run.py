"""The main job, small, from its command line to its folder."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from fedirl_ray.cli import typed
from fedirl_ray.engine.checkpoint import Checkpoints
from fedirl_ray.engine.record import ON_DEMAND, RUN
from fedirl_ray.run import main

SMALL = (
    "--clients", "3", "--problem.size", "4", "--problem.demonstrations", "5",
    "--evaluation.held-out", "3", "--progress", "False",
)  # fmt: skip
LOCAL = (*SMALL, "--engine.backend", "local")
SAME = ("arrays.npz", "results.parquet", "summary.json", "table.txt")
"""Files that two runs of the same settings must agree on to the byte."""
FINISHED = ({RUN.settings} | RUN.blank | RUN.made) - ON_DEMAND - {"seeds"}
"""Files of a run that has ended."""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(folder, *argv, seeds=2):
    assert main([*LOCAL, "--seeds", str(seeds), "--run-dir", str(folder), *argv]) == 0
    return folder


def contents(folder):
    return {name: (folder / name).read_bytes() for name in SAME}


def arrays(folder):
    with np.load(folder / "arrays.npz", allow_pickle=False) as file:
        return dict(file)


def channels_of(found):
    """What the scores among a run's arrays are of, in their order."""
    names = (found[name].tolist() for name in ("judges", "metrics", "steps"))
    return list(zip(*names, strict=True))


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """A run of three seeds in this process that nothing interrupted."""
    return run(tmp_path_factory.mktemp("reference") / "run", seeds=3)


def test_every_file_of_the_folder_is_there_and_well_formed(reference):
    assert {path.name for path in reference.iterdir()} == FINISHED
    config = yaml.safe_load((reference / "config.yaml").read_text())
    assert (config["clients"], config["seeds"], config["problem"]["size"]) == (3, 3, 4)
    assert not {"run-dir", "resume", "overwrite"} & set(config)
    environment = json.loads((reference / "environment.json").read_text())
    assert environment["seed"] == 0
    assert {"numpy", "ray", "POT", "gymnasium"} <= set(environment["packages"])
    assert environment["python"] == ".".join(map(str, sys.version_info[:3]))
    assert (reference / "figure.png").read_bytes().startswith(b"\x89PNG")
    timings = json.loads((reference / "timings.json").read_text())
    assert len(timings["barycenter"]) == 3
    assert all(second > 0.0 for second in timings["barycenter"])


def test_the_long_table_and_the_arrays_tell_the_same(reference):
    table = pq.read_table(reference / "results.parquet")
    columns = ["seed", "round", "split", "rule", "judge", "metric", "step", "value"]
    assert table.column_names == columns
    rows = {tuple(row[:-1]): row[-1] for row in zip(*table.to_pydict().values(), strict=True)}
    assert len(rows) == table.num_rows
    found = arrays(reference)
    rules = yaml.safe_load((reference / "config.yaml").read_text())["fusion"]["rules"]
    channels = channels_of(found)
    for seed in range(3):
        for c, rule in enumerate(rules):
            for split, name in (("in-distribution", "client"), ("held-out", "held_out")):
                for metric in ("success", "return"):
                    value = rows[seed, 1, split, rule, "greedy-0.95", metric, 0]
                    at = channels.index(("greedy-0.95", metric, 0))
                    exact = found[f"{name}_scores"][seed, :, c, at].mean()
                    np.testing.assert_allclose(value, exact, rtol=1e-12)
        norm = rows[seed, 1, "", "mean", "", "theta_norm", 0]
        np.testing.assert_allclose(norm, np.linalg.norm(found["theta"][seed, rules.index("mean")]))
        assert rows[seed, 1, "", "mean", "", "theta_angle", 0] == 0.0
    assert all(0.0 <= v <= 1.0 for key, v in rows.items() if key[5] == "success")


def test_the_summary_is_that_of_the_long_table(reference):
    table = pq.read_table(reference / "results.parquet").to_pylist()
    summary = json.loads((reference / "summary.json").read_text())
    success = {
        rule: [
            row["value"]
            for row in table
            if (row["rule"], row["split"], row["judge"], row["metric"])
            == (rule, "held-out", "soft", "success")
        ]
        for rule in ("mean", "barycenter")
    }
    found = summary["success"]["held-out"]["soft"]["barycenter"]
    np.testing.assert_allclose(found["mean"], np.mean(success["barycenter"]))
    gap = np.subtract(success["barycenter"], success["mean"])
    np.testing.assert_allclose(found["difference"], gap.mean(), atol=1e-15)
    parts = summary["gain_of_barycenter"]["held-out"]["soft"]
    np.testing.assert_allclose(
        parts["total"]["mean"],
        sum(parts[name]["mean"] for name in ("normalisation", "blur", "transport")),
        atol=1e-12,
    )
    assert summary["seeds"] == [0, 1, 2]


def test_arrays_fit_each_other(reference):
    found = arrays(reference)
    np.testing.assert_allclose(
        found["measure"][~np.isnan(found["measure"]).any(axis=2)].sum(axis=1), 1.0, rtol=1e-9
    )
    rules = yaml.safe_load((reference / "config.yaml").read_text())["fusion"]["rules"]
    mean = found["theta"][:, rules.index("mean")]
    np.testing.assert_allclose(mean, found["client_theta"].mean(axis=1), rtol=1e-12)
    assert np.isnan(found["theta"][:, rules.index("local")]).all()


def test_the_saved_configuration_fed_back_gives_the_same_run(reference, tmp_path):
    assert main([str(reference / "config.yaml"), "--run-dir", "again"]) == 0
    assert contents(tmp_path / "again") == contents(reference)
    for name in ("config.yaml", "figure.png"):
        assert (tmp_path / "again" / name).read_bytes() == (reference / name).read_bytes()


def test_a_seed_is_the_same_however_many_follow_and_another_root_differs(reference, tmp_path):
    whole, part = arrays(reference), arrays(run(tmp_path / "part", seeds=2))
    names = {"rules", "judges", "metrics", "steps", "choices", "fact_names"}
    for name, array in part.items():
        np.testing.assert_array_equal(array, whole[name] if name in names else whole[name][:2])
    other = arrays(run(tmp_path / "other", "--seed", "1", seeds=1))
    assert (other["client_theta"] != whole["client_theta"][:1]).all()
    assert (whole["client_theta"][0] != whole["client_theta"][1]).all()


def test_without_a_name_a_run_gets_a_folder_of_its_own(tmp_path, capsys):
    for _ in range(2):
        assert main([*LOCAL, "--seeds", "1", "--record.figure", "False"]) == 0
    folders = sorted((tmp_path / "runs").iterdir())
    assert len(folders) == 2
    assert all("GridWorld" in folder.name for folder in folders)
    said = capsys.readouterr()
    assert said.err == ""
    assert all(f"runs/{folder.name}" in said.out for folder in folders)
    assert not (folders[0] / "figure.png").exists()


@pytest.mark.ray
@pytest.mark.parametrize("per_actor", ["auto", "1"])  # auto: two actors, of one and two clients
def test_ray_gives_the_same_bytes_as_this_process(ray_session, reference, tmp_path, per_actor):
    argv = [*SMALL, "--seeds", "3", "--run-dir", "onray", "--engine.backend", "ray"]
    assert main([*argv, "--engine.clients-per-actor", per_actor]) == 0
    assert contents(tmp_path / "onray") == contents(reference)
    import ray

    assert ray.is_initialized()  # joined, not started: left running


@pytest.mark.ray
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_rounds_on_ray_give_the_same_bytes_too(ray_session, tmp_path, optimizer):
    rounds = ("--federation.rounds", "3", "--irl.optimizer", optimizer, "--irl.iterations", "6",
              "--clients", "5", "--record.figure", "False")  # fmt: skip
    on_ray = ("--engine.backend", "ray", "--engine.clients-per-actor", "3")
    run(tmp_path / "local", *rounds, seeds=1)
    run(tmp_path / "onray", *rounds, *on_ray, seeds=1)
    assert contents(tmp_path / "onray") == contents(tmp_path / "local")


@pytest.mark.ray
def test_a_real_process_starts_ray_shows_the_table_and_leaves_quietly(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "fedirl_ray.run",
            *SMALL,
            "--seeds",
            "1",
            "--run-dir",
            "real",
            "--engine.clients-per-actor",
            "3",
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "RAY_ADDRESS": ""},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "entropic barycenter" in done.stdout
    assert "Run folder: real" in done.stdout
    assert (tmp_path / "real" / "table.txt").is_file()


def interrupted(folder, monkeypatch, after):
    """A run of three seeds that Ctrl-C ends once `after` of them are kept."""
    keep = Checkpoints.save_seed

    def save(self, seed, result):
        keep(self, seed, result)
        if seed + 1 == after:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "save_seed", save)
    assert main([*LOCAL, "--seeds", "3", "--run-dir", str(folder)]) == 130
    monkeypatch.undo()
    monkeypatch.chdir(folder.parent)


def test_an_interrupted_run_says_how_to_go_on_and_ends_in_the_same_bytes(
    reference, tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "run"
    interrupted(folder, monkeypatch, after=2)
    said = capsys.readouterr().err
    assert "Interrupted" in said
    assert f"--resume {folder}" in said
    assert not (folder / "table.txt").exists()
    again = []
    keep = Checkpoints.save_seed
    monkeypatch.setattr(
        Checkpoints,
        "save_seed",
        lambda self, seed, result: (again.append(seed), keep(self, seed, result)),
    )
    assert main(["--resume", str(folder)]) == 0
    assert again == [2]
    assert contents(folder) == contents(reference)
    assert {path.name for path in folder.iterdir()} == FINISHED


@pytest.mark.ray
def test_a_run_may_go_on_elsewhere(ray_session, reference, tmp_path, monkeypatch):
    interrupted(tmp_path / "run", monkeypatch, after=1)
    assert main(["--resume", "run", "--engine.backend", "ray"]) == 0
    assert contents(tmp_path / "run") == contents(reference)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_checkpoint_is_named_and_its_seed_run_again(
    reference, tmp_path, monkeypatch, capsys, damage
):
    folder = tmp_path / "run"
    interrupted(folder, monkeypatch, after=2)
    first, _ = sorted((folder / "seeds").iterdir())
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 1
    kept = {"cut": data[: len(data) // 2], "flipped": data, "empty": b""}[damage]
    first.write_bytes(kept)
    capsys.readouterr()
    assert main(["--resume", str(folder), "--progress", "no"]) == 0
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"{first.name} is damaged" in said
    assert contents(folder) == contents(reference)


def test_a_part_of_a_checkpoint_from_a_killed_process_is_passed_over(
    reference, tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "run"
    interrupted(folder, monkeypatch, after=1)
    (folder / "seeds" / ".seed-00001-0123456789abcdef.npz.part").write_bytes(b"half")
    assert main(["--resume", str(folder)]) == 0
    assert contents(folder) == contents(reference)


@pytest.mark.parametrize(
    ("flag", "value", "line"),
    [
        ("--clients", "4", "clients must stay 3 when a run is resumed, got 4"),
        ("--seeds", "9", "seeds must stay 3 when a run is resumed, got 9"),
        ("--seed", "1", "seed must stay 0 when a run is resumed, got 1"),
        ("--fusion.epsilon", ".1", "fusion.epsilon must stay 0.5 when a run is resumed, got 0.1"),
        ("--irl.l2", "2", "irl.l2 must stay 1.0 when a run is resumed, got 2.0"),
    ],
)
def test_a_run_never_goes_on_under_other_settings(tmp_path, monkeypatch, capsys, flag, value, line):
    folder = tmp_path / "run"
    interrupted(folder, monkeypatch, after=1)
    before = sorted(path.name for path in folder.rglob("*"))
    capsys.readouterr()
    assert main(["--resume", str(folder), flag, value]) == 2
    assert capsys.readouterr().err == f"{line}; only engine.* and record.* may change\n"
    assert sorted(path.name for path in folder.rglob("*")) == before


def test_a_finished_run_that_is_resumed_shows_its_table(reference, capsys):
    before = contents(reference)
    assert main(["--resume", str(reference)]) == 0
    assert capsys.readouterr().out.startswith((reference / "table.txt").read_text())
    assert contents(reference) == before


@pytest.mark.parametrize("lost", [["arrays.npz"], ["rewards.npz", "summary.json"]])
def test_a_finished_run_whose_files_are_gone_is_told_by_their_names(
    reference, tmp_path, capsys, lost
):
    folder = shutil.copytree(reference, tmp_path / "run")
    for name in lost:
        (folder / name).unlink()
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert main(["--resume", str(folder)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        f"resume must be a run with all its files (again: {typed(folder / 'config.yaml')}), got "
        f"{folder}, which had ended, without {', '.join(lost)}\n"
    )
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("irl.l2", "1e100"),
        ("irl.temperature", "1e-100"),
        ("irl.temperature", "1e100"),
        ("federation.proximal", "1e100"),
        ("fusion.epsilon", "1e-100"),
        ("fusion.epsilon", "1e100"),
        ("problem.expert-temperature", "1e-100"),
        ("problem.expert-temperature", "1e100"),
    ],
)
def test_what_is_just_let_in_can_be_calculated_with(tmp_path, name, value):
    words = ["--problem.size", "3", "--federation.rounds", "2", "--record.figure", "False"]
    found = arrays(run(tmp_path / "run", f"--{name}", value, *words, seeds=1))
    assert np.isfinite(found["client_theta"]).all()


def test_a_run_is_replaced_only_when_asked_to(tmp_path, capsys):
    folder = run(tmp_path / "run", seeds=1)
    before = contents(folder)
    capsys.readouterr()
    assert main([*LOCAL, "--run-dir", "run", "--seed", "5"]) == 2
    assert capsys.readouterr().err == (
        "run-dir must be a new or empty folder, got run; --overwrite true replaces a run\n"
    )
    assert contents(folder) == before
    run(folder, "--seed", "5", "--overwrite", "True", "--record.figure", "False", seeds=1)
    assert contents(folder) != before
    assert not (folder / "figure.png").exists()  # nothing of the old run is left


@pytest.mark.parametrize("name", ["FrozenLake-v1", "CliffWalking-v1", "Taxi-v4"])
def test_worlds_that_nobody_here_wrote_run_from_end_to_end(tmp_path, name, capsys):
    folder = run(tmp_path / "run", "--problem.name", name, seeds=1)
    found = arrays(folder)
    assert np.isfinite(found["client_theta"]).all()
    rules = yaml.safe_load((folder / "config.yaml").read_text())["fusion"]["rules"]
    assert channels_of(found)[0][1] == "success"
    expert = found["client_scores"][0, :, rules.index("expert"), 0]
    assert expert.min() > 0.2
    assert found["client_scores"][0, :, rules.index("local"), 0].mean() > 0.5 * expert.mean()
    assert (folder / "figure.png").exists() == (name != "Taxi-v4")
    assert name in capsys.readouterr().out


def test_a_second_round_goes_on_from_the_fused_reward(tmp_path):
    few = ("--irl.optimizer", "adam", "--irl.iterations", "5", "--irl.step", "0.05",
           "--evaluation.by-round", "False", "--fusion.rules", "local,mean,barycenter",
           "--record.figure", "False")  # fmt: skip
    one = arrays(run(tmp_path / "one", *few, seeds=1))
    two = arrays(run(tmp_path / "two", *few, "--federation.rounds", "2", seeds=1))
    long = arrays(run(tmp_path / "long", *few, "--federation.rounds", "40", seeds=1))
    best = arrays(run(tmp_path / "best", seeds=1))
    at = 1  # the parameter mean
    off = [np.linalg.norm(found["theta"][0, at] - best["theta"][0, at]) for found in (one, two)]
    assert off[1] < 0.95 * off[0]
    assert np.isfinite(long["theta"][0, at]).all()


def test_clients_that_converge_say_the_same_in_every_round(tmp_path):
    one = arrays(run(tmp_path / "one", seeds=1))
    two = arrays(run(tmp_path / "two", "--federation.rounds", "2", seeds=1))
    np.testing.assert_allclose(two["theta"], one["theta"], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(two["client_theta"], one["client_theta"], rtol=1e-3, atol=1e-4)


def test_thetas_of_nothing_make_a_table_without_a_warning(tmp_path):
    folder = run(tmp_path / "run", "--irl.iterations", "0", seeds=1)
    assert (arrays(folder)["client_theta"] == 0.0).all()
