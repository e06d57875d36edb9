import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from fedirl_ray.evaluate.reward_distance import canonical, reward_distance
from fedirl_ray.problem.control.model import LatticeModel, model_from_physics
from fedirl_ray.problem.control.paper import CARTPOLE, PENDULUM
from fedirl_ray.problem.lattice import Axis, Lattice
from fedirl_ray.seeds import stream

GAMMA = 0.95


def random_model(rng, *, ends):
    state, action = Lattice((Axis("x", 0.0, 1.0, 6),)), Lattice((Axis("a", -1.0, 1.0, 3),))
    going = 1.0 - ends * rng.random((18, 1))
    chance = rng.dirichlet(np.full(6, 0.4), size=18) * going
    return LatticeModel(
        state, action, sp.csr_array(chance), rng.normal(size=(3, 6)), np.ones(6) / 6
    )


def lattice_model(task):
    return model_from_physics(task, task.physics(1.0), task.state, task.action, stream(0, "x"))


MODELS = {
    "never ends": random_model(np.random.default_rng(1), ends=0.0),
    "ends": random_model(np.random.default_rng(2), ends=0.5),
    "pendulum": lattice_model(PENDULUM),
    "cartpole": lattice_model(CARTPOLE),
}


def shaped(model, reward, potential):
    """Ng's shaping: the potential is zero where an episode has ended."""
    return reward + GAMMA * (model.expect @ potential).reshape(reward.shape) - potential


@pytest.fixture(params=MODELS, ids=str)
def model(request):
    return MODELS[request.param]


def test_shaping_and_scale_are_nothing(model):
    rng = np.random.default_rng(3)
    reward = rng.normal(size=model.reward.shape)
    potential = 10.0 * rng.normal(size=model.state.size)
    other = shaped(model, 3.0 * reward, potential)
    assert reward_distance(model, reward, other, discount=GAMMA) == pytest.approx(0.0, abs=1e-6)


def test_negated_is_as_far_as_can_be(model):
    reward = np.random.default_rng(4).normal(size=model.reward.shape)
    assert reward_distance(model, reward, -2.0 * reward, discount=GAMMA) == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["never ends", "pendulum"])
def test_a_constant_is_nothing_where_no_episode_ends(name):
    model = MODELS[name]
    reward = model.reward
    far = reward_distance(model, reward, 3.0 * reward + 5.0, discount=GAMMA)
    assert far == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("name", ["ends", "cartpole"])
def test_where_episodes_end_a_constant_pays_for_living(name):
    model = MODELS[name]
    one = np.ones_like(model.reward)
    assert reward_distance(model, one, 7.0 * one, discount=GAMMA) == pytest.approx(0.0, abs=1e-9)
    assert reward_distance(model, one, -one, discount=GAMMA) == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["ends", "cartpole"])
def test_a_constant_moves_a_reward_where_episodes_end(name):
    model = MODELS[name]
    reward = np.random.default_rng(7).normal(size=model.reward.shape)
    assert reward_distance(model, reward, 3.0 * reward + 5.0, discount=GAMMA) > 0.05


def test_a_reward_that_orders_nothing_is_half_way_to_all():
    model = MODELS["never ends"]
    constant = np.full_like(model.reward, 4.0)
    assert (canonical(model, constant, discount=GAMMA) == 0.0).all()
    assert reward_distance(model, constant, model.reward, discount=GAMMA) == pytest.approx(0.5)


@pytest.mark.parametrize("discount", [0.9, 0.9999, 1.0 - 1e-8])
def test_what_rounding_leaves_of_a_constant_is_nothing_however_long_the_horizon(discount):
    model = MODELS["never ends"]
    constant = np.full_like(model.reward, 4.0)
    assert (canonical(model, constant, discount=discount) == 0.0).all()


@given(seed=st.integers(0, 2**32 - 1), ends=st.sampled_from([0.0, 0.4]))
def test_it_is_a_distance(seed, ends):
    rng = np.random.default_rng(seed)
    model = random_model(rng, ends=ends)
    one, two, three = rng.normal(size=(3, 3, 6))

    def far(a, b):
        return reward_distance(model, a, b, discount=GAMMA)

    assert far(one, two) == pytest.approx(far(two, one))
    assert 0.0 <= far(one, two) <= 1.0 + 1e-9
    assert far(one, three) <= far(one, two) + far(two, three) + 1e-9
    assert far(one, one) == 0.0


@pytest.mark.parametrize("name", ["never ends", "ends"])
def test_a_canonical_reward_is_the_uniform_policys_advantage_over_its_norm(name):
    model = MODELS[name]
    moves = model.expect.toarray().reshape(3, 6, 6)
    value = np.linalg.solve(np.eye(6) - GAMMA * moves.mean(axis=0), model.reward.mean(axis=0))
    advantage = model.reward + GAMMA * moves @ value - value
    wanted = advantage / np.sqrt((advantage**2).mean())
    assert canonical(model, model.reward, discount=GAMMA) == pytest.approx(wanted)


@given(seed=st.integers(0, 2**32 - 1))
def test_rewards_that_are_alike_order_policies_alike(seed):
    rng = np.random.default_rng(seed)
    model = random_model(rng, ends=0.3)
    reward = rng.normal(size=(3, 6))
    other = shaped(model, 2.0 * reward, rng.normal(size=6))
    moves = model.expect.toarray().reshape(3, 6, 6)

    def worth(policy, what):
        chain = np.eye(6) - GAMMA * np.einsum("as,ast->st", policy, moves)
        return model.initial @ np.linalg.solve(chain, (policy * what).sum(axis=0))

    policies = [rng.dirichlet(np.ones(3), size=6).T for _ in range(6)]
    ranks = [np.argsort([worth(policy, what) for policy in policies]) for what in (reward, other)]
    assert (ranks[0] == ranks[1]).all()
