import numpy as np
import pytest
import scipy.optimize
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from fedirl_ray.errors import RunError
from fedirl_ray.problem.control import planning
from fedirl_ray.problem.control.model import LatticeModel, model_from_physics
from fedirl_ray.problem.control.paper import CARTPOLE, PENDULUM
from fedirl_ray.problem.control.planning import Chain, _krylov, plan
from fedirl_ray.problem.lattice import Axis, Lattice
from fedirl_ray.seeds import stream

GAMMA = 0.9


def random_model(seed, *, axes=1, ends=0.1):
    """Dense random dynamics, some steps of which end the episode."""
    rng = np.random.default_rng(seed)
    state = Lattice(tuple(Axis(f"x{j}", 0.0, 1.0, 3) for j in range(axes)))
    action = Lattice((Axis("a", -1.0, 1.0, 3),))
    s, a = state.size, action.size
    chance = rng.dirichlet(np.full(s, 0.3), size=a * s) * (1.0 - ends * rng.random((a * s, 1)))
    reward = rng.normal(size=(a, s))
    initial = rng.dirichlet(np.ones(s))
    return LatticeModel(state, action, sp.csr_array(chance), reward, initial)


def swept(model, reward, temperature, sweeps=600):
    """Value iteration, written down plainly."""
    a, s = reward.shape
    value = np.zeros(s)
    for _ in range(sweeps):
        q = reward + GAMMA * (model.expect.toarray() @ value).reshape(a, s)
        if temperature:
            value = temperature * (logsumexp(q / temperature, axis=0) - np.log(a))
        else:
            value = q.max(axis=0)
    return value, q


@pytest.mark.parametrize("temperature", [0.0, 0.1, 2.0])
@pytest.mark.parametrize("axes", [1, 3])  # factorised, and by GMRES
def test_a_plan_is_what_value_iteration_comes_to(axes, temperature):
    model = random_model(axes, axes=axes)
    found = plan(model, model.reward, discount=GAMMA, temperature=temperature)
    value, q = swept(model, model.reward, temperature)
    assert found.value == pytest.approx(value, abs=1e-6)
    assert found.advantage == pytest.approx(q - value, abs=1e-6)
    if temperature:
        wanted = np.exp((q - logsumexp(q / temperature, axis=0) * temperature) / temperature)
        assert found.policy == pytest.approx(wanted, abs=1e-6)
    else:
        assert (found.policy.argmax(axis=0) == q.argmax(axis=0)).all()


def test_a_start_changes_nothing():
    model = random_model(4, axes=3)
    found = plan(model, model.reward, discount=GAMMA, temperature=1.0)
    again = plan(model, model.reward, discount=GAMMA, temperature=1.0, start=found.value + 3.0)
    assert again.value == pytest.approx(found.value, abs=1e-6)


def test_nothing_is_paid_for_living_on():
    model = random_model(5, ends=0.5)
    found = plan(model, np.zeros_like(model.reward), discount=GAMMA, temperature=1.0)
    assert found.value == pytest.approx(0.0, abs=1e-9)


def test_equal_actions_share():
    model = random_model(6)
    same = LatticeModel(
        model.state,
        model.action,
        sp.csr_array(np.tile(model.expect.toarray()[:3], (3, 1))),
        np.tile(model.reward[:1], (3, 1)),
        model.initial,
    )
    found = plan(same, same.reward, discount=GAMMA, temperature=0.0)
    assert found.policy == pytest.approx(1.0 / 3.0)


@pytest.mark.parametrize("axes", [1, 3])
@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e9])
def test_a_greedy_plan_knows_no_units(axes, scale):
    model = random_model(11, axes=axes)
    found = plan(model, model.reward, discount=GAMMA, temperature=0.0)
    scaled = plan(model, scale * model.reward, discount=GAMMA, temperature=0.0)
    assert (scaled.policy == found.policy).all()
    assert scaled.value / scale == pytest.approx(found.value, abs=1e-8)


@pytest.mark.parametrize("axes", [1, 3])
def test_a_chains_value_and_visits_solve_their_equations(axes):
    model = random_model(7, axes=axes)
    a, s = model.reward.shape
    rng = np.random.default_rng(8)
    policy = rng.dirichlet(np.ones(a), size=s).T
    chain = Chain(model, policy, GAMMA)
    moves = np.einsum("as,ast->st", policy, model.expect.toarray().reshape(a, s, s))
    system = np.eye(s) - GAMMA * moves
    right = rng.normal(size=s)
    assert chain.value(right) == pytest.approx(np.linalg.solve(system, right), abs=1e-8)
    assert chain.visits(right) == pytest.approx(np.linalg.solve(system.T, right), abs=1e-8)


