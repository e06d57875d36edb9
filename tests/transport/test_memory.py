"""Estimates of memory against peaks that Python's own tracer measures (numpy tells it all)."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from transport.strategies import bumps

from fedirl_ray import barycenter, wasserstein2
from fedirl_ray.transport import memory
from fedirl_ray.transport.axis import ground_costs
from fedirl_ray.transport.backend import CHOICES
from fedirl_ray.transport.memory import estimate, slots_for


def peak(action):
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("lengths", "k"),
    [((900,), 2), ((400, 9), 2), ((32, 21, 5), 6), ((90, 90), 4), ((30, 30, 30), 3)],
)
@pytest.mark.parametrize("options", [{}, {"anderson": 0}, {"debiased": True}, {"domain": "log"}])
def test_the_estimate_is_within_a_factor_of_two_of_the_peak(lengths, k, options):
    axes = [np.linspace(0.0, 1.0, m) for m in lengths]
    rows = bumps(axes, k, floor=0.3)
    if "domain" in options and len(lengths) > 1:
        options = {**options, "max_iters": 4, "anderson": 0}
    # Two levels of epsilon, and enough steps to fill all slots.
    settings = {"epsilon": 0.01, "tol": 0.0, "max_iters": 45, **options}
    slots = slots_for(k, rows[0].size, "float64")
    needed = estimate(
        k,
        lengths,
        1 if settings.get("anderson") == 0 else slots,
        "float64",
        second_kernel="debiased" in options,
    )
    taken = peak(lambda: barycenter(rows, axes, **settings))
    assert 0.5 < taken / needed < 1.2


def test_a_divergence_takes_what_its_problem_was_estimated_at():
    axis = np.linspace(0.0, 1.0, 700)
    p, q = np.random.default_rng(0).random((2, 700))
    needed = estimate(1, [700], slots_for(1, 700, "float64"), "float64", second_kernel=True)
    taken = peak(lambda: wasserstein2(p, q, [axis], epsilon=0.05, max_iters=20))
    assert 0.5 < taken / needed < 1.2


def test_a_long_axis_is_refused_before_its_matrix_is_made():
    axis = np.arange(10.0**6)

    def refused():
        with pytest.raises(MemoryError, match=r"axes of \[1000000\] points needs .* use a coarser"):
            ground_costs([axis])

    assert peak(refused) < 2**20


def test_an_exact_distance_too_large_for_the_machine_is_refused():
    m = 2000
    axes = [np.arange(float(m))] * 2
    with pytest.raises(MemoryError, match=r"an exact distance .* use epsilon instead of exact"):
        wasserstein2(np.ones((m, m)), np.ones((m, m)), axes, exact=True)


def test_a_debiased_measure_stopped_early_still_has_mass_one():
    axes = [np.arange(300.0), np.arange(20.0)]
    rows = np.random.default_rng(0).random((3, 300, 20))
    found = barycenter(
        rows, axes, epsilon=1e-4, debiased=True, max_iters=3, periodic=[300.0, 20.0], domain="log"
    )
    assert found.measure.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("options", [{}, {"anderson": 0}, {"debiased": True}, {"domain": "log"}])
def test_a_clouds_estimate_is_within_a_factor_of_two_of_the_peak(monkeypatch, stored, options):
    if not stored:
        monkeypatch.setitem(CHOICES, "numpy", replace(CHOICES["numpy"], stored=0))
    monkeypatch.setattr(memory, "WORTH_SAYING", 0)
    rng = np.random.default_rng(0)
    points, rows = rng.normal(size=(600, 5)), rng.random((4, 600)) + 0.1
    options = {"tol": 0.0, "max_iters": 40, **options}
    told = []
    monkeypatch.setattr(memory._LOG, "warning", lambda *said: told.append(said[2] * 2**30))
    taken = peak(lambda: barycenter(rows, points=points, **options))
    assert len(told) == 2
    assert 0.5 < taken / max(told) < 1.2
