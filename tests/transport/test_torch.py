"""The torch path, which is made for GPUs, on the CPU: what it computes, and in how many calls."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transport.strategies import bumps, problems

from fedirl_ray import barycenter
from fedirl_ray.transport.advance import in_process
from fedirl_ray.transport.barycenter import prepare
from fedirl_ray.transport.memory import estimate
from fedirl_ray.transport.mixing import Mixer
from fedirl_ray.transport.shard import make_shard
from fedirl_ray.transport.solver import Solver, solve

torch = pytest.importorskip("torch")

torch.set_num_threads(1)  # lattices this small are not worth a second one

AXES = [np.linspace(0, 1, 9), np.linspace(0, 1, 6), np.linspace(0, 1, 4)]
LARGE = [np.linspace(0, 1, 60), np.linspace(0, 1, 60), np.linspace(0, 1, 20)]


def l1(one, two):
    return float(np.abs(np.asarray(one) - np.asarray(two)).sum())


@pytest.mark.parametrize(
    "options",
    [
        {"epsilon": 0.5},
        {"epsilon": 0.05},
        {"epsilon": 0.01},
        {"epsilon": 0.01, "anderson": 1},
        {"epsilon": 0.01, "anderson": 3},
        {"epsilon": 0.01, "anderson": 0},
        {"epsilon": 0.01, "weights": [0.5, 0.0, 0.2]},
        {"epsilon": 0.05, "domain": "log"},
    ],
)
def test_torch_gives_numpys_barycenter(options):
    options = {"tol": 1e-12, **options}
    rows = bumps(AXES, 3, width=0.25, floor=0.1)
    ours = barycenter(rows, AXES, **options)
    theirs = barycenter(rows, AXES, backend="torch", **options)
    assert ours.converged
    assert theirs.converged
    assert theirs.domain == ours.domain
    assert l1(theirs.measure, ours.measure) < 1e-10
    assert theirs.objective == pytest.approx(ours.objective, abs=1e-12)


@settings(deadline=None, max_examples=10)
@given(problem=problems(), epsilon=st.sampled_from([0.02, 0.1, 1.0]))
def test_torch_gives_numpys_barycenter_of_any_measures(problem, epsilon):
    rows, axes, weights = problem
    options = {"weights": weights, "epsilon": epsilon, "tol": 1e-12, "max_iters": 300}
    ours = barycenter(rows, axes, **options)
    theirs = barycenter(rows, axes, backend="torch", **options)
    if ours.converged and theirs.converged:
        assert l1(theirs.measure, ours.measure) < 1e-10
    else:
        assert theirs.error < 10 * ours.error + 1e-9


def test_torch_agrees_in_float32_and_on_axes_that_are_factored():
    rows = bumps(LARGE, 2)
    ours = barycenter(rows, LARGE, epsilon=0.05, tol=1e-12)
    theirs = barycenter(rows, LARGE, epsilon=0.05, tol=1e-12, backend="torch")
    assert l1(theirs.measure, ours.measure) < 1e-10
    single = barycenter(rows, LARGE, epsilon=0.05, tol=1e-5, backend="torch", dtype="float32")
    assert l1(single.measure, ours.measure) < 1e-4


def test_debiased_copies_of_a_bump_are_the_bump():
    grid = np.stack(np.meshgrid(np.arange(12.0), np.arange(15.0), indexing="ij"), -1)
    bump = np.exp(-((grid - [6.0, 7.0]) ** 2).sum(-1) / 4.5)
    options = {"epsilon": 1.0, "cost_scale": "none", "debiased": True, "max_iters": 100}
    axes = [np.arange(12.0), np.arange(15.0)]
    found = barycenter(np.stack([bump] * 3), axes, backend="torch", **options)
    assert l1(found.measure, bump / bump.sum()) < 1e-4


def test_mixed_steps_that_do_not_count_are_taken_back_to_the_last_look():
    made = Mixer(4, every=3)
    for i, error in enumerate([1.0, None, None, 9.0]):
        made.weights(plain=i == 0)
        state = torch.full((1, 8), float(i), dtype=torch.float64)
        products = torch.zeros(4, dtype=torch.float64)
        products[made.next_slot()] = 1.0 + 0.1 * i
        counts = made.keep(state, torch.zeros(1, 8, dtype=torch.float64), products, error)
        assert counts == (i < 3)
    weights = made.weights(plain=False)
    assert made.mixed(weights)[0, 0] == 0.0
    assert weights == (1.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("options", [{"epsilon": 0.02}, {"epsilon": 0.02, "domain": "log"}])
@pytest.mark.parametrize("axes", [AXES, LARGE])
def test_any_number_of_shards_gives_the_same_bytes(axes, options):
    if axes is LARGE:
        options = {**options, "max_iters": 4 if "domain" in options else 25}
    rows = bumps(axes, 5)
    one = barycenter(rows, axes, backend="torch", **options).measure
    for shards in (2, 3):
        other = barycenter(rows, axes, backend="torch", shards=shards, **options).measure
        assert other.tobytes() == one.tobytes()


def test_a_shard_that_is_alone_takes_the_steps_it_takes_when_asked_one_by_one():
    rows = bumps(AXES, 3)
    for backend in ("numpy", "torch"):
        solver = Solver(epsilon=0.05, tol=0.0, max_iters=45, backend=backend)
        found = []
        for wrap in (lambda alone: alone, lambda alone: lambda step: alone(step)):
            task = prepare(rows, AXES, None, solver)
            alone = in_process([make_shard(task.problem, task.rows, task.weights)])
            found.append(solve(wrap(alone), task.problem, task.weights, solver))
        assert np.asarray(found[0].log_b).tobytes() == np.asarray(found[1].log_b).tobytes()
        assert found[0].iterations == found[1].iterations == 45


VIEWS = {
    *("alias", "as_strided", "detach", "diagonal", "empty", "empty_like", "empty_strided"),
    *("_reshape_alias", "expand", "lift_fresh", "movedim", "permute", "select", "slice"),
    *("split", "squeeze", "squeeze_", "t", "transpose", "unsqueeze", "view", "_unsafe_view"),
}
"""What moves no number."""


class Calls(torch.utils._python_dispatch.TorchDispatchMode):
    """Writes down what torch is asked for: each would be a launch on a GPU."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = str(function).split(".")[1]
        if name not in VIEWS:
            self.seen.append(name)
        return function(*args, **(kwargs or {}))


