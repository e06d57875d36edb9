"""Rules by sums over clients, beside the same rules on single uploads."""

from dataclasses import replace

import numpy as np
import pytest

from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.config_privacy import MEASURED, SUMMED
from fedirl_ray.errors import RunError
from fedirl_ray.fusion.rules import fuse
from fedirl_ray.fusion.spec import Given, Support
from fedirl_ray.fusion.sums import fuse_sums
from fedirl_ray.privacy.masking import SecureSum

KEY = b"k" * 32
CLIENTS = 8


def given_of(config=None, **changed):
    rng = np.random.default_rng(3)
    features = rng.normal(size=(20, 3))
    support = Support(features, (np.arange(4.0), np.arange(5.0)))
    config = config or FusionConfig(sigma="client", tolerance=1e-9, **changed)
    return Given(
        rng.normal(size=(CLIENTS, 3)), rng.dirichlet(np.ones(CLIENTS) * 9), support, config
    )


def by_sums(rule, given, key=KEY, lost=(), look=lambda message: None, count=CLIENTS):
    sums = SecureSum(tuple(range(count)), 3, key, dict(lost), look)
    return fuse_sums(rule, given, sums)


def same(one, other):
    measures = [None if f.measure is None else f.measure.tobytes() for f in (one, other)]
    return one.theta.tobytes() == other.theta.tobytes() and measures[0] == measures[1]


@pytest.mark.parametrize("rule", SUMMED)
def test_sums_fuse_what_single_uploads_do(rule):
    given = given_of()
    one, other = by_sums(rule, given), fuse(rule, given)
    assert np.abs(one.theta - other.theta).max() < 1e-6
    assert one.converged == other.converged
    if other.measure is not None:
        assert np.abs(one.measure - other.measure).sum() < 1e-7


@pytest.mark.parametrize(
    "changed", [{"sigma": 20.0}, {"measure": "gibbs"}, {"epsilon": 0.2}, {"epsilon": 0.08}]
)
@pytest.mark.parametrize("rule", MEASURED)
def test_whatever_the_measure_and_however_narrow_the_kernel(rule, changed):
    config = FusionConfig(**{"sigma": "client", "tolerance": 1e-6, "iterations": 2000} | changed)
    given = given_of(config)
    one, other = by_sums(rule, given), fuse(rule, given)
    assert one.converged
    assert np.abs(one.measure - other.measure).sum() < 1e-4


@pytest.mark.parametrize("lost", [{}, {2: 0}, {2: 4}, {0: 1, 7: 30}])
@pytest.mark.parametrize("rule", SUMMED)
def test_masks_leave_no_trace_whoever_is_lost_in_whichever_step(rule, lost):
    given = given_of()
    assert same(by_sums(rule, given, KEY, lost), by_sums(rule, given, None, lost))


@pytest.mark.parametrize("rule", SUMMED)
def test_what_is_fused_is_that_of_the_clients_that_are_left(rule):
    given = given_of()
    left = np.delete(np.arange(CLIENTS), 5)
    share = given.weights[left] / given.weights[left].sum()
    others = replace(given, thetas=given.thetas[left], weights=share)
    expected = by_sums(rule, others, count=7)
    at_once = by_sums(rule, given, lost={5: 0})
    assert np.abs(at_once.theta - expected.theta).max() < 1e-9
    on_the_way = by_sums(rule, given, lost={5: 12})
    if rule in ("barycenter", "debiased"):
        assert np.abs(on_the_way.theta - expected.theta).max() < 1e-5
        assert not same(on_the_way, by_sums(rule, given))


def test_a_repeated_step_begins_where_the_lost_one_did():
    """Else the others' scalings would have taken two steps for one of the barycenter's."""
    given = given_of()
    messages = []
    by_sums("barycenter", given, None, {5: 6}, messages.append)
    tried, again = (
        next(
            m.words.view(np.int64) for m in messages if (m.client, m.number, m.attempt) == (0, 6, a)
        )
        for a in (0, 1)
    )
    share = 1.0 / (1.0 - given.weights[5])
    assert np.allclose(again[:20], share * tried[:20], rtol=1e-6, atol=2.0)


def test_the_error_that_ends_it_is_no_smaller_than_the_worst_clients():
    given = given_of()
    exact = by_sums("barycenter", replace(given, config=replace(given.config, tolerance=1e-13)))
    for tolerance in (1e-3, 1e-5):
        config = replace(given.config, tolerance=tolerance)
        found = by_sums("barycenter", replace(given, config=config))
        assert found.converged
        assert np.abs(found.measure - exact.measure).sum() < 10.0 * tolerance


def test_a_theta_that_does_not_fit_the_ring_is_refused():
    given = given_of()
    given.thetas[0] = 1e9
    with pytest.raises(RunError, match="finite and below"):
        by_sums("mean", given)


def test_a_sum_that_would_leave_the_ring_is_refused_though_every_part_fits():
    """Else it would come back with another sign."""
    given = given_of()
    given.thetas[:] = 1.6e7
    given = replace(given, weights=np.full(CLIENTS, 1.0 / CLIENTS))
    assert 1.6e7 / CLIENTS < 2.0**22
    with pytest.raises(RunError, match="finite and below"):
        by_sums("mean", given)
