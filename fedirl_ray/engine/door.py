"""The server's door: every upload is checked before a number of it is used. Pure.

It protects a run against clients that are broken, late or lie. A process that sets out to attack is
another matter: who can reach an actor of the same Ray can run code in it.

Letters as in `engine.upload`; `i` uploads.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedirl_ray.engine.upload import NUMBER, Answer, Ballot, Floats, Key, Order, Poll, Upload
from fedirl_ray.fusion.spec import BEST

SLACK = 8
"""An upload of more than this many times the bytes asked for is refused unseen."""
ROUNDING = 1e-9
"""How far a curvature may be from symmetric and positive semi-definite, relative to its trace."""
TELLING = 8
"""Refusals of one answer that are told one by one; the others are counted."""
REASON = 200
"""Characters of a reason that are kept."""
BLOCK = 256
"""Uploads whose numbers are looked at together."""

_LARGEST = 2**63

Bools = NDArray[np.bool_]


class Refusal(NamedTuple):
    """An upload that was not let in, or not everywhere."""

    client: int | None
    """Who claims to have sent it; None if that is nobody who was asked."""
    reason: str
    """What was wrong, for the record; at most `REASON` characters."""


class Admission(NamedTuple):
    """What a round goes on with."""

    uploads: tuple[Upload, ...]
    """Those that can be computed with, at most one a client, by client."""
    let_in: Bools
    """What each is let in to: the books of what clients learn alone, then each federation,
    `[i, 1 + q]`."""
    refused: tuple[Refusal, ...]
    """All others."""


@dataclass(frozen=True)
class Terms:
    """What an upload must keep."""

    d: int
    """Features."""
    norm_bound: float
    """Largest norm of a theta."""
    curvature_bound: float
    """Largest trace of a curvature."""
    iterations: int
    """Most steps of a fit."""
    episodes: int
    """Most demonstrations that a client may have learnt from."""
    rules: tuple[str, ...]
    """Rules that fuse, in the order of the federations."""
    curved: tuple[int, ...] = ()
    """Federations whose rules need curvature."""


class Tally(NamedTuple):
    """What came of a poll."""

    scores: Floats
    """By client asked, `[m, c]`; NaN of those without a ballot that was let in."""
    refused: tuple[Refusal, ...]
    """All other ballots."""


def hear(order: Order | Poll, said: Any) -> list[Answer]:
    """Take what came for an order as an answer, whatever it is.

    Args:
        order: As it was asked.
        said: Anything.

    Returns:
        One answer to the order, or none.
    """
    whole = type(said) is list and len(said) == 1 and type(said[0]) is Answer
    if not whole or len(said[0]) != len(Answer._fields):
        return [Answer(order, [said], 0.0, 0.0)]  # an upload that is none, which the door refuses
    (answer,) = said
    clock = [
        value if type(value) is float and math.isfinite(value) else 0.0
        for value in (answer.began, answer.seconds)
    ]
    return [Answer(order, answer.uploads, *clock)]


def admit(answers: Sequence[Answer], terms: Terms) -> Admission:
    """Let in what answers its order and can be computed with.

    What is let in does not depend on what is refused beside it: the others' fused result is that
    of a round without the refused client. Types, shapes, NaN and infinity concern an upload as a
    whole; a theta beyond the bound, or a curvature that is none, only the federation it was sent
    to, since another rule must not change what a rule finds.

    Args:
        answers: Of one round, each with the order it must answer.
        terms: What they must keep.

    Returns:
        Uploads let in and turned away. Never raises, whatever the uploads are.
    """
    refused: list[Refusal] = []
    sound: list[tuple[Order, Upload]] = []
    for answer in answers:
        told: list[Refusal] = []
        order = answer.order
        assert isinstance(order, Order)
        for upload, fault in _identified(answer, Upload):
            fault = fault or _wrong_form(upload, order, terms)
            if fault:
                told.append(Refusal(_sender(upload, Upload), fault[:REASON]))
            else:
                sound.append((order, upload))
        refused += _in_few(told)
    sound.sort(key=lambda one: one[1].key.client)
    admitted: list[Upload] = []
    rows: list[Bools] = []
    for first in range(0, len(sound), BLOCK):
        block = sound[first : first + BLOCK]
        kept, faults = _judged([upload for _, upload in block], block[0][0], terms)
        refused += [
            Refusal(block[i][1].key.client, fault[:REASON]) for i, fault in sorted(faults.items())
        ]
        entered = np.flatnonzero(kept.any(axis=1))
        admitted += [block[i][1] for i in entered]
        rows.append(kept[entered])
    let_in = np.concatenate(rows) if rows else np.zeros((0, 1 + len(terms.rules)), dtype=bool)
    return Admission(tuple(admitted), let_in, tuple(refused))


def tally(answers: Sequence[Answer], poll: Poll) -> Tally:
    """Let in ballots that answer the poll and hold scores.

    Args:
        answers: Each with the part of the poll it must answer.
        poll: As a whole.

    Returns:
        Scores, and ballots turned away. Never raises, whatever the ballots are.
    """
    places = {client: place for place, client in enumerate(poll.clients)}
    scores = np.full((len(poll.clients), poll.thetas.shape[1]), np.nan)
    refused: list[Refusal] = []
    for answer in answers:
        told: list[Refusal] = []
        for ballot, fault in _identified(answer, Ballot):
            fault = fault or _wrong_ballot(ballot, poll)
            if fault:
                told.append(Refusal(_sender(ballot, Ballot), fault[:REASON]))
            else:
                scores[places[ballot.key.client]] = ballot.scores
        refused += _in_few(told)
    return Tally(scores, tuple(refused))


def _in_few(told: list[Refusal]) -> list[Refusal]:
    """Refusals of one answer, the first of them one by one."""
    if len(told) <= TELLING:
        return told
    return [*told[:TELLING], Refusal(None, f"{len(told) - TELLING} more uploads of one answer")]


def _wrong_ballot(ballot: Ballot, poll: Poll) -> str:
    """Why a ballot holds no scores; empty if it does."""
    if type(ballot.number) is not int or ballot.number != poll.number:
        return f"not of poll {poll.number} of the round"
    fault = _wrong_array("scores", ballot.scores, poll.thetas.shape[1:2])
    if fault:
        return fault
    within = (ballot.scores >= 0.0) & (ballot.scores <= BEST)  # NaN is not
    return "" if within.all() else f"scores are not within 0 and {BEST:g}"


def _sender(upload: Any, kind: type[Upload] | type[Ballot]) -> int | None:
    """Who claims to have sent an upload, if that is a client's number at all."""
    if type(upload) is not kind or len(upload) != len(kind._fields):
        return None
    key = upload.key
    named = type(key) is Key and len(key) == len(Key._fields) and type(key.client) is int
    return key.client if named and 0 <= key.client < _LARGEST else None


