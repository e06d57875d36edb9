"""The map and the curves of dials, from rows made by hand."""

import dataclasses
import io

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.image import imread

from fedirl_ray.evaluate.statistics import Interval
from fedirl_ray.report.heterogeneity import differences, map_markdown, map_rows, map_text, rows_of
from fedirl_ray.report.levels import Unit, draw_levels, level_charts, units_of
from fedirl_ray.report.map_picture import draw_map, map_chart
from fedirl_ray.report.measure import VALUE, Measure
from fedirl_ray.study.archive import read_study
from fedirl_ray.study.heterogeneity import heterogeneity_map

RULES = ("mean", "blur", "signed")
STAR = {
    0: {"problem.frame-shift": 0.0, "clients": 2},
    1: {"problem.frame-shift": 2.1, "clients": 2},
    2: {"problem.frame-shift": 4.2, "clients": 2},
    3: {"problem.frame-shift": 0.0, "clients": 20},
}
GAINS = {(1, "signed"): 0.4, (2, "signed"): 0.5, (2, "blur"): -0.3}
"""What rules are better than the mean by; elsewhere by nothing but noise."""


def star(seed=0, rules=RULES, gains=GAINS, seeds=12):
    rng = np.random.default_rng(seed)
    cells = []
    for trial in STAR:
        for s in range(seeds):
            base = rng.uniform(0.3, 0.5)
            for rule in rules:
                noise = rng.normal(0.0, 0.05) if rule != "mean" else 0.0
                value = base + gains.get((trial, rule), 0.0) + noise
                cells.append((trial, s, 1, "held-out", rule, "greedy", "return", 0, value))
            ends = (("plus-one", 0.0), ("true", 1.0))
            cells += [(trial, s, 1, "held-out", r, "greedy", "return", 0, v) for r, v in ends]
    names = ("trial", "seed", "round", "split", "rule", "judge", "metric", "step", "value")
    table = dict(zip(names, zip(*cells, strict=True), strict=True))
    return heterogeneity_map(STAR, table)


@pytest.fixture(scope="module")
def points():
    return star()


def gap(p, mean=0.2):
    return Interval(mean, 0.1, "t", p)


def test_where_the_axes_meet_is_one_row_and_one_comparison(points):
    assert [row.label for row in rows_of(points)] == [
        ("centre", ""), ("problem.frame-shift", "2.1"), ("problem.frame-shift", "4.2"),
        ("clients", "20"),
    ]  # fmt: skip
    assert len(differences({"a": points, "b": points})) == 2 * 4 * 2
    legend = map_markdown({"a": points}, VALUE).splitlines()[-1]
    assert "The centre: problem.frame-shift 0, clients 2." in legend
    assert "among the 8 of this table" in legend


def test_holm_goes_over_all_studies_of_a_map(points):
    """A difference that stands out alone need not beside another study's."""
    just = 0.05 / 8 * 0.9
    told = [p for p in points if p.level == "20"]
    rest = [dataclasses.replace(p, differences={r: gap(0.5) for r in RULES[1:]}) for p in points]
    changed = [
        dataclasses.replace(p, differences={"blur": gap(0.5), "signed": gap(just)})
        if p.level == told[0].level else p
        for p in rest
    ]  # fmt: skip
    assert map_text({"a": changed})[1].startswith(
        "barycenter of signed measures minus parameter mean: above zero at 1 (clients 20), below "
        "at none, no difference shown at 3 of 4."
    )
    both = map_text({"a": changed, "b": rest})
    assert "above zero at none" in both[1]
    assert "no difference shown at 8 of 8" in both[1]


def test_the_text_says_where_and_which_way(points):
    blur, signed, last = map_text({"a": points})
    assert "above zero at none, below at 1 (problem.frame-shift 4.2), " in blur
    assert "above zero at 2 (problem.frame-shift 2.1, problem.frame-shift 4.2), below" in signed
    assert "(Holm)" in last
    assert "2 (a problem.frame-shift 2.1, a p" in map_text({"a": points, "b": star(1, gains={})})[1]


def test_the_table_is_dial_by_rule_with_intervals(points):
    head, line, *rows, _, _ = map_markdown({"a": points}, VALUE).splitlines()
    assert head == (
        "| dial | level | trials | seeds | parameter mean (%) | blurred mean | "
        "barycenter of signed measures |"
    )
    assert line == "|" + " --- |" * 7
    assert len(rows) == 4
    (cells,) = map_rows({"a": points}, VALUE).values()
    shift = points[1]
    assert cells[1][:4] == ["problem.frame-shift", "2.1", "1", "12"]
    assert cells[1][4] == f"{100.0 * shift.means['mean'].mean:.1f}"
    assert cells[1][6].rstrip("*") == VALUE.difference(shift.differences["signed"]).strip()
    assert cells[1][6].endswith("*")
    two = map_markdown({"a": points, "b": points}, VALUE)
    assert two.startswith("### a\n\n| dial")
    assert two.count("\n### b\n\n| dial") == 1


