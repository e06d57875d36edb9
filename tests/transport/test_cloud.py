"""Barycenters and distances on point clouds, against lattices, POT, and the linear program."""

import numpy as np
import ot
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.spatial.distance import cdist
from transport.strategies import bumps

from fedirl_ray import barycenter, geometry_of, thin, wasserstein2
from fedirl_ray.transport.backend import CHOICES, Choices
from fedirl_ray.transport.cloud import Cloud
from fedirl_ray.transport.cloud_kernel import cloud_kernel

AXES = [np.linspace(0, 1, 6), np.linspace(0, 1, 4), np.linspace(0, 0.7, 3)]
GRID = np.stack(np.meshgrid(*AXES, indexing="ij"), -1).reshape(-1, 3)


def cloud(n, d, k, seed=0):
    """Points, and smooth positive measures on them."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, d))
    waves = np.cos(points @ rng.normal(size=(d, 32)) + rng.uniform(0, 6, 32))
    rows = waves @ (rng.normal(size=32)[:, None] + 0.5 * rng.normal(size=(32, k)))
    rows = rows.T - rows.min() + 0.05 * np.ptp(rows)
    return points, rows / rows.sum(axis=1, keepdims=True)


def costs(points):
    """Squared distances over their median."""
    found = cdist(points, points, "sqeuclidean")
    return found / np.median(found[~np.eye(len(points), dtype=bool)])


@pytest.mark.parametrize(
    "options",
    [
        {"epsilon": 0.05, "tol": 1e-12},
        {"epsilon": 0.01, "tol": 1e-12, "anderson": 0},
        {"epsilon": 0.01, "tol": 1e-11, "domain": "log"},
        {"epsilon": 0.002, "tol": 1e-9, "debiased": True, "max_iters": 600},
    ],
)
def test_a_cloud_laid_on_a_lattice_gives_the_lattices_barycenter(options):
    rows = bumps(AXES, 3)
    weights = [1.0, 2.0, 3.0]
    there = barycenter(rows, AXES, weights=weights, **options)
    here = barycenter(
        rows.reshape(3, -1), points=GRID, weights=weights, cost_scale="max", **options
    )
    assert there.converged
    assert here.converged
    assert here.measure.shape == (len(GRID),)
    # What is debiased is known to ten times its tolerance.
    bound = 1e-8 if "debiased" in options else 1e-10
    assert np.abs(here.measure - there.measure.ravel()).sum() < bound
    assert here.objective == pytest.approx(there.objective, rel=1e-9)


@pytest.mark.parametrize("options", [{"epsilon": 0.05}, {"exact": True}])
def test_the_distance_on_a_cloud_laid_on_a_lattice_is_the_lattices(options):
    one, two = bumps(AXES, 2)
    there = wasserstein2(one, two, AXES, **options, tol=1e-11)
    here = wasserstein2(
        one.ravel(), two.ravel(), points=GRID, cost_scale="max", **options, tol=1e-11
    )
    assert here.divergence == pytest.approx(there.divergence, rel=1e-9)
    assert here.transport_cost == pytest.approx(there.transport_cost, rel=1e-9)
    assert here.positive_definite


@pytest.mark.parametrize(("d", "epsilon"), [(2, 0.06), (17, 0.3)])
def test_it_agrees_with_pot(d, epsilon):
    points, rows = cloud(40, d, 4)
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    ours = barycenter(rows, points=points, weights=weights, epsilon=epsilon, tol=1e-12)
    theirs, log = ot.bregman.barycenter(
        rows.T,
        costs(points),
        epsilon,
        weights,
        method="sinkhorn_log",
        numItermax=5_000,
        stopThr=1e-12,
        log=True,
    )
    assert ours.converged
    assert log["err"][-1] < 1e-12
    assert np.abs(ours.measure - theirs).sum() < 1e-8


@pytest.mark.parametrize(("d", "epsilon"), [(2, 0.02), (17, 0.3)])
def test_the_plans_cost_is_pots(d, epsilon):
    points, (p, q) = cloud(60, d, 2)
    ours = wasserstein2(p, q, points=points, epsilon=epsilon, tol=1e-12)
    plan = ot.sinkhorn(
        p, q, costs(points), epsilon, method="sinkhorn_log", numItermax=50_000, stopThr=1e-13
    )
    assert np.abs(plan.sum(axis=0) - q).sum() < 1e-11
    assert ours.transport_cost == pytest.approx(float((plan * costs(points)).sum()), abs=1e-8)


def test_it_tends_to_the_linear_program_as_epsilon_falls():
    points, rows = cloud(80, 2, 2, seed=1)
    c, n, k = costs(points), 80, 2
    # Plans P_k [n, n] and b: rows of P_k sum to p_k, columns to b.
    rows_sum = np.kron(np.eye(n), np.ones((1, n)))
    columns_sum = np.kron(np.ones((1, n)), np.eye(n))
    zero, minus = np.zeros((n, n * n)), -np.eye(n)
    equal = np.block(
        [
            [rows_sum, zero, np.zeros((n, n))],
            [zero, rows_sum, np.zeros((n, n))],
            [columns_sum, zero, minus],
            [zero, columns_sum, minus],
        ]
    )
    price = np.concatenate([np.tile(c.ravel() / k, k), np.zeros(n)])
    right = np.concatenate([rows[0], rows[1], np.zeros(2 * n)])
    best = linprog(price, A_eq=equal, b_eq=right, method="highs-ds")
    assert best.success

    def excess(epsilon):
        b = barycenter(rows, points=points, epsilon=epsilon, tol=1e-6, max_iters=500).measure
        cost = np.mean([wasserstein2(p, b, points=points, exact=True).divergence for p in rows])
        return float(cost) / best.fun - 1.0

    wide, middle, narrow = (excess(epsilon) for epsilon in (0.1, 0.03, 0.01))
    assert -1e-6 < narrow < middle < wide
    assert narrow < 0.03


def blocked(monkeypatch, block=2**14):
    """Make numpy's kernels again for every product, some rows at a time."""
    usual = CHOICES["numpy"]
    fields = {**vars(usual), "stored": 0, "block": block}
    monkeypatch.setitem(CHOICES, "numpy", Choices(**fields))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("options", [{}, {"debiased": True}, {"domain": "log"}])