def _identified(answer: Answer, kind: type[Upload] | type[Ballot]) -> Iterator[tuple[Any, str]]:
    """Each upload of an answer, and why it is nobody's answer to the order; empty if it is one.

    An upload is its key's client's. Where several have the same key, it is the one in that client's
    own place; if none is, nobody can tell which is, and all are refused.
    """
    uploads, order = answer.uploads, answer.order
    if type(uploads) is not list and type(uploads) is not tuple:
        yield uploads, f"not a list of uploads but {_kind(uploads)}"
        return
    asked = {client: place for place, client in enumerate(order.clients)}
    faults = [_wrong_sender(upload, kind, order, asked) for upload in uploads]
    claims: dict[int, list[int]] = {}
    for at, (upload, fault) in enumerate(zip(uploads, faults, strict=True)):
        if not fault:
            claims.setdefault(upload.key.client, []).append(at)
    for client, places in claims.items():
        if len(places) > 1:
            for at in places:
                if at != asked[client]:
                    faults[at] = "duplicate"
    yield from zip(uploads, faults, strict=True)


def _wrong_sender(
    upload: Any,
    kind: type[Upload] | type[Ballot],
    order: Order | Poll,
    asked: dict[int, int],
) -> str:
    """Why an upload's key is no answer to the order; empty if it is one."""
    if type(upload) is not kind or len(upload) != len(kind._fields):
        return f"not {'an upload' if kind is Upload else 'a ballot'} but {_kind(upload)}"
    key = upload.key
    if type(key) is not Key or len(key) != len(Key._fields):
        return f"key is not a key but {_kind(key)}"
    if type(key.run) is not str:
        return f"key's run is not a word but {_kind(key.run)}"
    for name, number in zip(Key._fields[1:], key[1:], strict=True):
        if type(number) is not int:
            return f"key's {name} is not an integer but {_kind(number)}"
        if not -_LARGEST <= number < _LARGEST:
            return f"key's {name} is an integer of {number.bit_length()} bits"
    if key.run != order.run:
        return f"of another run ({key.run[:32]!r})"
    if (key.seed, key.round, key.attempt) != (order.seed, order.round, order.attempt):
        return (
            f"late: for seed {key.seed}, round {key.round}, attempt {key.attempt}, in seed "
            f"{order.seed}, round {order.round}, attempt {order.attempt}"
        )
    return "" if key.client in asked else "this client was not asked"