def test_all_solvers_agree_on_a_real_lattice(monkeypatch):
    state = CARTPOLE.state.resized((4, 4, 5, 4))
    model = model_from_physics(CARTPOLE, CARTPOLE.physics(0.0), state, CARTPOLE.action, stream(0))
    rng = np.random.default_rng(0)
    source = rng.normal(size=state.size)

    def solved():
        found = plan(model, model.reward, discount=0.99, temperature=0.5)
        return found.value, Chain(model, found.policy, 0.99).visits(source)

    krylov = solved()
    monkeypatch.setattr(planning, "FLAT", 4)
    factorised = solved()
    monkeypatch.setattr(planning, "SMALL", 10)
    preconditioned = solved()
    for other in (factorised, preconditioned):
        assert krylov[0] == pytest.approx(other[0], rel=1e-6)
        assert krylov[1] == pytest.approx(other[1], rel=1e-6, abs=1e-6)


def test_greedy_policies_that_stay_where_they_are_are_valued():
    # Rewards without structure: many states keep themselves, and rows are close to dependent.
    state = PENDULUM.state.resized((80, 63))
    model = model_from_physics(PENDULUM, PENDULUM.physics(0.0), state, PENDULUM.action, stream(0))
    reward = np.random.default_rng(0).normal(size=model.reward.shape)
    found = plan(model, reward, discount=0.99, temperature=0.0)
    q = reward + 0.99 * (model.expect @ found.value).reshape(reward.shape)
    assert found.value == pytest.approx(q.max(axis=0), abs=1e-6)


def test_a_large_flat_lattice_is_planned():
    state = PENDULUM.state.resized((100, 67))
    model = model_from_physics(PENDULUM, PENDULUM.physics(0.0), state, PENDULUM.action, stream(0))
    found = plan(model, model.reward, discount=0.99, temperature=0.1)
    expected = (model.expect @ found.value).reshape(model.reward.shape)
    q = model.reward + 0.99 * expected
    backed = 0.1 * (logsumexp(q / 0.1, axis=0) - np.log(len(q)))
    assert found.value == pytest.approx(backed, abs=1e-6)


@pytest.mark.parametrize("axes", [1, 3])
@pytest.mark.parametrize("huge", [1e7, 1e11])
def test_a_huge_penalty_elsewhere_ties_nothing(axes, huge):
    model = random_model(12, axes=axes, ends=0.3)
    reward = model.reward.copy()
    found = plan(model, reward, discount=GAMMA, temperature=0.0)
    avoided = found.policy == 0.0
    forbidden = avoided & (np.arange(reward.shape[1]) % 2 == 0)
    reward[forbidden] = -huge
    again = plan(model, reward, discount=GAMMA, temperature=0.0)
    np.testing.assert_array_equal(again.policy, found.policy)
    assert again.value == pytest.approx(found.value, rel=1e-7)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    axes=st.sampled_from([1, 2]),
    discount=st.sampled_from([0.5, 0.9, 0.999]),
    spread=st.sampled_from([0.0, 8.0]),
)
def test_greedy_values_are_those_of_the_linear_program(seed, axes, discount, spread):
    model = random_model(seed, axes=axes)
    a, s = model.reward.shape
    rng = np.random.default_rng(seed)
    # Penalties of any size: they are what a plan goes out of its way to avoid.
    reward = model.reward - 10.0 ** rng.uniform(0.0, spread, (a, s)) * (rng.random((a, s)) < 0.2)
    reward[0] = np.maximum(reward[0], -3.0)
    matrix = model.expect.toarray().reshape(a, s, s)
    above = (discount * matrix - np.eye(s)).reshape(a * s, s)
    found = scipy.optimize.linprog(np.ones(s), above, -reward.ravel(), bounds=(None, None))
    ours = plan(model, reward, discount=discount, temperature=0.0)
    moves = np.einsum("as,ast->st", ours.policy, matrix)
    value = np.linalg.solve(np.eye(s) - discount * moves, (ours.policy * reward).sum(axis=0))
    assert ours.value == pytest.approx(value, rel=1e-8)
    assert value == pytest.approx(found.x, rel=1e-6, abs=1e-6)


def test_a_value_that_does_not_exist_is_not_made_up():
    stays = sp.eye_array(5, format="csr")  # undiscounted, for ever: x = 1 + x has no solution
    with pytest.raises(RunError, match="did not converge"):
        _krylov(stays, np.ones(5), None, None)
