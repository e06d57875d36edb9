"""The paper's numbers, the settings put beside them, and the traffic as counted and weighed."""

import numpy as np
import pytest

from fedirl_ray.config_engine import EngineConfig
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.engine.driver import lay, run_seed
from fedirl_ray.engine.fleet import open_fleet
from fedirl_ray.engine.jobs import Jobs
from fedirl_ray.report.reproduction.tables import Found, published, table1_text, table2_text
from fedirl_ray.study.reproduction import communication, tables
from fedirl_ray.study.reproduction.plan import Plan

SMOKE = Plan(scale="smoke")


@pytest.fixture(scope="module")
def rows():
    return [row for more in tables.run(tables.table1, SMOKE) for row in more]


def test_the_papers_tables_are_there_in_full():
    assert {size: t.outside_barycenter[0] for size, t in tables.TABLE_1.items()} == {
        5: 82.6, 10: 80.3, 20: 81.4,
    }  # fmt: skip
    assert {p: t.outside_mean[0] for p, t in tables.TABLE_2.items()} == {
        0.0: 86.43, 0.25: 84.83, 0.5: 82.13,
    }  # fmt: skip
    assert published(tables.TABLE_1[20])[:5] == [
        "73.7 ± 14.0", "73.5 ± 14.5", "76.4 ± 13.4", "75.3 ± 23.0", "81.4 ± 19.0",
    ]  # fmt: skip


@pytest.mark.parametrize("scale", ["laptop", "paper"])
def test_table_1_has_the_papers_grids_and_clients(scale):
    found = {(s.size, s.clients) for s in tables.table1(Plan(scale=scale))}
    assert found == {(5, 3), (10, 10), (20, 20)}


def test_a_laptop_takes_twenty_seeds_and_table_2_at_the_papers_scale_its_three():
    laptop = [s for f in (tables.table1, tables.table2, tables.choices)
              for s in f(Plan(scale="laptop"))]  # fmt: skip
    assert min(s.seeds for s in laptop) >= 20
    assert {s.seeds for s in tables.table2(Plan(scale="paper"))} == {3}


def test_a_settings_flags_are_its_configuration():
    weak = tables.table2(SMOKE)[2].config(SMOKE)
    assert (weak.clients, weak.problem.size) == (10, 5)
    assert (weak.irl.optimizer, weak.heterogeneity.weak_clients) == ("adam", 0.5)
    titles = [s.name for s in tables.choices(Plan(scale="laptop"))]
    assert len(set(titles)) == len(titles)


def test_rows_hold_what_a_run_of_the_same_flags_finds(rows):
    setting = tables.table1(SMOKE)[0]
    config = setting.config(SMOKE)
    with open_fleet(config) as fleet:
        domain, jobs = domain_of(config), Jobs(fleet)
        result = run_seed(domain, fleet, jobs, 1, lay(domain, fleet, jobs))
    found = Found(rows, setting)
    got = found.samples("held-out", "greedy-0.95")[1]
    np.testing.assert_allclose(got, result.scores("held-out")[:, 0])


def test_ours_stands_beside_the_papers(rows):
    text = "\n".join(table1_text(rows, SMOKE))
    line = next(line for line in text.splitlines() if "5x5, 3: well posed, greedy-0.95" in line)
    by_rule = Found(rows, tables.table1(SMOKE)[0]).compare("held-out", "greedy-0.95")
    assert f"{100 * by_rule['barycenter'].mean:.1f}" in line
    assert "| 5x5, 3: **the paper** | 84.2 ± 12.6 | 85.1 ± 11.9 | 90.5 ± 9.8 |" in text


def test_table_2_shows_every_share_of_weak_clients():
    weak = [row for more in tables.run(tables.table2, SMOKE) for row in more]
    text = "\n".join(table2_text(weak, SMOKE))
    for line in ("p = 0: **the paper**", "p = 0.25: soft", "p = 0.5: greedy-0.95"):
        assert line in text


@pytest.fixture(scope="module")
def traffic():
    return [row for more in communication.run(SMOKE) for row in more]


def test_a_message_weighs_its_numbers_and_some_packing(traffic):
    for row in traffic:
        if row["rule"] != "pooled":
            # The reward learnt alone comes beside what a rule counts; curvature comes once.
            theta = 8 * row["dimension"]
            carried = row["counted_up"] + theta * (row["rewards_carried"] - 1)
            assert carried < row["pickled_up"] < carried + 400


def test_ten_times_the_features_make_ten_times_the_bytes_counted(traffic):
    up = {(row["features"], row["rule"]): row["counted_up"] for row in traffic}
    assert up["distance", "mean"] == up["distance", "barycenter"] == 8 * 2
    assert up["rbf", "mean"] == 8 * 25
    assert up["rbf", "precision"] == 8 * (25 + 25 * 25)


def test_a_whole_run_is_its_rounds_and_clients(traffic):
    for row in traffic:
        if row["rule"] != "pooled":
            assert row["counted_run_up"] == 2 * 3 * row["counted_up"]


@pytest.mark.ray
def test_actors_find_the_same_rows(ray_session, rows):
    one = tables.table1(SMOKE)[:1]
    plan = Plan(scale="smoke", engine=EngineConfig(backend="ray"))
    found = [row for more in tables.run(lambda plan: one, plan) for row in more]
    assert found == rows[: len(found)]
