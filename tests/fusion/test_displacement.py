"""Displacement, against sums over pairs, spikes by hand, and maps that are displaced or are not."""

from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedirl_ray.config import EvaluationConfig, IRLConfig, RunConfig
from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.engine.federation import Federation
from fedirl_ray.engine.local import Clients
from fedirl_ray.engine.round import stage_of
from fedirl_ray.fusion.displacement import displacement
from fedirl_ray.fusion.maps import blurred

SIDE = 12
AXES = (np.arange(float(SIDE)),) * 2


def bumps(centres, width=1.0):
    """One Gaussian peak a map, `[k, n]`."""
    at = np.stack(np.meshgrid(*AXES, indexing="ij"), axis=-1).reshape(-1, 2)
    off = ((at[None] - np.asarray(centres)[:, None]) ** 2).sum(axis=2)
    return np.exp(-off / (2 * width**2))


def even(k):
    return np.full(k, 1.0 / k)


def by_pairs(maps, weights):
    """The formulas, one pair and one client after the other."""
    coarse = blurred(maps, AXES, 2.0)
    k = len(maps)

    def mean_correlation(of, who):
        pairs = [(i, j) for i in who for j in who if i != j]
        share = [weights[i] * weights[j] for i, j in pairs]
        return np.average([np.corrcoef(of[i], of[j])[0, 1] for i, j in pairs], weights=share)

    def taken(who):
        return 1 - (1 - mean_correlation(coarse, who)) / max(1 - mean_correlation(maps, who), 0.05)

    core = [
        i
        for i in range(k)
        if np.median([np.corrcoef(coarse[i], coarse[j])[0, 1] for j in range(k) if j != i]) >= 0
    ]
    if len(core) < 2:
        return taken(range(k)), np.nan, np.nan
    above = [maps[i] - np.median(maps[i]) for i in core]
    kept = np.average([one / one.max() for one in above], axis=0, weights=weights[core]).max()
    return taken(range(k)), taken(core), kept


@given(seed=st.integers(0, 2**31), k=st.integers(2, 6))
def test_the_numbers_are_what_they_are_defined_as(seed, k):
    rng = np.random.default_rng(seed)
    maps = bumps(rng.uniform(2, SIDE - 3, (k, 2))) + 0.2 * rng.normal(size=(k, SIDE**2))
    weights = rng.dirichlet(np.ones(k))
    found = astuple(displacement(maps, AXES, weights))
    np.testing.assert_allclose(found, by_pairs(maps, weights), rtol=1e-8, atol=1e-10)


def test_spikes_by_hand():
    # Two spikes five cells apart on a long line: unlike each other, and after a blur of width 2
    # alike by exp(-25 / (4 * 4)), less what their means take away.
    n = 1001
    maps = np.zeros((2, n))
    maps[0, 498], maps[1, 503] = 1.0, 3.0
    found = displacement(maps, (np.arange(float(n)),), even(2))
    np.testing.assert_allclose(found.blur_takes, np.exp(-25 / 16), atol=6e-3)
    assert found.blur_takes == found.blur_takes_core
    assert found.peaks_keep == 0.5
    assert found.found


def test_what_little_maps_that_agree_differ_in_says_nothing():
    maps = bumps([[6, 6]] * 4) + 0.01 * np.random.default_rng(0).normal(size=(4, SIDE**2))
    fine, coarse = (np.corrcoef(one) for one in (maps, blurred(maps, AXES, 2.0)))
    apart, near = (1 - (one.sum() - 4) / 12 for one in (fine, coarse))
    assert apart < 0.05
    found = displacement(maps, AXES, even(4))
    assert found.blur_takes == pytest.approx(1 - near / 0.05)


def test_maps_that_agree_are_not_displaced():
    maps = np.repeat(bumps([[6, 6]]), 4, axis=0)
    found = displacement(maps, AXES, even(4))
    assert found.peaks_keep == pytest.approx(1.0)
    assert not found.found


def test_noise_is_not_displaced():
    maps = np.random.default_rng(0).normal(size=(6, SIDE**2))
    assert not displacement(maps, AXES, even(6)).found