def pixels(png):
    return imread(io.BytesIO(png))[..., :3]


def count(image, where):
    red, green, blue = np.moveaxis(image, -1, 0)
    return int(where(red, green, blue).sum())


def test_the_picture_shows_gains_blue_losses_red_and_frames_what_stands_out(points):
    """A cell has some 1,100 pixels, eight of them outweigh the colour bar."""

    def cells_of(changed):
        shown = [dataclasses.replace(p, differences=dict.fromkeys(RULES[1:], changed))
                 for p in points]  # fmt: skip
        image = pixels(draw_map({"a": shown}, VALUE))
        blue = count(image, lambda r, g, b: (b - r > 0.25) & (b > 0.3))
        red = count(image, lambda r, g, b: (r - b > 0.25) & (r > 0.3))
        black = count(image, lambda r, g, b: (r + g + b) < 0.1)
        return blue, red, black

    up, down = cells_of(gap(1e-9, 0.3)), cells_of(gap(1e-9, -0.3))
    same = cells_of(gap(0.9, 0.3))
    assert up[0] > 4 * up[1]
    assert down[1] > 4 * down[0]
    assert up[2] > same[2] + 8 * 150  # eight frames


def test_studies_with_the_same_rows_share_a_band_and_others_get_their_own(points):
    size = {}
    for n in (1, 2):
        maps = {f"s{i}": star(i) for i in range(n)}
        size[n] = pixels(draw_map(maps, VALUE)).shape
    assert size[2][0] == size[1][0]
    wide = {f"s{i}": star(i) for i in range(16)}
    assert pixels(draw_map(wide, VALUE)).shape[0] > size[1][0]
    assert pixels(draw_map(wide, VALUE)).shape[1] <= 1800
    fewer = [p for p in points if p.level != "4.2"]
    assert pixels(draw_map({"a": points, "b": fewer}, VALUE)).shape[0] == size[1][0]


def test_a_map_is_the_same_bytes_again_and_of_any_unit(points):
    assert draw_map({"a": points}, VALUE) == draw_map({"a": points}, VALUE)
    assert draw_map({"a": points}, Measure("return")) != draw_map({"a": points}, VALUE)
    (chart,) = map_chart({"a": points}, VALUE, "r0", "map")
    for word in ("frame-shift", "signed", "blur", "centre"):
        assert f">{word}</text>" in chart.svg


def test_the_curves_are_every_rules_value_with_its_interval(points, monkeypatch):
    drawn = []
    plain = Axes.errorbar

    def errorbar(self, x, y, half, **how):
        drawn.append((how["label"], list(x), list(y), list(half)))
        return plain(self, x, y, half, **how)

    monkeypatch.setattr(Axes, "errorbar", errorbar)
    png = draw_levels(
        {"held-out": points}, VALUE, {"problem.frame-shift": Unit(2.1, "widths of a site")}
    )
    assert png.startswith(b"\x89PNG")
    assert [name for name, *_ in drawn] == [*RULES, *RULES]  # two dials
    own = [p for p in points if p.dial == "problem.frame-shift"]
    for name, x, y, half in drawn[:3]:
        np.testing.assert_allclose(x, [0.0, 1.0, 2.0], atol=0.03 * 2.0 + 1e-9)
        np.testing.assert_allclose(y, [100.0 * p.means[name].mean for p in own])
        np.testing.assert_allclose(half, [100.0 * p.means[name].half_width for p in own])
    for _, x, _, _ in drawn[3:]:  # a factor of ten: spaced by ratios
        np.testing.assert_allclose(np.log10(x), np.log10([2, 20]), atol=0.04)


def test_a_page_has_a_chart_a_dial(points):
    charts = level_charts(points, VALUE, {}, "r0")
    assert [c.title for c in charts] == ["value in % by problem.frame-shift",
                                         "value in % by clients"]  # fmt: skip


@pytest.mark.parametrize(
    ("fixed", "width"),
    [("{}", 2.1), ("{problem.site-radius: 0.5}", 1.0), ("{problem: {site-radius: 2}}", 4.0)],
)
def test_displacements_are_in_widths_of_a_site(study_folder, fixed, width):
    archive = dataclasses.replace(read_study(study_folder), plan=f"fixed: {fixed}\n")
    assert units_of(archive)["problem.frame-shift"] == Unit(width, "widths of a site")
