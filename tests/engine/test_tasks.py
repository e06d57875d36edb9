"""Runs side by side on Ray's CPUs."""

import asyncio
import threading
from dataclasses import replace

import pytest
from engine.faults import small

from fedirl_ray.config_engine import EngineConfig
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.engine.result import SeedResult
from fedirl_ray.engine.tasks import Lost
from fedirl_ray.engine.trials import RayTasks

TIMEOUT = 3.0


@pytest.mark.ray
def test_waiting_for_a_cpu_does_not_count_towards_the_timeout(ray_session):
    import ray

    @ray.remote(num_cpus=0)
    class Gate:
        def __init__(self):
            self.event = asyncio.Event()

        async def wait(self):
            await self.event.wait()

        async def open(self):
            self.event.set()

    @ray.remote(num_cpus=1)
    def occupy(gate):
        ray.get(gate.wait.remote())

    gate = Gate.remote()
    busy = [occupy.remote(gate) for _ in range(2)]
    timer = threading.Timer(1.5 * TIMEOUT, lambda: gate.open.remote())
    with RayTasks(EngineConfig(timeout=TIMEOUT), most=1) as tasks:
        tasks.start(3, small())
        timer.start()
        came = [tasks.next(), tasks.next()]
    ray.get(busy)
    assert [one.key for one in came] == [3, 3]
    assert isinstance(came[0].what, SeedResult)
    assert came[1].what is None


@pytest.mark.ray
def test_a_run_that_takes_too_long_is_lost_and_leaves_the_others_alone(ray_session):
    with RayTasks(EngineConfig(timeout=TIMEOUT), most=2) as tasks:
        tasks.start(1, replace(small(), clients=3000, problem=ProblemConfig(size=12)))
        came = tasks.next()
        assert came == (1, Lost("no seed within 3 s (engine.timeout)"))
        tasks.start(2, small())
        assert tasks.next().key == 2


@pytest.mark.ray
def test_a_run_that_is_given_up_is_heard_of_no_more(ray_session):
    with RayTasks(EngineConfig(), most=2) as tasks:
        tasks.start(1, replace(small(), seeds=3))
        tasks.start(2, small())
        tasks.cancel(1)
        came = [tasks.next(), tasks.next()]
    assert [one.key for one in came] == [2, 2]
    assert came[1].what is None
