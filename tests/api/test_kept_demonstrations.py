"""Demonstrations that a run keeps beside its folder, and another learns from."""

import numpy as np
import pytest

from fedirl_ray.errors import ConfigError
from fedirl_ray.problem.npz import write_arrays
from fedirl_ray.run import main

SMALL = (
    *("--clients", "2", "--seeds", "1", "--problem.size", "3", "--problem.demonstrations", "2"),
    *("--evaluation.held-out", "1", "--engine.backend", "local", "--record.figure", "False"),
    *("--progress", "False", "--fusion.rules", "mean"),
)


def thetas(folder):
    with np.load(folder / "arrays.npz") as arrays:
        return arrays["client_theta"]


def test_what_a_run_keeps_another_learns_the_same_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*SMALL, "--run-dir", "one", "--record.demonstrations", "shown.npz"]) == 0
    more = ["--run-dir", "two", "--problem.demonstrations-file", "shown.npz"]
    assert main([*SMALL, *more]) == 0
    np.testing.assert_array_equal(thetas(tmp_path / "one"), thetas(tmp_path / "two"))


@pytest.mark.parametrize(
    ("target", "law"),
    [
        ("there.npz", "what does not exist yet, got there.npz"),
        ("no/shown.npz", "in a folder that exists, got no/shown.npz"),
        ("shown", "a name that ends in .npz, got shown"),
    ],
)
def test_where_they_cannot_be_kept_is_told_before_the_run(
    tmp_path, monkeypatch, capsys, target, law
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.npz").touch()
    assert main([*SMALL, "--run-dir", "one", "--record.demonstrations", target]) == 2
    assert capsys.readouterr().err.strip() == f"record.demonstrations must be {law}"
    assert not (tmp_path / "one").exists()


def test_a_run_that_has_ended_is_asked_for_none(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*SMALL, "--run-dir", "one"]) == 0
    assert main(["--resume", "one", "--record.demonstrations", "shown.npz"]) == 2
    law = "asked for while a run is on, got shown.npz"
    assert capsys.readouterr().err.strip().endswith(f"record.demonstrations must be {law}")
    assert not (tmp_path / "shown.npz").exists()


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "shown.npz"
    write_arrays(path, {"x": np.arange(3)})
    before = path.read_bytes()
    with pytest.raises(ValueError, match="pickle"):
        write_arrays(path, {"x": np.array([object()])})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ConfigError, match=r"^/dev/null/x\.npz cannot be written: Not a directory$"):
        write_arrays(type(path)("/dev/null/x.npz"), {})
