"""What all tests share: one BLAS thread, repeatable Hypothesis, one Ray for the session."""

import logging
import os
import signal
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings
from threadpoolctl import threadpool_limits
from xdist.scheduler import LoadFileScheduling

from fedirl_ray.config import EvaluationConfig, RunConfig
from fedirl_ray.config_fusion import REFERENCES, RULE_NAMES, FusionConfig
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.engine.driver import federate
from fedirl_ray.engine.local import Clients

threadpool_limits(limits=1)  # as every process of a run does
# A shell's background jobs ignore Ctrl-C, those under nohup a hang-up, and so would the processes
# that tests start and stop.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
settings.register_profile("repeatable", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("repeatable")


class OneRay(LoadFileScheduling):
    """A file's tests run in one process, and all files that share a Ray in the same, first."""

    def _split_scope(self, nodeid):
        return _scope(super()._split_scope(nodeid))


@cache
def _scope(file):
    return "ray" if "ray_session" in Path(__file__).parents[1].joinpath(file).read_text() else file


def pytest_xdist_make_scheduler(config, log):
    """Spread tests over the processes so that one Ray is enough."""
    return OneRay(config, log)


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items):
    """Mark what uses the session's Ray, through whichever fixture."""
    for item in items:
        if "ray_session" in item.fixturenames:
            item.add_marker(pytest.mark.ray)


@pytest.fixture(autouse=True)
def only_marked_tests_start_ray(request, monkeypatch):
    """Leave Ray no folder to start in, in this process or another, unless the test is marked."""
    if request.node.get_closest_marker("ray") is None:
        monkeypatch.setenv("RAY_TMPDIR", os.devnull)


@pytest.fixture(scope="session")
def small_run():
    """A run of three seeds in this process, with every rule: configuration and results."""
    others = [name for name in REFERENCES if name != "local"]
    rules = ("local", *RULE_NAMES, *others)
    config = RunConfig(
        clients=3,
        seeds=3,
        problem=ProblemConfig(size=4, demonstrations=10),
        fusion=FusionConfig(rules=rules),
        evaluation=EvaluationConfig(held_out=4, discounts=(0.9,)),
    )
    fleet = Clients(config, range(config.clients))
    return config, [result for _, result in federate(config, fleet)]


@pytest.fixture(scope="session")
def ray_session():
    """One small Ray on this machine; a fleet that finds it joins it and leaves it running."""
    # Read by Ray when it is imported: silences a notice about accelerators nobody asked for.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    yield
    ray.shutdown()
