from dataclasses import replace

import numpy as np
import pytest

from fedirl_ray.engine.door import SLACK, admit
from fedirl_ray.engine.upload import Answer, Key, Order, Upload

D = 2
ORDER = Order(
    run="run",
    seed=3,
    round=1,
    clients=(0, 2, 5),
    own=np.zeros((3, D)),
    broadcast=np.zeros((1, D)),
    hessian=False,
    attempt=1,
)


def upload(client, **changed):
    good = Upload(ORDER.key(client), np.full((2, D), float(client)), None, 0.5, 7, True)
    return good._replace(**changed)


def enter(*uploads, order=ORDER, norm_bound=100.0):
    return admit([Answer(order, uploads, 0.0, 0.0)], d=D, norm_bound=norm_bound)


def theta(*rows, dtype=np.float64):
    return np.array(rows, dtype=dtype)


def test_sound_uploads_enter_in_the_clients_order():
    found = enter(upload(5), upload(0), upload(2))
    assert [one.key.client for one in found.admitted] == [0, 2, 5]
    assert not found.refused


BAD = {
    "NaN": (upload(2, theta=theta([1, np.nan], [1, 1])), "theta holds NaN or infinity"),
    "infinity": (upload(2, theta=theta([1, 1], [np.inf, 1])), "theta holds NaN or infinity"),
    "overflow": (upload(2, theta=np.full((2, D), 1e300)), "theta has norm"),
    "norm": (upload(2, theta=np.full((2, D), 80.0)), "beyond federation.norm-bound 100"),
    "shape": (upload(2, theta=np.zeros((D, 3))), r"theta has shape \(2, 3\), not \(2, 2\)"),
    "dimensions": (upload(2, theta=np.zeros(4)), r"theta has shape \(4,\), not \(2, 2\)"),
    "float32": (upload(2, theta=np.zeros((2, D), np.float32)), "theta has dtype float32"),
    "objects": (upload(2, theta=np.full((2, D), None)), "theta has dtype object"),
    "swapped bytes": (upload(2, theta=np.ones((2, D)).astype(">f8")), "theta has dtype >f8"),
    "list": (upload(2, theta=[[0.0, 0.0], [0.0, 0.0]]), "theta is not an array but a list"),
    "oversized": (
        upload(2, theta=np.zeros((2, D * SLACK + 1))),
        "oversized: theta takes 272 bytes",
    ),
    "unasked hessian": (upload(2, hessian=np.zeros((2, D, D))), "hessian that was not asked for"),
    "likelihood": (upload(2, negative_log_likelihood=None), "negative_log_likelihood is not a"),
    "not asked": (upload(2, key=ORDER.key(1)), "this client was not asked"),
    "no such client": (upload(2, key=ORDER.key(-1)), "this client was not asked"),
    "earlier round": (upload(2, key=ORDER.key(2)._replace(round=0)), "late: for seed 3, round 0"),
    "earlier attempt": (upload(2, key=ORDER.key(2)._replace(attempt=0)), "round 1, attempt 0, in"),
    "other seed": (upload(2, key=ORDER.key(2)._replace(seed=9)), "late: for seed 9"),
    "other run": (upload(2, key=ORDER.key(2)._replace(run="x")), r"of another run \(x\)"),
    "number": (17, "not an upload but a int"),
    "keyless": (upload(2, key=None), "not an upload but a Upload"),
}


@pytest.mark.parametrize(("bad", "reason"), BAD.values(), ids=BAD.keys())
def test_a_bad_upload_is_named_and_changes_nothing_for_the_others(bad, reason):
    with_it, without = enter(upload(0), bad, upload(5)), enter(upload(0), upload(5))
    assert [one.key.client for one in with_it.admitted] == [0, 5]
    for ours, theirs in zip(with_it.admitted, without.admitted, strict=True):
        assert ours.theta.tobytes() == theirs.theta.tobytes()
    (refusal,) = with_it.refused
    with pytest.raises(ValueError, match=reason):
        raise ValueError(refusal.reason)


def test_a_second_upload_of_a_client_is_refused_and_the_first_one_stays():
    first, second = upload(2), upload(2, theta=np.full((2, D), 9.0))
    found = enter(upload(0), first, second, upload(5))
    assert found.admitted[1] is first
    assert found.refused == ((2, "duplicate"),)


def test_one_actor_cannot_answer_for_the_clients_of_another():
    part = replace(ORDER, clients=(0, 2), own=ORDER.own[:2])
    other = replace(ORDER, clients=(5,), own=ORDER.own[2:])
    found = admit(
        [Answer(part, [upload(0), upload(5)], 0.0, 0.0), Answer(other, [upload(5)], 0.0, 0.0)],
        d=D,
        norm_bound=100.0,
    )
    assert [one.key.client for one in found.admitted] == [0, 5]
    assert found.refused == ((5, "this client was not asked"),)


def test_a_hessian_that_was_asked_for_is_checked_like_theta():
    order = replace(ORDER, hessian=True)
    sound = np.broadcast_to(np.eye(D), (2, D, D)).copy()
    ill = sound.copy()
    ill[1, 0, 0] = np.inf
    found = enter(
        upload(0, hessian=sound),
        upload(2, hessian=sound[0]),
        upload(5, hessian=ill),
        order=order,
    )
    assert [one.key.client for one in found.admitted] == [0]
    assert found.refused == (
        (2, "hessian has shape (2, 2), not (2, 2, 2)"),
        (5, "hessian holds NaN or infinity"),
    )
    assert enter(upload(0), order=order).refused == ((0, "hessian is not an array but a NoneType"),)


def test_nothing_at_all_may_come():
    assert enter() == ((), ())
    assert isinstance(ORDER.key(0), Key)