def _wrong_form(upload: Upload, order: Order, terms: Terms) -> str:
    """Why an upload cannot be computed with, by its form; empty if it can."""
    d = terms.d
    wanted: list[tuple[str, Any, tuple[int, ...]]] = [("theta", upload.theta, (order.columns, d))]
    if order.hessian:
        wanted.append(("hessian", upload.hessian, (len(order.hessian), d, d)))
    elif upload.hessian is not None:
        return "a hessian that was not asked for"
    for name, array, shape in wanted:
        if fault := _wrong_array(name, array, shape):
            return fault
    if type(upload.negative_log_likelihood) is not float:
        return (
            f"negative_log_likelihood is not a number but {_kind(upload.negative_log_likelihood)}"
        )
    if not math.isfinite(upload.negative_log_likelihood):
        return "negative_log_likelihood is NaN or infinity"
    if type(upload.iterations) is not int:
        return f"iterations is not an integer but {_kind(upload.iterations)}"
    if not 0 <= upload.iterations <= terms.iterations:
        return f"iterations is not within 0 and {terms.iterations}"
    if type(upload.converged) is not bool:
        return f"converged is not True or False but {_kind(upload.converged)}"
    if type(upload.episodes) is not int:
        return f"episodes is not an integer but {_kind(upload.episodes)}"
    if not 1 <= upload.episodes <= terms.episodes:
        return f"episodes is not within 1 and {terms.episodes}"
    return ""


def _wrong_array(name: str, array: Any, shape: tuple[int, ...]) -> str:
    """Why something is not an array of floats of a shape; empty if it is."""
    if type(array) is not np.ndarray:
        return f"{name} is not an array but {_kind(array)}"
    most = SLACK * NUMBER * math.prod(shape)
    if array.nbytes > most:
        return f"oversized: {name} takes {array.nbytes} bytes, at most {most} are let in"
    if array.shape != shape:
        return f"{name} has shape {array.shape}, not {shape}"
    if array.dtype != np.float64:
        return f"{name} has dtype {str(array.dtype)[:REASON]}, not float64"
    return ""


def _kind(value: Any) -> str:
    """What something is, in words that no client has a say in beyond its type's name."""
    name = type.__dict__["__name__"].__get__(type(value))
    return f"a {str.__str__(name)[:REASON]}"


