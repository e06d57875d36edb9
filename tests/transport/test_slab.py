import numpy as np
import pytest

from fedirl_ray import barycenter
from fedirl_ray.transport.axis import ground_costs
from fedirl_ray.transport.slab import Traffic, advance_slabs, make_slabs

AXES = [np.linspace(0, 1, 7), np.linspace(0, 2, 5), np.array([0.0, 1.0, 3.0])]
N = 7 * 5 * 3


def measures(k):
    rows = np.random.default_rng(k).random((k, N)) ** 2
    return rows / rows.sum(1, keepdims=True)


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_any_number_of_slabs_gives_the_barycenter(workers):
    rows, weights = measures(3), np.array([0.2, 0.3, 0.5])
    slabs = make_slabs(ground_costs(AXES), 0.5, rows, weights, workers)
    log_b = np.zeros(N)
    for _ in range(60):
        log_b = advance_slabs(slabs, log_b, Traffic())
    whole = barycenter(rows, AXES, weights=weights, epsilon=0.5, tol=1e-12)
    assert np.abs(np.exp(log_b) - whole.measure.ravel()).sum() < 1e-10


@pytest.mark.parametrize("workers", [2, 5])
def test_traffic_is_two_exchanges_of_all_clients(workers):
    k, axes = 4, [np.arange(10.0), np.arange(20.0)]
    rows = np.full((k, 200), 1 / 200)
    slabs = make_slabs(ground_costs(axes), 0.1, rows, np.full(k, 0.25), workers)
    traffic = Traffic()
    advance_slabs(slabs, np.zeros(200), traffic)
    assert traffic.sent == 2 * k * 200 * (workers - 1) // workers * 8


def test_too_many_slabs_are_refused():
    with pytest.raises(ValueError, match=r"workers must be between 1 and 7 .* got 8"):
        make_slabs(ground_costs(AXES), 0.05, measures(2), np.full(2, 0.5), 8)
