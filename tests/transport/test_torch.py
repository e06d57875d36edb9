import numpy as np
import pytest
from transport.strategies import bumps

from fedirl_ray import barycenter

pytest.importorskip("torch")

AXES = [np.linspace(0, 1, 9), np.linspace(0, 1, 6), np.linspace(0, 1, 4)]


@pytest.mark.parametrize(
    "options",
    [
        {"epsilon": 0.5},
        {"epsilon": 0.05, "tol": 1e-11},
        {"epsilon": 0.002, "tol": 1e-9},
        {"epsilon": 0.05, "debiased": True, "max_iters": 25},
        {"epsilon": 0.05, "domain": "log"},
        {"epsilon": 1e-4, "max_iters": 100},
    ],
)
def test_torch_takes_the_same_steps(options):
    rows = bumps(AXES, 3)
    ours = barycenter(rows, AXES, **options)
    torch = barycenter(rows, AXES, backend="torch", **options)
    assert torch.iterations == ours.iterations
    assert torch.domain == ours.domain
    assert np.abs(torch.measure - ours.measure).sum() < 1e-8


def test_torch_agrees_in_float32_and_on_large_lattices():
    axes = [np.linspace(0, 1, 60)] * 2 + [np.linspace(0, 1, 20)]
    rows = bumps(axes, 2)
    ours = barycenter(rows, axes, epsilon=0.05, tol=1e-6)
    torch = barycenter(rows, axes, epsilon=0.05, tol=1e-6, backend="torch")
    assert np.abs(torch.measure - ours.measure).sum() < 1e-10
    single = barycenter(rows, axes, epsilon=0.05, tol=1e-5, backend="torch", dtype="float32")
    assert np.abs(single.measure - ours.measure).sum() < 1e-4


def test_any_number_of_shards_gives_the_same_bytes_on_torch():
    rows = bumps(AXES, 5)
    one = barycenter(rows, AXES, epsilon=0.02, backend="torch").measure
    for shards in (2, 3):
        other = barycenter(rows, AXES, epsilon=0.02, backend="torch", shards=shards).measure
        assert other.tobytes() == one.tobytes()
