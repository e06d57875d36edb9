"""Registration of maps: shifts between them, offsets from all pairs, and maps moved back."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import shift as scipy_shift

from fedirl_ray.errors import ConfigError
from fedirl_ray.fusion.registration import kind_of, moved, offsets, registered, shifts
from fedirl_ray.problem.lattice import Axis
from fedirl_ray.run import main


def line(m):
    return np.arange(float(m))


def ring(m):
    return Axis("angle", 0.0, 1.0, m, wraps=True).ground


CATEGORIES = 1.0 - np.eye(2)
LATTICES = {
    "line": (line(40),),
    "grid": (line(24), line(22)),
    "cube": (line(21), line(20), line(22)),
    "ring": (ring(21),),
    "cylinder": (line(20), ring(12)),
    "actions": (line(30), CATEGORIES),
}
every_lattice = pytest.mark.parametrize("axes", LATTICES.values(), ids=LATTICES)


def copies(axes, by, seed=0):
    """A map of features three or four cells wide in a flat one, moved by whole cells."""
    shape = tuple(len(axis) for axis in axes)
    rng = np.random.default_rng(seed)
    base = np.zeros(shape)
    inner = [slice(m // 2 - 1, m // 2 + 2) if kind_of(axis) == "line" else slice(0, min(m, 4))
             for axis, m in zip(axes, shape, strict=True)]  # fmt: skip
    base[tuple(inner)] = rng.uniform(1.0, 2.0, size=base[tuple(inner)].shape)
    return np.stack([np.roll(base, one, range(len(shape))) for one in by]), base


def drawn_moves(axes, k, seed):
    """Whole cells along each axis that has an order, whose mean is zero."""
    rng = np.random.default_rng(seed)
    half = rng.integers(-2, 3, size=(k, len(axes)))
    half[:, [kind_of(axis) == "unordered" for axis in axes]] = 0
    return np.concatenate([half, -half])


@every_lattice
@pytest.mark.parametrize("seed", range(3))
def test_offsets_of_shifted_copies_are_exact(axes, seed):
    by = drawn_moves(axes, 3, seed)
    maps, base = copies(axes, by, seed)
    flat, weights = maps.reshape(6, -1), np.full(6, 1 / 6)
    np.testing.assert_allclose(offsets(flat, axes, weights), by, atol=1e-9)
    found = registered(flat, axes, weights).reshape(base.shape)
    np.testing.assert_allclose(found, base, atol=1e-8)


@every_lattice
def test_the_frame_is_the_weighted_mean_of_the_clients(axes):
    by = drawn_moves(axes, 2, 5)
    maps, _ = copies(axes, by)
    weights = np.array([0.4, 0.3, 0.2, 0.1])
    found = offsets(maps.reshape(4, -1), axes, weights)
    np.testing.assert_allclose(found, by - weights @ by, atol=1e-9)


@given(seed=st.integers(0, 2**31))
def test_gaussian_peaks_are_placed_between_cells(seed):
    centre = np.random.default_rng(seed).uniform(12, 18, size=(3, 2))
    s = np.stack(np.meshgrid(line(30), line(30), indexing="ij"), axis=-1)
    maps = np.exp(-((s - centre[:, None, None]) ** 2).sum(axis=-1) / (2 * 1.5**2))
    axes, weights = (line(30), line(30)), np.full(3, 1 / 3)
    found = offsets(maps.reshape(3, -1), axes, weights)
    np.testing.assert_allclose(found, centre - centre.mean(axis=0), atol=1e-3)


def test_pairs_that_are_wrong_are_outvoted(monkeypatch):
    by = np.array([[0.0], [2.0], [-3.0], [1.0], [0.0]])
    apart = by[:, None] - by
    apart[1, 3], apart[3, 1] = 9.0, -9.0
    monkeypatch.setattr("fedirl_ray.fusion.registration.shifts", lambda maps, axes: apart)
    found = offsets(np.zeros((5, 40)), (line(40),), np.full(5, 0.2))
    np.testing.assert_allclose(found, by, atol=2e-3)


def test_around_a_ring_the_shorter_way_is_not_taken_for_another_place():
    # The last two are 8 cells apart one way, 4 the other, and found to be 4.
    maps, _ = copies((ring(12),), [(0,), (0,), (4,), (-4,)])
    found = offsets(maps, (ring(12),), np.full(4, 0.25))
    np.testing.assert_allclose(found[:, 0], [0.0, 0.0, 4.0, -4.0], atol=1e-9)


def test_one_map_that_matches_nobody_leaves_the_others_in_place():
    by = drawn_moves((line(40),), 4, 1)
    maps, _ = copies((line(40),), by)
    odd = np.vstack([maps, np.random.default_rng(9).normal(size=(1, 40))])
    found = offsets(odd, (line(40),), np.full(9, 1 / 9))[:8]
    np.testing.assert_allclose(found - found.mean(axis=0), by, atol=0.05)


def test_a_flat_map_is_nowhere():
    maps, _ = copies((line(40),), [(2,), (-2,)])
    apart = shifts(np.vstack([maps, np.ones((1, 40))]), (line(40),))
    np.testing.assert_allclose(apart[0, 1], 4.0, atol=1e-9)
    assert not apart[2].any()


def test_what_does_not_vary_along_an_axis_is_not_moved_along_it():
    maps, _ = copies((line(40),), [(2,), (-2,)])
    wide = np.repeat(maps[:, :, None], 7, axis=2).reshape(2, -1)
    np.testing.assert_allclose(shifts(wide, (line(40), line(7)))[0, 1], [4.0, 0.0], atol=1e-6)


@given(seed=st.integers(0, 2**31))
def test_maps_are_moved_as_scipy_moves_them(seed):
    rng = np.random.default_rng(seed)
    one, by = rng.normal(size=(9, 8)), rng.uniform(-3, 3, size=2)
    found, known = moved(one.ravel(), (line(9), line(8)), by)
    wanted = scipy_shift(one, by, order=1, mode="nearest")
    np.testing.assert_allclose(found.reshape(9, 8), wanted, atol=1e-12)
    inside = scipy_shift(np.ones((9, 8)), np.round(by), order=0, mode="constant") > 0.5
    np.testing.assert_array_equal(known.reshape(9, 8), inside)
    around, known = moved(one.ravel(), (ring(9), ring(8)), by)
    wanted = scipy_shift(one, by, order=1, mode="grid-wrap")
    np.testing.assert_allclose(around.reshape(9, 8), wanted, atol=1e-12)
    assert known.all()


def test_what_came_from_beyond_a_border_is_left_to_those_who_know():
    s = line(30)
    maps = np.stack([np.roll(np.exp(-((s - 15) ** 2)), by) for by in (-4, 4)])
    # Each client's own border: a level that the other does not share.
    maps[0, 0], maps[1, -1] = 5e-4, 7e-4
    found = registered(maps, (s,), np.full(2, 0.5))
    np.testing.assert_allclose(found[4:26], maps[0][0:22] / 2 + maps[1][8:30] / 2, atol=1e-7)
    # Moved back by four cells, the first knows no point below four, the second none above 25.
    np.testing.assert_allclose(found[:4], maps[1][4:8], atol=1e-7)
    np.testing.assert_allclose(found[26:], maps[0][22:26], atol=1e-7)


def test_an_axis_is_a_line_a_ring_or_without_order():
    axes = (line(5), (line(5)[:, None] - line(5)) ** 2 * 4, ring(6) / 7, CATEGORIES, ring(3))
    assert list(map(kind_of, axes)) == ["line", "line", "ring", "unordered", "unordered"]


def test_costs_of_ones_own_are_no_lattice():
    own = np.array([[0.0, 1.0, 4.0], [1.0, 0.0, 2.0], [4.0, 2.0, 0.0]])
    with pytest.raises(ConfigError, match=r"fusion\.rules register needs a lattice.* got 3 points"):
        registered(np.zeros((2, 3)), (own,), np.full(2, 0.5))


def test_a_run_whose_support_is_no_lattice_ends_before_anything_is_learnt(
    tmp_path, capsys, monkeypatch
):
    def learn(*_):
        raise AssertionError("clients were asked")

    monkeypatch.setattr("fedirl_ray.engine.local.Clients.learn", learn)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "roads.py").write_text(
        "import numpy as np\n"
        "from dataclasses import replace\n"
        "from fedirl_ray.config import ProblemConfig\n"
        "from fedirl_ray.problem.family import draw_world\n"
        "def world(role, index, rng):\n"
        "    drawn = draw_world(ProblemConfig(size=3), int(rng.integers(9)), 0, role, index)\n"
        "    far = np.add.outer(np.arange(9.0), np.arange(9.0))\n"
        "    return replace(drawn, axes=(np.where(np.eye(9) == 1, 0.0, far),))\n"
    )
    code = main([
        "--problem.name", "roads:world", "--clients", "2", "--seeds", "1",
        "--problem.demonstrations", "2", "--evaluation.held-out", "1",
        "--fusion.rules", "mean,register", "--engine.backend", "local",
        "--record.figure", "False", "--run-dir", str(tmp_path / "run"),
    ])  # fmt: skip
    sys.modules.pop("roads")
    said = capsys.readouterr().err.splitlines()
    assert code == 2
    assert said[-1].endswith(
        "fusion.rules register needs a lattice, whose axes are coordinates, periodic, or "
        "categories equally far apart; got 9 points with costs of their own"
    )
