"""Barycenters of signed measures, and `gibbs`: closed forms of what they give back."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.fusion.maps import blurred
from fedirl_ray.fusion.rules import fuse
from fedirl_ray.fusion.signed import split
from fedirl_ray.fusion.spec import Given, Support
from fedirl_ray.problem.lattice import Axis
from fedirl_ray.transport.distance import divergences_to, wasserstein2

SHARP = FusionConfig(tolerance=1e-10, iterations=5000)
LATTICES = {"line": (25,), "grid": (11, 13), "cube": (7, 6, 8)}


def on(shape):
    """A support whose features tell every point apart, so that theta is the reward."""
    return Support(np.eye(int(np.prod(shape))), tuple(np.arange(float(m)) for m in shape))


def fused(rule, maps, axes, weights=None, config=SHARP, seen=None):
    flat = np.reshape(maps, (len(maps), -1))
    weights = np.full(len(maps), 1 / len(maps)) if weights is None else weights
    support = Support(np.eye(flat.shape[1]), axes)
    found = fuse(rule, Given(flat, weights, support, config, seen))
    assert found.converged
    return found.theta.reshape(np.shape(maps)[1:])


def places_of(shape):
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)


def bump(shape, centre, epsilon):
    """exp(-|s - centre|^2 / epsilon), normalised on the lattice."""
    found = np.exp(-((places_of(shape) - centre) ** 2).sum(axis=-1) / epsilon)
    return found / found.sum()


@pytest.mark.parametrize("shape", LATTICES.values(), ids=LATTICES)
@pytest.mark.parametrize("tau", [0.0, 0.1, 0.6])
@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_spikes_are_fused_where_they_are_on_average(shape, tau, epsilon):
    rng = np.random.default_rng(1)
    k = 4
    weights = rng.dirichlet(np.ones(k))
    up, down = rng.uniform(1.0, 3.0, k), rng.uniform(1.0, 3.0, k)
    # A mean that is no point of the lattice; peaks and pits are never at the same point.
    there = np.stack([rng.integers(m, size=k) for m in shape], axis=1)
    below = (there + 1 + rng.integers(3, size=there.shape)) % shape
    level = rng.normal(size=k)
    maps = np.tile(level[:, None], (1, int(np.prod(shape)))).reshape(k, *shape)
    for i in range(k):
        maps[i][tuple(there[i])] += up[i]
        maps[i][tuple(below[i])] -= down[i]
    cut = tau * np.maximum(up, down)
    wanted = np.full(shape, weights @ level)
    for i in range(k):
        wanted[tuple(there[i])] += weights[i] * min(up[i], cut[i])
        wanted[tuple(below[i])] -= weights[i] * min(down[i], cut[i])
    for sign, height, place in ((1, up, there), (-1, down, below)):
        mass = np.maximum(height - cut, 0.0)
        held = mass > 0.0
        centre = weights[held] / weights[held].sum() @ place[held]
        wanted += sign * (weights @ mass) * bump(shape, centre, epsilon)
    found = fused("signed", maps, on(shape).axes, weights,
                  replace(SHARP, tau=tau, epsilon=epsilon))  # fmt: skip
    np.testing.assert_allclose(found, wanted, atol=1e-10)


def test_a_client_without_pits_counts_with_none():
    maps = np.zeros((2, 15))
    maps[0, 4], maps[0, 10], maps[1, 6] = 1.0, -1.0, 1.0
    found = fused("signed", maps, on((15,)).axes, config=replace(SHARP, tau=0.0))
    wanted = bump((15,), [5], 0.5) - 0.5 * bump((15,), [10], 0.5)
    np.testing.assert_allclose(found, wanted, atol=1e-10)


def shifted_copies(shape, side, offsets, seed=0):
    """One map, of peaks and pits in the middle of a flat one, moved by whole cells; and it."""
    rough = np.random.default_rng(seed).normal(size=[side] * len(shape))
    base = np.zeros(shape)
    base[tuple(slice((m - side) // 2, (m + side) // 2) for m in shape)] = rough
    axes = on(shape).axes
    base = blurred(base.reshape(1, -1), axes, 0.8).reshape(shape)
    base[np.abs(base) < 1e-9] = 0.0
    # Most of it is flat, so that its median is; and nothing is rolled over a border.
    assert np.median(base) == 0.0
    return np.stack([np.roll(base, by, range(len(shape))) for by in offsets]), base


# Whole cells, whose mean is a whole cell.
MOVES = {(50,): [(2,), (-1,), (-1,)], (31, 30): [(3, 1), (0, -2), (-3, 1)]}
every_move = pytest.mark.parametrize("shape", MOVES, ids=str)
# What lies within tau is averaged where it is.
WHOLE = replace(SHARP, tau=0.0)


@every_move
def test_maps_that_are_shifted_by_whole_cells_fuse_to_what_one_does_alone(shape):
    copies, base = shifted_copies(shape, 8, MOVES[shape])
    # Of the kernel, exp(-64 / 2) eight cells away, nothing that matters is cut off at a border.
    axes, config = on(shape).axes, replace(WHOLE, epsilon=2.0)
    wanted = fused("signed", base[None], axes, config=config)
    np.testing.assert_allclose(fused("signed", copies, axes, config=config), wanted, atol=1e-10)


@every_move
def test_debiased_their_peaks_fuse_to_the_peaks(shape):
    copies, base = shifted_copies(shape, 8, MOVES[shape])
    peaks = np.maximum(copies, 0.0).reshape(len(copies), -1)
    given = Given(peaks, np.full(3, 1 / 3), on(shape), SHARP)
    mass = peaks.sum(axis=1, keepdims=True)
    found = given.transported(peaks / mass, given.weights, debiased=True, epsilon=1.0)
    error = np.abs(mass[0] * found.measure - np.maximum(base, 0.0)).max()
    assert error < 1e-3 * base.max()


def test_around_a_ring_any_whole_shift_is_found():
    axis = Axis("angle", 0.0, 1.0, 24, wraps=True).ground
    base = np.zeros(24)
    base[:5] = 0.2, 1.0, 0.3, -0.8, -0.1
    for by, middle in (([3, -1, -2], 0), ([10, 12, 14], 12), ([23, 0, 1], 0)):
        copies = np.stack([np.roll(base, one) for one in by])
        wanted = np.roll(fused("signed", base[None], (axis,), config=WHOLE), middle)
        np.testing.assert_allclose(
            fused("signed", copies, (axis,), config=WHOLE), wanted, atol=1e-10
        )


def test_gibbs_gives_a_peak_back_in_place_and_unblurred_as_it_grows_cold():
    s = np.arange(40.0)
    peak = np.exp(-((s - 20.0) ** 2) / 8.0)
    copies = np.stack([np.roll(peak, by) for by in (2, -1, -1)])
    for relative, most in ((0.3, 0.04), (0.05, 0.015)):
        config = FusionConfig(gibbs_relative=relative, tolerance=1e-9, iterations=3000)
        off = np.abs(fused("gibbs", copies, (s,), config=config) - peak)
        assert off.max() < most
    # What is left lies where hardly any mass does.
    assert off[peak > 0.2].max() < 1e-3
    assert np.abs(copies.mean(axis=0) - peak).max() > 0.2


@pytest.mark.parametrize("rule", ["mean", "signed"])
def test_of_shifted_bowls_the_mean_is_a_bowl_in_the_middle(rule):
    """What distances cannot improve on: mean of -(s - o_i)^2 = -(s - mean o)^2 - var o."""
    s, offsets = np.arange(31.0), np.array([11.0, 15.0, 19.0])
    bowls = -((s - offsets[:, None]) ** 2)
    found = fused(rule, bowls, (s,))
    if rule == "mean":
        np.testing.assert_allclose(found, -((s - 15.0) ** 2) - offsets.var(), rtol=1e-12)
    # Signed has the same best point, and falls off on either side of it alike.
    assert found.argmax() == 15
    np.testing.assert_allclose(found, found[::-1], atol=1e-6)


@pytest.mark.parametrize("add", [-50.0, 0.3])
def test_a_constant_added_to_any_clients_map_comes_back_by_its_weight(add):
    rng = np.random.default_rng(6)
    maps, weights = rng.normal(size=(3, 12)), rng.dirichlet(np.ones(3))
    moved = maps + add * np.array([[1.0], [0.0], [0.0]])
    axes = on((12,)).axes
    # 1e-7: rounding of maps that are small beside what was added.
    np.testing.assert_allclose(
        fused("signed", moved, axes, weights), fused("signed", maps, axes, weights)
        + weights[0] * add, atol=1e-7,
    )  # fmt: skip


@pytest.mark.parametrize("rule", ["signed", "gibbs"])
def test_the_self_control_is_blur_alone(rule):
    """Copies of one map: none is moved, so that its centre of mass stays where it was."""
    s = np.arange(41.0)
    base = np.where(np.abs(s - 20) < 6, np.random.default_rng(0).random(41), 0.0)
    maps = np.stack([np.roll(base, by) for by in (-3, 0, 5)])
    mean = maps.mean(axis=0)
    config = replace(SHARP, tau=0.0)
    found = fused(f"self-{rule}", maps, (s,), config=config)
    if rule == "gibbs":  # debiased: not even blur
        np.testing.assert_allclose(found, mean, atol=1e-4)
        return
    np.testing.assert_allclose(s @ found / found.sum(), s @ mean / mean.sum(), rtol=1e-9)
    np.testing.assert_allclose(found.sum(), mean.sum(), rtol=1e-9)
    assert (s - 20) ** 2 @ found > (s - 20) ** 2 @ mean
    np.testing.assert_allclose(found, fused("signed", mean[None], (s,), config=config), atol=1e-10)


@given(seed=st.integers(0, 2**31), tau=st.floats(0, 0.99))
def test_the_parts_of_a_map_add_up_to_it(seed, tau):
    maps = np.random.default_rng(seed).normal(size=(3, 20)) * [[1e-6], [1.0], [1e6]]
    parts = split(maps, tau)
    whole = parts.level[:, None] + parts.peaks - parts.pits + parts.rest
    np.testing.assert_allclose(whole, maps, rtol=1e-9, atol=1e-15)
    assert min(parts.peaks.min(), parts.pits.min()) >= 0.0
    assert not (parts.peaks * parts.pits).any()


def test_flat_maps_are_given_back():
    flat = np.full((3, 9), 0.1) * [[1.0], [3.0], [7.0]]
    for rule in ("signed", "gibbs", "register", "blur", "masked-mean"):
        np.testing.assert_allclose(fused(rule, flat, on((9,)).axes), flat.mean(), atol=1e-10)


def test_ripples_of_rounding_are_no_peaks():
    maps = np.tile([[0.0], [0.3]], 20)
    maps[0, 4], maps[1, 12] = 1.0, np.nextafter(0.3, 1.0)
    found = fused("signed", maps, on((20,)).axes, config=replace(SHARP, tau=0.0))
    np.testing.assert_allclose(found, 0.15 + 0.5 * bump((20,), [4], 0.5), atol=1e-10)


def test_a_categorys_mass_moves_to_others_as_between_actions():
    axes = (np.arange(9.0), 1.0 - np.eye(2))
    maps = np.zeros((2, 9, 2))
    maps[0, 3, 0] = maps[1, 5, 0] = 1.0
    found = fused("signed", maps, axes, config=replace(SHARP, tau=0.0))
    wanted = bump((9,), [4], 0.5)[:, None] * (np.array([1.0, np.exp(-2.0)]) / (1 + np.exp(-2.0)))
    np.testing.assert_allclose(found, wanted, atol=1e-10)


def test_signed_asks_for_two_barycenters_whatever_the_lattice():
    for shape in ((20,), (6, 7), (4, 4, 4)):
        asked = []

        def count(measures, axes, weights, solver, asked=asked):
            from fedirl_ray.transport.barycenter import barycenter_in_process

            asked.append(measures.shape)
            return barycenter_in_process(measures, axes, weights, solver)

        maps = np.random.default_rng(0).normal(size=(3, int(np.prod(shape))))
        fuse("signed", Given(maps, np.full(3, 1 / 3), on(shape), SHARP, barycenter=count))
        assert asked == [maps.shape] * 2


def test_what_is_hidden_is_filled_before_it_is_split():
    maps = np.zeros((3, 21))
    for row, at in zip(maps, (6, 10, 14), strict=True):
        row[at] = 1.0
    seen = np.ones((3, 21), dtype=bool)
    seen[2, :12] = False
    found = fused("signed", np.where(seen, maps, -9.0), on((21,)).axes, seen=seen)
    filled = maps.copy()
    filled[2, [6, 10]] = 0.5
    np.testing.assert_allclose(found, fused("signed", filled, on((21,)).axes), atol=1e-12)


def test_weights_count_in_place_and_mass():
    maps = np.zeros((2, 20))
    maps[0, 4], maps[1, 12] = 1.0, 3.0
    found = fused("signed", maps, on((20,)).axes, np.array([0.75, 0.25]), replace(SHARP, tau=0.0))
    np.testing.assert_allclose(found, 1.5 * bump((20,), [6], 0.5), atol=1e-10)


def test_what_stands_out_by_more_than_tau_is_cut_off():
    maps = np.array([[0.0, 0.0, 0.0, 4.0, -2.0, 0.3, 0.0]])
    parts = split(maps, 0.25)
    for name, wanted in (("peaks", [0, 0, 0, 3, 0, 0, 0]), ("pits", [0, 0, 0, 0, 1, 0, 0]),
                         ("rest", [0, 0, 0, 1, -1, 0.3, 0])):  # fmt: skip
        np.testing.assert_allclose(getattr(parts, name)[0], wanted, atol=1e-15)


def test_the_median_of_spikes_follows_the_majority_in_place_and_mass():
    maps = np.zeros((5, 30))
    for row, at, height in zip(maps, (9, 10, 11, 27, 10), (1.0, 2.0, 3.0, 90.0, -1.0), strict=True):
        row[at] = height
    config = replace(SHARP, tau=0.0)
    found = fused("signed-median", maps, on((30,)).axes, config=config)
    # The mass is the median of 1, 2, 3, 90 and 0; of pits, most have none.
    np.testing.assert_allclose(found.sum(), 2.0, rtol=1e-9)
    assert found.min() >= -1e-12
    # Of 9, 10, 11 and 27 a median lies anywhere from 10 to 11, their mean at 14.25.
    assert found.argmax() in (10, 11)
    mean = fused("signed", maps, on((30,)).axes, config=config)
    assert mean.argmax() == 14


def test_a_median_is_reweighted_by_distances_that_are_sinkhorn_divergences():
    rng = np.random.default_rng(0)
    p, q = rng.random((3, 30)), rng.random(30)
    p[0, 5:], q[7] = 0.0, 0.0
    p, q = p / p.sum(axis=1, keepdims=True), q / q.sum()
    axes = (np.arange(5.0), np.arange(6.0))
    found = divergences_to(p, q, axes, epsilon=0.5, cost_scale="none", tol=1e-9, max_iters=5000)
    for row, one in zip(p, found, strict=True):
        wanted = wasserstein2(row, q, axes, epsilon=0.5, cost_scale="none", tol=1e-10).divergence
        np.testing.assert_allclose(one, wanted, rtol=1e-6)
