import numpy as np
import pytest

from fedirl_ray.config import IRLConfig
from fedirl_ray.irl.shown import Shown, show
from fedirl_ray.irl.stationary import LatticeIRL, fit_lattice
from fedirl_ray.problem.control.arena import Episodes, play
from fedirl_ray.problem.control.basis import RadialBasis, lattice_reward
from fedirl_ray.problem.control.model import model_from_physics
from fedirl_ray.problem.control.paper import CARTPOLE, PENDULUM
from fedirl_ray.problem.control.planning import Chain, plan
from fedirl_ray.problem.lattice import product
from fedirl_ray.seeds import stream

CONFIG = IRLConfig(l2=1e-3, iterations=200, tolerance=1e-6, discount=0.95, temperature=0.7)


def scene(task, shape, features=9):
    state = task.state.resized(shape)
    model = model_from_physics(task, task.physics(1.0), state, task.action, stream(0, task.name))
    support = product(state, task.action)
    return model, RadialBasis(support, features).at(support.points)


def shown_by(model, features, theta):
    """What a soft-optimal expert for theta shows, in expectation."""
    reward = lattice_reward(features, theta, model.action.size)
    policy = plan(model, reward, discount=0.95, temperature=0.7).policy
    visits = Chain(model, policy, 0.95).visits(model.initial) * policy
    return Shown(visits / visits.sum(), visits, 0.0), policy


@pytest.mark.parametrize("goal", ["likelihood", "matching"])
@pytest.mark.parametrize(
    ("task", "shape"), [(PENDULUM, (8, 5)), (CARTPOLE, (3, 3, 4, 3))], ids=["never ends", "ends"]
)
def test_gradients_are_finite_differences(task, shape, goal):
    model, features = scene(task, shape)
    rng = np.random.default_rng(1)
    shown, _ = shown_by(model, features, rng.normal(size=9))
    client = LatticeIRL(model, features, shown, CONFIG, goal)
    theta = rng.normal(size=9)
    _, gradient = client(theta)
    # Plans settle to 1e-9 of their scale, 1e-7 here: 5e-5 over a difference of 2e-3.
    step = 1e-3
    numeric = [(client(theta + e)[0] - client(theta - e)[0]) / (2 * step) for e in step * np.eye(9)]
    assert gradient == pytest.approx(np.array(numeric), rel=1e-4, abs=5e-5)


@pytest.mark.parametrize("goal", ["likelihood", "matching"])
def test_the_policy_behind_demonstrations_is_recovered(goal):
    model, features = scene(CARTPOLE, (3, 3, 4, 3))
    truth = 2.0 * np.random.default_rng(2).normal(size=9)
    shown, policy = shown_by(model, features, truth)
    client = LatticeIRL(model, features, shown, CONFIG, goal)
    fit = fit_lattice([client], IRLConfig(**{**vars(CONFIG), "l2": 1e-9}))
    found = client.plan(fit.theta).policy
    seen = shown.steps.sum(axis=0)
    assert (np.abs(found - policy).sum(axis=0) * seen).sum() < 0.02
    assert client(fit.theta)[0] < client(np.zeros(9))[0]


def test_a_fit_says_whether_it_converged():
    model, features = scene(PENDULUM, (8, 5))
    shown, _ = shown_by(model, features, np.ones(9))
    client = LatticeIRL(model, features, shown, CONFIG, "likelihood")
    done = fit_lattice([client], CONFIG)
    assert done.converged
    assert done.gradient < 1e-4
    cut = fit_lattice([client], IRLConfig(**{**vars(CONFIG), "iterations": 1}))
    assert not cut.converged
    assert cut.gradient > done.gradient


def test_the_fit_of_several_is_the_minimum_of_their_mean():
    model, features = scene(PENDULUM, (8, 5))
    rng = np.random.default_rng(3)
    clients = [
        LatticeIRL(model, features, shown_by(model, features, rng.normal(size=9))[0], CONFIG, goal)
        for goal in ("likelihood", "likelihood")
    ]
    fit = fit_lattice(clients, CONFIG)
    pull = np.mean([client(fit.theta)[1] for client in clients], axis=0) + 1e-3 * fit.theta
    assert np.abs(pull).max() < 1e-4
    alone = fit_lattice(clients[:1], CONFIG)
    assert fit_lattice(clients[:1] * 2, CONFIG).theta == pytest.approx(alone.theta, abs=1e-4)


def test_curvature_is_the_likelihoods_hessian_where_demonstrations_are_the_models_own():
    model, features = scene(PENDULUM, (8, 5), features=4)
    theta = np.random.default_rng(4).normal(size=4)
    shown, _ = shown_by(model, features, theta)
    client = LatticeIRL(model, features, shown, CONFIG, "likelihood")
    step = 1e-5
    numeric = np.array(
        [
            (client(theta + step * e)[1] - client(theta - step * e)[1]) / (2 * step)
            for e in np.eye(4)
        ]
    )
    # Demonstrated states and actions are exactly the policy's, so the Hessian is Fisher's.
    assert client.curvature(theta) == pytest.approx(numeric, rel=1e-3, abs=1e-6)


def episodes(lengths, terminated):
    m, h = len(lengths), max(lengths)
    rng = np.random.default_rng(5)
    angle = rng.uniform(-1.0, 1.0, size=(m, h))
    seen = np.stack([np.cos(angle), np.sin(angle), np.zeros((m, h))], axis=2)
    inside = np.arange(h) < np.array(lengths)[:, None]
    return Episodes(
        seen * inside[:, :, None],
        rng.uniform(-1.0, 1.0, size=(m, h, 1)) * inside[:, :, None],
        np.array(lengths),
        np.zeros(m),
        seen[:, -1],
        np.array(terminated),
    )


def test_what_is_shown_is_counted_and_what_was_cut_goes_on():
    found = show(PENDULUM, episodes([3, 5], [True, False]), PENDULUM.state, PENDULUM.action, 0.9)
    assert found.steps.sum() == pytest.approx(1.0)
    ended = 1.0 + 0.9 + 0.81
    cut = 1.0 / (1.0 - 0.9)
    assert found.visits.sum() == pytest.approx((ended + cut) / 2)
    assert found.outside == 0.0


def test_interpolated_steps_keep_their_mean_place():
    played = play(CARTPOLE, [0.0] * 5, lambda seen: np.ones((len(seen), 1)), stream(1, "play"))
    found = show(CARTPOLE, played, CARTPOLE.state, CARTPOLE.action, 0.99)
    mean = found.steps.sum(axis=0) @ CARTPOLE.state.points
    low, high = np.array([(axis.low, axis.high) for axis in CARTPOLE.state.axes]).T
    assert mean == pytest.approx(np.clip(played.steps()[0], low, high).mean(axis=0))
    assert found.outside == pytest.approx(CARTPOLE.state.outside(played.steps()[0]).mean())
