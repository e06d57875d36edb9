"""Fusion rules by sums over clients alone, for a server that sees nothing else.

Each client makes a measure of its own reward, holds its own scalings, and adds its own share of the
next barycenter, of the errors by which the iteration ends, and of what leads back to a reward. The
server holds the sums, which is all that the barycenter's loop asks for.

Letters: `k` clients, `m` of them that are left, `n` support points, `d` features.
"""

from dataclasses import replace
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from fedirl_ray.config_privacy import MEASURED
from fedirl_ray.errors import RunError
from fedirl_ray.fusion.measure import Measures, to_measures, to_reward
from fedirl_ray.fusion.rules import fuse
from fedirl_ray.fusion.spec import Fused, Given
from fedirl_ray.privacy.masking import SecureSum, decode, encode
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.transport.barycenter import BarycenterResult, make_result, prepare
from fedirl_ray.transport.projection import NONE, PLAIN_REACH, UNMEASURED
from fedirl_ray.transport.shard import Saved, advance_shard, make_shard, restore, snapshot
from fedirl_ray.transport.solver import LostDigitsError, Solver, solve
from fedirl_ray.transport.step import Measured, Step, Term

THETA_BITS, MASS_BITS, SHARE_BITS = 40, 36, 60
"""Binary digits behind the point of what is summed: thetas, up to 2^22; masses and shifts, up to
2^26; shares of a probability, up to 1."""
COARSE_BITS, FINE_BITS = 20, 70
"""Of what is measured, which falls by many orders as the iteration ends: of two words a number."""


def fuse_sums(rule: str, given: Given, sums: SecureSum) -> Fused:
    """Fuse by sums over clients.

    Args:
        rule: One of `config_privacy.SUMMED`.
        given: What the clients hold, each its own row; no row leaves it but as a message.
        sums: Takes the sums.

    Returns:
        The fused reward, of the clients that are left.

    Raises:
        CohortError: Too few are left.
        RunError: A number is too large to be summed exactly.
    """
    if rule in MEASURED:
        return _through_measures(rule, given, sums)
    mean = _mean(given, sums)
    if rule == "mean":
        return Fused(mean)
    # Of the mean alone: the server goes on by itself, with copies of it.
    left = len(sums.places)
    copies = np.broadcast_to(mean, (left, len(mean))).copy()
    alike = replace(given, thetas=copies, weights=np.full(left, 1.0 / left))
    return fuse(rule, alike)


def _shares(given: Given, places: tuple[int, ...]) -> Floats:
    """How much each client that is left counts, `[m]`."""
    weights = given.weights[list(places)]
    shares: Floats = weights / weights.sum()
    return shares


def _parts(given: Given, rows: Floats, places: tuple[int, ...], bits: int) -> NDArray[np.int64]:
    """What each client that is left adds to the mean of rows `[k, n]`.

    No mean leaves the ring where no row does; parts alone would not tell.
    """
    own = rows[list(places)]
    encode(own, bits)
    return encode(_shares(given, places)[:, None] * own, bits)


def _mean(given: Given, sums: SecureSum) -> Floats:
    def terms(places: tuple[int, ...]) -> NDArray[np.int64]:
        return _parts(given, given.thetas, places, THETA_BITS)

    return decode(sums(terms), THETA_BITS)


def _through_measures(rule: str, given: Given, sums: SecureSum) -> Fused:
    """Rewards to measures, their mean (by transport, or entry by entry), and back to theta."""
    measures, config = to_measures(given.rewards, given.config), given.config
    iterations, converged = 0, True
    if rule == "arithmetic":

        def terms(places: tuple[int, ...]) -> NDArray[np.int64]:
            return _parts(given, measures.density, places, SHARE_BITS)

        density = decode(sums(terms), SHARE_BITS)
    else:
        found = _barycenter(given, measures, sums, debiased=rule == "debiased")
        density, iterations, converged = found.measure.ravel(), found.iterations, found.converged

    def levels(places: tuple[int, ...]) -> NDArray[np.int64]:
        each = np.stack([measures.mass, measures.shift], axis=1)
        return _parts(given, each, places, MASS_BITS)

    mass, shift = decode(sums(levels), MASS_BITS)
    one = Measures(density[None], np.array([shift]), np.array([mass]))
    reward = to_reward(density, one, np.ones(1), config)
    return Fused(given.theta_of(reward), density, iterations, converged)


def _told(seen: Measured, share: float, step: Step) -> Floats:
    """A client's part of what is measured: error squared, dual value, products of mixed steps."""
    error = seen.errors[0] ** 2 if len(seen.errors) else 0.0
    dual = share * seen.duals[0] if len(seen.duals) else 0.0
    mixed = share * seen.products[0] if step.slots > 1 else NONE
    return np.array([error, dual, *mixed])


def _wide(values: Floats) -> NDArray[np.int64]:
    """Numbers as two words each: a coarse one, and what that leaves, however small."""
    coarse = encode(values, COARSE_BITS)
    return np.concatenate([coarse, encode(values - decode(coarse, COARSE_BITS), FINE_BITS)])


def _narrow(total: NDArray[np.int64]) -> Floats:
    """Sums of such words as numbers."""
    coarse, fine = np.split(total, 2)
    return decode(coarse, COARSE_BITS) + decode(fine, FINE_BITS)


def _barycenter(
    given: Given, measures: Measures, sums: SecureSum, *, debiased: bool
) -> BarycenterResult:
    """The barycenter, every step's sum taken over clients.

    Beside its share of the next barycenter a client adds its error's square, its dual value and its
    products with past steps, by which steps are mixed. The error that ends the iteration is the
    root of the squares' sum, which is no smaller than the worst client's.
    """
    begin, config = perf_counter(), given.config
    solver = Solver(
        epsilon=config.epsilon,
        cost_scale=config.cost_scale,
        debiased=debiased,
        tol=config.tolerance,
        max_iters=config.iterations,
    )
    task = prepare(measures.density, given.support.where, given.weights, solver)
    if task.problem.reach / solver.epsilon > PLAIN_REACH["float64"]:
        # Plain steps near the float's end are checked by every client's least sum.
        solver = replace(solver, domain="log")
    shards = [make_shard(task.problem, row[None], np.ones(1)) for row in task.rows]

    def advance(step: Step) -> Term:
        before: dict[int, Saved] = {}

        def terms(places: tuple[int, ...]) -> NDArray[np.int64]:
            shares, messages = _shares(given, places), []
            for place, share in zip(places, shares, strict=True):
                shard = shards[place]
                if place in before:  # the sum is taken again
                    restore(shard, before[place])
                elif sums.lost:
                    before[place] = snapshot(shard)
                shard.weights = np.array([share])
                term = advance_shard(shard, step)
                told = _wide(_told(term.measured, share, step))
                messages.append(np.concatenate([term.total, told]))
            return np.stack(messages)

        whole = sums(terms)
        squares, dual, *products = _narrow(whole[len(step.log_b) :])
        if not (step.measure or products):
            return Term(whole[: len(step.log_b)], UNMEASURED)
        measured = Measured(
            np.array([np.sqrt(max(squares, 0.0))]), np.array([dual]), NONE, np.array(products)[None]
        )
        return Term(whole[: len(step.log_b)], measured)

    try:
        solution = solve(advance, task.problem, np.ones(1), solver)
    except LostDigitsError as err:
        raise RunError(f"the barycenter by sums lost its digits: {err}") from err
    one = replace(task, weights=np.ones(1))
    return make_result(one, solution, perf_counter() - begin)
