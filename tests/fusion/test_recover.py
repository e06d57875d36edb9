import numpy as np
import pytest
import scipy.linalg

from fedirl_ray.fusion.recover import recover_theta


def case(seed=0, n=30, d=3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) + 1.0, rng.normal(size=n)


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_scipy_without_and_with_an_intercept(seed):
    features, reward = case(seed)
    plain = scipy.linalg.lstsq(features, reward)[0]
    np.testing.assert_allclose(recover_theta(features, reward, intercept=False), plain, rtol=1e-9)
    design = np.column_stack([np.ones(30), features])
    fitted = scipy.linalg.lstsq(design, reward)[0][1:]
    np.testing.assert_allclose(recover_theta(features, reward, intercept=True), fitted, rtol=1e-9)


def test_a_reward_of_the_family_is_recovered():
    features, _ = case()
    theta = np.array([2.0, -1.0, 0.5])
    np.testing.assert_allclose(
        recover_theta(features, features @ theta, intercept=False), theta, rtol=1e-10
    )


def test_an_offset_leaks_into_theta_unless_there_is_an_intercept():
    features, _ = case()
    theta = np.array([2.0, -1.0, 0.5])
    moved = features @ theta + 4.0
    np.testing.assert_allclose(recover_theta(features, moved, intercept=True), theta, rtol=1e-10)
    assert np.abs(recover_theta(features, moved, intercept=False) - theta).max() > 0.5


def test_of_many_thetas_that_fit_the_shortest_is_taken():
    features, reward = case()
    twins = np.column_stack([features, features[:, 0]])
    found = recover_theta(twins, reward, intercept=False)
    np.testing.assert_allclose(found, np.linalg.pinv(twins) @ reward, rtol=1e-9)
    np.testing.assert_allclose(found[0], found[3], rtol=1e-9)


def test_where_features_tell_points_apart_theta_is_the_reward():
    _, reward = case()
    assert np.array_equal(recover_theta(np.eye(30), reward, intercept=False), reward)
    # Numbered otherwise, or one short, it is not.
    for features in (np.eye(30)[::-1], np.eye(30)[:, :29], np.diag(np.linspace(1.0, 2.0, 30))):
        found = recover_theta(features, reward, intercept=False)
        np.testing.assert_allclose(found, np.linalg.pinv(features) @ reward, atol=1e-12)
