import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedirl_ray.engine.door import REASON, SLACK, TELLING, Terms, admit, hear
from fedirl_ray.engine.upload import Answer, Key, Order, Upload

D = 2
ORDER = Order(
    run="run",
    seed=3,
    round=1,
    clients=(0, 2, 5),
    own=np.zeros((3, D)),
    broadcast=np.zeros((1, D)),
    hessian=(),
    attempt=1,
)
TERMS = Terms(
    d=D, norm_bound=100.0, curvature_bound=1e4, iterations=50, episodes=9, rules=("mean",)
)


def upload(client, **changed):
    good = Upload(ORDER.key(client), np.full((2, D), float(client)), None, 0.5, 7, True, 4)
    return good._replace(**changed)


def enter(*uploads, order=ORDER, terms=TERMS):
    return admit([Answer(order, list(uploads), 0.0, 0.0)], terms)


def theta(*rows, dtype=np.float64):
    return np.array(rows, dtype=dtype)


def test_sound_uploads_enter_in_the_clients_order():
    found = enter(upload(5), upload(0), upload(2))
    assert [one.key.client for one in found.uploads] == [0, 2, 5]
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
    "no episodes": (upload(2, episodes=0), "episodes is not within 1 and 9"),
    "too many episodes": (upload(2, episodes=10), "episodes is not within 1 and 9"),
    "half an episode": (upload(2, episodes=0.5), "episodes is not an integer but a float"),
    "boolean episodes": (upload(2, episodes=True), "episodes is not an integer but a bool"),
    "not asked": (upload(2, key=ORDER.key(1)), "this client was not asked"),
    "no such client": (upload(2, key=ORDER.key(-1)), "this client was not asked"),
    "earlier round": (upload(2, key=ORDER.key(2)._replace(round=0)), "late: for seed 3, round 0"),
    "earlier attempt": (upload(2, key=ORDER.key(2)._replace(attempt=0)), "round 1, attempt 0, in"),
    "other seed": (upload(2, key=ORDER.key(2)._replace(seed=9)), "late: for seed 9"),
    "other run": (upload(2, key=ORDER.key(2)._replace(run="x")), r"of another run \('x'\)"),
    "number": (17, "not an upload but a int"),
    "keyless": (upload(2, key=None), "key is not a key but a NoneType"),
}


@pytest.mark.parametrize(("bad", "reason"), BAD.values(), ids=BAD.keys())
def test_a_bad_upload_is_named_and_changes_nothing_for_the_others(bad, reason):
    with_it, without = enter(upload(0), bad, upload(5)), enter(upload(0), upload(5))
    assert [one.key.client for one in with_it.uploads] == [0, 5]
    for ours, theirs in zip(with_it.uploads, without.uploads, strict=True):
        assert ours.theta.tobytes() == theirs.theta.tobytes()
    (refusal,) = with_it.refused
    with pytest.raises(ValueError, match=reason):
        raise ValueError(refusal.reason)


def test_a_second_upload_of_a_client_is_refused_and_the_first_one_stays():
    first, second = upload(2), upload(2, theta=np.full((2, D), 9.0))
    found = enter(upload(0), first, second, upload(5))
    assert found.uploads[1] is first
    assert found.refused == ((2, "duplicate"),)


def test_one_actor_cannot_answer_for_the_clients_of_another():
    part = replace(ORDER, clients=(0, 2), own=ORDER.own[:2])
    other = replace(ORDER, clients=(5,), own=ORDER.own[2:])
    found = admit(
        [Answer(part, [upload(0), upload(5)], 0.0, 0.0), Answer(other, [upload(5)], 0.0, 0.0)],
        TERMS,
    )
    assert [one.key.client for one in found.uploads] == [0, 5]
    assert found.refused == ((5, "this client was not asked"),)


CURVED = replace(ORDER, hessian=(1,))
PRECISE = replace(TERMS, rules=("precision", "mean"), curved=(0,))


def bent(*entries):
    return np.array(entries, dtype=np.float64).reshape(D, D)


