"""What a client's job gives back of what it was shown."""

import numpy as np
import pytest
from actors import make
from fedirl_ray.study.control.config import LearnerConfig, TaskConfig
from fedirl_ray.study.control.learning import demonstrations, learn, model_of, pool

from fedirl_ray.irl.shown import show
from fedirl_ray.irl.stationary import LatticeIRL, fit_lattice

TASK = TaskConfig(name="Pendulum-v1", points=(7, 7))
LEARNER = LearnerConfig(features=8, demonstrations=3)


@pytest.fixture(scope="module")
def own():
    return TASK.task()


@pytest.fixture(scope="module")
def teacher(own):
    return make(own).arrays()


@pytest.fixture(scope="module")
def learnt(teacher):
    return learn(TASK, 1.0, LEARNER, teacher, None, 5, 2)


def test_a_client_learns_once_for_every_seeds_own_demonstrations(own, teacher, learnt):
    model = model_of(own, 1.0, None, 5)
    features = LEARNER.basis(own).at(own.support.points)
    for seed in range(2):
        shown = demonstrations(own, 1.0, LEARNER, teacher, 5, seed)
        assert len(shown.returns) == 3
        spread = show(own, shown, own.state, own.action, LEARNER.irl.discount)
        one = LatticeIRL(model, features, spread, LEARNER.irl, LEARNER.goal)
        wanted = fit_lattice([one], LEARNER.irl)
        np.testing.assert_array_equal(learnt["theta"][seed], wanted.theta)
        np.testing.assert_allclose(learnt["curvature"][seed], one.curvature(wanted.theta))
        assert learnt["objective"][seed] == wanted.objective
        assert learnt["converged"][seed] == wanted.converged
        assert learnt["outside"][seed] == spread.outside
        assert learnt["demonstrated"][seed] == pytest.approx(sum(shown.returns) / 3)
    assert (learnt["theta"][0] != learnt["theta"][1]).any()


def test_nothing_is_guessed_where_the_equations_are_known(learnt):
    assert learnt["extrapolated"] == 0.0
    assert "unlikeliest" not in learnt


def test_to_pool_the_first_client_alone_is_to_learn_as_it(teacher):
    alone = learn(TASK, 0.0, LEARNER, teacher, None, 5, 1)["theta"]
    pooled = pool(TASK, LEARNER, [teacher], [None], 5, 1)["theta"]
    np.testing.assert_array_equal(pooled, alone)
    both = pool(TASK, LEARNER, [teacher, teacher], [None, None], 5, 1)["theta"]
    assert (both != alone).any()


def test_recorded_episodes_are_shown_as_they_are_for_every_seed(own, teacher):
    shown = demonstrations(own, 1.0, LEARNER, teacher, 5, 0)
    assert demonstrations(own, 1.0, LEARNER, shown, 5, 1) is shown
    twice = learn(TASK, 1.0, LEARNER, shown, None, 5, 2)
    np.testing.assert_array_equal(twice["theta"][0], twice["theta"][1])
    assert "unlikeliest" not in twice
