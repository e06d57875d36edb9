"""The default, which mixes steps, is held against the plain loop with as many steps."""

from importlib import import_module

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedirl_ray import barycenter
from fedirl_ray.transport import solver
from fedirl_ray.transport.mixing import Mixer

LENGTHS = {1: [(12,), (31,)], 2: [(10, 14), (9, 20)], 3: [(4, 8, 7), (7, 6, 5)]}


def l1(one, two):
    return float(np.abs(np.ravel(one) - np.ravel(two)).sum())


def bell(shape, periods, centre, width):
    """A Gaussian `[*shape]` of sum 1 on a lattice of whole numbers."""
    grid = np.meshgrid(*[np.arange(float(m)) for m in shape], indexing="ij")
    square = np.zeros(shape)
    for x, c, period in zip(grid, centre, periods, strict=True):
        far = abs(x - c)
        square += np.minimum(far, period - far if period else np.inf) ** 2
    measure = np.exp(-square / (2 * width**2))
    return measure / measure.sum()


@st.composite
def fusions(draw):
    """Draw measures, the arguments of `barycenter`, and the debiased answer where it is known."""
    shape = draw(st.sampled_from(LENGTHS[draw(st.integers(1, 3))]))
    periods = [float(m) if draw(st.integers(0, 3)) == 0 else False for m in shape]
    k, width = draw(st.integers(1, 4)), draw(st.sampled_from([0.8, 1.5, 3.0]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["copies", "shifted", "bells", "noise"]))
    middle = [m // 2 for m in shape]
    known = None
    match kind:
        case "copies":
            known = bell(shape, periods, middle, width)
            rows = [known] * k
        case "shifted":
            shift = [int(rng.integers(0, m // 5 + 1)) for m in shape]
            places = [
                [c + sign * s for c, s in zip(middle, shift, strict=True)] for sign in (-1, 1)
            ]
            rows = [bell(shape, periods, place, width) for place in places]
        case "bells":
            places = rng.uniform(0.2, 0.8, (k, len(shape))) * np.array(shape)
            rows = [bell(shape, periods, place, width) for place in places]
        case _:
            rows = list(rng.random((k, *shape)) ** draw(st.sampled_from([1, 4])))
    floor = draw(st.sampled_from([0.0, 0.0, 1e-3]))
    rows = [row / row.sum() + floor / row.size for row in rows]
    if floor and known is not None:
        known = (known + floor / known.size) / (1 + floor)
    options = {
        "epsilon": draw(st.sampled_from([0.1, 0.3, 0.5, 1.0, 2.0])),
        "periodic": periods,
        "cost_scale": "none",
    }
    return np.array(rows), [np.arange(float(m)) for m in shape], options, known


@settings(max_examples=40)
@given(fusion=fusions(), debiased=st.booleans(), steps=st.sampled_from([40, 100, 250]))
def test_the_default_is_never_farther_from_the_answer_than_plain_steps(fusion, debiased, steps):
    rows, axes, options, known = fusion
    options |= {"debiased": debiased, "tol": 1e-10}
    mixed = barycenter(rows, axes, max_iters=steps, **options)
    plain = barycenter(rows, axes, max_iters=steps, anderson=0, **options)
    # Mixing may try a step and take it back, and end between two levels of epsilon.
    fewer = barycenter(rows, axes, max_iters=steps * 3 // 4, anderson=0, **options)
    assert mixed.error <= 1.5 * max(plain.error, fewer.error) + 1e-8
    answer, doubt = known, 0.0
    if known is None or not debiased:
        far = barycenter(rows, axes, max_iters=10 * steps, anderson=0, **{**options, "tol": 1e-12})
        answer, doubt = far.measure, l1(far.measure, plain.measure) if far.error > 1e-7 else 0.0
    allowed = max(l1(plain.measure, answer), l1(fewer.measure, answer))
    assert l1(mixed.measure, answer) <= 1.5 * allowed + doubt + 1e-6


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("shift", [0, 3])
def test_debiased_copies_of_a_bump_are_the_bump(epsilon, shift):
    shape, axes = (30, 30), [np.arange(30.0)] * 2
    places = [(15 + dx, 15 + dy) for dx, dy in [(-shift, 0), (shift, 0), (0, -shift), (0, shift)]]
    rows = [bell(shape, [False] * 2, place, 1.5) for place in places]
    options = {"epsilon": epsilon, "cost_scale": "none", "debiased": True, "max_iters": 500}
    mixed = barycenter(rows, axes, **options)
    plain = barycenter(rows, axes, anderson=0, **options)
    assert l1(mixed.measure, bell(shape, [False] * 2, (15, 15), 1.5)) < 1e-4
    assert mixed.error <= 1e-7
    assert mixed.iterations <= plain.iterations + 20


def failing():
    """A fusion in which mixed steps are taken back."""
    shape, periods = (12, 30), [12.0, 30.0]
    rows = [bell(shape, periods, place, 1.5) for place in [(4, 15), (8, 15), (6, 10)]]
    options = {"epsilon": 1.0, "periodic": periods, "cost_scale": "none", "debiased": True}
    return rows, [np.arange(12.0), np.arange(30.0)], options


@pytest.mark.parametrize("steps", [1, 7, 20])
def test_the_error_is_that_of_the_client_farthest_from_its_measure(steps, monkeypatch):
    errors = []

    def watched(advance, *arguments):
        def step(asked):
            term = advance(asked)
            errors.append(np.array(term.measured.errors))
            return term

        return solver.solve(step, *arguments)

    monkeypatch.setattr(import_module("fedirl_ray.transport.barycenter"), "solve", watched)
    x = np.arange(20.0)
    rows = np.stack([np.ones(20), np.exp(-0.5 * (x - 3.0) ** 2), np.exp(-2.0 * (x - 17.0) ** 2)])
    options = {"epsilon": 0.5, "cost_scale": "none", "anderson": 0}
    found = barycenter(rows, [x], tol=1e-12, max_iters=steps, **options)
    moved = found.error - errors[-1].max()
    assert 0.0 <= moved < found.error - errors[-1].min()


def test_steps_taken_back_leave_the_bytes_of_any_number_of_shards(monkeypatch):
    rows, axes, options = failing()
    judged = []

    class Watched(Mixer):
        def keep(self, *arguments):
            judged.append(super().keep(*arguments))
            return judged[-1]

    monkeypatch.setattr(solver, "Mixer", Watched)
    whole = barycenter(rows, axes, max_iters=100, **options)
    assert not all(judged)
    for shards in (2, 3):
        other = barycenter(rows, axes, max_iters=100, shards=shards, **options)
        assert other.measure.tobytes() == whole.measure.tobytes()
        assert other.error == whole.error


@pytest.mark.parametrize("domain", ["plain", "log"])
@pytest.mark.parametrize("anderson", [1, 2, None])
def test_any_number_of_kept_steps_survives_steps_taken_back(domain, anderson):
    rows, axes, options = failing()
    options |= {"domain": domain, "max_iters": 300}
    mixed = barycenter(rows, axes, anderson=anderson, **options)
    plain = barycenter(rows, axes, anderson=0, **options)
    assert l1(mixed.measure, plain.measure) < 1e-5
    assert mixed.error < 10 * plain.error


def mixer(*errors):
    """A mixer of four slots that has been told of plain steps with these errors."""
    made = Mixer(4)
    for i, error in enumerate(errors):
        made.weights(plain=True)
        assert tell(made, i, error)
    return made


def tell(made, i, error):
    residual = np.zeros((1, 8))
    products = np.zeros(4)
    # Orthogonal residuals: the gram matrix is diagonal.
    products[made.next_slot()] = 1.0 + 0.1 * i
    return made.keep(np.full((1, 8), float(i)), residual, products, error)


def blends(weights):
    return np.count_nonzero(weights) > 1


def test_a_mixed_step_counts_where_the_error_falls_or_stays_near_the_least():
    for error, counts in [(0.9, True), (1.0, True), (1.4, True), (1.6, False), (np.nan, False)]:
        made = mixer(2.0, 1.0)
        assert np.all(made.weights(plain=False) != 0.0)
        assert tell(made, 2, error) == counts
    # From a plain step that rose, falling is enough.
    made = mixer(1.0, 5.0)
    made.weights(plain=False)
    assert tell(made, 2, 4.9)


def test_after_a_step_taken_back_come_plain_ones_from_the_last_that_counted():
    made = mixer(2.0, 1.0)
    pauses = []
    for _ in range(3):
        made.weights(plain=False)
        assert not tell(made, 9, np.inf)
        plain = 0
        while not blends(weights := made.weights(plain=False)):
            newest = made.mixed(weights)[0, 0]
            assert newest == 1.0 if plain == 0 and not pauses else newest < 9
            assert tell(made, 3, 1.0)
            plain += 1
        pauses.append(plain)
    assert pauses == [1, 2, 4]


def test_a_new_least_error_makes_up_for_one_failure():
    made = mixer(2.0, 1.0)
    made.weights(plain=False)
    tell(made, 2, 9.0)
    made.weights(plain=False)
    tell(made, 2, 1.0)
    assert made.failures == 1
    made.weights(plain=False)
    assert tell(made, 2, 0.5)
    assert made.failures == 0


def test_mixing_that_only_hovers_is_a_failure_too():
    made = mixer(2.0, 1.0)
    for _ in range(10):
        assert np.all(made.weights(plain=False) != 0.0)
        assert tell(made, 2, 1.2)
    made.weights(plain=False)
    assert tell(made, 3, 1.2)
    weights = made.weights(plain=False)
    assert not blends(weights)
    assert made.mixed(weights)[0, 0] == 3.0


def test_a_step_taken_back_may_hold_infinities():
    made = mixer(2.0, 1.0)
    made.weights(plain=False)
    with np.errstate(invalid="ignore"):
        assert not made.keep(np.full((1, 8), np.nan), np.full((1, 8), np.inf), np.ones(4), np.nan)
    assert np.isfinite(made.mixed(made.weights(plain=False))).all()
    assert tell(made, 3, 0.9)
    assert np.isfinite(made.mixed(made.weights(plain=False))).all()


@pytest.mark.parametrize("epsilon", [1.0, 0.3, 0.1])
def test_debiased_gaussians_are_found_by_kernels_as_wide_as_the_line(epsilon):
    line = np.linspace(0.0, 1.0, 200)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        means, deviations = rng.uniform(0.35, 0.65, 3), rng.uniform(0.04, 0.08, 3)
        weights = rng.dirichlet(np.full(3, 5.0))
        rows = np.exp(-0.5 * ((line - means[:, None]) / deviations[:, None]) ** 2)
        options = {"epsilon": epsilon, "weights": weights, "cost_scale": "none", "debiased": True}
        found = barycenter(rows, [line], max_iters=200, **options)
        assert found.converged
        # The barycenter of Gaussians has their mean mean and their mean standard deviation.
        centre = found.measure @ line
        assert centre == pytest.approx(weights @ means, abs=1e-4)
        spread = np.sqrt(found.measure @ (line - centre) ** 2)
        assert spread == pytest.approx(weights @ deviations, rel=0.05)
        plain = barycenter(rows, [line], max_iters=200, anderson=0, **options)
        assert plain.error > 1e3 * found.error


def test_where_the_residual_decides_a_mixed_step_may_raise_the_error_but_not_the_residual():
    for size, error, counts in [(0.9, 15.0, True), (1.2, 0.5, False), (0.9, 25.0, False)]:
        made = Mixer(4, by_residual=True)
        for i, seen in enumerate([2.0, 1.0]):
            made.weights(plain=True)
            assert tell(made, i, seen)
        made.weights(plain=False)
        products = np.zeros(4)
        products[made.next_slot()] = size
        assert made.keep(np.zeros((1, 8)), np.zeros((1, 8)), products, error) == counts
