import numpy as np
import pytest

from fedirl_ray.config_fusion import CHOOSING, FusionConfig
from fedirl_ray.config_problem import HeterogeneityConfig
from fedirl_ray.fusion.rules import RULES, fuse
from fedirl_ray.fusion.spec import Given, Support
from fedirl_ray.fusion.upload import open_channel

CELLS = np.arange(4.0)
AXES = (CELLS, CELLS)
GRID = np.indices((4, 4)).reshape(2, -1).T.astype(float)
THETAS = np.random.default_rng(0).normal(size=(10, 2))


def channel(features=GRID, members=range(10), **dials):
    return open_channel(HeterogeneityConfig(**dials), Support(features, AXES), members, 10, 0, 0)


def send(some, thetas):
    """What clients send of `[m, d]`, one federation."""
    return some.send(thetas[:, None])[:, 0]


def test_with_all_dials_at_0_the_uploads_arrive_as_they_are():
    whole = THETAS[:, None]
    assert channel().send(whole) is whole


@pytest.mark.parametrize("attack", ["flip", "scale", "noise"])
@pytest.mark.parametrize("hidden", [0.0, 0.8])
def test_what_a_client_sends_depends_on_nobody_beside_it(attack, hidden):
    dials = {"adversaries": 0.4, "attack": attack, "hidden_support": hidden}
    whole = channel(features=np.eye(16), **dials)
    thetas = np.random.default_rng(1).normal(size=(10, 3, 16))
    together = whole.send(thetas)
    for members in ([4], [7, 2], [9, 0, 5]):
        part = channel(features=np.eye(16), members=members, **dials).send(thetas[members])
        assert part.tobytes() == together[members].tobytes()


def test_what_is_not_finite_is_sent_as_it_is():
    thetas = THETAS.copy()
    thetas[3] = np.nan, 1.0
    sent = send(channel(hidden_support=0.6), thetas)
    np.testing.assert_array_equal(sent[3], thetas[3])
    np.testing.assert_allclose(np.delete(sent, 3, 0), np.delete(THETAS, 3, 0), atol=1e-12)


@pytest.mark.parametrize("attack", ["flip", "scale", "noise"])
def test_a_share_of_adversaries_uploads_something_else(attack):
    sent = send(channel(adversaries=0.3, attack=attack), THETAS)
    changed = (sent != THETAS).any(axis=1)
    assert changed.sum() == 3
    lies, truth = sent[changed], THETAS[changed]
    match attack:
        case "flip":
            assert np.array_equal(lies, -truth)
        case "scale":
            assert np.array_equal(lies, 100.0 * truth)
        case "noise":
            np.testing.assert_allclose(
                np.linalg.norm(lies, axis=1), np.linalg.norm(truth, axis=1), rtol=1e-12
            )


def test_at_1_everybody_is_an_adversary():
    assert np.array_equal(send(channel(adversaries=1.0), THETAS), -THETAS)


def test_a_linear_reward_is_known_everywhere_from_enough_points():
    np.testing.assert_allclose(send(channel(hidden_support=0.6), THETAS), THETAS, atol=1e-12)


def test_what_is_hidden_is_lost_to_every_federation():
    some = channel(features=np.eye(16), hidden_support=0.75)
    thetas = np.random.default_rng(1).normal(size=(10, 3, 16))
    wanted = np.where(some.seen[:, None], thetas, 0.0)
    np.testing.assert_allclose(some.send(thetas), wanted, atol=1e-14)
    thetas[4, 1, 2] = np.inf  # is sent as it is, and keeps its neighbours from nothing
    wanted[4, 1] = thetas[4, 1]
    np.testing.assert_allclose(some.send(thetas), wanted, atol=1e-14)


def test_with_one_hot_features_what_is_hidden_is_lost():
    hidden = channel(features=np.eye(16), hidden_support=0.75)
    thetas = np.random.default_rng(1).normal(size=(10, 16))
    assert hidden.seen.sum(axis=1).tolist() == [4] * 10
    np.testing.assert_allclose(send(hidden, thetas), np.where(hidden.seen, thetas, 0.0), atol=1e-14)


def fused(rule, thetas, seen):
    hessians = np.broadcast_to(np.eye(16), (len(thetas), 16, 16))
    weights = np.full(len(thetas), 1.0 / len(thetas))
    support = Support(np.eye(16), AXES)
    return fuse(rule, Given(thetas, weights, support, FusionConfig(), seen, hessians))


def test_a_hidden_point_is_filled_with_the_others_mean():
    rewards = np.random.default_rng(2).random((3, 16))
    seen = np.ones((3, 16), dtype=bool)
    seen[0, :8], seen[:, 15] = False, False
    whole = rewards.copy()
    whole[0, :8] = rewards[1:, :8].mean(axis=0)
    # A point nobody knows is, to each, like the rest of what it knows.
    whole[:, 15] = [rewards[0, 8:15].mean(), *rewards[1:, :15].mean(axis=1)]
    for rule in ("masked-mean", "arithmetic", "barycenter", "debiased", "gibbs", "signed"):
        found, wanted = fused(rule, rewards, seen), fused(rule, whole, None)
        np.testing.assert_allclose(found.theta, wanted.theta, rtol=1e-9, err_msg=rule)
    np.testing.assert_allclose(fused("masked-mean", rewards, seen).theta, whole.mean(axis=0))


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule not in ("precision", *CHOOSING)])
def test_seeing_everything_is_the_same_as_no_mask(rule):
    thetas = np.random.default_rng(2).random((3, 16))
    masked = fused(rule, thetas, np.ones((3, 16), dtype=bool))
    assert np.array_equal(masked.theta, fused(rule, thetas, None).theta)
