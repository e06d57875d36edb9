import numpy as np
import pytest

from fedirl_ray import barycenter, wasserstein2
from fedirl_ray.transport.memory import demand

AXES = [np.arange(4.0), np.arange(3.0)]
GOOD = np.ones((2, 4, 3))


def spoilt(value):
    rows = GOOD.copy()
    rows[1, 2, 0] = value
    return rows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"measures": spoilt(np.nan)}, r"measures\[1\] must be finite, got nan"),
        ({"measures": spoilt(np.inf)}, r"measures\[1\] must be finite, got inf"),
        ({"measures": spoilt(-1.0)}, r"measures\[1\] must be non-negative, got -1.0"),
        ({"measures": GOOD * [[[1]], [[0]]]}, r"measures\[1\] must have positive mass"),
        ({"measures": np.ones((2, 3, 4))}, r"measures must have shape .* got \[2, 3, 4\]"),
        ({"measures": np.ones((0, 4, 3))}, "measures must hold at least one measure"),
        ({"axes": [np.arange(4.0), [0.0, 2.0, 1.0]]}, r"axes\[1\] must be strictly increasing"),
        ({"axes": [np.arange(4.0), [0.0, 1.0, 1.0]]}, r"axes\[1\] .* got 1.0 then 1.0"),
        ({"axes": [np.arange(4.0), [0.0, 1.0, np.nan]]}, r"axes\[1\] must be finite, got nan"),
        ({"axes": []}, "axes must hold at least one axis"),
        ({"axes": [np.arange(4.0), np.ones((3, 2))]}, r"axes\[1\] .* must be square"),
        ({"axes": [np.arange(4.0), -np.ones((3, 3))]}, r"axes\[1\] .* must be non-negative"),
        ({"axes": [np.arange(4.0), np.triu(np.ones((3, 3)))]}, r"axes\[1\] .* must be symmetric"),
        ({"weights": [1.0]}, r"weights must have shape \[2\], got \[1\]"),
        ({"weights": [1.0, -1.0]}, r"weights\[1\] must be finite and >= 0, got -1.0"),
        ({"weights": [0.0, 0.0]}, "weights must not all be zero"),
        ({"epsilon": 0.0}, "epsilon must be finite and > 0, got 0.0"),
        ({"epsilon": np.nan}, "epsilon must be finite and > 0, got nan"),
        ({"cost_scale": "mean"}, "cost_scale must be 'max', 'none' or one factor per axis"),
        ({"cost_scale": [1.0]}, r"cost_scale must have one factor per axis \(2\), got 1"),
        ({"cost_scale": [1.0, -1.0]}, r"cost_scale\[1\] must be finite and >= 0, got -1.0"),
        ({"periodic": [False]}, r"periodic must have one entry per axis \(2\), got 1"),
        ({"periodic": [False, 2.0]}, r"periodic\[1\] must be finite and exceed the span"),
        ({"tol": -1.0}, "tol must be >= 0, got -1.0"),
        ({"max_iters": 0}, "max_iters must be >= 1, got 0"),
        ({"shards": 0}, "shards must be >= 1, got 0"),
        ({"backend": "jax"}, "backend must be 'numpy' or 'torch', got 'jax'"),
        ({"dtype": "float16"}, "dtype must be 'float64', 'float32' or 'tf32', got 'float16'"),
        ({"domain": "linear"}, "domain must be None, 'plain' or 'log', got 'linear'"),
        ({"anderson": -1}, "anderson must be >= 0, got -1"),
    ],
)
def test_bad_arguments_are_named_with_their_value_and_law(change, message):
    arguments = {"measures": GOOD, "axes": AXES, "epsilon": 0.1, **change}
    with pytest.raises(ValueError, match=message):
        barycenter(**arguments)


def test_the_distance_names_its_arguments():
    with pytest.raises(ValueError, match=r"q\[0\] must be finite, got nan"):
        wasserstein2(GOOD[0], spoilt(np.nan)[1], AXES, epsilon=0.1)
    with pytest.raises(ValueError, match="epsilon must be given unless exact"):
        wasserstein2(GOOD[0], GOOD[1], AXES)


def test_nothing_is_modified():
    rows, weights = np.random.default_rng(0).random((2, 4, 3)), np.array([2.0, 1.0])
    axes = [axis.copy() for axis in AXES]
    before = [x.copy() for x in (rows, weights, *axes)]
    barycenter(rows, axes, weights=weights, epsilon=0.01, debiased=True, max_iters=20)
    wasserstein2(rows[0], rows[1], axes, epsilon=0.01)
    for now, then in zip((rows, weights, *axes), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_problem_too_large_for_the_machine_is_refused_with_the_numbers():
    with pytest.raises(MemoryError, match=r"needs 1048576.0 GiB and .* GiB are available; use"):
        demand(2**50, "a barycenter")


def test_a_large_problem_is_announced(caplog):
    demand(2**30, "a barycenter")
    assert "a barycenter needs 1.0 GiB" in caplog.text
