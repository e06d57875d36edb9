import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import RegularGridInterpolator
from worlds import random_world

from fedirl_ray.errors import ConfigError, DataError
from fedirl_ray.fusion.spec import support_of
from fedirl_ray.problem.lattice import Axis, Lattice, product

FLAT = Lattice((Axis("x", -1.0, 2.0, 5), Axis("y", 0.0, 1.0, 4), Axis("z", -3.0, 3.0, 3)))
ROUND = Lattice((Axis("angle", -np.pi, np.pi, 8, wraps=True), Axis("speed", -2.0, 2.0, 5)))


def test_interpolation_is_scipys():
    rng = np.random.default_rng(0)
    table = rng.normal(size=FLAT.shape)
    places = rng.uniform([-1.0, 0.0, -3.0], [2.0, 1.0, 3.0], size=(200, 3))
    theirs = RegularGridInterpolator([axis.coordinates for axis in FLAT.axes], table)(places)
    assert FLAT.read(table.ravel(), places) == pytest.approx(theirs)


def test_on_a_wrapping_axis_interpolation_is_scipys_on_the_closed_ring():
    rng = np.random.default_rng(1)
    table = rng.normal(size=ROUND.shape)
    closed = np.concatenate([table, table[:1]])
    ring = [np.append(ROUND.axes[0].coordinates, np.pi), ROUND.axes[1].coordinates]
    places = rng.uniform([-np.pi, -2.0], [np.pi, 2.0], size=(200, 2))
    theirs = RegularGridInterpolator(ring, closed)(places)
    assert ROUND.read(table.ravel(), places) == pytest.approx(theirs)
    turned = places + np.array([6 * np.pi, 0.0])
    assert ROUND.read(table.ravel(), turned) == pytest.approx(theirs)


@given(st.integers(0, 2**32 - 1))
def test_weights_are_shares_that_give_places_back(seed):
    places = np.random.default_rng(seed).uniform([-1.0, 0.0, -3.0], [2.0, 1.0, 3.0], size=(20, 3))
    points, weight = FLAT.corners(places)
    assert weight.min() >= 0.0
    assert weight.sum(axis=1) == pytest.approx(1.0)
    assert np.einsum("mv,mvp->mp", weight, FLAT.points[points]) == pytest.approx(places)


def test_a_lattice_point_is_itself():
    for lattice in (FLAT, ROUND):
        table = np.arange(lattice.size, dtype=np.float64)
        assert lattice.read(table, lattice.points) == pytest.approx(table)


def test_places_beyond_a_limit_are_counted_and_moved_to_it():
    places = np.array([[5.0, 0.5, 0.0], [0.0, 0.5, 0.0], [2.0, 1.0, 3.0], [0.0, 0.5, -3.5]])
    assert FLAT.outside(places).tolist() == [True, False, False, True]
    moved = np.clip(places, [-1.0, 0.0, -3.0], [2.0, 1.0, 3.0])
    table = np.random.default_rng(2).normal(size=FLAT.size)
    assert FLAT.read(table, places) == pytest.approx(FLAT.read(table, moved))
    assert not ROUND.outside(np.array([[17.0, 0.0]]))[0]


def test_ground_cost_of_a_ring_is_the_shorter_way_squared():
    ground = ROUND.axes[0].ground
    assert ground[0].tolist() == [0.0, 1.0, 4.0, 9.0, 16.0, 9.0, 4.0, 1.0]
    assert (ground == ground.T).all()
    assert ROUND.axes[1].ground.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_points_without_order_are_equally_far_as_a_tabular_worlds_actions_are():
    axis = Axis("action", -1.0, 1.0, 4, ordered=False)
    world = random_world(0, a=4, feature_actions=4)
    assert (axis.ground == support_of(world).axes[-1]).all()
    assert axis.ground.tolist() == (1.0 - np.eye(4)).tolist()


def test_differences_on_a_ring_are_the_shorter_way():
    assert ROUND.shortest(np.array([[2 * np.pi - 0.1, 3.0]]))[0] == pytest.approx([-0.1, 3.0])


def test_a_product_is_ordered_with_the_last_axis_fastest():
    both = product(ROUND, Lattice((Axis("torque", -1.0, 1.0, 3),)))
    assert both.size == ROUND.size * 3
    assert both.points[:3, 2].tolist() == [-1.0, 0.0, 1.0]
    assert (both.points[::3, :2] == ROUND.points).all()


def test_another_resolution_keeps_the_box():
    finer = FLAT.resized((9, 7, 5))
    assert finer.shape == (9, 7, 5)
    assert [(axis.low, axis.high) for axis in finer.axes] == [(-1.0, 2.0), (0.0, 1.0), (-3.0, 3.0)]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Axis("x", 0.0, 1.0, 1), "axis x needs at least 2 points, got 1"),
        (lambda: Axis("x", 1.0, 1.0, 3), "axis x needs low < high, got 1.0 and 1.0"),
        (lambda: Axis("x", 0.0, np.inf, 3), "axis x needs finite limits, got 0.0 to inf"),
        (lambda: FLAT.resized((3, 3)), r"3 axes \(x, y, z\) needs as many numbers"),
    ],
)
def test_what_is_no_lattice_is_said_in_one_line(make, said):
    with pytest.raises(ConfigError, match=said) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_places_must_be_finite():
    with pytest.raises(DataError, match="finite"):
        FLAT.corners(np.array([[np.nan, 0.0, 0.0]]))