def test_a_hessian_that_was_asked_for_is_checked_like_theta():
    order = replace(CURVED, broadcast=np.zeros((1, D)))
    sound = np.eye(D)
    found = enter(
        upload(0, hessian=sound[None]),
        upload(2, hessian=sound),
        upload(5, hessian=bent(np.inf, 0, 0, 1)[None]),
        order=order,
        terms=replace(TERMS, rules=("precision",), curved=(0,)),
    )
    assert [one.key.client for one in found.uploads] == [0]
    assert found.refused == (
        (2, "hessian has shape (2, 2), not (1, 2, 2)"),
        (5, "hessian holds NaN or infinity"),
    )
    assert enter(upload(0), order=order).refused == ((0, "hessian is not an array but a NoneType"),)


def test_a_curvature_as_large_as_features_can_make_is_let_in():
    terms = replace(TERMS, rules=("precision",), curved=(0,))
    largest, beyond = (upload(0, hessian=bent(x, 0, 0, 0)[None]) for x in (1e4, 1e4 + 1e-6))
    found = enter(largest, order=CURVED, terms=terms)
    assert found.let_in.tolist() == [[True, True]]
    assert not found.refused
    found = enter(beyond, order=CURVED, terms=terms)
    assert found.let_in.tolist() == [[True, False]]
    assert "beyond the 1e+04 that features can make" in found.refused[0].reason


NO_CURVATURES = {
    "indefinite": (bent(1, 0, 0, -0.5), "hessian is not positive semi-definite"),
    "hardly indefinite": (bent(1, 0, 0, -1e-6), "hessian is not positive semi-definite"),
    "hidden in the corner": (bent(1, 2, 2, 1), "hessian is not positive semi-definite"),
    "negative": (-np.eye(D), "hessian is not positive semi-definite"),
    "no trace": (bent(0, 1, 1, 0), "hessian is not positive semi-definite"),
    "overflowing": (bent(1, 1e308, 1e308, 1), "hessian is not positive semi-definite"),
    "asymmetric": (bent(1, 0.5, 0, 1), "hessian is not symmetric"),
    "hardly asymmetric": (bent(1, 1e-6, 0, 1), "hessian is not symmetric"),
    "owning the rule": (1e12 * np.eye(D), "hessian has trace 2e+12, beyond the 1e+04"),
    "infinite trace": (bent(1e308, 0, 0, 1e308), "hessian has trace inf, beyond the 1e+04"),
}


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(("hessian", "reason"), NO_CURVATURES.values(), ids=NO_CURVATURES.keys())
def test_what_is_no_curvature_concerns_precision_alone(hessian, reason, first):
    order = replace(CURVED, broadcast=np.zeros((0 if first else 2, D)))
    rows = np.zeros((order.columns, D))
    sound = [upload(i, theta=rows, hessian=np.eye(D)[None]) for i in (0, 5)]
    found = enter(sound[0], upload(2, theta=rows, hessian=hessian[None]), sound[1],
                  order=order, terms=PRECISE)  # fmt: skip
    assert [one.key.client for one in found.uploads] == [0, 2, 5]
    assert found.let_in.tolist() == [[True] * 3, [True, False, True], [True] * 3]
    ((client, said),) = found.refused
    assert client == 2
    assert said.startswith(f"for precision: {reason}")


def test_each_rule_that_needs_curvature_has_its_own_checked():
    order = replace(ORDER, broadcast=np.zeros((3, D)), hessian=(1, 3))
    terms = replace(TERMS, rules=("precision", "mean", "own:rule"), curved=(0, 2))
    bad = np.stack([np.eye(D), -np.eye(D)])
    found = enter(
        upload(0, theta=np.zeros((4, D)), hessian=bad),
        upload(2, theta=np.zeros((4, D)), hessian=bad[::-1]),
        upload(5, theta=np.zeros((4, D)), hessian=bad[:1]),
        order=order,
        terms=terms,
    )
    assert found.let_in.tolist() == [[True, True, True, False], [True, False, True, True]]
    assert found.refused == (
        (5, "hessian has shape (1, 2, 2), not (2, 2, 2)"),
        (0, "for own:rule: hessian is not positive semi-definite"),
        (2, "for precision: hessian is not positive semi-definite"),
    )
    first = replace(order, broadcast=np.zeros((0, D)), hessian=(1,))  # one fit for all
    found = enter(upload(0, hessian=-np.eye(D)[None]), order=first, terms=terms)
    assert found.let_in.tolist() == [[True, False, True, False]]


