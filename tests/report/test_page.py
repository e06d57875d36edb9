import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
import yaml
from browser import opened
from worlds import save_episodes

from fedirl_ray.evaluate.statistics import Interval, stand_out
from fedirl_ray.problem.demonstrations import Demonstrations
from fedirl_ray.report.page import write_page
from fedirl_ray.report.table import label_of
from fedirl_ray.report.wording import signed
from fedirl_ray.run import main


class Parsed(HTMLParser):
    """Elements with their attributes, and tables as rows of (text, attributes)."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.tables, self.cell = [], [], None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.elements.append((tag, attrs))
        if tag == "table":
            self.tables.append((attrs.get("class"), []))
        elif tag == "tr":
            self.tables[-1][1].append([])
        elif tag in ("td", "th"):
            self.cell = ["", attrs]
            self.tables[-1][1][-1].append(self.cell)

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.cell = None

    def handle_data(self, data):
        if self.cell is not None:
            self.cell[0] += data

    def count(self, tag):
        return sum(found == tag for found, _ in self.elements)


@pytest.fixture(scope="module")
def run_page(run_folder):
    return write_page([run_folder])


@pytest.fixture(scope="module")
def study_page(study_folder):
    return write_page([study_folder])


@pytest.fixture
def copied(run_folder, tmp_path):
    return shutil.copytree(run_folder, tmp_path / "run")


def rows_of(page, kind):
    return [table[1:] for name, table in Parsed(page).tables if name == kind]


def assert_says(text, mean, half):
    """A text is a difference in points, rounded to the digits it shows."""
    digits = len(text.rpartition(".")[2])
    assert digits in (1, 2)
    assert text == f"{signed(100 * mean, digits)} ± {100 * half:.{digits}f}"


def test_every_success_in_the_tables_is_that_of_the_summary(run_page, run_folder):
    summary = json.loads((run_folder / "summary.json").read_text())
    by_split = summary["success"]
    policies = list(by_split["held-out"])
    tables = rows_of(run_page, "scores")
    assert len(tables) == len(policies) == 5
    labels = {label_of(rule): rule for rule in next(iter(by_split["held-out"].values()))}
    for policy, rows in zip(policies, tables, strict=True):
        assert {labels[row[0][0]] for row in rows} == set(by_split["held-out"][policy])
        shown = {}
        for (label, _), *cells in rows:
            rule = labels[label]
            for split, level, gap in zip(by_split, cells[::2], cells[1::2], strict=True):
                entry = by_split[split][policy][rule]
                assert float(level[1]["data-value"]) == entry["mean"]
                said = f"{100 * entry['mean']:.1f} ± {100 * entry['std']:.1f}"
                assert level[0] == said
                if rule == "mean":
                    assert gap[0] == ""
                    continue
                half = entry["half_width_95"]
                assert float(gap[1]["data-value"]) == entry["difference"]
                assert_says(gap[0].rstrip("*="), entry["difference"], half)
                assert gap[0].endswith("=") == (entry["doubt"] == "tied")
                shown[Interval(entry["difference"], half, "t", entry["p_value"])] = gap[0]
        assert stand_out(list(shown)) == ["*" in text for text in shown.values()]


def test_the_parts_of_the_gain_are_those_of_the_summary(run_page, run_folder):
    gains = json.loads((run_folder / "summary.json").read_text())["gain_of_barycenter"]["held-out"]
    (rows,) = rows_of(run_page, "gains")
    for (part, _), *cells in rows:
        for policy, cell in zip(gains, cells, strict=True):
            entry = gains[policy][part]
            assert float(cell[1]["data-value"]) == entry["mean"]
            assert_says(cell[0].rstrip("*="), entry["mean"], entry["half_width_95"])


def test_bytes_are_those_of_the_summary(run_page, run_folder):
    sent = json.loads((run_folder / "summary.json").read_text())["communication"]["rules"]
    (rows,) = rows_of(run_page, "cost")
    for rule, row in zip(sent, rows, strict=True):
        total = sent[rule]["bytes_up"] + sent[rule]["bytes_down"]
        assert row[-1][0] == f"{total:,}"
    assert rows[-1][-1][0] == "0"  # the ceiling sends nothing


def test_settings_that_differ_come_first_and_make_the_command(run_page, tmp_path):
    changed = next(table for name, table in Parsed(run_page).tables if name == "pairs")
    names = [row[0][0] for row in changed[1:]]
    assert names == [
        "clients", "seeds", "problem.size", "problem.demonstrations", "federation.rounds",
        "evaluation.held-out", "engine.backend",
    ]  # fmt: skip
    said = re.search(r"<code>python -m fedirl_ray\.run (--[^<]*)</code>", run_page)[1]
    assert main([*said.split(), "--run-dir", str(tmp_path / "again")]) == 0
    again = json.loads((tmp_path / "again" / "summary.json").read_text())
    (rows,) = rows_of(run_page, "gains")
    total = again["gain_of_barycenter"]["held-out"]["greedy-0.95"]["total"]["mean"]
    assert float(rows[-1][1][1]["data-value"]) == total


@pytest.mark.parametrize("which", ["run_page", "study_page", "learning_page"])
def test_a_page_loads_nothing(which, request):
    page = request.getfixturevalue(which)
    for tag, attrs in Parsed(page).elements:
        assert tag not in ("iframe", "object", "embed", "base")
        assert tag != "script" or "src" not in attrs
        for name in ("src", "href", "xlink:href", "srcset", "data", "poster", "action"):
            value = attrs.get(name) or ""
            assert value.startswith(("#", "data:")) or not value, f"{tag} {name}={value[:80]}"
    style = "".join(re.findall(r"<style>(.*?)</style>", page, re.DOTALL))
    assert style
    assert not re.search(r"@import|url\(", style)


@pytest.mark.parametrize("which", ["run_page", "study_page", "learning_page"])
def test_ids_are_unique(which, request):
    parsed = Parsed(request.getfixturevalue(which))
    ids = [attrs["id"] for _, attrs in parsed.elements if "id" in attrs]
    assert len(ids) == len(set(ids)) > 10


def test_only_a_page_with_studies_holds_a_program(run_page, study_page):
    assert Parsed(run_page).count("script") == 0
    figures = [attrs for tag, attrs in Parsed(study_page).elements if "data-plot" in attrs]
    assert len(figures) == 3  # history, parallel coordinates, importances
    assert Parsed(study_page).count("script") == len(figures) + 2


def test_what_users_wrote_is_text(copied, run_page):
    hostile = "<script>alert(1)</script>"
    config = yaml.safe_load((copied / "config.yaml").read_text())
    config["problem"]["name"] = f"{hostile}:make_$x$"
    (copied / "config.yaml").write_text(yaml.safe_dump(config))
    event = {"time": hostile, "what": "placed", "reason": f"{hostile}\"'", "seed": None,
             "round": None, "clients": []}  # fmt: skip
    (copied / "events.jsonl").write_text(json.dumps(event) + "\n")
    named = copied.rename(copied.with_name("<img src=x onerror=alert(1)>"))
    page = write_page([named, named])
    parsed = Parsed(page)
    assert parsed.count("script") == 0
    assert parsed.count("img") == 2  # the reward maps
    assert not any(name.startswith("on") for _, attrs in parsed.elements for name in attrs)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;:make_$x$" in page


def test_what_a_studys_user_wrote_is_text(study_page):
    assert "alert(1)" in study_page  # in study.yaml, and as a trial's error
    assert "<script>alert(1)" not in study_page
    assert study_page.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 2


def test_a_page_is_the_same_each_time(run_folder, front_folder):
    assert write_page([run_folder, front_folder]) == write_page([run_folder, front_folder])


def test_several_folders_share_a_page_and_its_library(run_folder, study_folder, front_folder):
    page = write_page([run_folder, study_folder, front_folder])
    assert [a["href"] for tag, a in Parsed(page).elements if tag == "a"] == ["#r0", "#r1", "#r2"]
    assert page.count("plotly.js v") == write_page([study_folder]).count("plotly.js v") > 0
    assert "Pareto front" in page


def test_rounds_are_drawn_where_there_are_several(run_page, learning_folder):
    for title in ("Clients by round", "held-out: success by round in %"):
        assert title in run_page
    page = write_page([learning_folder])  # of a single round
    assert "Clients by round" not in page
    assert "by round" not in page


def test_missing_reward_maps_are_drawn_anew_but_never_by_a_users_code(copied, run_page):
    (copied / "figure.png").unlink()
    drawn = re.search(r"data:image/png;base64,([^\"]*)", write_page([copied]))[1]
    assert drawn == re.search(r"data:image/png;base64,([^\"]*)", run_page)[1]
    config = yaml.safe_load((copied / "config.yaml").read_text())
    config["problem"]["name"] = "no_such_module:world"
    (copied / "config.yaml").write_text(yaml.safe_dump(config))
    assert "data:image/png" not in write_page([copied])


def test_a_browser_opens_studies_and_learning_without_complaint(
    learning_folder, study_folder, front_folder, tmp_path
):
    folders = [learning_folder, study_folder, front_folder]  # runs: see engine/test_kinds.py
    dom, said = opened(write_page(folders), tmp_path)
    assert said == []
    plots = dom.count('class="plot js-plotly-plot"')
    assert plots == 3 + 1 + 2 * 3


def test_the_browser_would_tell_of_an_error(tmp_path):
    _, said = opened("<script>throw new Error('here')</script>", tmp_path)
    assert any("here" in line for line in said)


def test_a_rule_without_a_number_in_some_split_leaves_its_cells_empty(tmp_path):
    # Recorded demonstrations say nothing of an expert in held-out worlds.
    still = Demonstrations(np.zeros((2, 18), np.int32), np.zeros((2, 18), np.int32))
    save_episodes(tmp_path / "shown.npz", [still, still])
    words = ["--clients", "2", "--seeds", "2", "--problem.size", "3", "--problem.slip", "0"]
    words += ["--problem.demonstrations-file", str(tmp_path / "shown.npz")]
    words += ["--fusion.rules", "mean,barycenter,expert", "--evaluation.held-out", "2"]
    words += ["--engine.backend", "local", "--progress", "False"]
    assert main([*words, "--run-dir", str(tmp_path / "run")]) == 0
    assert "nan" not in (tmp_path / "run" / "table.txt").read_text()
    page = Parsed(write_page([tmp_path / "run"]))
    tables = [rows for kind, rows in page.tables if kind == "scores"]
    assert tables
    for rows in tables:
        (expert,) = (row for row in rows if row[0][0] == label_of("expert"))
        assert [cell[0] for cell in expert[3:]] == ["", ""]
        assert not any("data-value" in attrs for _, attrs in expert[3:])


@pytest.fixture(scope="module")
def learning_page(learning_folder):
    return write_page([learning_folder])


def test_returns_are_shown_as_they_are(learning_page, learning_folder):
    summary = json.loads((learning_folder / "summary.json").read_text())["return"]
    tables = rows_of(learning_page, "scores")
    assert list(summary["held-out"]) == ["agent", "agent-matched", "planner"]
    for judge, rows in zip(summary["held-out"], tables, strict=True):
        for (label, _), *cells in rows:
            for split, level, gap in zip(summary, cells[::2], cells[1::2], strict=True):
                (entry,) = (one for rule, one in summary[split][judge].items()
                            if label_of(rule) == label)  # fmt: skip
                if entry["mean"] is None:
                    assert (level[0], gap[0]) == ("", "")
                    continue
                assert level[0] == f"{entry['mean']:.1f} ± {entry['std']:.1f}"
                if label != label_of("mean"):
                    said = f"{entry['difference']:+.1f} ± {entry['half_width_95']:.1f}"
                    assert gap[0].rstrip("*=") == said
    text = re.sub(r"<(style|svg).*?</\1>", "", learning_page, flags=re.DOTALL)
    assert "<h2>Return, judged by agent</h2>" in text
    assert "policy" not in text.replace("greedy policy", "")
    _, told = re.split("<h2>Return", text)
    for word in ("points", "success", "Success", "in %"):
        assert word not in told


def test_a_page_tells_of_learning_and_of_what_knows_nothing(learning_page, run_page):
    assert "<h2>Learning curves</h2>" in learning_page
    for split in ("in-distribution", "held-out"):
        assert f"{split}: return along training" in learning_page
        assert f"<li>{split}, barycenter: better than the mean and every control" in learning_page
    assert "data:image/png" not in learning_page  # the same curves once more
    assert "mean demonstrated return" in learning_page
    for words in ("Learning curves", "every control", "demonstrated return"):
        assert words not in run_page
