import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import dense_soft, random_world

import fedirl_ray
from fedirl_ray import Demonstrations, FusionConfig, IRLConfig, Support, fit, fuse
from fedirl_ray.config import RunConfig
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.engine.local import Clients
from fedirl_ray.errors import ConfigError, DataError
from fedirl_ray.fusion.spec import support_of
from fedirl_ray.irl.block import prepare
from fedirl_ray.problem.demonstrations import demonstrate, expert_policy
from fedirl_ray.problem.family import draw_world
from fedirl_ray.problem.mdp import Stack


def shown(world, episodes=40, horizon=6):
    policy = expert_policy(Stack([world]), ProblemConfig(expert_temperature=1.0), horizon)
    return demonstrate(world, policy, episodes, np.random.default_rng(0))


def test_at_the_fit_the_models_features_are_the_demonstrations():
    world = random_world(1)
    data = shown(world)
    found = fit(world, data, IRLConfig(l2=1e-3, discount=0.9, tolerance=1e-9))
    assert found.converged
    _, _, visits = dense_soft(world, found.theta, 6, 0.9, 1.0)
    model = np.einsum("sa,sad->d", visits, np.broadcast_to(world.features, (6, 3, 2)))
    weight = 0.9 ** np.arange(6)
    counts = np.einsum("t,mtd->d", weight, world.features[data.states, 0]) / len(data.states)
    np.testing.assert_allclose(model + 1e-3 * found.theta, counts, atol=1e-6)
    np.testing.assert_allclose(found.reward, world.features @ found.theta)
    assert found.curvature.shape == (2, 2)


def test_it_is_what_a_client_of_a_run_learns():
    config = RunConfig(clients=1, problem=ProblemConfig(size=3, demonstrations=5))
    block = prepare(config, 0, [0])
    client = Clients(config, [0])
    client.prepare(0)
    held = client._held[0]
    wanted = client._domain.learn([held], np.zeros((1, 1, 2)), np.zeros((1, 1)))
    world = block.worlds[0]
    stack = Stack([world])
    policy = expert_policy(stack, config.problem, 18)
    rng = fedirl_ray.seeds.stream(0, "seed", 0, "client", 0, "demonstrations")
    data = demonstrate(world, policy, 5, rng)
    found = fit(world, (data.states.tolist(), data.actions.tolist()))
    np.testing.assert_array_equal(found.theta, wanted.theta[0, 0])
    np.testing.assert_array_equal(found.curvature, wanted.hessian[0, 0])


def test_it_starts_where_it_is_told():
    world = random_world(1)
    data = shown(world)
    best = fit(world, data).theta
    assert fit(world, data, start=best).iterations <= 1
    np.testing.assert_array_equal(fit(world, data, IRLConfig(iterations=0), start=best).theta, best)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s, a: (s + 0.5, a), "states must be integers"),
        (lambda s, a: (s[0], a[0]), r"of shape \(episodes, steps\)"),
        (lambda s, a: (s + 10, a), "states must lie in 0..5"),
        (lambda s, a: (s, a - 1), "actions must lie in 0..2"),
        (lambda s, a: (s, a[:, :-1]), "must have one shape"),
        (lambda s, a: (s[:, ::-1], a), "demonstrations, episode"),
    ],
)
def test_demonstrations_that_cannot_be_are_refused(change, said):
    world = random_world(1)
    data = shown(world)
    with pytest.raises(DataError, match=said):
        fit(world, change(data.states, data.actions))


def test_a_start_of_another_size_is_refused():
    world = random_world(1)
    with pytest.raises(DataError, match=r"start must have shape \(2\), got \(3,\)"):
        fit(world, shown(world), start=np.zeros(3))
    with pytest.raises(DataError, match="states must be integers"):
        fit(world, Demonstrations(np.zeros((1, 0), int), np.zeros((1, 0), int)))


def grid():
    config = ProblemConfig(size=4, features="rbf", rbf_centres=3)
    return support_of(draw_world(config, 0, 0, "probe", 0))


@given(st.integers(0, 2**31), st.sampled_from(["mean", "arithmetic", "barycenter", "debiased"]))
def test_rewards_and_thetas_that_say_the_same_fuse_to_the_same(seed, rule):
    support = Support(np.eye(6), (np.arange(2.0), np.arange(3.0)))
    rewards = np.random.default_rng(seed).normal(size=(3, 6))
    one = fuse(rewards=rewards, support=support.axes, rule=rule, weights=[1, 2, 1])
    other = fuse(thetas=rewards, support=support, rule=rule, weights=[0.25, 0.5, 0.25])
    np.testing.assert_allclose(one.theta, other.theta, atol=1e-12)


def test_the_barycenter_of_rewards_is_the_barycenter_of_their_measures():
    rewards = np.random.default_rng(0).normal(size=(3, 12))
    axes = (np.arange(3.0), np.arange(4.0))
    config = FusionConfig(epsilon=0.3, tolerance=1e-10, iterations=5000)
    found = fuse(rewards=rewards, support=axes, config=config)
    sigma = config.floor * np.ptp(rewards, axis=1).max() - rewards.min()
    measures = rewards + sigma
    wanted = fedirl_ray.barycenter(
        measures / measures.sum(axis=1, keepdims=True), axes, epsilon=0.3, cost_scale="none",
        tol=1e-10, max_iters=5000,
    )  # fmt: skip
    assert found.converged
    np.testing.assert_allclose(found.measure, wanted.measure.ravel(), atol=1e-9)
    mass = measures.sum(axis=1).mean()
    np.testing.assert_allclose(found.theta, mass * found.measure - sigma, atol=1e-9)


def test_precision_takes_curvatures():
    thetas = np.random.default_rng(0).normal(size=(2, 9))
    curvatures = np.stack([np.eye(9), 3.0 * np.eye(9)])
    found = fuse(thetas=thetas, support=grid(), rule="precision", curvatures=curvatures)
    np.testing.assert_allclose(found.theta, thetas.T @ [0.25, 0.75])
    with pytest.raises(DataError, match="curvatures must be given for precision"):
        fuse(thetas=thetas, support=grid(), rule="precision")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "either thetas or rewards"),
        ({"thetas": np.ones((2, 9)), "rewards": np.ones((2, 16))}, "either thetas or rewards"),
        ({"thetas": np.ones(9)}, r"thetas must have shape \(any, 9\), got \(9,\)"),
        ({"thetas": np.ones((0, 9))}, r"got \(0, 9\)"),
        ({"rewards": np.ones((2, 9))}, r"rewards must have shape \(any, 16\)"),
        ({"thetas": np.full((2, 9), np.nan)}, "thetas must be finite"),
        ({"thetas": [["a"] * 9]}, "thetas must be numbers"),
        ({"thetas": np.ones((2, 9)), "weights": [1.0]}, r"weights must have shape \(2\)"),
        ({"thetas": np.ones((2, 9)), "weights": [1.0, -1.0]}, "weights must be >= 0"),
        ({"thetas": np.ones((2, 9)), "weights": [0.0, 0.0]}, "not all zero"),
        ({"thetas": np.ones((2, 9)), "support": [[0.0, 1.0]]}, "must be a Support"),
    ],
)
def test_what_cannot_be_fused_is_refused(more, said):
    with pytest.raises(DataError, match=said):
        fuse(**{"support": grid(), **more})


@pytest.mark.parametrize("rule", ["nosuch", "local"])
def test_a_rule_that_is_none_is_refused(rule):
    with pytest.raises(ConfigError, match=f"rule must be .*, got '{rule}'"):
        fuse(thetas=np.ones((2, 9)), support=grid(), rule=rule)