def test_a_blocked_kernel_gives_the_bytes_of_a_stored_one(monkeypatch, dtype, options):
    points, rows = cloud(110, 5, 3)
    options = {"dtype": dtype, "tol": 1e-5, "max_iters": 30, **options}
    monkeypatch.setitem(CHOICES, "numpy", Choices(**{**vars(CHOICES["numpy"]), "block": 2**14}))
    assert Cloud.of(points).kernel(0.1, precision=dtype).matrix is not None
    stored = barycenter(rows, points=points, **options)
    blocked(monkeypatch)
    assert Cloud.of(points).kernel(0.1, precision=dtype).matrix is None
    assert len(list(Cloud.of(points).kernel(0.1).blocks())) > 5
    again = barycenter(rows, points=points, **options)
    assert again.measure.tobytes() == stored.measure.tobytes()
    assert again.error == stored.error


@pytest.mark.parametrize("options", [{}, {"debiased": True}, {"anderson": 0, "dtype": "float32"}])
@pytest.mark.parametrize("stored", [True, False])
def test_any_number_of_shards_gives_the_same_bytes(monkeypatch, options, stored):
    if not stored:
        blocked(monkeypatch)
    points, rows = cloud(110, 4, 21)
    options = {"weights": 1 + np.arange(21), "max_iters": 20, "tol": 0.0, **options}
    whole = barycenter(rows, points=points, **options)
    for shards in (2, 7):
        parts = barycenter(rows, points=points, shards=shards, **options)
        assert parts.measure.tobytes() == whole.measure.tobytes()
        assert parts.error == whole.error


def test_the_debiased_barycenter_of_copies_is_the_copy():
    points, rows = cloud(100, 6, 1)
    copies = np.repeat(rows, 3, axis=0)
    spread = barycenter(copies, points=points).measure
    found = barycenter(copies, points=points, debiased=True, tol=1e-8, max_iters=1000)
    assert found.converged
    assert np.abs(found.measure - rows[0]).sum() < 1e-6
    assert np.abs(spread - rows[0]).sum() > 1e-2


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**31), d=st.integers(1, 8))
def test_the_order_of_the_points_changes_nothing(seed, d):
    points, rows = cloud(40, d, 3, seed)
    order = np.random.default_rng(seed).permutation(40)
    one = barycenter(rows, points=points, tol=1e-11)
    two = barycenter(rows[:, order], points=points[order], tol=1e-11)
    assert two.epsilon == pytest.approx(one.epsilon, rel=1e-9)
    np.testing.assert_allclose(two.measure, one.measure[order], atol=1e-9)