def calls_by_step(shape, k, steps, **options):
    """What each step asks torch for, from one asking of the shard to the next."""
    rows = np.random.default_rng(0).random((k, *shape))
    solver = Solver(tol=0.0, max_iters=steps, backend="torch", **options)
    task = prepare(rows, [np.linspace(0, 1, m) for m in shape], None, solver)
    alone = in_process([make_shard(task.problem, task.rows, task.weights)])
    cuts = []
    with Calls() as calls:

        def advance(step):
            cuts.append(len(calls.seen))
            return alone(step)

        solve(advance, task.problem, task.weights, solver)
    return [calls.seen[a:b] for a, b in pairwise(cuts)]


SMALLER = (9, 6, 4)


@pytest.mark.parametrize("shape", [SMALLER, (11, 11, 7, 4), (2,) * 8, (50, 50, 3)])
@pytest.mark.parametrize("k", [2, 7])
def test_a_plain_step_is_a_few_calls_none_of_which_waits(shape, k):
    steps = calls_by_step(shape, k, 12, epsilon=0.05, anderson=0)
    for step in steps[1:8]:
        assert len(step) <= 22
        assert "_local_scalar_dense" not in step


@pytest.mark.parametrize(("shape", "k"), [(SMALLER, 2), (SMALLER, 30), ((11, 11, 7, 4), 3)])
def test_a_mixed_step_is_at_most_forty_calls_none_of_which_waits(shape, k):
    steps = calls_by_step(shape, k, 40, epsilon=0.005)
    # Every tenth is looked at; before the last level is reached, levels begin.
    quiet = [step for step in steps[20:] if "_local_scalar_dense" not in step]
    assert len(quiet) >= 16
    assert max(map(len, quiet)) <= 40
    assert "_linalg_solve_ex" in quiet[5]


def test_errors_are_looked_at_every_tenth_step():
    steps = calls_by_step(SMALLER, 3, 30, epsilon=0.5, anderson=0)
    looked = [i + 1 for i, step in enumerate(steps) if "_local_scalar_dense" in step]
    assert looked == [10, 20]


