import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from fedirl_ray.evaluate.comparison import Comparison
from fedirl_ray.evaluate.statistics import Interval
from fedirl_ray.report.difference import bar, legend, mark, with_marks
from fedirl_ray.report.measure import SUCCESS, Measure, measure_of
from fedirl_ray.report.reproduction.markdown import difference, number, rounded
from fedirl_ray.report.table import _drawn
from fedirl_ray.report.wording import counted, in_markdown, plain, printable, signed

SURE = Interval(0.1, 0.02, "t", 1e-6)
ALONE = Interval(0.1, 0.09, "t", 0.04)
TIED = Interval(0.1, 0.0, "t", 0.0625, "tied")
ONE = Interval(0.1, float("nan"), "none")


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 seeds"), (1, "1 seed"), (2, "2 seeds"), (1200, "1,200 seeds")]
)
def test_one_thing_is_not_many(count, said):
    assert counted(count, "seed") == said


@pytest.mark.parametrize(
    ("value", "digits", "said"),
    [(-0.001, 1, "0.0"), (0.001, 2, "0.00"), (-0.0, 1, "0.0"), (-0.06, 1, "-0.1"), (2, 0, "+2")],
)
def test_what_rounds_to_zero_has_no_sign(value, digits, said):
    assert signed(value, digits) == said


def test_a_number_that_rounds_to_zero_has_no_sign():
    assert [plain(value, 1) for value in (-0.04, -0.06, 0.04, 12.34)] == [
        "0.0",
        "-0.1",
        "0.0",
        "12.3",
    ]


def test_numbers_without_a_sign_of_their_own_lose_that_of_zero():
    assert number(Interval(-0.001, 0.2)) == "0.00 ± 0.20"
    assert number(Interval(-1.5, float("nan")), 1) == "-1.5"
    assert rounded(Interval(-0.001, 12.0)) == "0 ± 12"
    assert rounded(Interval(123.4, 1.0)) == "123 ± 1"
    assert difference(Interval(-0.001, 0.2)) == "0.0 ± 0.2"
    assert difference(Interval(5.0, 0.2), True) == "+5.0 ± 0.2*"


def test_marks_stand_after_the_interval():
    assert SUCCESS.difference(SURE) == "+10.0 ± 2.0 "
    assert SUCCESS.difference(SURE, True) == "+10.0 ± 2.0*"
    assert SUCCESS.difference(TIED) == "+10.0 ± 0.0="
    assert SUCCESS.difference(TIED, True) == "+10.0 ± 0.0*="
    assert SUCCESS.difference(ONE, True) == "+10.0"
    assert SUCCESS.difference(Interval(0.001, 0.0004)) == "+0.10 ± 0.04 "
    assert SUCCESS.difference(Interval(0.001, 0.0005)) == "+0.1 ± 0.1 "
    assert with_marks(SURE, "x", 10.0, 2, False) == "x ± 0.20 "


RETURN = Measure("return")


@pytest.mark.parametrize(
    ("mean", "half", "said"),
    [
        (-3.25, 4.06, "-3.2 ± 4.1 "),
        (0.0123, 0.0031, "+0.012 ± 0.003 "),
        (-1e-9, 0.0, "0.0 ± 0.0 "),
        (250.04, 0.04, "+250.04 ± 0.04 "),
        (0.5, 1e-9, "+0.5000 ± 0.0000 "),
        (0.5, np.nan, "+0.5"),
        (np.nan, np.nan, ""),
    ],
)
def test_differences_of_returns_have_the_digits_that_their_interval_bears(mean, half, said):
    assert RETURN.difference(Interval(mean, half)) == said


@pytest.mark.parametrize(
    ("measure", "mean", "spread", "said", "alone"),
    [
        (RETURN, -153.21, 4.06, "-153.2 ± 4.1", "-153.2"),
        (RETURN, 0.8312, 0.0042, "0.831 ± 0.004", "0.831"),
        (RETURN, 0.8312, np.nan, "0.831", "0.831"),
        (RETURN, -1500.0, np.nan, "-1500.0", "-1500.0"),
        (RETURN, 0.0, np.nan, "0.0", "0.0"),
        (RETURN, 500.0, 0.0, "500.0 ± 0.0", "500.0"),
        (SUCCESS, 0.8312, 0.0042, "83.1 ± 0.4", "83.1"),
        (SUCCESS, 0.8312, 0.00001, "83.1 ± 0.0", "83.1"),
        (SUCCESS, np.nan, np.nan, "", ""),
    ],
)
def test_levels_are_shown_in_their_unit(measure, mean, spread, said, alone):
    found = Comparison(mean, spread, Interval(0.0, 1.0))
    assert (measure.with_spread(found), measure.level(found)) == (said, alone)


