import numpy as np
import pytest
from actors import make

from fedirl_ray.errors import DataError
from fedirl_ray.problem.control.actor import Actor
from fedirl_ray.problem.control.paper import CARTPOLE, PENDULUM


@pytest.mark.parametrize("task", [PENDULUM, CARTPOLE], ids=lambda task: task.name)
def test_an_actor_survives_as_arrays(task):
    actor = make(task)
    again = Actor.from_arrays(task, actor.arrays())
    seen = np.random.default_rng(1).normal(size=(20, actor.centre.size))
    assert (again(seen) == actor(seen)).all()


def test_drawn_actions_scatter_around_the_likeliest_within_their_limits():
    actor = make(PENDULUM, deviation=0.5)
    seen = np.repeat(np.random.default_rng(2).normal(size=(1, 3)), 20_000, axis=0)
    middle = actor._outputs(seen[:1])[0, 0]
    drawn = actor.sampled(np.random.default_rng(3))(seen)[:, 0]
    expected = np.clip(middle + 0.5 * np.random.default_rng(4).normal(size=100_000), -1.0, 1.0)
    assert drawn.mean() == pytest.approx(expected.mean(), abs=0.02)
    assert drawn.std() == pytest.approx(expected.std(), abs=0.02)
    assert actor(seen[:1])[0, 0] == pytest.approx(np.clip(middle, -1.0, 1.0))


def test_drawn_choices_come_as_often_as_their_softmax_says():
    actor = make(CARTPOLE)
    seen = np.repeat(np.random.default_rng(5).normal(size=(1, 4)), 20_000, axis=0)
    logits = actor._outputs(seen[:1])[0]
    share = np.exp(logits) / np.exp(logits).sum()
    drawn = actor.sampled(np.random.default_rng(6))(seen)[:, 0]
    assert (drawn == CARTPOLE.action.points[0, 0]).mean() == pytest.approx(share[0], abs=0.015)


def test_arrays_of_another_task_are_refused():
    with pytest.raises(DataError, match=r"an actor of CartPole-v1 has 2 outputs, got 1"):
        Actor.from_arrays(CARTPOLE, make(PENDULUM).arrays())
    with pytest.raises(DataError, match="not an actor's"):
        Actor.from_arrays(CARTPOLE, {"centre": np.zeros(4)})
