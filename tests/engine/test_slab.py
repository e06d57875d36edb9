import numpy as np
import pytest

from fedirl_ray.transport.axis import ground_costs
from fedirl_ray.transport.slab import in_process_slabs, make_slab, solve_slabs, step_traffic

pytestmark = pytest.mark.ray

AXES = [np.linspace(0, 1, 11), np.linspace(0, 1, 8)]
ROWS = np.random.default_rng(0).random((5, 88)) ** 2
WEIGHTS = np.full(5, 0.2)


def here(workers, epsilon=0.01, tol=1e-9):
    """The barycenter of slabs in this process, and where it ended."""
    costs = ground_costs(AXES)
    parts = [make_slab(costs, epsilon, ROWS, WEIGHTS, i, workers) for i in range(workers)]
    solution = solve_slabs(in_process_slabs(parts), tol, 500)
    b = np.exp(np.concatenate([part.log_b for part in parts]).ravel())
    return b / b.sum(), solution


@pytest.mark.parametrize("workers", [1, 2])
def test_actors_give_the_bytes_of_this_process(ray_session, workers):
    from fedirl_ray.engine.slab import barycenter_on_slabs

    found = barycenter_on_slabs(ROWS, AXES, workers=workers, epsilon=0.01, tol=1e-9, max_iters=500)
    measure, solution = here(workers)
    assert found.measure.tobytes() == measure.tobytes()
    assert found.solution == solution
    assert solution.converged
    assert found.sent == solution.iterations * step_traffic(5, (11, 8), workers)


def test_measures_may_lie_on_disk(ray_session, tmp_path):
    from fedirl_ray.engine.slab import OnDisk, _source, barycenter_on_slabs

    np.save(tmp_path / "rows.npy", ROWS)
    rows = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert isinstance(_source(rows), OnDisk)  # only the file's name travels
    assert not isinstance(_source(rows[1:]), OnDisk)
    found = barycenter_on_slabs(rows, AXES, workers=2, epsilon=0.1, tol=1e-9)
    assert found.measure.tobytes() == here(2, 0.1)[0].tobytes()


@pytest.mark.parametrize("victims", [[0], [0, 1]])
def test_a_dead_worker_leaves_no_trace(ray_session, victims):
    import ray

    from fedirl_ray.engine.slab import log_b, slab_crew

    taken = 0
    with slab_crew(ground_costs(AXES), 0.01, ROWS, WEIGHTS, 2) as crew:

        def advance(*, measure):
            nonlocal taken
            taken += 1
            if taken in (3, 30):
                for victim in victims:
                    ray.kill(crew.actors[victim])
            return crew.advance(measure)

        solution = solve_slabs(advance, 1e-9, 500)
        b = np.exp(log_b(crew))
    assert taken > 30
    assert solution == here(2)[1]
    assert (b / b.sum()).tobytes() == here(2)[0].tobytes()


@pytest.mark.parametrize(
    ("rows", "law"),
    [
        (ROWS[:, :-1], r"measures must have shape \[k, 88\]"),
        (-ROWS, r"measures\[0\] must be finite, non-negative"),
        (ROWS * np.array([[1, 1, 0, 1, 1]]).T, r"measures\[2\] must be finite, non-negative"),
    ],
)
def test_measures_that_are_none_are_refused(ray_session, rows, law):
    from fedirl_ray.engine.slab import barycenter_on_slabs

    with pytest.raises(ValueError, match=law):
        barycenter_on_slabs(rows, AXES, workers=2, epsilon=0.1)
