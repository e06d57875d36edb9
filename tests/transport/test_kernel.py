import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedirl_ray.transport.axis import ground_costs
from fedirl_ray.transport.factor import gaussian_factor
from fedirl_ray.transport.kernel import gibbs_kernel

laws = settings(deadline=None, max_examples=25)


def dense(costs, epsilon):
    total = costs[0]
    for cost in costs[1:]:
        m = len(total) * len(cost)
        total = (total[:, None, :, None] + cost[None, :, None, :]).reshape(m, m)
    return -total / epsilon


@laws
@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    seed=st.integers(0, 1000),
)
def test_separable_product_is_the_dense_one(lengths, seed):
    rng = np.random.default_rng(seed)
    costs = ground_costs([np.cumsum(0.1 + rng.random(m)) for m in lengths])
    x = rng.random((3, int(np.prod(lengths))))
    product, _ = gibbs_kernel(costs, 0.1).apply(x.copy(), np.empty_like(x))
    np.testing.assert_allclose(product, x @ np.exp(dense(costs, 0.1)), rtol=1e-12)


@laws
@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=3),
    seed=st.integers(0, 1000),
    epsilon=st.sampled_from([1.0, 0.01, 1e-4]),
    spread=st.sampled_from([1.0, 1000.0]),
)
def test_log_product_is_the_dense_log_sum_exp(lengths, seed, epsilon, spread):
    rng = np.random.default_rng(seed)
    costs = ground_costs([np.cumsum(0.1 + rng.random(m)) for m in lengths])
    x = spread * rng.standard_normal((2, int(np.prod(lengths))))
    x[0, rng.integers(x.shape[1])] = -np.inf
    if not np.isfinite(x[0]).any():
        x[0] = 0.0
    terms = x[:, None, :] + dense(costs, epsilon)[None]
    peak = terms.max(2, keepdims=True)
    expected = np.log(np.exp(terms - peak).sum(2)) + peak[:, :, 0]
    with np.errstate(divide="ignore"):
        ours = gibbs_kernel(costs, epsilon).apply_log(x)
    np.testing.assert_allclose(ours, expected, rtol=1e-13, atol=1e-11)


@pytest.mark.parametrize("epsilon", [1.0, 0.1, 0.01, 0.003])
def test_gaussian_factor_is_right_in_every_entry(epsilon):
    x = np.sort(np.random.default_rng(0).random(80))
    log = -((x[:, None] - x) ** 2) / epsilon
    factor = gaussian_factor(log)
    assert factor is not None
    assert (factor >= 0).all()
    assert np.abs(factor @ factor.T / np.exp(log) - 1).max() < 1e-11


def test_costs_that_are_no_squared_distances_have_no_factor():
    x = np.linspace(0, 1, 60)
    assert gaussian_factor(-np.abs(x[:, None] - x)) is None
    assert gaussian_factor(-((x[:20, None] - x[:20]) ** 2)) is None


@pytest.mark.parametrize("lengths", [(60, 50), (50, 3, 60), (4, 120), (90, 64, 5)])
def test_kernels_with_factors_agree_with_those_without(lengths):
    rng = np.random.default_rng(1)
    costs = ground_costs([np.sort(rng.random(m)) for m in lengths])
    x = rng.random((2, int(np.prod(lengths)))) ** 8
    short, full = gibbs_kernel(costs, 0.1), gibbs_kernel(costs, 0.1, low_rank=False)
    assert any(group.factor is not None for group in short.groups)
    one, _ = short.apply(x.copy(), np.empty_like(x))
    two, _ = full.apply(x.copy(), np.empty_like(x))
    np.testing.assert_allclose(one, two, rtol=1e-11)


def test_a_row_does_not_depend_on_the_rows_beside_it():
    rng = np.random.default_rng(2)
    for lengths in [(32, 21, 5), (9, 9, 5), (7,), (50, 60)]:
        kernel = gibbs_kernel(ground_costs([np.arange(float(m)) for m in lengths]), 0.05)
        x = rng.random((20, kernel.size))
        together, _ = kernel.apply(x.copy(), np.empty_like(x))
        for i in range(20):
            alone, _ = kernel.apply(x[i : i + 1].copy(), np.empty_like(x[:1]))
            assert alone.tobytes() == together[i].tobytes()