def test_tensors_give_a_tensor_where_they_lie():
    rows = bumps(AXES, 3)
    plain = barycenter(rows, AXES, epsilon=0.05, backend="torch")
    assert isinstance(plain.measure, np.ndarray)
    whole = torch.tensor(rows, requires_grad=True)
    single = [torch.tensor(row, dtype=torch.float32) for row in rows]
    for given_, allowed in [(whole, 1e-15), (list(whole), 1e-15), (single, 1e-6)]:
        found = barycenter(given_, AXES, epsilon=0.05, backend="torch")
        assert isinstance(found.measure, torch.Tensor)
        assert found.measure.device == whole.device
        assert found.measure.dtype == torch.float64
        assert found.measure.shape == (9, 6, 4)
        assert l1(found.measure, plain.measure) <= allowed
    weights = torch.tensor([1.0, 2.0, 3.0])
    weighed = barycenter(whole, AXES, weights=weights, epsilon=0.05, backend="torch")
    numpys = barycenter(rows, AXES, weights=[1, 2, 3], epsilon=0.05)
    assert l1(weighed.measure, numpys.measure) < 1e-7


def test_tensors_are_not_modified():
    rows = torch.tensor(bumps(AXES, 3))
    before = rows.clone()
    barycenter(rows, AXES, epsilon=0.01, backend="torch", max_iters=40)
    assert torch.equal(rows, before)


def spoilt(value):
    rows = torch.ones(2, 9, 6, 4)
    rows[1, 2, 0, 1] = value
    return rows


GPUS = torch.cuda.device_count()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"measures": spoilt(float("nan"))}, r"measures\[1\] must be finite, got nan"),
        ({"measures": spoilt(float("inf"))}, r"measures\[1\] must be finite, got inf"),
        ({"measures": spoilt(-1.0)}, r"measures\[1\] must be non-negative, got -1.0"),
        ({"measures": torch.ones(2, 3)}, r"measures must have shape .* got \[2, 3\]"),
        ({"measures": torch.ones(0, 9, 6, 4)}, "measures must hold at least one measure"),
        (
            {"measures": [torch.ones(9, 6, 4), torch.ones(9, 6, 4, device="meta")]},
            r"measures must lie on one device, got measures\[0\] on cpu and measures\[1\] on meta",
        ),
        ({"device": "tpu"}, "device must be 'cpu', 'cuda' or 'cuda:NUMBER', got 'tpu'"),
        ({"device": "cuda:x"}, "device must be 'cpu', 'cuda' or 'cuda:NUMBER', got 'cuda:x'"),
        (
            {"device": f"cuda:{GPUS}"},
            f"device must be one of the {GPUS} GPUs that torch sees, got 'cuda:{GPUS}'",
        ),
        ({"device": "cuda", "backend": "numpy"}, "device must be 'cpu' with backend 'numpy'"),
        ({"dtype": "tf32"}, "dtype must be 'float64' or 'float32' without a GPU, got 'tf32'"),
    ],
)
def test_bad_arguments_are_named_with_their_value_and_law(change, message):
    arguments = {"measures": torch.ones(2, 9, 6, 4), "backend": "torch", **change}
    with pytest.raises(ValueError, match=message):
        barycenter(axes=AXES, epsilon=0.1, **arguments)


def test_all_clients_at_once_are_counted_in_the_memory_that_is_asked_for():
    from fedirl_ray.transport.backend import Place

    of_numpy = estimate(20, [100] * 3, 1, "float64", second_kernel=False)
    of_torch = estimate(20, [100] * 3, 1, "float64", second_kernel=False, place=Place("torch"))
    assert of_torch - of_numpy >= 4 * 19 * 8 * 10**6


@pytest.mark.gpu
@pytest.mark.skipif(GPUS == 0, reason="no GPU")
def test_a_gpu_gives_numpys_barycenter_and_refuses_what_it_cannot_hold():
    rows = bumps(LARGE, 3)
    for epsilon in (0.05, 0.005):
        ours = barycenter(rows, LARGE, epsilon=epsilon, tol=1e-12)
        there = torch.tensor(rows, device="cuda")
        theirs = barycenter(there, LARGE, epsilon=epsilon, tol=1e-12, backend="torch")
        assert theirs.measure.is_cuda
        assert l1(theirs.measure.cpu(), ours.measure) < 1e-10
    held = torch.ones(1, 1, 1, device="cuda").expand(2000, 1000, 1000)
    wide = [np.linspace(0, 1, 1000)] * 2
    with pytest.raises(MemoryError, match=r"needs .* GiB and .* GiB are available on cuda"):
        barycenter(held, wide, epsilon=0.05, backend="torch", anderson=100)
