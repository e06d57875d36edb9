"""A study kept in a PostgreSQL server that is started for these tests, where one is installed."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
import pyarrow.parquet as pq
import pytest
import yaml
from processes import begin, wait_for

from fedirl_ray.run import main
from fedirl_ray.study.asking import open_study
from fedirl_ray.study.space import read_study_file
from fedirl_ray.study.storage import FOLDER

ROOT = Path(__file__).parents[2]
SECRET = "correct-horse"
KILLS = 3
PLAN = {
    "fixed": {
        "clients": 2,
        "seeds": 2,
        "problem": {"size": 3, "demonstrations": 2, "obstacles": 0.1},
        "irl": {"optimizer": "adam", "iterations": 5},
        "fusion.rules": ["mean", "barycenter"],
        "evaluation": {"held-out": 2, "discounts": [0.9]},
        "engine.backend": "local",
    },
    "search": {"fusion.epsilon": [0.1 * i for i in range(1, 11)]},
    "objectives": {"success/held-out/barycenter": "maximize"},
    "sampler": "grid",
    "trials": 10,
}


def programs():
    """Where a server's programs are, newest first; none where none is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    known = shutil.which("postgres")
    return [*found, *([Path(known).resolve().parent] if known else [])]


def somebody():
    """Whom the server runs as: it refuses to be root's."""
    if os.geteuid() != 0:
        return {}
    other = pwd.getpwnam("nobody")
    return {"user": other.pw_uid, "group": other.pw_gid, "extra_groups": []}


@pytest.fixture(scope="module")
def server():
    """Address of a server on a Unix socket that asks for a password."""
    where = next((path for path in programs() if (path / "initdb").is_file()), None)
    if where is None:
        pytest.skip("no PostgreSQL server is installed (initdb, postgres)")
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="pg") as name:  # a socket's path is short
        folder, who = Path(name), somebody()
        (folder / "password").write_text(SECRET)
        if who:
            for path in (folder, folder / "password"):
                shutil.chown(path, who["user"])
        words = ["--auth=scram-sha-256", "--username=tester", f"--pwfile={folder}/password"]
        init = [where / "initdb", "--no-sync", "-E", "UTF8", "--locale=C", *words, folder / "data"]
        done = subprocess.run(init, capture_output=True, text=True, cwd="/", **who)
        assert done.returncode == 0, done.stderr
        serve = [where / "postgres", "-D", folder / "data", "-k", folder, "-c", "fsync=off"]
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                [*serve, "-c", "listen_addresses="], stdout=log, stderr=log, cwd="/", **who
            )
        try:
            ask = [where / "pg_isready", "-q", "-h", folder]
            while subprocess.run(ask).returncode != 0:
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.02)
            yield f"postgresql://tester:{SECRET}@/postgres?host={folder}"
        finally:
            process.send_signal(signal.SIGINT)  # ends its sessions
            process.wait(timeout=30)


def test_a_study_in_postgresql_outlives_kills_without_its_password_being_kept(
    server, tmp_path, monkeypatch, capsys
):
    plan, folder = tmp_path / "plan.yaml", tmp_path / "s"
    plan.write_text(yaml.safe_dump(PLAN))
    words = [plan, "--run-dir", folder, "--storage", server]
    monkeypatch.setenv("PGPASSWORD", SECRET)
    for _ in range(KILLS):
        process = begin("sweep", *words, "--progress", "False")
        before = len(list(folder.glob("trials/*.parquet")))
        wait_for(process, lambda: len(list(folder.glob("trials/*.parquet"))) > before)  # noqa: B023
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        words = ["--resume", folder]
    assert main(["sweep", "--resume", str(folder), "--progress", "False"]) == 0
    table = pq.read_table(folder / "trials.parquet").to_pydict()
    assert table["state"] == ["COMPLETE"] * 10
    assert sorted(table["params.fusion.epsilon"]) == PLAN["search"]["fusion.epsilon"]
    assert set(pq.read_table(folder / "results.parquet")["trial"].to_pylist()) == set(
        table["number"]
    )

    assert main(["report", str(folder)]) == 0
    kept = [path for path in folder.rglob("*") if path.is_file()]
    assert folder / "database.yaml" in kept
    assert not [path for path in kept if SECRET.encode() in path.read_bytes()]

    monkeypatch.setenv("PGPASSWORD", "wrong")
    resume = ["sweep", "--resume", str(folder), "--progress", "False"]
    capsys.readouterr()
    assert main(resume) == 2
    said = capsys.readouterr().err
    assert "a password is read from PGPASSWORD, ~/.pgpass or --storage" in said
    assert main([*resume, "--storage", server]) == 0
    said = capsys.readouterr().err
    assert said.startswith("The password is not kept: to go on, set PGPASSWORD")
    assert SECRET not in said


def test_a_server_that_goes_away_is_one_line(server, tmp_path):
    plan, folder = tmp_path / "plan.yaml", tmp_path / "s"
    plan.write_text(yaml.safe_dump(PLAN | {"sampler": "random", "trials": 1000}))
    words = [plan, "--run-dir", folder, "--storage", server, "--progress", "False"]
    said = tmp_path / "said"
    process = begin("sweep", *words, said=said)
    assert wait_for(process, lambda: list(folder.glob("trials/*.parquet")))
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where pid <> pg_backend_pid() and usename = 'tester'"
        )
    process.join()
    assert process.exitcode == 1
    _, line = said.read_text().splitlines()  # the first tells of the password
    assert line.startswith("the database postgresql://tester@/postgres?host=")
    assert line.endswith(f"go on with: python -m fedirl_ray.run sweep --resume {folder}")


def resume(folder, *words):
    return main(["sweep", "--resume", str(folder), *map(str, words), "--progress", "False"])


def test_one_driver_is_at_a_study_and_nothing_is_created_in_its_stead(
    server, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("PGPASSWORD", SECRET)
    plan, folder, twin = tmp_path / "plan.yaml", tmp_path / "s", tmp_path / "twin"
    plan.write_text(yaml.safe_dump(PLAN | {"trials": 1}))
    words = ["sweep", plan, "--run-dir", folder, "--storage", server, "--progress", "False"]
    assert main(list(map(str, words))) == 0
    study = read_study_file(folder / "study.yaml")
    shutil.copytree(folder, twin)
    with open_study(folder, study) as found:
        # As if the twin were on another machine, whose folders cannot be seen from here.
        found.set_user_attr(FOLDER, ["elsewhere", str(folder)])
        capsys.readouterr()
        assert resume(twin, "--trials", "2") == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"a study must have one driver, got {twin}; another process is at")
        assert main(["report", str(twin)]) == 0  # to look at it disturbs nobody
    assert resume(twin, "--trials", "2") == 0  # the lock has gone with its driver

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("create database empty")
    capsys.readouterr()
    assert resume(twin, "--storage", server.replace("/postgres?", "/empty?")) == 2
    assert "storage must be a database with studies of Optuna's" in capsys.readouterr().err
    with psycopg.connect(server.replace("/postgres?", "/empty?")) as connection:
        tables = connection.execute("select tablename from pg_tables where schemaname = 'public'")
        assert tables.fetchall() == []
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("update studies set study_name = study_name || '-gone'")
    before = (twin / "database.yaml").read_bytes()
    assert resume(twin) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"the study of {twin} must be in its database postgresql://tester@/")
    assert (twin / "database.yaml").read_bytes() == before
