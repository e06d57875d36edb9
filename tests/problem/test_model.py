import numpy as np
import pytest

from fedirl_ray.problem.control.arena import play
from fedirl_ray.problem.control.model import model_from_physics, occupied
from fedirl_ray.problem.control.paper import ACROBOT, CARTPOLE, PENDULUM
from fedirl_ray.seeds import stream


def model_of(task, shape=None):
    state = task.state if shape is None else task.state.resized(shape)
    return model_from_physics(task, task.physics(1.0), state, task.action, stream(0, task.name))


@pytest.mark.parametrize("task", [PENDULUM, CARTPOLE, ACROBOT], ids=lambda task: task.name)
def test_rows_sum_to_one_less_the_chance_of_ending(task):
    model = model_of(task)
    for number, act in enumerate(task.action.points):
        acts = np.tile(act, (task.state.size, 1))
        ended = task.physics(1.0).step(task.state.points, acts).terminated
        assert model.ends[number] == pytest.approx(ended.astype(float))
    assert model.expect.min() >= 0.0
    assert model.initial.sum() == pytest.approx(1.0)


def test_the_mean_of_the_next_state_is_the_true_one():
    model, physics = model_of(CARTPOLE), CARTPOLE.physics(1.0)
    points = CARTPOLE.state.points
    step = physics.step(points, np.ones((len(points), 1)))
    inside = ~step.terminated & ~CARTPOLE.state.outside(step.states)
    mean = (model.expect @ points).reshape(2, *points.shape)[1]
    assert inside.sum() > 50
    assert mean[inside] == pytest.approx(step.states[inside])


def test_a_finer_lattice_knows_better_what_a_policy_earns():
    task, steps = PENDULUM, 40
    starts = stream(0, "play")
    true = play(
        task, [1.0] * 2_000, lambda seen: np.zeros((len(seen), 1)), starts, steps=steps
    ).returns.mean()
    errors = []
    for shape in ((8, 5), (32, 21), (96, 63)):
        model = model_of(task, shape)
        still = int(np.flatnonzero(task.action.points[:, 0] == 0.0)[0])
        cut = slice(still * model.state.size, (still + 1) * model.state.size)
        value = np.zeros(model.state.size)
        for _ in range(steps):
            value = model.reward[still] + model.expect[cut] @ value
        errors.append(abs(value @ model.initial - true))
    assert errors[2] < errors[1] < errors[0]


def test_occupied_lattice_points_carry_all_places():
    places = np.random.default_rng(0).uniform(-1.0, 1.0, size=(50, 2))
    shares = occupied(PENDULUM.state, places)
    assert shares.sum() == pytest.approx(1.0)
    assert shares @ PENDULUM.state.points == pytest.approx(places.mean(axis=0))
