import numpy as np
import ot
import pytest

from fedirl_ray import barycenter


def dense_cost(axes):
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))
    cost = ((points[:, None] - points[None]) ** 2).sum(-1)
    return cost / cost.max()


@pytest.mark.parametrize("lengths", [(12,), (7, 5), (4, 3, 3), (3, 2, 3, 2), (2, 3, 2, 2, 2)])
@pytest.mark.parametrize("epsilon", [0.05, 0.5])
def test_agrees_with_pot_for_unequal_weights(lengths, epsilon):
    rng = np.random.default_rng(sum(lengths))
    axes = [np.sort(rng.random(m)) for m in lengths]
    rows = rng.random((4, int(np.prod(lengths)))) ** 3
    rows[rng.random(rows.shape) < 0.2] = 0
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    ours = barycenter(rows, axes, weights=weights, epsilon=epsilon, tol=1e-13)
    theirs = ot.bregman.barycenter(
        (rows / rows.sum(1, keepdims=True)).T,
        dense_cost(axes),
        epsilon,
        weights=weights,
        method="sinkhorn_log",
        numItermax=20_000,
        stopThr=1e-14,
    )
    assert np.abs(ours.measure.ravel() - theirs).sum() < 1e-10


def test_any_number_of_shards_gives_the_same_bytes():
    rows = np.random.default_rng(0).random((20, 6, 5, 4))
    axes = [np.arange(6.0), np.arange(5.0), np.arange(4.0)]
    whole = barycenter(rows, axes, epsilon=0.05)
    for shards in (2, 3, 7):
        assert barycenter(rows, axes, epsilon=0.05, shards=shards).measure.tobytes() == (
            whole.measure.tobytes()
        )


def test_debiased_agrees_with_pot():
    axes = [np.linspace(0, 1, 9), np.linspace(0, 2, 7)]
    x, y = np.meshgrid(*axes, indexing="ij")
    centres = [(0.3, 0.6), (0.7, 1.2), (0.5, 1.4)]
    rows = np.stack([np.exp(-((x - a) ** 2 + (y - b) ** 2) / 0.2).ravel() for a, b in centres])
    rows /= rows.sum(1, keepdims=True)
    ours = barycenter(rows, axes, epsilon=0.05, debiased=True, tol=1e-11)
    theirs = ot.bregman.barycenter_debiased(
        rows.T, dense_cost(axes), 0.05, method="sinkhorn_log", stopThr=1e-9, numItermax=5000
    )
    assert np.abs(ours.measure.ravel() - theirs / theirs.sum()).sum() < 2e-3
