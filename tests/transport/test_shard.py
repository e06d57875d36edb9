import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transport.strategies import bumps, problems

from fedirl_ray import barycenter
from fedirl_ray.transport.barycenter import make_problem
from fedirl_ray.transport.fixed_point import FixedPoint
from fedirl_ray.transport.ground import ground_of
from fedirl_ray.transport.shard import advance_shard, make_shard, restore, snapshot
from fedirl_ray.transport.solver import Solver
from fedirl_ray.transport.step import Step

SMALL = [np.arange(6.0), np.arange(5.0), np.arange(4.0)]
LARGE = [np.arange(60.0), np.arange(50.0), np.arange(30.0)]


@pytest.mark.parametrize(("axes", "k"), [(SMALL, 20), (SMALL, 5), (LARGE, 7)])
@pytest.mark.parametrize("options", [{}, {"domain": "log"}, {"anderson": 4}, {"debiased": True}])
def test_any_number_of_shards_gives_the_same_bytes(axes, k, options):
    if axes is LARGE and "domain" in options:
        options = {**options, "max_iters": 3}
    rows = np.random.default_rng(0).random((k, *map(len, axes)))
    weights = 1 + np.arange(k)
    options = {"epsilon": 0.05, "max_iters": 30, "weights": weights, **options}
    whole = barycenter(rows, axes, **options)
    for shards in (2, 3, 7):
        split_up = barycenter(rows, axes, shards=shards, **options)
        assert split_up.measure.tobytes() == whole.measure.tobytes()
        assert split_up.error == whole.error
        assert split_up.objective == whole.objective


@settings(deadline=None, max_examples=15)
@given(problem=problems(most=6), shards=st.integers(2, 7), epsilon=st.sampled_from([1e-3, 0.1]))
def test_shards_leave_no_trace(problem, shards, epsilon):
    rows, axes, weights = problem
    options = {"weights": weights, "epsilon": epsilon, "max_iters": 60}
    one = barycenter(rows, axes, **options).measure.tobytes()
    assert barycenter(rows, axes, shards=shards, **options).measure.tobytes() == one


def test_a_restored_shard_repeats_its_steps():
    axes, k = SMALL, 3
    problem = make_problem(ground_of(axes), k, Solver(epsilon=0.05))
    rows = bumps(axes, k).reshape(k, -1)
    shard, other = (make_shard(problem, rows, np.full(k, 1 / k)) for _ in range(2))
    log_b = np.zeros(problem.size)
    first = Step(log_b, 0.05, "plain", mix=())
    log_b = problem.fixed_point.decode(advance_shard(shard, first).total)
    saved = snapshot(shard)
    second = advance_shard(shard, Step(log_b, 0.05, "plain"))
    restore(other, saved)
    again = advance_shard(other, Step(log_b, 0.05, "plain"))
    np.testing.assert_array_equal(second.total, again.total)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), bound=st.sampled_from([10.0, 300.0, 1e5]))
def test_fixed_point_sums_do_not_depend_on_their_order(seed, bound):
    rng = np.random.default_rng(seed)
    terms = rng.uniform(-bound, bound, (9, 17)) / 9
    grid = FixedPoint.reaching(bound)

    def total(order, cut):
        out = grid.start(np.empty(17), len(terms))
        for part in (terms[order[:cut]], terms[order[cut:]]):
            if len(part):
                grid.add_rows(part.copy(), out)
        return out

    one, two = total(np.arange(9), 9), total(rng.permutation(9), int(rng.integers(0, 9)))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_allclose(grid.decode(one), terms.sum(0), atol=9 * grid.quantum)
    assert grid.holds(grid.decode(one))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_fixed_point_sums_notice_a_term_that_is_no_number(bad):
    grid = FixedPoint.reaching(100.0)
    total = grid.start(np.empty(3), 4)
    terms = np.ones((4, 3))
    terms[2, 1] = bad
    grid.add_rows(terms, total)
    assert not grid.holds(grid.decode(total))