def _judged(uploads: Sequence[Upload], order: Order, terms: Terms) -> tuple[Bools, dict[int, str]]:
    """What uploads of one form are let in to, `[i, 1 + q]`, and what is wrong with which."""
    theta = np.stack([upload.theta for upload in uploads])
    # In the first round one theta is sent to all federations.
    sent = [order.row(q) for q in range(len(terms.rules))]
    with np.errstate(over="ignore", invalid="ignore"):
        norm = np.linalg.norm(theta, axis=2)[:, [0, *sent]]
    kept = norm <= terms.norm_bound
    faults = {int(i): _beyond(norm[i], kept[i], terms) for i in np.flatnonzero(~kept.all(axis=1))}
    finite = np.isfinite(theta).all(axis=(1, 2))
    ill = dict.fromkeys(np.flatnonzero(~finite).tolist(), "theta holds NaN or infinity")
    if order.hessian:
        hessians = np.stack([upload.hessian for upload in uploads if upload.hessian is not None])
        finite = np.isfinite(hessians).all(axis=(1, 2, 3))
        hole = dict.fromkeys(np.flatnonzero(~finite).tolist(), "hessian holds NaN or infinity")
        wrong = {
            row: _wrong_curvature(hessians[:, at], terms.curvature_bound)
            for at, row in enumerate(order.hessian)
        }
        for q in terms.curved:
            for i, fault in wrong[order.row(q)].items():
                kept[i, 1 + q] = False
                said = f"for {terms.rules[q]}: {fault}"
                faults[i] = "; ".join([*filter(None, [faults.get(i)]), said])
        ill = hole | ill
    kept[list(ill)] = False
    return kept, faults | ill


def _beyond(norm: Floats, kept: Bools, terms: Terms) -> str:
    """That some of an upload's thetas, `[1 + q]` of them, are too large."""
    names = [name for name, fine in zip(("local", *terms.rules), kept, strict=True) if not fine]
    where = f"for {', '.join(names)}: " if kept.any() else ""
    return (
        f"{where}theta has norm {norm[~kept].max():.3g}, beyond federation.norm-bound "
        f"{terms.norm_bound:g}"
    )


def _wrong_curvature(hessians: Floats, bound: float) -> dict[int, str]:
    """Which of `[i, d, d]` are no curvatures, and why. Those that hold NaN are, for some reason."""
    with np.errstate(over="ignore", invalid="ignore"):
        trace = np.trace(hessians, axis1=1, axis2=2)
        skew = np.abs(hessians - hessians.transpose(0, 2, 1)).max(axis=(1, 2))
        # No entry of a positive semi-definite matrix is larger than its trace.
        sized = np.abs(hessians).max(axis=(1, 2)) <= trace * (1.0 + ROUNDING)
        even = skew <= ROUNDING * np.abs(trace)
    small = trace <= bound
    found = {}
    for i in np.flatnonzero(~small):
        found[int(i)] = (
            f"hessian has trace {trace[i]:.3g}, beyond the {bound:.3g} that features can make"
        )
    for i in np.flatnonzero(small & ~even):
        found[int(i)] = "hessian is not symmetric"
    for i in np.flatnonzero(small & even & ~sized):
        found[int(i)] = "hessian is not positive semi-definite"
    likely = np.flatnonzero(small & even & sized)
    if not _definite(hessians[likely], trace[likely]):
        for i in likely:
            if not _definite(hessians[i : i + 1], trace[i : i + 1]):
                found[int(i)] = "hessian is not positive semi-definite"
    return found


def _definite(hessians: Floats, trace: Floats) -> bool:
    """Whether no direction of any symmetric matrix is negative but for rounding."""
    shift = ROUNDING * trace + np.finfo(np.float64).tiny
    try:
        np.linalg.cholesky(hessians + shift[:, None, None] * np.eye(hessians.shape[1]))
    except np.linalg.LinAlgError:
        return False
    return True
