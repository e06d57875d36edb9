import numpy as np
import ot
import pytest

from fedirl_ray import wasserstein2

AXES = [np.linspace(0, 1, 7), np.linspace(0, 2, 5)]


def pair(seed):
    rng = np.random.default_rng(seed)
    rows = rng.random((2, 35)) ** 2
    rows[rng.random(rows.shape) < 0.2] = 0
    return rows / rows.sum(1, keepdims=True)


def dense():
    points = np.stack(np.meshgrid(*AXES, indexing="ij"), -1).reshape(-1, 2)
    return ((points[:, None] - points[None]) ** 2).sum(-1)


@pytest.mark.parametrize("epsilon", [0.5, 0.02])
def test_plan_cost_agrees_with_pot(epsilon):
    p, q = 0.99 * pair(0) + 0.01 / 35  # POT warns of the logarithm of zero
    ours = wasserstein2(p, q, AXES, epsilon=epsilon, cost_scale="none", tol=1e-12)
    plan = ot.sinkhorn(p, q, dense(), epsilon, method="sinkhorn_log", stopThr=1e-9)
    assert abs(ours.transport_cost - (plan * dense()).sum()) < 1e-8


def test_divergence_of_a_measure_with_itself_is_zero():
    p, _ = pair(1)
    assert abs(wasserstein2(p, p, AXES, epsilon=0.05, tol=1e-12).divergence) < 1e-10


def test_exact_agrees_with_the_linear_program_and_divergence_approaches_it():
    p, q = pair(2)
    exact = wasserstein2(p, q, AXES, exact=True, cost_scale="none").divergence
    assert abs(exact - ot.emd2(p, q, dense())) < 1e-12
    close = wasserstein2(p, q, AXES, epsilon=0.005, cost_scale="none", max_iters=5000)
    assert abs(close.divergence - exact) < 0.05 * exact