def test_which_points_are_looked_at_does_not_depend_on_their_order():
    points, _ = cloud(1500, 3, 1)
    one = Cloud.of(points)
    two = Cloud.of(points[np.random.default_rng(0).permutation(1500)])
    assert two.epsilon == pytest.approx(one.epsilon, rel=1e-9)
    assert two.median == pytest.approx(one.median, rel=1e-9)


def test_float32_is_right_to_its_digits():
    points, rows = cloud(110, 8, 4)
    double = barycenter(rows, points=points, tol=1e-10)
    single = barycenter(rows, points=points, tol=1e-5, dtype="float32")
    assert single.converged
    assert np.abs(single.measure - double.measure).sum() < 1e-4


def test_costs_far_beyond_epsilon_are_summed_in_logarithms():
    points, rows = cloud(50, 2, 2)
    points[-1] = 400.0
    assert Cloud.of(points).reach / 0.3 > 2000
    options = {"epsilon": 0.3, "tol": 0.0, "max_iters": 60, "anderson": 0}
    found = barycenter(rows, points=points, **options)
    there = barycenter(rows, [costs(points)], cost_scale="none", **options)
    assert found.domain == there.domain == "log"
    assert np.abs(found.measure - there.measure).sum() < 1e-9
    kernel = Cloud.of(points).kernel(0.3)
    x = np.random.default_rng(0).normal(size=(2, 50)) * 300
    with np.errstate(under="ignore", divide="ignore"):
        terms = x[:, None] - costs(points) / 0.3
        peak = terms.max(axis=2)
        wanted = peak + np.log(np.exp(terms - peak[..., None]).sum(axis=2))
        np.testing.assert_allclose(kernel.apply_log(x), wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("n", "d"), [(60, 1), (300, 3), (3000, 17)])
def test_by_default_the_median_row_of_the_kernel_sums_to_five(n, d):
    points, _ = cloud(n, d, 1)
    found = Cloud.of(points)
    sums = np.exp(-costs(points) / found.epsilon).sum(axis=1)
    # Of the rows of a large cloud some are looked at.
    assert np.median(sums) == pytest.approx(5.0, rel=1e-6 if n <= 1000 else 0.03)
    assert Cloud.of(points, "neighbours").epsilon == pytest.approx(1.0)
    assert Cloud.of(points, "max").reach == pytest.approx(1.0)
    far = np.concatenate([points, np.full((1, d), 1e3)])
    assert Cloud.of(far).epsilon == pytest.approx(found.epsilon, rel=0.3)


def test_the_result_tells_its_epsilon():
    points, rows = cloud(30, 3, 2)
    assert barycenter(rows, points=points).epsilon == Cloud.of(points).epsilon
    assert barycenter(rows, points=points, epsilon=0.7).epsilon == 0.7


def test_farthest_points_are_those_a_plain_search_finds():
    points, _ = cloud(120, 4, 1)
    apart = cdist(points, points)
    wanted = [int(np.linalg.norm(points - points.mean(axis=0), axis=1).argmin())]
    while len(wanted) < 25:
        wanted.append(int(apart[wanted].min(axis=0).argmax()))
    found = thin(points, 25)
    assert found.tolist() == wanted
    assert thin(points, 7).tolist() == wanted[:7]
    assert sorted(thin(points, 120)) == list(range(120))
    order = np.random.default_rng(0).permutation(120)
    assert order[thin(points[order], 25)].tolist() == wanted
    held = apart[np.ix_(found, found)] + np.diag(np.full(25, np.inf))
    assert held.min() >= apart[found].min(axis=0).max()


@pytest.mark.parametrize("d", [1, 2, 5])
def test_the_intrinsic_dimension_is_that_of_what_the_points_lie_on(d):
    rng = np.random.default_rng(d)
    flat = rng.random((1500, d)) @ np.linalg.qr(rng.normal(size=(12, 12)))[0][:d]
    found = geometry_of(flat)
    assert (found.points, found.dimensions) == (1500, 12)
    assert found.intrinsic_dimension == pytest.approx(d, rel=0.15)


