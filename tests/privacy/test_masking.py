"""Masked sums: the same bytes, and nothing but noise to the server from any one client."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedirl_ray.errors import RunError
from fedirl_ray.privacy.attack import other_measure
from fedirl_ray.privacy.masking import CohortError, SecureSum, decode, encode, pairs
from fedirl_ray.transport.axis import ground_costs
from fedirl_ray.transport.barycenter import prepare
from fedirl_ray.transport.shard import advance_shard, make_shard
from fedirl_ray.transport.solver import Solver
from fedirl_ray.transport.step import Step

KEY = b"k" * 32


def terms_of(whole):
    return lambda places: whole[list(places)]


@given(seed=st.integers(0, 2**32 - 1), count=st.sampled_from([3, 5, 33, 34, 40]))
def test_masks_cancel_to_the_byte_whoever_is_lost_on_the_way(seed, count):
    rng = np.random.default_rng(seed)
    whole = rng.integers(-(2**62), 2**62, size=(count, 4))
    lost = {int(i): int(rng.integers(3)) for i in rng.choice(count, count // 3, replace=False)}
    found = {}
    for key in (None, KEY):
        sums = SecureSum(tuple(range(count)), 2, key, lost)
        found[key] = [sums(terms_of(whole)).tobytes() for _ in range(3)], sums.clients
        assert sums.clients == tuple(i for i in range(count) if i not in lost)
        left = whole[list(sums.clients)].view(np.uint64).sum(axis=0, dtype=np.uint64)
        assert found[key][0][-1] == left.tobytes()
    assert found[None] == found[KEY]


def test_what_the_server_receives_from_one_client_is_uniform_and_tells_nothing():
    """Each of 64 bits is fair, and so are bytes, though the client always adds the same."""
    seen = {0: [], 1: []}
    for held in seen:
        whole = np.full((6, 8), 12345 * held, dtype=np.int64)
        key = bytes([held]) * 32
        sums = SecureSum(tuple(range(6)), 5, key, look=lambda m, to=seen[held]: to.append(m))
        for _ in range(500):
            sums(terms_of(whole))
    for messages in seen.values():
        words = np.concatenate([m.words for m in messages if m.client == 2])
        bits = (words[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
        ones = bits.sum(axis=0).astype(float)
        fair = len(words) / 2.0
        chi_square = float(((ones - fair) ** 2 / (len(words) / 4.0)).sum())
        assert 1e-4 < stats.chi2.sf(chi_square, 64) < 1.0 - 1e-4
        counts = np.bincount(words.view(np.uint8), minlength=256)
        assert stats.chisquare(counts).pvalue > 1e-4
    plain = []
    sums = SecureSum(tuple(range(6)), 5, None, look=plain.append)
    sums(terms_of(np.full((6, 8), 12345)))
    assert {int(word) for message in plain for word in message.words} == {12345}


def test_what_a_lost_client_sent_stays_masked_even_if_it_comes_late():
    """All messages of the first attempt, the late one too, and all that was revealed since."""
    whole = np.arange(24).reshape(6, 4)
    seen = []
    sums = SecureSum(tuple(range(6)), 5, KEY, {3: 0}, seen.append)
    sums(terms_of(whole))
    assert {m.attempt for m in seen} == {0, 1}
    late = SecureSum(tuple(range(6)), 5, KEY)._masked(whole.view(np.uint64), 0)
    first = [m.words for m in seen if m.attempt == 0]
    together = np.sum(first, axis=0, dtype=np.uint64) + late[3]
    sums.number = 0
    shown = [sums._drawn(4, "own", client, 1) for client in sums.clients]
    for guess in (together, together - np.sum(shown, axis=0, dtype=np.uint64)):
        assert not (guess.view(np.int64) == whole.sum(axis=0)).any()


def test_no_two_sums_share_a_mask():
    sums = SecureSum((0, 1, 2), 3, KEY)
    drawn = []
    for _ in range(3):
        drawn += [sums._drawn(1, "own", i, 0).item() for i in range(3)]
        drawn += [sums._drawn(1, "pair", i, j, 0).item() for i, j in ((0, 1), (0, 2), (1, 2))]
        sums.number += 1
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("count", [2, 5, 33, 34, 100])
def test_everybody_shares_masks_with_enough_others(count):
    shared = [set() for _ in range(count)]
    for i, j in pairs(count):
        assert j not in shared[i]
        shared[i].add(j)
        shared[j].add(i)
    assert {len(others) for others in shared} == {min(32, count - 1)}


def test_a_cohort_that_is_too_small_is_refused_at_once_and_on_the_way():
    said = "at least privacy.min-cohort 5 clients, got 4"
    with pytest.raises(CohortError, match=said):
        SecureSum((0, 1, 2, 3), 5, KEY)
    sums = SecureSum((0, 1, 2, 3, 4), 5, KEY, {2: 1})
    sums(terms_of(np.ones((5, 1), dtype=np.int64)))
    with pytest.raises(CohortError, match=f"{said}, 1 having been lost"):
        sums(terms_of(np.ones((5, 1), dtype=np.int64)))


@given(st.lists(st.floats(-4.0, 4.0), min_size=1, max_size=5))
def test_numbers_come_back_to_half_a_step(values):
    each = np.array(values)
    assert np.abs(decode(encode(each, 40), 40) - each).max() <= 2.0**-41


@pytest.mark.parametrize("value", [np.nan, np.inf, 2.0**22])
def test_what_does_not_fit_the_ring_is_refused(value):
    with pytest.raises(RunError, match=r"finite and below 2\^22"):
        encode(np.array([1.0, value]), 40)


def test_of_two_clients_each_can_work_out_the_others_whole_measure():
    """Why a cohort of two is refused: the sum of one step, minus one's own part."""
    rng = np.random.default_rng(0)
    measures = rng.dirichlet(np.ones(9), size=2)
    axes = (np.arange(9.0),)
    solver = Solver(epsilon=0.1, anderson=0)
    task = prepare(measures, axes, None, solver)
    step = Step(np.log(rng.dirichlet(np.ones(9))), 0.1, "plain", mix=())
    shards = [make_shard(task.problem, row[None], np.array([0.5])) for row in task.rows]
    added = [task.problem.fixed_point.decode(advance_shard(one, step).total) for one in shards]
    (cost,) = ground_costs(axes, cost_scale="max", periodic=None)
    kernel = np.exp(-cost / 0.1)
    found = other_measure(added[0] + added[1], added[0], 0.5, kernel, np.exp(step.log_b))
    assert np.abs(found - measures[1]).max() < 1e-9
