"""The server's door: every upload is checked before a number of it is used. Pure.

Letters as in `engine.upload`.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedirl_ray.engine.upload import NUMBER, Answer, Key, Order, Upload

SLACK = 8
"""An upload of more than this many times the bytes asked for is refused unseen."""


class Refusal(NamedTuple):
    """An upload that was not let in."""

    client: int | None
    """Who claims to have sent it; None if it does not say."""
    reason: str
    """What was wrong, for the record."""


class Admission(NamedTuple):
    """What a round goes on with."""

    admitted: tuple[Upload, ...]
    """At most one a client, by client."""
    refused: tuple[Refusal, ...]
    """All others."""


def admit(answers: Sequence[Answer], *, d: int, norm_bound: float) -> Admission:
    """Let in what answers its order and can be computed with.

    What is let in does not depend on what is refused beside it: the others' fused result is that
    of a round without the refused client.

    Args:
        answers: Of one round, each with the order it must answer.
        d: Features.
        norm_bound: Largest norm of a theta.

    Returns:
        Uploads let in and turned away.
    """
    refused: list[Refusal] = []
    sound: list[Upload] = []
    for answer in answers:
        awaited = set(answer.order.clients)
        for upload in answer.uploads:
            fault = _wrong_sender(upload, answer.order, awaited) or _wrong_form(
                upload, answer.order, d
            )
            if fault:
                refused.append(Refusal(_sender(upload), fault))
            else:
                sound.append(upload)
    admitted = []
    for upload, fault in zip(sound, _wrong_numbers(sound, norm_bound), strict=True):
        if fault:
            refused.append(Refusal(upload.key.client, fault))
        else:
            admitted.append(upload)
    return Admission(tuple(sorted(admitted, key=lambda one: one.key.client)), tuple(refused))


def _sender(upload: Any) -> int | None:
    named = isinstance(upload, Upload) and isinstance(upload.key, Key)
    return upload.key.client if named else None


def _wrong_sender(upload: Any, order: Order, awaited: set[int]) -> str:
    """Why an upload is nobody's answer to the order; empty if it is one.

    Args:
        upload: Anything.
        order: What was asked.
        awaited: Clients not heard of yet; the sender is taken off.
    """
    if not isinstance(upload, Upload) or not isinstance(upload.key, Key):
        return f"not an upload but a {type(upload).__name__}"
    key = upload.key
    if key.run != order.run:
        return f"of another run ({key.run})"
    if (key.seed, key.round, key.attempt) != (order.seed, order.round, order.attempt):
        return (
            f"late: for seed {key.seed}, round {key.round}, attempt {key.attempt}, in seed "
            f"{order.seed}, round {order.round}, attempt {order.attempt}"
        )
    if key.client not in awaited:
        return "duplicate" if key.client in order.clients else "this client was not asked"
    awaited.discard(key.client)
    return ""


def _wrong_form(upload: Upload, order: Order, d: int) -> str:
    """Why an upload's arrays cannot be computed with, by their form; empty if they can."""
    j = order.columns
    wanted = [("theta", upload.theta, (j, d))]
    if order.hessian:
        wanted.append(("hessian", upload.hessian, (j, d, d)))  # type: ignore[arg-type]
    elif upload.hessian is not None:
        return "a hessian that was not asked for"
    for name, array, shape in wanted:
        if not isinstance(array, np.ndarray):
            return f"{name} is not an array but a {type(array).__name__}"
        most = SLACK * NUMBER * int(np.prod(shape))
        if array.nbytes > most:
            return f"oversized: {name} takes {array.nbytes} bytes, at most {most} are let in"
        if array.shape != shape:
            return f"{name} has shape {array.shape}, not {shape}"
        if array.dtype != np.float64:
            return f"{name} has dtype {array.dtype}, not float64"
    if not isinstance(upload.negative_log_likelihood, float):
        return "negative_log_likelihood is not a number"
    return ""


def _wrong_numbers(uploads: Sequence[Upload], norm_bound: float) -> Iterator[str]:
    """For each upload, why its numbers are no use; empty if they are. All of one form."""
    if not uploads:
        return
    theta = np.stack([upload.theta for upload in uploads])
    finite = _finite(theta)
    curved = [upload.hessian for upload in uploads if upload.hessian is not None]
    curved_finite = _finite(np.stack(curved)) if curved else finite
    with np.errstate(over="ignore", invalid="ignore"):
        norm = np.linalg.norm(theta, axis=2).max(axis=1)
    for i in range(len(uploads)):
        if not finite[i]:
            yield "theta holds NaN or infinity"
        elif not curved_finite[i]:
            yield "hessian holds NaN or infinity"
        elif not norm[i] <= norm_bound:
            yield f"theta has norm {norm[i]:.3g}, beyond federation.norm-bound {norm_bound:g}"
        else:
            yield ""


def _finite(arrays: NDArray[np.float64]) -> list[bool]:
    """Whether each entry of the leading axis is free of NaN and infinity."""
    found: list[bool] = np.all(np.isfinite(arrays), axis=tuple(range(1, arrays.ndim))).tolist()
    return found