def test_who_uploads_the_opposite_does_not_look_displaced_nor_hides_it():
    rng = np.random.default_rng(3)
    alike, apart = bumps([[6, 6]] * 8), bumps(rng.uniform(3, 8, (8, 2)))
    alike += 0.02 * rng.normal(size=alike.shape)
    for maps, displaced in ((alike, False), (apart, True)):
        lies = maps.copy()
        lies[:1] *= -1.0
        assert displacement(maps, AXES, even(8)).found is displaced
        assert displacement(lies, AXES, even(8)).peaks_keep == pytest.approx(
            displacement(maps[1:], AXES, even(7)).peaks_keep
        )
        assert not (not displaced and displacement(lies, AXES, even(8)).found)


@given(
    seed=st.integers(0, 2**31),
    exponents=st.lists(st.floats(-6, 6), min_size=5, max_size=5),
    constants=st.lists(st.floats(-1e3, 1e3), min_size=5, max_size=5),
)
def test_a_constant_or_a_positive_factor_changes_nothing(seed, exponents, constants):
    rng = np.random.default_rng(seed)
    maps = bumps(rng.uniform(2, SIDE - 3, (5, 2))) + 0.1 * rng.normal(size=(5, SIDE**2))
    scale = 10.0 ** np.array(exponents)[:, None]
    other = scale * (maps + np.array(constants)[:, None])
    ours, theirs = (displacement(one, AXES, even(5)) for one in (maps, other))
    np.testing.assert_allclose(astuple(ours), astuple(theirs), rtol=1e-6, atol=1e-8)
    numbers = np.array(astuple(ours))
    if np.abs(numbers - (0.1, 0.1, 0.7)).min() > 1e-6:
        assert ours.found == theirs.found


@pytest.mark.parametrize("add", [0.0, 0.1, 1e3])
def test_pits_have_no_peaks_that_could_smear_out(add):
    # One map of hazards alone, seen by all, then with one client that sees a peak there, too.
    pits = add - np.repeat(np.round(bumps([[6, 6]])), 4, axis=0)
    found = displacement(pits, AXES, even(4))
    assert np.isnan(found.peaks_keep)
    assert not found.found
    pits[0] += bumps([[2, 2]])[0]
    pits[1:] += 1e-14 * np.random.default_rng(0).normal(size=(3, SIDE**2))  # rounding is no peak
    assert displacement(pits, AXES, even(4)).peaks_keep == 1.0


FLAT = np.ones((3, SIDE**2))


@pytest.mark.parametrize("maps", [FLAT, 0.0 * FLAT, bumps([[6, 6]])])
def test_where_there_are_not_two_maps_there_is_no_verdict(maps):
    found = displacement(maps, AXES, even(len(maps)))
    assert np.isnan(astuple(found)).all()
    assert not found.found


def test_clients_of_weight_zero_are_not_looked_at():
    maps = bumps([[3, 3], [7, 7], [4, 8]])
    without = displacement(maps[:2], AXES, even(2))
    assert displacement(maps, AXES, np.array([0.5, 0.5, 0.0])) == without


def test_rewards_over_actions_are_blurred_over_places_alone():
    # Actions are all equally far apart: a peak of another action is not a displaced one.
    axes = (np.arange(8.0), 1.0 - np.eye(3))
    maps = np.zeros((3, 8, 3))
    maps[range(3), 4, range(3)] = 1.0
    assert displacement(maps.reshape(3, -1), axes, even(3)).blur_takes < 0.1


WORLDS = 20


def learnt(shift, seed):
    """Maps that six clients really learnt on 8x8 cells with the goal in the middle, `[k, n]`."""
    config = RunConfig(
        clients=6,
        seeds=seed + 1,
        problem=ProblemConfig(
            size=8, goal="centre", goal_shift=shift, features="one-hot", demonstrations=30
        ),
        irl=IRLConfig(l2=0.1, tolerance=1e-3),
        fusion=FusionConfig(rules=("mean",)),
        evaluation=EvaluationConfig(held_out=1),
        seed=500,
    )
    domain = domain_of(config)
    stage = stage_of(domain, seed)
    order = Federation.begin(config, 1, stage.support).order(config, seed)
    (answer,) = Clients(config, range(6)).learn(order)
    thetas = np.stack([upload.theta[1] for upload in answer.uploads])
    return thetas @ stage.support.features.T, stage.support.axes


@pytest.mark.parametrize(("shift", "displaced", "least"), [(0.5, True, 18), (0.0, False, WORLDS)])
def test_learnt_maps_are_told_apart(shift, displaced, least):
    verdicts = [displacement(*learnt(shift, seed), even(6)).found for seed in range(WORLDS)]
    assert verdicts.count(displaced) >= least
