"""The barycenter's loop: levels of epsilon, mixing of steps, and the measure of convergence.

The loop holds vectors `[n]` and asks an injected `advance` for everything that needs the measures,
so it does not know whether the shards are in this process or elsewhere.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from fedirl_ray.transport.advance import Alone
from fedirl_ray.transport.axis import CostScale, Floats
from fedirl_ray.transport.backend import Array, Backend, Precision, beside, namespace, namespace_of
from fedirl_ray.transport.ground import GibbsKernel
from fedirl_ray.transport.kernel import LOST
from fedirl_ray.transport.looks import Looks
from fedirl_ray.transport.mixing import Mixer
from fedirl_ray.transport.projection import NONE, PLAIN_REACH
from fedirl_ray.transport.shard import Problem
from fedirl_ray.transport.step import Advance, Measured, Scaling, Step

PLAIN_TRIED: dict[Precision, float] = {"float64": 2000.0, "float32": 250.0}
"""Largest cost over epsilon at which the plain domain is tried. Beyond `PLAIN_REACH` every step is
checked for sums that came near underflow, and the first doubt starts again in logarithms."""

EASY_REACH = 50.0
PATIENCE = 30
"""Mixing starts at once from this cost over epsilon on, else after so many steps: the first tens of
plain steps are quicker than mixed ones, and usually enough. Debiased, only the last level's steps
are mixed: what mixing leaves undecided in `log_d`, the next level would multiply."""

WIDE_REACH = 20.0
"""Up to this cost over epsilon the kernel is as wide as the lattice: debiased, mixed steps are then
judged by their residual and start at the mass of one."""

FIRST_REACH = 20.0
LEVEL_FACTOR = 4.0
LEVEL_TOL = 1e-2
LEVEL_STEPS = 30
"""Epsilon falls to its target by this factor from this cost over epsilon; a level before the last
ends at this error or after so many steps: it only has to hand on a good start."""


Dtype = Literal["float64", "float32", "tf32"]


@dataclass(frozen=True, kw_only=True)
class Solver:
    """How a barycenter is to be computed; `fedirl_ray.barycenter` says what each field means."""

    epsilon: float
    cost_scale: CostScale = "max"
    periodic: Sequence[float | Literal[False]] | None = None
    debiased: bool = False
    tol: float = 1e-7
    max_iters: int = 10_000
    backend: Backend = "numpy"
    device: str | None = None
    dtype: Dtype = "float64"
    domain: Scaling | None = None
    anderson: int | None = None

    def check(self) -> None:
        """Check what the loop is to reach; costs and problem check the rest as they are made.

        Raises:
            ValueError: If a field breaks its law.
        """
        if not (self.epsilon > 0 and np.isfinite(self.epsilon)):
            raise ValueError(f"epsilon must be finite and > 0, got {self.epsilon}")
        if not self.tol >= 0:
            raise ValueError(f"tol must be >= 0, got {self.tol}")
        if self.max_iters < 1:
            raise ValueError(f"max_iters must be >= 1, got {self.max_iters}")
        if self.domain not in (None, "plain", "log"):
            raise ValueError(f"domain must be None, 'plain' or 'log', got {self.domain!r}")

    @property
    def precision(self) -> Precision:
        """Of the scalings."""
        return "float64" if self.dtype == "float64" else "float32"

    @contextmanager
    def refusing_what_does_not_fit(self) -> Iterator[None]:
        """Turn a GPU's way of being out of memory into Python's.

        Raises:
            MemoryError: It was.
        """
        if self.backend != "torch":
            yield
            return
        torch = namespace("torch")
        try:
            yield
        except torch.OutOfMemoryError as err:
            raise MemoryError(f"the GPU ran out of memory: {str(err).split('. ')[0]}") from err


@dataclass(frozen=True)
class Solution:
    """Where the loop ended."""

    log_b: Array
    total: Array
    """`sum_k alpha_k log K'u_k` `[n]`."""
    iterations: int
    error: float
    duals: Floats
    """`<log u, p>` of each client `[k]`."""
    domain: Scaling


class LostDigitsError(ArithmeticError):
    """A sum came near the end of the float's range; `steps` were taken until then."""

    def __init__(self, steps: int) -> None:
        super().__init__(
            f"a sum under- or overflowed in the plain domain after {steps} steps; "
            "use domain='log' or a larger epsilon"
        )
        self.steps = steps


