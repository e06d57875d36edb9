"""The command `stress`, its arithmetic, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from fedirl_ray.engine.local import Clients
from fedirl_ray.run import main
from fedirl_ray.study.memory import MIB, PeakMemory, family, pss
from fedirl_ray.study.stress import Measurement, StressConfig, growth

SMALL = ("stress", "--size", "3", "--progress", "False")


def measurement(clients, **changes):
    """A size that nobody measured."""
    one = Measurement(
        clients=clients, actors="", start=1.0, worlds=1.0, round=1.0,
        broadcast=0.125, local=0.5, upload=0.125, door=0.05, fuse={"mean": 0.2},
        evaluate=1.0, peak=MIB, down={"mean": 16}, up={"mean": 16},
        success={"mean": 1.0}, difference={"mean": 0.0}, half_width={"mean": 0.0}, total=3.0,
    )  # fmt: skip
    return replace(one, **changes)


@pytest.fixture(scope="module")
def measured(ray_session, tmp_path_factory):
    """Two sizes, two rounds, two seeds; the folder."""
    folder = tmp_path_factory.mktemp("stress") / "results"
    flags = ("--clients", "4,20", "--rounds", "2", "--seeds", "2", "--run-dir", str(folder))
    assert main([*SMALL, *flags]) == 0
    return folder


def test_every_size_has_a_row_whose_parts_make_its_round(measured):
    rows = pq.read_table(measured / "stress.parquet").to_pylist()
    assert [row["clients"] for row in rows] == [4, 20]
    for row in rows:
        parts = sum(row[name] for name in ("broadcast", "local", "upload", "door"))
        parts += row["fuse.mean"] + row["fuse.barycenter"]
        assert 0.0 < parts <= row["round"]
        timed = ("start", "worlds", "evaluate", "broadcast", "upload")
        assert min(row[name] for name in timed) > 0.0
        assert row["peak"] > 50 * MIB
        assert row["up.barycenter"] == 16  # two features, 8 bytes each
        assert row["half_width.barycenter"] is not None


def test_quality_is_that_of_the_same_run_in_this_process(measured):
    from fedirl_ray.engine.driver import federate

    config = StressConfig(size=3, rounds=2, seeds=2).run(4)
    results = [result for _, result in federate(config, Clients(config, range(4)))]
    success = np.mean([result.scores("held-out")[:, 0] for result in results], axis=0)
    row = pq.read_table(measured / "stress.parquet").to_pylist()[0]
    assert [row["success.mean"], row["success.barycenter"]] == success.tolist()


def test_the_folder_holds_a_table_a_summary_and_a_picture(measured):
    assert (measured / "scaling.png").read_bytes().startswith(b"\x89PNG")
    summary = json.loads((measured / "summary.json").read_text())
    assert [one["clients"] for one in summary["measurements"]] == [4, 20]
    assert summary["growth"] is None  # both sizes are too small to tell
    text = (measured / "table.txt").read_text()
    assert "Held-out success, 20 clients: mean" in text
    assert "to mean)" in text


def test_results_are_replaced_only_when_asked(measured, capsys):
    flags = [*SMALL, "--clients", "2", "--run-dir", str(measured)]
    assert main(flags) == 2
    assert "--overwrite" in capsys.readouterr().err
    (measured / "mine.txt").touch()
    assert main([*flags, "--overwrite", "True"]) == 2
    assert "mine.txt" in capsys.readouterr().err
    (measured / "mine.txt").unlink()
    assert (measured / "table.txt").is_file()


def test_a_size_that_would_not_fit_the_budget_is_not_begun(ray_session, tmp_path, capsys):
    flags = ("--clients", "2,200000", "--time-budget", "60", "--run-dir", str(tmp_path / "s"))
    assert main([*SMALL, *flags]) == 0
    assert "200000 clients and what follows are left out" in capsys.readouterr().err
    assert len(pq.read_table(tmp_path / "s" / "stress.parquet")) == 1


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--clients", "3,0"), "clients must be integers >= 1, got 0"),
        (("--rules", "mean,pooled"), "rules must be rules that fuse"),
        (("--rules", "barycenter"), "fusion.rules must be a list with mean"),
        (("--time-budget", "0"), "time-budget must be > 0"),
        (("--rounds", "0"), "federation.rounds must be >= 1"),
        (("--problem.name", "CartPole-v1"), "no setting is called --problem.name"),
        (("--engine.backend", "local"), "engine.backend must be ray in stress, which times Ray's "),
        (("--engine.address", "auto"), "engine.address must be None in stress, which times Ray's"),
    ],
)
def test_bad_settings_are_refused_in_one_line(flags, named, capsys):
    assert main([*SMALL, *flags]) == 2
    said = capsys.readouterr().err
    assert said.startswith(named)
    assert said.count("\n") == 1


def test_ctrl_c_keeps_what_was_measured(ray_session, tmp_path):
    import ray

    folder = tmp_path / "results"
    flags = ("--clients", "2,20000", "--run-dir", str(folder))
    process = subprocess.Popen(
        [sys.executable, "-m", "fedirl_ray.run", *SMALL, *flags],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        env={**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address},
        # A test run in the background would hand down deafness to SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    while not (folder / "table.txt").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said == f"Interrupted; what was measured (2 clients) is in {folder}\n"
    assert len(pq.read_table(folder / "stress.parquet")) == 1


def test_a_power_law_is_found_again():
    found = [measurement(n, round=0.01 * n**1.3, peak=5e8 + 2000.0 * n) for n in (300, 1000, 3000)]
    grown = growth([measurement(100, round=99.0), *found])
    assert grown.slope == pytest.approx(1.3)
    assert grown.bytes_per_client == pytest.approx(2000.0)
    assert growth(found[:1]) is None


def test_the_driver_share_is_what_clients_and_messages_leave():
    assert measurement(1).driver_share == pytest.approx(0.25)


def test_memory_counts_children_and_agrees_with_psutil():
    hoard = "x = bytearray(200 * 2**20); print('up', flush=True); input()"
    with (
        PeakMemory(every=0.05) as memory,
        subprocess.Popen(
            [sys.executable, "-c", hoard], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as child,
    ):
        assert child.stdout.readline() == "up\n"
        assert child.pid in family(os.getpid())
        assert pss(child.pid) == pytest.approx(
            psutil.Process(child.pid).memory_full_info().pss, rel=0.05
        )
        time.sleep(0.2)
        child.communicate("\n")
    assert memory.bytes > 200 * MIB
    assert pss(child.pid) == 0.0
