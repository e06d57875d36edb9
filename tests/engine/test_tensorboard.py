import struct
import sys
from collections import defaultdict

import numpy as np
import pyarrow.parquet as pq
import pytest
from tensorboardX.crc32c import crc32c
from tensorboardX.proto.event_pb2 import Event

from fedirl_ray.run import main

SMALL = "--seeds 3 --clients 2 --problem.size 3 --engine.backend local --progress False"


def scalars(path):
    """Every scalar of an event file, by tag and step; checks the frames' checksums."""
    data, found = path.read_bytes(), {}
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        body = data[12 : 12 + length]
        for checked, stored in ((data[:8], data[8:12]), (body, data[12 + length : 16 + length])):
            crc = crc32c(checked)
            masked = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
            assert struct.unpack("<I", stored) == (masked,)
        event = Event.FromString(body)
        for value in event.summary.value:
            found[value.tag, event.step] = value.simple_value
        data = data[16 + length :]
    return found


def test_event_files_hold_success_and_norm_of_every_rule_by_round_of_seeds_and_their_mean(tmp_path):
    run = tmp_path / "run"
    words = [*SMALL.split(), "--federation.rounds", "2", "--record.tensorboard", "yes"]
    assert main([*words, "--run-dir", str(run)]) == 0
    expected, every = defaultdict(dict), defaultdict(list)
    for row in pq.read_table(run / "results.parquet").to_pylist():
        if row["metric"] == "success":
            tag = f"success/{row['split']}/{row['judge']}/{row['rule']}"
        elif row["metric"] == "theta_norm":
            tag = f"theta_norm/{row['rule']}"
        else:
            continue
        expected[f"seed-{row['seed']}"][tag, row["round"]] = row["value"]
        every[tag, row["round"]].append(row["value"])
    expected["mean"] = {point: np.mean(values) for point, values in every.items()}
    assert {path.name for path in (run / "tensorboard").iterdir()} == {
        "seed-0", "seed-1", "seed-2", "mean"
    }  # fmt: skip
    for name, points in expected.items():
        (path,) = (run / "tensorboard" / name).iterdir()
        found = scalars(path)
        assert set(found) == set(points)
        assert {number for _, number in found} == {1, 2}
        for point, value in points.items():
            assert found[point] == pytest.approx(value, rel=1e-6)
    # The folder is the run's own: it can be replaced with the run.
    again = [*SMALL.split(), "--run-dir", str(run), "--overwrite", "True"]
    assert main(again) == 0
    assert not (run / "tensorboard").exists()


def test_without_the_library_a_run_is_refused_before_it_begins(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    run = tmp_path / "run"
    assert main([*SMALL.split(), "--record.tensorboard", "True", "--run-dir", str(run)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "record.tensorboard" in said
    assert "pip install 'fedirl-ray[tensorboard]'" in said
    assert not run.exists()
