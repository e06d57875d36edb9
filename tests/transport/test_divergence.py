"""The Sinkhorn divergence's sign, and the condition it hangs on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedirl_ray import wasserstein2
from fedirl_ray.transport.axis import ground_costs
from fedirl_ray.transport.kernel import positive_definite


@st.composite
def pairs(draw):
    """Draw two measures, a lattice with circles and categories among its axes, and an epsilon."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.sampled_from([(12,), (5, 6), (3, 4, 5)]))
    axes, periods = [], []
    for m in shape:
        x = np.cumsum(0.2 + rng.random(m))
        kind = draw(st.sampled_from(["line", "circle", "categories"]))
        axes.append(1.0 - np.eye(m) if kind == "categories" else x)
        periods.append(float(x[-1] - x[0] + 0.5) if kind == "circle" else False)
    p, q = rng.dirichlet(np.full(int(np.prod(shape)), draw(st.sampled_from([0.1, 1.0]))), size=2)
    return p + 1e-6, q + 1e-6, axes, periods, draw(st.sampled_from([0.02, 0.1, 0.5, 5.0]))


@settings(max_examples=60)
@given(pairs())
def test_the_divergence_is_not_negative_where_the_kernel_is_positive_definite(pair):
    p, q, axes, periods, epsilon = pair
    found = wasserstein2(p, q, axes, epsilon=epsilon, periodic=periods, tol=1e-9)
    dense = np.ones((1, 1))
    for cost in ground_costs(axes, periodic=periods):
        dense = np.kron(dense, np.exp(-cost / epsilon))
    values = np.linalg.eigvalsh(dense)
    if abs(values[0]) > 1e-9 * values[-1]:
        assert found.positive_definite == (values[0] > 0)
    if found.positive_definite and found.converged:
        assert found.divergence > -1e-7


def test_a_circle_can_have_a_negative_divergence_and_says_so():
    m, epsilon = 12, 0.5
    axis, period = np.arange(float(m)), [float(m)]
    cost = ground_costs([axis], periodic=period)[0]
    _, vectors = np.linalg.eigh(np.exp(-cost / epsilon))
    p = 1.0 + 0.5 * vectors[:, 0] / np.abs(vectors[:, 0]).max()
    q = 1.0 - 0.5 * vectors[:, 0] / np.abs(vectors[:, 0]).max()
    found = wasserstein2(p, q, [axis], epsilon=epsilon, periodic=period, tol=1e-10)
    assert found.converged
    assert found.divergence < -1e-4
    assert not found.positive_definite
    close = wasserstein2(p, q, [axis], epsilon=0.02, periodic=period, tol=1e-10)
    assert close.positive_definite
    assert close.divergence > 0


@pytest.mark.parametrize("epsilon", [1e-3, 1.0, 1e3])
def test_lines_and_categories_are_always_positive_definite(epsilon):
    rng = np.random.default_rng(0)
    axes = [np.cumsum(0.01 + rng.random(90)), np.arange(5.0), 1.0 - np.eye(4), np.zeros((2, 2))]
    assert positive_definite(ground_costs(axes), epsilon)
    p, q = rng.random((2, 5))
    assert wasserstein2(p, q, [axes[1]], epsilon=epsilon).positive_definite
    assert wasserstein2(p, q, [axes[1]], exact=True).positive_definite