def test_in_many_dimensions_all_points_are_equally_far():
    near = [geometry_of(cloud(400, d, 1)[0]).nearest_over_median for d in (2, 8, 30, 300)]
    assert near == sorted(near)
    assert near[0] < 0.01
    assert near[-1] > 0.8


def test_weighed_entries_are_multiplied_by_their_cost():
    points = np.random.default_rng(0).normal(size=(20, 3))
    kernel = cloud_kernel(points, 0.5, 100.0, weighed=True)
    found = kernel.entries(slice(0, 20))
    cost = cdist(points, points, "sqeuclidean")
    np.testing.assert_allclose(found, cost * np.exp(-cost / 0.5), atol=1e-13)


def test_torch_takes_the_same_steps():
    pytest.importorskip("torch")
    points, rows = cloud(60, 5, 3)
    for options in ({}, {"domain": "log"}):
        options = {"tol": 1e-10, "max_iters": 40, **options}
        ours = barycenter(rows, points=points, **options)
        theirs = barycenter(rows, points=points, backend="torch", **options)
        assert np.abs(theirs.measure - ours.measure).sum() < 1e-8


POINTS, ROWS = cloud(20, 3, 2)


def spoilt(value):
    points = POINTS.copy()
    points[7, 1] = value
    return points


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": spoilt(np.nan)}, r"points\[7\] must be finite, got nan"),
        ({"points": spoilt(np.inf)}, r"points\[7\] must be finite, got inf"),
        ({"points": POINTS[[*range(19), 4]]}, r"all be different, got points\[19\] equal to .*4\]"),
        ({"points": POINTS[0]}, r"points must have shape \[n, d\], .* got \[3\]"),
        ({"points": POINTS[:1]}, r"points must have shape .* at least two points, got \[1, 3\]"),
        ({"points": "here"}, "points must be numbers"),
        ({"points": POINTS[:19]}, r"measures must have shape .* got \[2, 20\]"),
        ({"axes": [np.arange(20.0)]}, "either axes or points must be given, got both"),
        ({"points": None}, "either axes or points must be given, got neither"),
        ({"cost_scale": "mean"}, "cost_scale must be 'median', 'neighbours', 'max' or 'none'"),
        ({"cost_scale": [1.0, 2.0]}, r"cost_scale must be .* got \[1.0, 2.0\]"),
        ({"periodic": [1.0]}, r"periodic must be None with points, got \[1.0\]"),
        ({"epsilon": -1.0}, "epsilon must be finite and > 0, got -1.0"),
        ({"dtype": "tf32"}, "dtype must be 'float64' or 'float32'"),
        ({"points": POINTS[:4], "measures": ROWS[:, :4]}, "epsilon must be given for a cloud of"),
    ],
)
def test_bad_arguments_are_named_with_their_value_and_law(change, message):
    arguments = {"measures": ROWS, "points": POINTS, **change}
    with pytest.raises(ValueError, match=message) as told:
        barycenter(**arguments)
    assert "\n" not in str(told.value)


def test_what_belongs_to_the_other_ground_is_refused():
    with pytest.raises(ValueError, match="epsilon must be given with axes, got None"):
        barycenter(ROWS, [np.arange(20.0)])
    with pytest.raises(ValueError, match="cost_scale must be 'max', 'none' or one factor per axis"):
        barycenter(ROWS, [np.arange(20.0)], epsilon=0.1, cost_scale="median")
    with pytest.raises(ValueError, match=r"count must be in 1..20, the number of points, got 21"):
        thin(POINTS, 21)
    with pytest.raises(ValueError, match="points must be more than 10, got 9"):
        geometry_of(POINTS[:9])


def test_a_cloud_too_large_for_the_machine_is_refused_before_it_is_looked_at():
    huge = np.broadcast_to(np.zeros(2), (10**10, 2))
    with pytest.raises(MemoryError, match=r"cloud of 10000000000 .* needs .* GiB are available"):
        barycenter(np.ones((1, 1)), points=huge)


def test_nothing_is_modified():
    points, rows = POINTS.copy(), ROWS.copy()
    barycenter(rows, points=points, debiased=True, max_iters=5)
    thin(points, 5)
    np.testing.assert_array_equal(points, POINTS)
    np.testing.assert_array_equal(rows, ROWS)
