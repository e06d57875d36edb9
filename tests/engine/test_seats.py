"""Pieces of work on actors: those of a run's clients, and workers with a CPU each.

Workers import this module, and can import no other of the tests'.
"""

import os
import signal
import time
from dataclasses import replace

import numpy as np
import pytest

from fedirl_ray.config_engine import EngineConfig
from fedirl_ray.engine.client import RayFleet
from fedirl_ray.engine.jobs import Job, Jobs
from fedirl_ray.engine.local import Clients
from fedirl_ray.engine.seats import Seats
from fedirl_ray.engine.tasks import run_seeds
from fedirl_ray.engine.trials import RayTasks
from fedirl_ray.errors import RunError

LIMIT = 2.0


def draw(seed):
    return {"drawn": np.random.default_rng(seed).normal(size=5), "pid": np.array(os.getpid())}


def stop_once(marker):
    """Stops the first time, as a process does whose machine swaps."""
    if not os.path.exists(marker):
        open(marker, "w").close()
        os.kill(os.getpid(), signal.SIGSTOP)
    return {"done": np.array(1)}


def take(seconds):
    time.sleep(seconds)
    return {"done": np.array(1)}


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_fleets_actors_do_pieces_between_rounds_at_most_one_a_cpu(ray_session, tmp_path):
    from engine.faults import outcome, small

    config = replace(small(clients_per_actor=1), clients=5)
    here = Clients(config, range(config.clients))
    pieces = [Job("draw", draw, {"seed": seed}) for seed in range(6)]
    expected = {place: found["drawn"].tobytes() for place, found in here.do(pieces)}
    with RayFleet(config) as fleet:
        found = Jobs(fleet, tmp_path, pytest.fail).all(pieces)
        after, _ = outcome(config, fleet)
    assert {i: one["drawn"].tobytes() for i, one in enumerate(found)} == expected
    pids = {int(one["pid"]) for one in found}
    assert len(pids) <= 2  # CPUs, of five actors
    assert os.getpid() not in pids
    assert after == outcome(config, here)[0]


def test_whoever_hangs_over_a_piece_is_replaced_and_long_ones_are_given_longer(
    ray_session, tmp_path
):
    pieces = [
        Job("stuck", stop_once, {"marker": str(tmp_path / "stopped")}),
        Job("long", take, {"seconds": 2.0 * LIMIT}, patience=10.0),
    ]
    with Seats(EngineConfig(timeout=LIMIT)) as seats:
        assert sorted(place for place, _ in seats.do(pieces)) == [0, 1]
        assert (tmp_path / "stopped").exists()
        with pytest.raises(RunError) as caught:
            list(seats.do([pieces[1]._replace(patience=0.5)]))
    assert str(caught.value) == "long (1 of 1) was begun again and again: no answer within 1 s"


def test_a_piece_that_kills_whoever_does_it_is_given_up_by_name(ray_session, tmp_path):
    pieces = [Job("draw", draw, {"seed": 1}, kept=True), Job("deadly", die, {})]
    said = r"^deadly \(2 of 2\) was begun again and again: it died \(ActorDiedError\)$"
    with Seats(EngineConfig()) as seats:
        with pytest.raises(RunError, match=said):
            Jobs(seats, tmp_path, pytest.fail).all(pieces)
        assert dict(seats.do(pieces[:1])).keys() == {0}  # the others are as able as before
    assert len(list(tmp_path.iterdir())) == 1


def test_a_run_keeps_its_cpu_until_its_last_seed_while_another_waits(ray_session):
    import ray
    from engine.faults import small

    @ray.remote(num_cpus=1)  # which an actor keeps, unlike a task that waits
    class Busy:
        def begun(self):
            return True

    busy, config = Busy.remote(), replace(small(), seeds=3)
    assert ray.get(busy.begun.remote())
    with RayTasks(EngineConfig(), most=2) as tasks:
        tasks.start(1, config)
        tasks.start(2, config)
        came = [tasks.next() for _ in range(4)]
        first = came[0].key
        assert [one.key for one in came] == [first] * 4
        # Its actor takes the other run, whether or not one comes up meanwhile.
        came += [tasks.next() for _ in range(4)]
    ray.kill(busy)
    assert [one.key for one in came[4:]] == [3 - first] * 4
    for part in (came[:4], came[4:]):
        assert part[-1].what is None
        for one, expected in zip(part, run_seeds(config), strict=False):
            assert one.what.theta.tobytes() == expected.theta.tobytes()