@pytest.mark.parametrize(
    "hessian",
    [np.zeros((D, D)), bent(1, 1, 1, 1), bent(1, 0, 0, -1e-12), bent(1, 1e-12, 0, 1)],
    ids=["zero", "singular", "rounded below zero", "rounded asymmetry"],
)
def test_a_curvature_may_be_singular_and_rounded(hessian):
    rows = np.zeros((2, D))
    order = replace(CURVED, broadcast=np.zeros((0, D)))
    found = enter(upload(0, theta=rows, hessian=hessian[None]), order=order, terms=PRECISE)
    assert found.let_in.tolist() == [[True] * 3]
    assert not found.refused


def test_a_theta_beyond_the_bound_concerns_its_own_federation_alone():
    order = replace(ORDER, broadcast=np.zeros((2, D)))
    large = theta([1, 1], [100, 1], [1, 1])
    found = enter(upload(0, theta=large), order=order, terms=PRECISE)
    assert found.let_in.tolist() == [[True, False, True]]
    assert found.refused == (
        (0, "for precision: theta has norm 100, beyond federation.norm-bound 100"),
    )


def test_what_a_client_learnt_alone_is_refused_alone_too():
    found = enter(upload(0, theta=theta([101, 0], [100, 0])))
    assert found.let_in.tolist() == [[False, True]]
    assert found.refused[0].reason.startswith("for local: theta has norm 101, beyond")


def test_in_the_first_round_one_theta_is_for_all_federations():
    order = replace(ORDER, broadcast=np.zeros((0, D)))
    found = enter(upload(0, theta=theta([1, 1], [1, 1])), upload(2, theta=theta([1, 1], [101, 0])),
                  order=order, terms=PRECISE)  # fmt: skip
    assert found.let_in.tolist() == [[True, True, True], [True, False, False]]
    assert found.refused[0].reason.startswith("for precision, mean: theta has norm 101")


def test_of_two_uploads_of_one_client_the_one_in_its_own_place_counts():
    true, false = upload(2), upload(2, theta=np.full((2, D), 9.0))
    found = enter(false, true, upload(5))  # client 0 speaks in client 2's name
    assert [one.key.client for one in found.uploads] == [2, 5]
    assert found.uploads[0] is true
    assert found.refused == ((2, "duplicate"),)


def test_where_nobody_can_tell_which_of_two_is_a_clients_none_is_let_in():
    found = enter(upload(2), upload(0), upload(2))
    assert [one.key.client for one in found.uploads] == [0]
    assert found.refused == ((2, "duplicate"), (2, "duplicate"))


def test_nothing_at_all_may_come():
    found = enter()
    assert (found.uploads, found.refused) == ((), ())
    assert found.let_in.shape == (0, 2)
    assert isinstance(ORDER.key(0), Key)


