import logging

import numpy as np
import pytest

from fedirl_ray import barycenter
from fedirl_ray.transport.barycenter import make_result, prepare
from fedirl_ray.transport.solver import Solver, solve

pytestmark = pytest.mark.ray

AXES = [np.linspace(0, 1, 11), np.linspace(0, 1, 8)]
ROWS = np.random.default_rng(0).random((5, 11, 8)) ** 2
WEIGHTS = np.arange(1.0, 6.0)


@pytest.mark.parametrize("options", [{}, {"debiased": True, "max_iters": 40}, {"domain": "log"}])
def test_actors_give_the_bytes_of_this_process(ray_session, options):
    from fedirl_ray.engine.shard import barycenter_on_ray

    here = barycenter(ROWS, AXES, weights=WEIGHTS, epsilon=0.01, **options)
    solver = Solver(epsilon=0.01, **options)
    there, where = barycenter_on_ray(ROWS, AXES, WEIGHTS, solver, workers=2, pays_from=0)
    assert there.measure.tobytes() == here.measure.tobytes()
    assert (there.iterations, there.error) == (here.iterations, here.error)
    assert where == "on 2 actors (440 numbers)"


def test_small_problems_stay_in_this_process_and_say_so(ray_session, caplog):
    from fedirl_ray.engine.shard import barycenter_on_ray

    with caplog.at_level(logging.DEBUG):
        _, where = barycenter_on_ray(ROWS, AXES, None, Solver(epsilon=0.1), workers=2)
    assert where == "in this process (440 numbers, actors pay from 5,000,000)"
    assert where in caplog.text


@pytest.mark.parametrize("victims", [[0], [1], [0, 1]])
def test_a_dead_worker_leaves_no_trace(ray_session, victims):
    import ray

    from fedirl_ray.engine.shard import shard_crew

    solver, taken = Solver(epsilon=0.01, tol=1e-9, max_iters=500), 0
    work = prepare(ROWS, AXES, WEIGHTS, solver)
    with shard_crew(work, 2) as crew:

        def advance(step):
            nonlocal taken
            taken += 1
            if taken in (3, 30):
                for victim in victims:
                    ray.kill(crew.actors[victim])
            return crew.advance(step)

        solution = solve(advance, work.problem, work.weights, solver)
    assert taken > 30
    there = make_result(work, solution, 0.0)
    here = barycenter(ROWS, AXES, weights=WEIGHTS, epsilon=0.01, tol=1e-9, max_iters=500)
    assert there.measure.tobytes() == here.measure.tobytes()


def test_a_worker_is_needed(ray_session):
    from fedirl_ray.engine.shard import barycenter_on_ray

    with pytest.raises(ValueError, match="workers must be >= 1, got 0"):
        barycenter_on_ray(ROWS, AXES, None, Solver(epsilon=0.1), workers=0)
