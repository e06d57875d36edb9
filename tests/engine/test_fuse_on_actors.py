"""The server fuses on actors where barycenters are large; nothing but the place changes."""

from dataclasses import replace

import numpy as np
import pytest
from engine.faults import outcome, small

from fedirl_ray.config_engine import EngineConfig
from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.engine.client import RayFleet
from fedirl_ray.engine.fleet import open_fleet
from fedirl_ray.engine.local import Clients
from fedirl_ray.errors import ConfigError
from fedirl_ray.fusion.rules import fuse
from fedirl_ray.fusion.spec import Given, Support
from fedirl_ray.transport.barycenter import barycenter_in_process

pytestmark = pytest.mark.ray


@pytest.mark.parametrize("asked", ["auto", 50])
def test_a_run_that_fuses_on_actors_has_the_bytes_of_one_process(ray_session, asked):
    rules = ("mean", "barycenter", "debiased", "self-control")
    few = small(fuse_workers=asked, clients_per_actor=4)
    config = replace(few, fusion=FusionConfig(rules=rules))
    told = []
    with RayFleet(config, told.append, pays_from=0) as fleet:
        found, _ = outcome(config, fleet)
    assert found == outcome(config, Clients(config, range(4)))[0]
    assert [event.what for event in told] == ["placed", "fused"]
    assert "on 2 actors" in told[1].reason
    assert f"engine.fuse-workers {asked} on 2 CPUs" in told[1].reason


@pytest.mark.parametrize(
    ("settings", "pays_from", "why"),
    [
        ({"fuse_workers": 1}, 0, "in this process (one worker), engine.fuse-workers 1"),
        ({}, 10**6, "in this process (64 numbers, actors pay from 1,000,000)"),
    ],
)
def test_small_barycenters_and_one_worker_stay_in_the_driver_which_says_why(
    ray_session, settings, pays_from, why
):
    config = small(**settings)
    told = []
    with RayFleet(config, told.append, pays_from=pays_from) as fleet:
        found, _ = outcome(config, fleet)
    assert found == outcome(config, Clients(config, range(4)))[0]
    assert [event.what for event in told] == ["placed", "fused"]
    assert why in told[1].reason


def test_a_run_in_one_process_says_that_it_fuses_there():
    config = small(backend="local")
    told = []
    with open_fleet(config, told.append) as fleet:
        outcome(config, fleet)
    assert [event.what for event in told] == ["placed", "fused"]
    assert told[1].reason == "barycenter in this process (engine.backend local)"


def test_the_solver_is_asked_for_every_rule_that_transports_and_for_no_other():
    asked = []

    def watched(measures, axes, weights, solver):
        asked.append(solver.debiased)
        return barycenter_in_process(measures, axes, weights, solver)

    rng = np.random.default_rng(0)
    axis = np.arange(4.0)
    support = Support(rng.normal(size=(16, 2)), (axis, axis))
    thetas, weights = rng.normal(size=(3, 2)), np.full(3, 1 / 3)
    for rule in ("mean", "arithmetic", "barycenter", "debiased", "self-control"):
        ours = fuse(rule, Given(thetas, weights, support, FusionConfig(), barycenter=watched))
        plain = fuse(rule, Given(thetas, weights, support, FusionConfig()))
        assert ours.theta.tobytes() == plain.theta.tobytes()
    assert asked == [False, True, False]


@pytest.mark.parametrize("count", [0, -1])
def test_a_fuse_worker_is_needed(count):
    with pytest.raises(ConfigError, match=r"engine\.fuse-workers must be auto or an integer >= 1"):
        EngineConfig(fuse_workers=count)
