"""Maps on lattices: blur against SciPy's, and what is filled in where a client saw nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d

from fedirl_ray.fusion.maps import blurred, filled, in_cells, unordered
from fedirl_ray.problem.lattice import Axis


def ring(m):
    return Axis("angle", 0.0, 1.0, m, wraps=True).ground


def line(m):
    return np.arange(float(m))


def categories(m):
    return 1.0 - np.eye(m)


def drawn(*shape, k=3, seed=0):
    return np.random.default_rng(seed).normal(size=(k, *shape))


def wide(maps, axis, width, mode):
    """SciPy's blur, of a kernel as wide as all maps here."""
    return gaussian_filter1d(maps, width, axis=axis, mode=mode, truncate=40.0)


@pytest.mark.parametrize("width", [0.4, 1.0, 1.5])
def test_inside_and_around_blur_is_scipys(width):
    maps = np.zeros((2, 41, 24))
    maps[:, 15:26] = drawn(11, 24, k=2)
    # Far from the borders of the line there is nothing to normalise, and nothing reaches them.
    wanted = wide(wide(maps, 1, width, "constant"), 2, width, "wrap")
    found = blurred(maps.reshape(2, -1), (line(41), ring(24)), width).reshape(maps.shape)
    # SciPy wraps a kernel of infinite width; ours takes the shorter way round.
    np.testing.assert_allclose(found, wanted, atol=1e-9)


def test_at_a_border_weights_are_those_of_the_points_that_are_there():
    maps = drawn(9)
    wanted = wide(maps, 1, 1.5, "constant") / wide(np.ones_like(maps), 1, 1.5, "constant")
    np.testing.assert_allclose(blurred(maps, (line(9),), 1.5), wanted, rtol=1e-12)


@given(seed=st.integers(0, 2**31), width=st.floats(0.1, 20.0))
def test_blur_keeps_constants_and_what_has_no_order_apart(seed, width):
    axes = (line(5), categories(3), ring(6))
    flat = np.random.default_rng(seed).normal(size=(1, 1, 3, 1)) * np.ones((2, 5, 1, 6))
    np.testing.assert_allclose(blurred(flat.reshape(2, -1), axes, width), flat.reshape(2, -1))


def test_cells_are_cells_whatever_the_units():
    maps = drawn(6, 8).reshape(3, -1)
    plain = blurred(maps, (line(6), ring(8)), 1.2)
    stretched = blurred(maps, (5.0 + 0.3 * line(6), 0.09 * ring(8)), 1.2)
    np.testing.assert_allclose(stretched, plain, rtol=1e-10)
    np.testing.assert_array_equal(in_cells(line(1)), [[0.0]])


def test_an_axis_has_no_order_where_all_its_points_are_equally_far_apart():
    assert unordered(categories(4))
    assert unordered(np.zeros((1, 1)))
    assert not any(map(unordered, (line(2), ring(4), (line(4)[:, None] - line(4)) ** 2)))


def test_what_a_client_does_not_know_is_the_mean_of_those_who_do():
    maps = np.array(
        [[1.0, 2.0, np.nan, np.nan], [3.0, np.nan, 5.0, np.nan], [7.0, 8.0, 9.0, np.inf]]
    )
    known = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 1, 0]], dtype=bool)
    found = filled(maps, known, np.array([0.5, 0.25, 0.25]))
    wanted = [[1.0, 2.0, 7.0, 1.5], [3.0, 4.0, 5.0, 4.0], [7.0, 8.0, 9.0, 8.0]]
    np.testing.assert_allclose(found, wanted, rtol=1e-15)


@given(seed=st.integers(0, 2**31))
def test_filling_changes_nothing_that_is_known(seed):
    rng = np.random.default_rng(seed)
    maps, known = rng.normal(size=(4, 9)), rng.random((4, 9)) < 0.6
    known[:, 0] = True
    found = filled(maps, known, rng.dirichlet(np.ones(4)))
    np.testing.assert_array_equal(found[known], maps[known])
    assert np.isfinite(found).all()
