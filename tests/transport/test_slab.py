import numpy as np
import pytest

from fedirl_ray import barycenter
from fedirl_ray.transport import slab
from fedirl_ray.transport.axis import ground_costs
from fedirl_ray.transport.slab import in_process_slabs, make_slab, solve_slabs, step_traffic

AXES = [np.linspace(0, 1, 7), np.linspace(0, 2, 5), np.array([0.0, 1.0, 3.0])]
N = 7 * 5 * 3
WEIGHTS = np.array([0.2, 0.3, 0.5])


def measures(k):
    return np.random.default_rng(k).random((k, N)) ** 2


def slabs(workers, epsilon=0.5, axes=AXES, rows=None, weights=WEIGHTS):
    rows = measures(3) if rows is None else rows
    costs = ground_costs(axes)
    return [make_slab(costs, epsilon, rows, weights, i, workers) for i in range(workers)]


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
@pytest.mark.parametrize("epsilon", [0.02, 0.5])
def test_any_number_of_slabs_gives_the_barycenter(workers, epsilon):
    parts = slabs(workers, epsilon)
    found = solve_slabs(in_process_slabs(parts), 1e-11, 2000)
    whole = barycenter(measures(3), AXES, weights=WEIGHTS, epsilon=epsilon, tol=1e-12)
    b = np.exp(np.concatenate([part.log_b for part in parts]).ravel())
    assert found.converged
    assert np.abs(b / b.sum() - whole.measure.ravel()).sum() < 1e-9


def test_the_error_is_the_one_the_barycenter_reports():
    parts = slabs(2, 0.05)
    found = solve_slabs(in_process_slabs(parts), 0.0, 5)
    whole = barycenter(
        measures(3), AXES, weights=WEIGHTS, epsilon=0.05, tol=0.0, max_iters=5, anderson=0
    )
    assert not found.converged
    assert found.iterations == 5
    assert found.error == pytest.approx(whole.error, rel=1e-6)


@pytest.mark.parametrize("workers", [2, 3, 5])
def test_traffic_is_two_exchanges_of_all_clients(workers):
    k, axes = 4, [np.arange(10.0), np.arange(20.0)]
    parts = slabs(workers, 0.1, axes, np.full((k, 200), 1.0), np.full(k, 0.25))

    def crossing(cut):
        return sum(cut[i][j].nbytes for i in range(workers) for j in range(workers) if i != j)

    first = [slab.spread_v(part) for part in parts]
    turned = [[first[i][j] for i in range(workers)] for j in range(workers)]
    second = [slab.spread_u(part, blocks) for part, blocks in zip(parts, turned, strict=True)]
    sent = crossing(first) + crossing(second)
    assert step_traffic(k, (10, 20), workers) == sent
    if 200 % workers == 0 and 10 % workers == 0:
        assert sent == 2 * k * 200 * (workers - 1) // workers * 8


def test_too_many_slabs_are_refused():
    with pytest.raises(ValueError, match=r"workers must be between 1 and 7 .* got 8"):
        slabs(8)


@pytest.mark.parametrize("epsilon", [1e-4, 0.0, -1.0, float("nan")])
def test_an_epsilon_that_needs_logarithms_is_refused(epsilon):
    with pytest.raises(ValueError, match=r"epsilon must be finite and >= 0.00333 .*slabs, got"):
        slabs(2, epsilon)
