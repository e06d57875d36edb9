"""The geometric median against SciPy's minimiser, and by what it must hold to."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from fedirl_ray.fusion.robust import geometric_median, trimmed_mean


def drawn(seed, k, d):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(k, d)), rng.dirichlet(np.ones(k))


def distance(point, thetas, weights):
    return weights @ np.linalg.norm(thetas - point, axis=1)


@given(seed=st.integers(0, 2**31), k=st.integers(3, 9), d=st.integers(2, 5))
def test_no_point_is_nearer_than_the_geometric_median(seed, k, d):
    thetas, weights = drawn(seed, k, d)
    found = geometric_median(thetas, weights)
    other = minimize(distance, weights @ thetas, (thetas, weights), method="BFGS").x
    assert distance(found, thetas, weights) <= distance(other, thetas, weights) + 1e-12


@pytest.mark.parametrize("seed", range(5))
def test_it_is_scipys_minimiser(seed):
    thetas, weights = drawn(seed, 7, 3)
    wanted = minimize(distance, weights @ thetas, (thetas, np.full(7, 1 / 7)), method="Nelder-Mead",
                      options={"xatol": 1e-10, "fatol": 1e-15, "maxiter": 10_000}).x  # fmt: skip
    np.testing.assert_allclose(geometric_median(thetas, np.full(7, 1 / 7)), wanted, atol=1e-6)


def test_a_client_that_outweighs_the_others_is_it():
    thetas, _ = drawn(0, 4, 3)
    found = geometric_median(thetas, np.array([0.2, 0.5, 0.2, 0.1]))
    np.testing.assert_allclose(found, thetas[1], rtol=1e-12)


@given(seed=st.integers(0, 2**31), k=st.integers(1, 8))
def test_on_a_line_it_is_the_weighted_median(seed, k):
    thetas, weights = drawn(seed, k, 1)
    for alpha in (weights, np.full(k, 1 / k)):
        wanted = trimmed_mean(thetas, alpha, trim=0.5)
        np.testing.assert_allclose(geometric_median(thetas, alpha), wanted, atol=1e-12)


def test_liars_of_less_than_half_the_weight_do_not_carry_it_off():
    thetas, _ = drawn(3, 9, 4)
    thetas[:4] = 1e6
    found = geometric_median(thetas, np.full(9, 1 / 9))
    assert np.linalg.norm(found) < 20.0
    assert np.linalg.norm(thetas.mean(axis=0)) > 1e5
