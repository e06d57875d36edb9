import contextlib
import os
import signal
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest
from engine.faults import misbehaving, outcome, small
from processes import called

from fedirl_ray.engine.client import RayFleet
from fedirl_ray.engine.jobs import Job
from fedirl_ray.engine.local import Clients
from fedirl_ray.errors import RunError

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def undisturbed():
    config = small()
    found, told = outcome(config, Clients(config, range(config.clients)))
    assert not told
    return found


def on_ray(config, holder=Clients):
    told = []
    with RayFleet(config, told.append, holder=holder) as fleet:
        fleet.prepare(0)  # imports and worlds take their time on a busy machine
        found, _ = outcome(config, fleet, told)
    return found, [event for event in told if event.what not in ("placed", "fused")]


@pytest.mark.parametrize("per_actor", ["auto", 2, 3, 4])
def test_every_placement_gives_the_bytes_of_one_process(ray_session, undisturbed, per_actor):
    found, told = on_ray(small(clients_per_actor=per_actor))
    assert found == undisturbed
    assert not told


def test_actors_start_in_waves_that_are_told(ray_session, monkeypatch):
    monkeypatch.setattr("fedirl_ray.engine.seats.WAVE", 1)
    told = []
    config = replace(small(clients_per_actor=1), clients=5)
    with RayFleet(config, started=lambda up, count: told.append((up, count))) as fleet:
        fleet.prepare(0)
    assert told == [(0, 5), (2, 5), (4, 5), (5, 5)]  # two CPUs


def test_an_actor_killed_in_a_round_is_replaced_and_nothing_changes(ray_session, undisturbed):
    found, told = on_ray(small(), misbehaving("die"))
    assert found == undisturbed
    assert [(event.what, event.round) for event in told] == [("restarted", 1)]
    assert 2 in told[0].clients
    assert "died" in told[0].reason


def test_an_actor_killed_from_outside_is_replaced_too(ray_session, undisturbed, tmp_path):
    def kill():
        mark = tmp_path / "attempt-0"
        while not (mark.exists() and mark.read_text()):
            time.sleep(0.01)
        os.kill(int(mark.read_text()), signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    found, told = on_ray(small(), misbehaving("hang", folder=tmp_path))
    killer.join()
    assert found == undisturbed
    assert [event.what for event in told] == ["restarted"]


def test_an_actor_that_dies_each_time_is_left_out(ray_session, undisturbed):
    found, told = on_ray(small(), misbehaving("die", attempts=99))
    assert found != undisturbed
    assert [event.what for event in told] == ["restarted"] * 4 + ["missing"]


@pytest.mark.parametrize("fault", ["hang", "stop"])
def test_an_actor_that_hangs_is_replaced_and_asked_once_more(ray_session, undisturbed, fault):
    found, told = on_ray(small(timeout=3.0), misbehaving(fault))
    assert found == undisturbed
    assert [event.reason for event in told] == ["no answer within 3 s"]


def test_an_actor_that_hangs_twice_is_left_out_and_the_round_ends(ray_session, tmp_path):
    config = small(timeout=6.0)
    found, told = on_ray(config, misbehaving("hang", attempts=2, folder=tmp_path))
    assert [event.what for event in told] == ["restarted", "restarted", "missing"]
    without, _ = outcome(config, Without(config, rounds=(1,), clients=told[-1].clients))
    assert found == without
    for mark in tmp_path.iterdir():  # neither of them is still at it
        with contextlib.suppress(psutil.NoSuchProcess):  # Ray ends them in its own time
            psutil.Process(int(mark.read_text())).wait(timeout=30.0)


class Without(Clients):
    """Clients some of which say nothing in some rounds."""

    def __init__(self, config, rounds, clients):
        super().__init__(config, range(config.clients))
        self.rounds, self.silent = rounds, clients

    def learn(self, order):
        (answer,) = super().learn(order)
        if order.round not in self.rounds:
            return [answer]
        heard = [one for one in answer.uploads if one.key.client not in self.silent]
        return [answer._replace(uploads=heard)]


def test_stragglers_are_left_out_of_a_round_and_their_late_answer_is_thrown_away(ray_session):
    config = small(round_timeout=4.0)
    found, told = on_ray(config, misbehaving(10.0, round=0))
    # The straggler still sleeps when the second round asks it.
    said = [(event.what, event.round, event.clients) for event in told]
    assert said == [(what, n, (0, 2)) for n in (0, 1) for what in ("late", "missing")]
    assert found == outcome(config, Without(config, rounds=(0, 1), clients=(0, 2)))[0]


def test_an_upload_of_an_earlier_round_is_known_and_refused(ray_session, undisturbed):
    found, told = on_ray(small(), misbehaving("stale"))
    assert found == undisturbed
    assert [(event.what, event.reason) for event in told] == [
        ("refused", "late: for seed 0, round 0, attempt 0, in seed 0, round 1, attempt 0")
    ] * 2


def test_a_bad_upload_and_its_duplicate_cost_one_client_one_round(ray_session):
    config = small()
    found, told = on_ray(config, misbehaving("upload"))
    assert [event.what for event in told] == ["refused", "refused", "missing"]
    assert [event.reason for event in told[:2]] == ["duplicate", "theta holds NaN or infinity"]
    assert found == outcome(config, Without(config, rounds=(1,), clients=(2,)))[0]


def test_too_few_uploads_end_the_run_with_one_error(ray_session):
    with pytest.raises(RunError, match=r"quorum 0.9 needs 4 of 4 uploads in round 1 .* got 3"):
        on_ray(small(quorum=0.9), misbehaving("upload"))


def test_no_actor_outlives_its_fleet(ray_session):
    config = small()
    with RayFleet(config, holder=misbehaving("never")) as fleet:
        fleet.prepare(0)
        before = called("Misbehaving")
        assert len(before) == 2
    deadline = time.monotonic() + 20.0
    while before & called("Misbehaving") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not before & called("Misbehaving")


def test_a_clients_process_imports_nothing_heavy(ray_session):
    heavy = ("torch", "matplotlib", "pandas", "ot", "tyro")

    def look():  # travels by value
        return {"loaded": np.array([name in sys.modules for name in heavy])}

    with RayFleet(small()) as fleet:
        fleet.prepare(0)
        ((_, found),) = fleet.do([Job("looking", look, {})])
    assert not found["loaded"].any()