ODD = {
    "iterations a word": (upload(2, iterations="many"), "iterations is not an integer but a str"),
    "iterations None": (upload(2, iterations=None), "iterations is not an integer but a NoneType"),
    "iterations large": (upload(2, iterations=10**30), "iterations is not within 0 and 50"),
    "iterations negative": (upload(2, iterations=-1), "iterations is not within 0 and 50"),
    "iterations one more": (upload(2, iterations=51), "iterations is not within 0 and 50"),
    "iterations true": (upload(2, iterations=True), "iterations is not an integer but a bool"),
    "iterations array": (upload(2, iterations=np.arange(5)), "is not an integer but a ndarray"),
    "converged array": (upload(2, converged=np.array([1])), "converged is not True or False but a"),
    "converged 1": (upload(2, converged=1), "converged is not True or False but a int"),
    "likelihood NaN": (upload(2, negative_log_likelihood=np.nan), "is NaN or infinity"),
    "likelihood inf": (upload(2, negative_log_likelihood=-np.inf), "is NaN or infinity"),
    "likelihood true": (upload(2, negative_log_likelihood=True), "is not a number but a bool"),
    "client 3.0": (upload(2, key=ORDER.key(2.0)), "key's client is not an integer but a float"),
    "client [1]": (upload(2, key=ORDER.key([1])), "key's client is not an integer but a list"),
    "client true": (upload(2, key=ORDER.key(True)), "key's client is not an integer but a bool"),
    "client large": (upload(2, key=ORDER.key(10**6000)), "key's client is an integer of 1"),
    "seed array": (
        upload(2, key=ORDER.key(2)._replace(seed=np.array([0, 0]))),
        "key's seed is not an integer but a ndarray",
    ),
    "run of megabytes": (
        upload(2, key=ORDER.key(2)._replace(run="x" * 10**6)),
        r"of another run \('x{32}'\)",
    ),
    "run a number": (upload(2, key=ORDER.key(2)._replace(run=1)), "key's run is not a word but a"),
    "short upload": (tuple.__new__(Upload, (ORDER.key(2),)), "not an upload but a Upload"),
    "short key": (upload(2, key=tuple.__new__(Key, ())), "key is not a key but a Key"),
    "masked": (upload(2, theta=np.ma.zeros((2, D))), "theta is not an array but a MaskedArray"),
    "matrix": (upload(2, theta=np.zeros((2, D)).view(np.matrix)), "is not an array but a matrix"),
    "named at length": (type("x" * 10**6, (), {})(), "not an upload but a x+$"),
}


@pytest.mark.parametrize(("bad", "reason"), ODD.values(), ids=ODD.keys())
def test_an_odd_upload_is_refused_with_a_short_reason(bad, reason):
    found = enter(upload(0), bad, upload(5))
    assert [one.key.client for one in found.uploads] == [0, 5]
    (refusal,) = found.refused
    assert len(refusal.reason) <= REASON
    with pytest.raises(ValueError, match=reason):
        raise ValueError(refusal.reason)
    json.dumps(refusal)


class Lying:
    """Says that it is an upload, and answers no question."""

    __class__ = Upload

    def __getattribute__(self, name):
        raise RuntimeError(name)

    __eq__ = __hash__ = __len__ = __iter__ = __str__ = __repr__ = __format__ = __bool__ = (
        __getattribute__
    )


class Meta(type):
    @property
    def __name__(cls):
        raise RuntimeError("no name")


class Nameless(metaclass=Meta):
    pass


@pytest.mark.parametrize("made", [lambda: Lying(), lambda: Nameless()], ids=["lying", "nameless"])
@pytest.mark.parametrize("field", [None, *Upload._fields, *Key._fields])
def test_objects_that_answer_no_question_are_not_asked(made, field):
    junk = made()  # no framework could bear it as a parameter
    if field is None:
        bad = junk
    elif field in Key._fields:
        bad = upload(2, key=ORDER.key(2)._replace(**{field: junk}))
    else:
        bad = upload(2, **{field: junk})
    found = enter(upload(0), bad, upload(5))
    assert [one.key.client for one in found.uploads] == [0, 5]
    assert len(found.refused) == 1


def test_junk_without_limit_is_counted_and_not_told():
    found = enter(upload(0), *["junk"] * 10_000)
    assert [one.key.client for one in found.uploads] == [0]
    assert len(found.refused) == TELLING + 1
    assert found.refused[-1] == (None, f"{10_000 - TELLING} more uploads of one answer")


@pytest.mark.parametrize("uploads", [None, 3, "uploads", {}, iter([upload(0)]), np.zeros(3)])
def test_an_answer_that_is_no_list_of_uploads_is_one_refusal(uploads):
    part = replace(ORDER, clients=(0, 2), own=ORDER.own[:2])
    other = replace(ORDER, clients=(5,), own=ORDER.own[2:])
    answers = [Answer(part, uploads, 0.0, 0.0), Answer(other, [upload(5)], 0.0, 0.0)]
    found = admit(answers, TERMS)
    assert [one.key.client for one in found.uploads] == [5]
    assert len(found.refused) == 1
    assert found.refused[0].reason.startswith("not a list of uploads but a ")


