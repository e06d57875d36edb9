"""Overlaps of plans with what was shown: by hand, and against dense sums of our own."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import dense, random_world

from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.evaluate.overlap import (
    LatticeShown,
    lattice_overlaps,
    overlaps,
    shown_on_lattice,
)
from fedirl_ray.fusion.rules import fuse
from fedirl_ray.fusion.spec import Given, Support
from fedirl_ray.problem.control.arena import play
from fedirl_ray.problem.control.model import model_from_physics
from fedirl_ray.problem.control.paper import PENDULUM
from fedirl_ray.problem.control.planning import plan
from fedirl_ray.problem.demonstrations import Demonstrations
from fedirl_ray.problem.greedy import greedy_policy
from fedirl_ray.problem.mdp import Stack, TabularMDP


def chain():
    """Two states; action 0 stays, action 1 goes to the other. Features: one a state."""
    successors = np.array([[[0], [1]], [[1], [0]]], dtype=np.int32)
    return TabularMDP(
        successors=successors,
        probabilities=np.ones((2, 2, 1)),
        initial=np.array([1.0, 0.0]),
        terminal=np.zeros(2, dtype=bool),
        goal=np.zeros(2, dtype=bool),
        features=np.eye(2)[:, None],
        reward=np.zeros((2, 1)),
        axes=(np.arange(2.0),),
    )


def shown(*states):
    states = np.array(states, dtype=np.int32)
    return Demonstrations(states, np.zeros_like(states))


def test_two_states_by_hand():
    # Shown: 0 1 1 and 0 0 0, both from state 0. Half discount: weights 4/7, 2/7, 1/7.
    # Occupancy of state 0: (4/7 + 7/7) / 2 = 11/14. Ends: half in either.
    # Reward of state 1: the plan goes 0 1 1, occupancy of 0 is 4/7; it ends in 1.
    # Reward of state 0: the plan stays, occupancy 1; ends in 0.
    thetas = np.array([[[0.0, 1.0], [1.0, 0.0]]])
    found = overlaps([chain()], [shown([0, 1, 1], [0, 0, 0])], thetas, discount=0.5)
    go = 4 / 7 + 3 / 14, 1 / 2
    stay = 11 / 14, 1 / 2
    np.testing.assert_allclose(found, [[go, stay]], rtol=1e-12)


def test_select_takes_what_the_scores_of_two_states_come_to():
    # Kept: 0 1 1, 0 1 1 and 0 0 0. Going scores 2 where it was shown, and 4/7 (the first step)
    # where it was not; so does staying. The mean of the uploads stays, their median goes.
    kept = [shown([0, 1, 1]), shown([0, 1, 1]), shown([0, 0, 0])]
    uploads = np.array([[0.0, 1.0], [0.0, 1.0], [6.0, 0.0]])
    asked = []

    def score(thetas):
        asked.append(overlaps([chain()] * 3, kept, np.stack([thetas] * 3), discount=0.5).sum(2))
        return asked[-1]

    one = Given(
        uploads,
        np.full(3, 1 / 3),
        Support(np.eye(2), chain().axes),
        FusionConfig(candidates=("mean", "median")),
        score=score,
    )
    found = fuse("select", one)  # staying (2 + 8/7) / 3, going (4 + 4/7) / 3
    np.testing.assert_allclose(asked[0], [[4 / 7, 2.0], [4 / 7, 2.0], [2.0, 4 / 7]], rtol=1e-12)
    assert found.chosen == "median"
    np.testing.assert_array_equal(found.theta, [0.0, 1.0])
    # Who stayed counts three times as much as the others: (2 x 3 + 8/7) / 5 against (4 + 12/7) / 5.
    # The median is that client's own upload then, and stays, too: of equals the first.
    assert fuse("select", replace(one, weights=np.array([0.2, 0.2, 0.6]))).chosen == "mean"


def test_a_plan_begins_where_the_episodes_do():
    found = overlaps([chain()], [shown([1, 1, 1])], np.array([[[0.0, 1.0]]]), discount=0.5)
    np.testing.assert_allclose(found, 1.0, rtol=1e-12)


def test_indifference_splits_evenly():
    # theta 0: both actions tie everywhere; from step 1 on either state has half the mass.
    found = overlaps([chain()], [shown([0, 0, 0])], np.zeros((1, 1, 2)), discount=0.5)
    np.testing.assert_allclose(found, [[[11 / 14, 1 / 2]]], rtol=1e-12)


def by_sums(world, data, theta, discount):
    """The definitions, state by state and step by step."""
    s, h = world.shape[0], data.states.shape[1]
    stack = Stack([world])
    policy = greedy_policy(stack, stack.rewards(theta[None])[..., None], discount=discount)[..., 0]
    matrix = np.einsum("as,sat->st", policy, dense(world))
    mass = np.bincount(data.states[:, 0], minlength=s) / len(data.states)
    weight = discount ** np.arange(h) / (discount ** np.arange(h)).sum()
    mine, theirs = np.zeros(s), np.zeros(s)
    for t in range(h):
        mine += weight[t] * mass
        theirs += weight[t] * np.bincount(data.states[:, t], minlength=s) / len(data.states)
        last, mass = mass, mass @ matrix
    ended = np.bincount(data.states[:, -1], minlength=s) / len(data.states)
    variation = 0.5 * np.abs(mine - theirs).sum()
    return [1.0 - variation, np.minimum(last, ended).sum()]


@given(seed=st.integers(0, 2**31), discount=st.sampled_from([0.5, 0.95]), h=st.integers(1, 6))
def test_overlaps_are_what_they_are_defined_as(seed, discount, h):
    rng = np.random.default_rng(seed)
    worlds = [random_world(seed + i) for i in range(3)]
    data = [shown(*rng.integers(6, size=(4, h))) for _ in worlds]
    thetas = rng.normal(size=(3, 2, 2))
    found = overlaps(worlds, data, thetas, discount=discount)
    for i, c in np.ndindex(3, 2):
        expected = by_sums(worlds[i], data[i], thetas[i, c], discount)
        np.testing.assert_allclose(found[i, c], expected, rtol=1e-9, atol=1e-12)
    assert found.min() >= 0.0
    assert found.max() <= 1.0


def test_a_score_does_not_depend_on_what_is_asked_beside_it():
    rng = np.random.default_rng(0)
    worlds = [random_world(i, s=6 + 2 * (i % 2)) for i in range(5)]
    data = [shown(*rng.integers(6, size=(4, 8))) for _ in worlds]
    thetas = rng.normal(size=(5, 7, 2))
    whole = overlaps(worlds, data, thetas, discount=0.95)
    for i in range(5):
        for c in range(7):
            alone = overlaps(worlds[i : i + 1], data[i : i + 1], thetas[i : i + 1, c : c + 1],
                             discount=0.95)  # fmt: skip
            assert alone.tobytes() == whole[i, c].tobytes()


@pytest.fixture(scope="module")
def swing():
    """A coarse pendulum, and episodes of a pilot that always pushes one way."""
    task = replace(PENDULUM, steps=30)
    model = model_from_physics(
        task, task.physics(1.0), task.state, task.action, np.random.default_rng(0)
    )
    rng = np.random.default_rng(1)
    episodes = play(task, [1.0] * 4, lambda seen: np.ones((len(seen), 1)), rng)
    return task, model, episodes


def test_what_is_shown_on_a_lattice_are_distributions(swing):
    found = shown_on_lattice(*swing, 0.9)
    assert found.steps == 30
    for mass in (found.begun, found.stayed, found.ended):
        np.testing.assert_allclose(mass.sum(), 1.0, rtol=1e-9)
        assert mass.min() >= 0.0
    assert found.ended[-1] == 0.0  # nothing ends a pendulum's episode but the clock


def test_a_plan_on_a_lattice_overlaps_fully_with_itself(swing):
    _, model, _ = swing
    a, s = model.reward.shape
    rng = np.random.default_rng(2)
    reward, begun = rng.normal(size=(a, s)), np.full(s, 1.0 / s)
    policy = plan(model, reward, discount=0.9, temperature=0.0).policy
    chain = np.zeros((s, s))
    for action in range(a):
        chain += policy[action][:, None] * model.expect.toarray().reshape(a, s, s)[action]
    visits = np.linalg.solve(np.eye(s) - 0.9 * chain.T, 0.1 * begun)
    mass = begun @ np.linalg.matrix_power(chain, 7)
    stayed, ended = (np.append(one, 1 - one.sum()) for one in (visits, mass))
    own = LatticeShown(begun, stayed, ended, 7)
    found = lattice_overlaps(model, own, np.stack([reward, -reward]), 0.9)
    np.testing.assert_allclose(found[0], 1.0, rtol=1e-7)
    assert (found[1] < 0.9).all()