def solve(
    advance: Advance, problem: Problem, weights: Floats, solver: Solver, held: Array | None = None
) -> Solution:
    """Iterate `advance` from scratch until the marginals agree or the steps are used up.

    Args:
        advance: Steps every shard and joins their answers in client order.
        problem: What the shards were made with.
        weights: All clients' weights `[k]`, in the same order, of sum 1.
        solver: Epsilon, tolerance and limits.
        held: A `log_b` `[n]` to hold on to: with one client, Sinkhorn's iteration between two
            measures.

    The plain domain is left for logarithms when it loses digits, and mixing for plain steps when
    it diverges, as it can where the debiased barycenter is barely determined.

    Raises:
        LostDigitsError: If `solver.domain` insists on `"plain"` where its range does not suffice.
    """
    spent = 0
    loop = partial(_Loop, advance, problem, weights, solver, held)
    reach = problem.reach / solver.epsilon
    attempts: list[tuple[Scaling, bool]] = []
    tried = solver.domain is None and reach <= PLAIN_TRIED[problem.precision]
    if solver.domain == "plain" or tried:
        attempts += [("plain", True)]
    if solver.domain != "plain":
        attempts += [("log", True)]
    attempts += [(attempts[-1][0], False)]
    for domain, mixing in attempts[:-1]:
        try:
            return loop(domain, mixing, spent).run()
        except LostDigitsError as lost:
            # The last attempt keeps half of the steps for itself.
            spent = min(lost.steps, solver.max_iters // 2)
    domain, mixing = attempts[-1]
    return loop(domain, mixing, spent).run()


def levels(problem: Problem, epsilon: float) -> list[float]:
    """Return the epsilons to go through, the last one the solver's."""
    between = []
    level = epsilon * LEVEL_FACTOR
    while problem.reach / level > FIRST_REACH:
        between.append(level)
        level *= LEVEL_FACTOR
    return [*reversed(between), epsilon]


class _Loop:
    """One attempt in one domain."""

    def __init__(
        self,
        advance: Advance,
        problem: Problem,
        weights: Floats,
        solver: Solver,
        held: Array | None,
        domain: Scaling,
        mixing: bool,
        spent: int,
    ) -> None:
        self.advance, self.problem, self.solver, self.held = advance, problem, solver, held
        self.weights = problem.place.asarray(weights)
        self.domain: Scaling = domain
        self.slots = problem.slots if mixing else 1
        self.mixer = Mixer(1)
        self.every = problem.place.choices.every
        self.zeros = problem.place.asarray(np.zeros(problem.size))
        self.log_b = self.total = self.zeros
        self.error = np.inf
        self.seen: float | None = None
        """Error of the last step, if it was looked for."""
        self.iterations = spent

    def run(self) -> Solution:
        """Go through the levels of epsilon."""
        # A step that leaves the float's range is noticed by `_check_range`, which knows what to do.
        with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
            return self._run()

    def _run(self) -> Solution:
        *between, target = levels(self.problem, self.solver.epsilon)
        before = [*between, target][0]
        for epsilon in between:
            if self.iterations < self.solver.max_iters - 1:
                self._level(epsilon, before / epsilon)
                before = epsilon
        measured = self._level(target, before / target)
        return Solution(
            self.log_b, self.total, self.iterations, self.error, measured.duals, self.domain
        )

    def _level(self, epsilon: float, rescale: float) -> Measured:
        """Step at one epsilon until its tolerance; return the last measurements."""
        solver, last = self.solver, epsilon == self.solver.epsilon
        kernel = self.problem.kernel(epsilon) if solver.debiased else None
        stop, tol = solver.max_iters, solver.tol
        if not last:
            stop, tol = min(stop - 1, self.iterations + LEVEL_STEPS), LEVEL_TOL
        taken, measure, looks = 0, False, Looks(tol, self.every)
        while True:
            ahead = min(looks.at - taken, stop - self.iterations) - 1
            if taken and kernel is None:
                taken += self._repeat(epsilon, ahead)
            taken += 1
            self.iterations += 1
            ending = self.iterations >= stop
            measure = measure or ending or taken >= looks.at
            # A plain step counts whatever it sees: levels begin and end with one.
            plain = ending or taken == 1
            scale = rescale if taken == 1 else 1.0
            measured = self._step(epsilon, scale, kernel, plain=plain, measure=measure)
            looks.see(taken, self.seen, self.mixer.slots)
            if measured is None:
                continue
            if ending or (len(measured.duals) > 0 and self.error <= tol):
                return measured
            measure = False

    def _repeat(self, epsilon: float, most: int) -> int:
        """Take unmeasured plain steps where nobody but the only shard is needed; return how many.

        Not where every step is checked for lost digits, nor once steps are mixed.
        """
        if self._guarded(epsilon) or self.mixer.slots > 1 or self.held is not None:
            return 0
        if self.slots > 1:
            if self.problem.reach / epsilon > EASY_REACH:
                return 0
            most = min(most, PATIENCE - self.iterations)
        if most < 1 or not isinstance(self.advance, Alone):
            return 0
        self.log_b = self.total = self.advance.repeat(Step(self.log_b, epsilon, self.domain), most)
        self.mixer.keep(self.total[None], self.total[None], NONE, None)
        self.iterations += most
        return most

    def _step(
        self,
        epsilon: float,
        rescale: float,
        kernel: GibbsKernel | None,
        *,
        plain: bool,
        measure: bool,
    ) -> Measured | None:
        """Ask the shards for one step, keep it, and move `log_b`; `None` if it does not count."""
        mixer, reach = self.mixer, self.problem.reach / epsilon
        mix = mixer.weights(plain=plain)
        start = mixer.mixed(mix) if len(mix) else self.zeros[None]
        # One row: the total is the next log_b, and the mean of the clients' log v is zero.
        simple = kernel is None and self.held is None
        before, log_d = (start[0], self.zeros) if len(start) == 1 else (start[1], start[2])
        log_d = log_d if rescale == 1.0 else rescale * log_d
        wide = kernel is not None and reach <= WIDE_REACH
        pinned = wide and mixer.blended
        if pinned:
            before = before - _log_mass(before)
        wanted = self.slots if kernel is None or epsilon == self.solver.epsilon else 1
        if mixer.slots < wanted and (reach > EASY_REACH or self.iterations > PATIENCE):
            # The debiased loop comes to the host in every step, for `log Kd`.
            every = 1 if kernel is not None else self.every or 1
            mixer = self.mixer = Mixer(wanted, by_residual=wide, every=every)
        elif rescale != 1.0:
            mixer.clear()
        slots, slot = mixer.slots, mixer.next_slot()
        # What mixed steps are judged against is the error of a plain one.
        measure = measure or (slots > 1 and mixer.every > 1 and not mixer.judging)
        judge = measure or (slots > 1 and mixer.every == 1)
        term = self.advance(
            Step(before, epsilon, self.domain, mix, slots, slot, rescale, measure, judge)
        )
        total = self.problem.fixed_point.decode(term.total)
        log_b, moved_d, unbalanced = total, self.zeros, 0.0
        if self.held is not None:
            log_b = self.held
        if kernel is not None:
            log_kd = kernel.apply_log(log_d[None])[0]
            if pinned:
                half = 0.5 * _log_mass(log_d + log_kd)
                log_d, log_kd = log_d - half, log_kd - half
            log_b = total + log_d
            # To the geometric mean of the old d and b / Kd (Janati, Cuturi and Gramfort 2020,
            # algorithm 1).
            moved_d = 0.5 * (log_b - log_kd - log_d)
            unbalanced = _distance(log_d + log_kd, log_b)
        error = None
        if judge:
            error = float(term.measured.errors.max()) + _distance(log_b, before) + unbalanced
        self.seen = error
        if simple and slots == 1:
            mixer.keep(total[None], total[None], NONE, error)
        else:
            products = NONE
            if slots > 1:
                products = self.weights @ beside(self.weights, term.measured.products)
            centre = total - before
            if len(start) > 1:
                centre += rescale * (before - start[0])  # the mean of the clients' log v
            state, residual = total[None], centre[None]
            if not simple:
                stack = namespace_of(total).stack
                state = stack((total, log_b, log_d + moved_d))
                residual = stack((centre, log_b - before - centre, moved_d))
            if not mixer.keep(state, residual, products, error):
                return None
        self._check_range(total, term.measured, epsilon, measure)
        if measure and error is not None:
            self.error = error
        self.log_b, self.total = log_b, total
        return term.measured

    def _check_range(self, total: Array, measured: Measured, epsilon: float, measure: bool) -> None:
        fixed_point, lost_below = self.problem.fixed_point, LOST[self.problem.precision]
        guarded = self._far(epsilon)
        if (measure or self._guarded(epsilon)) and not fixed_point.holds(total):
            raise LostDigitsError(self.iterations)
        if guarded and measure and not bool((measured.margins > lost_below).all()):
            raise LostDigitsError(self.iterations)

    def _far(self, epsilon: float) -> bool:
        """Whether a number may leave the float's range."""
        reach = self.problem.reach / epsilon
        return self.domain == "plain" and reach > PLAIN_REACH[self.problem.precision]

    def _guarded(self, epsilon: float) -> bool:
        """Whether every step is checked for that: on a GPU only those whose errors are looked at.

        What a step between two looks lost is lost still, or made good by plain steps since.
        """
        return self.every is None and self._far(epsilon)


def _log_mass(log_b: Array) -> float:
    xp, most = namespace_of(log_b), float(log_b.max())
    return most + float(xp.log(xp.exp(log_b - most).sum()))


def _distance(one: Array, two: Array) -> float:
    xp = namespace_of(one)
    return float(abs(xp.exp(one) - xp.exp(two)).sum())
