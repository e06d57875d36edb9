from dataclasses import replace

import numpy as np
import pytest

from fedirl_ray.errors import DataError
from fedirl_ray.problem.control.model import model_from_physics
from fedirl_ray.problem.control.paper import CARTPOLE, LANDER, PENDULUM
from fedirl_ray.problem.control.rollouts import (
    Neighbourhood,
    gather,
    model_from_transitions,
)
from fedirl_ray.seeds import stream


def step_error(task, neighbourhood, state, held_out):
    """Root mean square error of predicted steps, and of predicting no change, in spacings."""
    before = task.locate(held_out.observations)
    use = ~state.outside(before) & ~held_out.terminated
    before = before[use]
    moved = state.shortest(task.locate(held_out.reached[use]) - before)
    guess = neighbourhood.guess(before, held_out.actions[use])
    spacing = np.array([axis.spacing for axis in state.axes])
    wrong = state.shortest(guess.displacement - moved)
    return [float(np.sqrt(np.mean((x / spacing) ** 2))) for x in (wrong, moved)]


def record(task, name, steps, policies=()):
    return gather(task, 2.0, policies, stream(0, name), steps)


@pytest.mark.parametrize(("task", "steps"), [(PENDULUM, 4_000), (LANDER, 10_000)])
def test_predicted_steps_are_much_nearer_than_no_change(task, steps):
    lander = task is LANDER
    if lander:
        pytest.importorskip("Box2D")
    neighbourhood = Neighbourhood(task, task.state, task.action, record(task, "fit", steps))
    model, persistence = step_error(
        task, neighbourhood, task.state, record(task, "held out", 2_000)
    )
    assert model < (0.6 if lander else 0.2) * persistence


def test_an_estimated_pendulum_is_nearly_the_true_one():
    task, state = PENDULUM, PENDULUM.state.resized((16, 11))
    estimated = model_from_transitions(task, record(task, "fit", 8_000), state, task.action)
    truth = model_from_physics(task, task.physics(2.0), state, task.action, stream(0, "true"))
    assert abs(estimated.expect - truth.expect).sum(axis=1).mean() < 0.25
    assert np.corrcoef(estimated.reward.ravel(), truth.reward.ravel())[0, 1] > 0.98
    assert estimated.ends.max() < 1e-9


def test_every_row_is_a_chance_and_far_guesses_are_counted():
    task = CARTPOLE
    model = model_from_transitions(task, record(task, "fit", 2_000), task.state, task.action)
    rows = np.asarray(model.expect.sum(axis=1))
    assert rows.shape == (task.action.size * task.state.size,)
    assert model.expect.min() >= 0.0
    assert rows.max() < 1.0 + 1e-9
    assert 0.0 < model.ends.max() <= 1.0
    assert model.initial.sum() == pytest.approx(1.0)
    wider = replace(task.state.axes[0], low=-50.0, high=50.0, points=50)
    far = replace(task.state, axes=(wider, *task.state.axes[1:]))
    fewer = model_from_transitions(task, record(task, "fit", 2_000), far, task.action)
    assert fewer.extrapolated > max(0.8, model.extrapolated)


def test_the_same_stream_records_the_same_steps():
    one, same, other = (record(PENDULUM, name, 200) for name in ("a", "a", "b"))
    assert np.array_equal(one.observations, same.observations)
    assert not np.array_equal(one.observations, other.observations)


def test_half_of_the_rows_follow_a_policy_half_of_the_time():
    steps = record(PENDULUM, "policy", 8_000, [lambda seen: np.full((len(seen), 1), 0.123)])
    assert (steps.actions == 0.123).mean() == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("count", [3, 6])
def test_every_policy_flies_and_about_equally_often(count):
    flown = np.zeros(count)

    def pilot(number):
        mark = 0.01 * (number + 1)
        return lambda seen: np.full((len(seen), 1), mark)

    steps = record(PENDULUM, "pilots", 8_000, [pilot(number) for number in range(count)])
    for number in range(count):
        flown[number] = (steps.actions == 0.01 * (number + 1)).mean()
    assert flown.sum() == pytest.approx(0.25, abs=0.05)
    assert flown.min() > 0.4 * flown.mean()


def test_nothing_recorded_is_refused():
    with pytest.raises(DataError, match="steps to gather must be >= 1"):
        record(PENDULUM, "none", 0)
    steps = record(PENDULUM, "some", 8)
    none = type(steps)(*(getattr(steps, name)[:0] for name in steps.__dataclass_fields__))
    with pytest.raises(DataError, match="at least one transition"):
        model_from_transitions(PENDULUM, none, PENDULUM.state, PENDULUM.action)
