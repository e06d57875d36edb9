"""How choices, and what told them, are put into words."""

import numpy as np
import pytest

from fedirl_ray.report.choice import adapted_text, choices_text, choices_told

RULES, NAMES = ("mean", "select", "auto"), ("mean", "blur", "signed")
CHOSEN = np.array([[[-1, 1, 2], [-1, 1, 2]], [[-1, 0, 0], [-1, -1, 2]]])  # [seeds, r, c]
NONE = np.full(3, np.nan)
DISPLACEMENT = np.array(
    [
        [[NONE, NONE, [0.30, 0.2, 0.40]], [NONE, NONE, [0.32, 0.2, 0.44]]],
        [[NONE, NONE, [0.04, 0.2, 1.00]], [NONE, NONE, [0.50, 0.2, 0.50]]],
    ]
)


def test_choices_are_counted_and_the_verdict_is_told_with_its_numbers():
    assert choices_text(RULES, NAMES, CHOSEN, DISPLACEMENT) == [
        "select took, in 3 rounds: blur 2, mean 1.",
        "auto: maps are displaced: J .31, rho .47 (displaced in 3 of 4 rounds; medians).",
        "auto took, in 4 rounds: signed 3, mean 1.",
    ]


def test_a_verdict_that_mostly_falls_the_other_way_says_so():
    one = choices_text(("auto",), NAMES, CHOSEN[1:, :1, 2:], DISPLACEMENT[1:, :1, 2:])
    assert one == [
        "auto: maps are not displaced: J .04, rho 1.00 (displaced in 0 of 1 round; medians).",
        "auto took, in 1 round: mean 1.",
    ]


def test_maps_that_are_none_have_no_numbers():
    nothing = np.array([[[[0.2, np.nan, np.nan]]]])
    said, _ = choices_text(("auto",), NAMES, np.array([[[0]]]), nothing)
    assert said.startswith("auto: maps are not displaced: J .20, rho none (")


@pytest.mark.parametrize(
    ("number", "said"),
    [(-10.05, "-10.05"), (-20.0, "-20.00"), (-0.3, "-.30"), (0.04, ".04"), (1.0, "1.00")],
)
def test_only_a_leading_zero_is_left_out(number, said):
    evidence = np.array([[[[number, 0.2, 0.4]]]])
    line, _ = choices_text(("auto",), NAMES, np.array([[[0]]]), evidence)
    assert f": J {said}, rho .40 (" in line


def test_where_nobody_looked_there_is_no_verdict():
    evidence = np.array([[[NONE], [[0.2, np.nan, np.nan]]]])
    told = choices_told(("auto",), NAMES, np.array([[[-1], [0]]]), evidence)
    assert told["auto"]["displaced"] == [[None, False]]


def test_where_nobody_chose_nothing_is_said():
    nobody = np.full((2, 2, 3), -1)
    assert choices_text(RULES, NAMES, nobody, np.full((2, 2, 3, 3), np.nan)) == []
    assert choices_told(RULES, NAMES, nobody, np.full((2, 2, 3, 3), np.nan)) == {}


def test_every_round_is_told_of():
    told = choices_told(RULES, NAMES, CHOSEN, DISPLACEMENT)
    assert told["select"] == {"chosen": [["blur", "blur"], ["mean", None]]}
    assert told["auto"]["displaced"] == [[True, True], [False, True]]
    assert told["auto"]["J"] == [[0.30, 0.32], [0.04, 0.50]]
    assert told["auto"]["rho"] == [[0.40, 0.44], [1.00, 0.50]]


def test_the_own_rewards_share_is_told():
    home = "personal, fine-tuned: in the clients' own worlds alone."
    share = np.array([[0.2, np.nan], [0.4, 0.0]])
    assert adapted_text(("mean", "personal"), share) == [
        home,
        "personal: 20 % of the own reward on average.",
    ]
    assert adapted_text(("mean", "fine-tuned"), np.full((2, 2), np.nan)) == [home]
    assert adapted_text(("mean",), np.full((2, 2), np.nan)) == []