SAID = [Answer(ORDER, [upload(0)], 1.0, 2.0)]


@pytest.mark.parametrize(
    "said",
    [None, 3, [], {}, "words", [None], SAID * 2, tuple(SAID), [tuple.__new__(Answer, (1,))],
     [Lying]],
)  # fmt: skip
def test_what_is_no_answer_is_heard_as_junk(said):
    said = [Lying()] if said == [Lying] else said
    (answer,) = hear(ORDER, said)
    found = admit([answer], TERMS)
    assert (found.uploads, len(found.refused)) == ((), 1)
    assert (answer.began, answer.seconds) == (0.0, 0.0)


def test_an_answer_is_heard_under_the_order_that_was_sent_whatever_it_says():
    (answer,) = hear(ORDER, [SAID[0]._replace(order="mine", began="soon", seconds=np.nan)])
    assert answer == (ORDER, SAID[0].uploads, 0.0, 0.0)
    assert hear(ORDER, SAID) == SAID


VALUES = st.deferred(
    lambda: (
        st.none()
        | st.booleans()
        | st.integers()
        | st.integers(2**62, 2**70)
        | st.floats()
        | st.complex_numbers()
        | st.text()
        | st.binary()
        | st.sampled_from([Upload, int, NotImplemented, 10**5000, ORDER])
        | arrays(
            st.sampled_from(["f8", ">f8", "f4", "i8", "O", "U3", "c16", "M8[s]", "b1"]),
            st.sampled_from([(), (0,), (D,), (2, D), (D, D), (1, D, D), (2, D, D), (3, 7)]),
        )
        | st.lists(VALUES, max_size=3)
    )
)
FLOATS = arrays(np.float64, (2, D), elements=st.floats(allow_nan=True, width=64))
CURVATURES = arrays(np.float64, (1, D, D), elements=st.floats(allow_nan=True, width=64))


@st.composite
def uploads_of_client_2(draw):
    """Anything that client 2 may send in its own place."""
    good = Upload(ORDER.key(2), draw(FLOATS), draw(CURVATURES), 0.5, 7, True, 4)
    kind = draw(st.sampled_from(["anything", "field", "key", "numbers", "another's"]))
    if kind == "anything":
        return draw(VALUES)
    if kind == "field":
        return good._replace(**{draw(st.sampled_from(Upload._fields)): draw(VALUES)})
    if kind == "key":
        field = draw(st.sampled_from(Key._fields))
        return good._replace(key=good.key._replace(**{field: draw(VALUES)}))
    if kind == "another's":
        return good._replace(key=ORDER.key(draw(st.sampled_from([0, 5, 1]))))
    return good


@settings(deadline=None, max_examples=400)
@given(bad=uploads_of_client_2(), first=st.booleans())
def test_whatever_a_client_sends_the_others_are_let_in_as_without_it(bad, first):
    order = replace(CURVED, broadcast=np.zeros((0 if first else 1, D)))
    terms = PRECISE if first else replace(TERMS, rules=("precision",), curved=(0,))
    sound = [upload(i, hessian=np.eye(D)[None]) for i in (0, 5)]
    with_it = enter(sound[0], bad, sound[1], order=order, terms=terms)
    without = enter(*sound, order=order, terms=terms)
    others = [one for one in with_it.uploads if one.key.client != 2]
    assert [id(one) for one in others] == [id(one) for one in without.uploads]
    rows = [i for i, one in enumerate(with_it.uploads) if one.key.client != 2]
    assert with_it.let_in[rows].tolist() == without.let_in.tolist()
    for one, kept in zip(with_it.uploads, with_it.let_in, strict=True):
        assert np.isfinite(one.theta).all()
        assert (np.abs(one.theta[1:]).max(axis=1) <= TERMS.norm_bound)[kept[-1:]].all()
        if kept[1]:
            assert np.linalg.eigvalsh(one.hessian[0]).min() >= -1e-8 * np.trace(one.hessian[0])
    json.dumps(with_it.refused)
    assert all(len(one.reason) <= REASON for one in with_it.refused)