def test_only_shares_speak_of_points_and_policies():
    assert measure_of("success") is SUCCESS
    assert (SUCCESS.name, SUCCESS.difference_name) == ("success in %", "points of success")
    assert (SUCCESS.in_apart, SUCCESS.by("soft")) == (", in points", "soft policy")
    assert SUCCESS.told(SURE) == "+10.0 ± 2.0 points"
    other = measure_of("mine:metric")
    assert (other.name, other.difference_name, other.in_apart) == ("mine:metric", "mine:metric", "")
    assert (other.by("agent"), other.told(SURE)) == ("judged by agent", "+0.10 ± 0.02")


def test_stars_are_those_of_the_whole_table():
    assert mark({"a": SURE, "b": ALONE}, SUCCESS.difference) == {
        "a": "+10.0 ± 2.0*",
        "b": "+10.0 ± 9.0*",
    }
    crowd = {str(i): Interval(0.0, 0.1, "t", 0.9) for i in range(9)}
    assert mark({"a": SURE, "b": ALONE, **crowd}, SUCCESS.difference)["b"] == "+10.0 ± 9.0 "


def test_every_mark_is_explained_and_nothing_else():
    (said,) = legend([SURE, ALONE, ONE], 20)
    assert "paired difference over 20 seeds" in said
    assert "* stands out among the 2 of this table" in said
    assert "over 1 seed," not in legend([SURE], 2)[0]
    assert "over seeds" in legend([SURE], None)[0]
    assert any(line.startswith("= fewer than 3 seeds differ") for line in legend([TIED], 5))
    assert any(line.startswith("= fewer") for line in legend([SURE], 5, [TIED]))
    drawn = legend([SURE, Interval(0.1, 0.2, "bootstrap", 0.3)], 5)
    assert any("1 of 2 a bootstrap's" in line for line in drawn)
    few = legend([Interval(0.1, 0.2, "t", 0.3, "few")], 3)
    assert any("fewer than 5 seeds" in line for line in few)
    assert legend([ONE], 1) == ["From one seed: no intervals."]
    assert legend([], 5) == []


def test_pictures_draw_no_interval_that_does_not_stand_up():
    assert bar(SURE, 100.0) == pytest.approx(2.0)
    assert np.isnan(bar(TIED))
    assert np.isnan(bar(ONE))


@given(st.text(max_size=30))
def test_markdown_shows_a_name_as_it_is(name):
    html = (
        MarkdownIt("commonmark").enable("table").render(f"| a |\n|---|\n| x{in_markdown(name)} |")
    )
    cell = html.partition("<td>")[2].partition("</td>")[0]
    assert "<" not in cell
    assert html.count("<td>") == 1


@given(st.text(max_size=30))
def test_no_name_reaches_a_terminal_as_a_command(name):
    assert all(c.isprintable() or c in "\n\t" for c in printable(name))


@pytest.mark.parametrize("width", [20, 80])
def test_no_column_is_cut_and_no_markup_obeyed(width):
    text = io.StringIO()
    table = _drawn(
        "[red]a\x1b[31m", ["rule", "held-out"], [[["[bold]x[/bold]", "100.0 ± 12.3"]]], []
    )
    Console(file=text, width=width, color_system=None).print(table, crop=False)
    assert "[red]a" in text.getvalue()
    assert "\\x1b[31m" in text.getvalue()
    assert "[bold]x[/bold]" in text.getvalue()
    assert "100.0 ± 12.3" in text.getvalue()
    assert "…" not in text.getvalue()


def test_a_single_difference_needs_no_correction_and_is_said_to_exclude_zero():
    (said, *_) = legend([Interval(1.0, 0.5, "t", 0.001)], 20)
    assert said.endswith("over 20 seeds; * excludes zero.")
