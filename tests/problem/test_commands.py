import gymnasium
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedirl_ray.problem.control.commands import from_box, to_box, to_numbers
from fedirl_ray.problem.control.paper import ACROBOT, CARTPOLE

numbers = st.floats(-1e3, 1e3)


@given(
    ends=st.tuples(numbers, numbers).filter(lambda two: abs(two[0] - two[1]) > 1e-2),
    dtype=st.sampled_from([np.float32, np.float64]),
    share=st.floats(-1.5, 1.5),
)
def test_a_continuous_action_lies_in_its_box_to_the_last_bit(ends, dtype, share):
    box = gymnasium.spaces.Box(min(ends), max(ends), (2,), dtype)
    shares = np.array([[-1.0, 1.0], [share, -share]])
    for command in to_box(shares, box.low, box.high):
        assert box.contains(command)
    least, most = to_box(shares[:1], box.low, box.high)[0]
    assert (least, most) == (box.low[0], pytest.approx(box.high[1], abs=1e-9))


def test_limits_that_a_cast_would_overstep_are_kept():
    box = gymnasium.spaces.Box(-1.0, 0.1, (1,), np.float32)
    assert np.float32(box.low + (box.high - box.low)) > box.high  # what is guarded against
    assert box.contains(to_box(np.array([[1.0]]), box.low, box.high)[0])


@given(st.floats(-5.0, 5.0), st.floats(0.1, 5.0), st.lists(st.floats(-1, 1), min_size=1))
def test_shares_come_back(low, span, shares):
    box = gymnasium.spaces.Box(low, low + span, (1,), np.float64)
    column = np.array(shares)[:, None]
    found = from_box(to_box(column, box.low, box.high), box.low, box.high)
    assert found == pytest.approx(column, abs=1e-9)


def test_whole_numbers_are_the_nearest_ones():
    low, high = np.array([0]), np.array([3])
    shares = np.array([[-1.0], [-0.4], [0.3], [0.99]])
    assert to_box(shares, low, high)[:, 0].tolist() == [0, 1, 2, 3]


def test_shares_beyond_the_most_wrap_round_no_integer():
    low, high = np.array([-128], dtype=np.int8), np.array([127], dtype=np.int8)
    assert to_box(np.array([[-1.5], [1.5]]), low, high)[:, 0].tolist() == [-128, 127]


def test_each_row_has_its_own_limits():
    low, high = np.array([[-1.0], [0.0]]), np.array([[1.0], [10.0]])
    assert to_box(np.array([[0.5], [0.5]]), low, high)[:, 0].tolist() == [0.5, 7.5]


@pytest.mark.parametrize("task", [CARTPOLE, ACROBOT], ids=lambda task: task.name)
def test_discrete_actions_are_numbered_in_the_lattices_order(task):
    assert to_numbers(task, task.action.points).tolist() == list(range(task.action.size))
    assert to_numbers(task, 0.9 * task.action.points).tolist() == list(range(task.action.size))
