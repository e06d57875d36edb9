import struct
import sys

import numpy as np
import pyarrow.parquet as pq
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


def test_event_files_hold_success_and_norm_of_every_rule_and_seed(tmp_path):
    run = tmp_path / "run"
    assert main([*SMALL.split(), "--record.tensorboard", "True", "--run-dir", str(run)]) == 0
    (path,) = (run / "tensorboard").iterdir()
    found = scalars(path)
    expected = {}
    for row in pq.read_table(run / "results.parquet").to_pylist():
        if row["metric"] == "success":
            tag = f"success/{row['split']}/{row['judge']}/{row['rule']}"
        elif row["metric"] == "theta_norm":
            tag = f"theta_norm/{row['rule']}"
        else:
            continue
        expected[tag, row["seed"]] = row["value"]
    assert set(found) == set(expected)
    assert len(found) > 100
    for key, value in expected.items():
        assert found[key] == np.float32(value)
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
