import pyarrow.parquet as pq
import pytest

from fedirl_ray.command.reproduce import REPRODUCTION
from fedirl_ray.command.results import new_folder, write_rows
from fedirl_ray.domain.control import Control
from fedirl_ray.domain.control_settings import worlds_of
from fedirl_ray.domain.domain import SPLITS
from fedirl_ray.engine.identity import Identity
from fedirl_ray.problem.control.paper import TASKS
from fedirl_ray.report.reproduction.scores import columns_of
from fedirl_ray.run import main
from fedirl_ray.study.reproduction import scale
from fedirl_ray.study.reproduction.figures import (
    FIGURE_2,
    FIGURE_3,
    PUBLISHED,
    RESOLUTIONS,
    config_of,
    refinements,
    run,
)
from fedirl_ray.study.reproduction.plan import Plan


def row(task, judge, rule, seed, value, **more):
    base = {"task": task, "judge": judge, "rule": rule, "seed": seed, "round": 1}
    return {**base, "split": SPLITS[0], "step": 0, "metric": "return", "value": value, **more}


def page_of(part, rows, folder):
    """The page made of rows that were measured before."""
    tree = {"part": part, "scale": "laptop", "seed": 0}
    with new_folder(
        folder, REPRODUCTION, tree, Identity.of({"scale": "laptop", "seed": 0}, {}), overwrite=False
    ):
        write_rows(folder / f"{part}.parquet", rows)
    assert main(["reproduce", "--resume", str(folder), "--progress", "False"]) == 0
    return (folder / "results.md").read_text()


def test_figure_2_is_drawn_from_trained_agents(tmp_path, ray_session):
    folder = tmp_path / "run"
    words = ["reproduce", "figure2", "--scale", "smoke", "--progress", "False"]
    assert main([*words, "--run-dir", str(folder)]) == 0
    rows = pq.read_table(folder / "figure2.parquet").to_pylist()
    assert {row["task"] for row in rows} == set(FIGURE_2)
    judged = {"mean", "barycenter", "plus-one", "minus-one", "random-1", "true"}
    assert judged == set(columns_of(rows))
    page = (folder / "results.md").read_text()
    assert "![Figure 2: Pendulum and CartPole](figure2.png)" in page
    assert "barycenter about -200, mean about -1215" in page
    assert (folder / "figure2.png").read_bytes().startswith(b"\x89PNG")


def test_a_finished_piece_is_not_trained_again(tmp_path, ray_session):
    plan, kept = Plan(scale="smoke", folder=tmp_path), {}
    for _ in range(2):
        begun = iter(run(["CartPole-v1"], plan))
        rows = next(begun)
        begun.close()
        assert {row["seed"] for row in rows} == {0}
        now = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "jobs").iterdir()}
        # two experts, three planners, twelve agents and perhaps some of the next seed's
        assert len(now) >= 17
        assert kept.items() <= now.items()
        kept = now


def test_a_plain_answer_is_given_and_judges_that_disagree_are_named(tmp_path):
    def study(mean, barycenter, blind, kind):
        return [
            row("CartPole-v1", kind, column, seed, level + (len(column) + 3 * seed) ** 0.5)
            for column, level in (("mean", mean), ("barycenter", barycenter), ("plus-one", blind))
            for seed in range(4)
        ]

    rows = [*study(100.0, 90.0, 50.0, "agent"), *study(10.0, 20.0, 5.0, "planner")]
    page = page_of("figure2", rows, tmp_path / "one")
    assert "in-distribution, barycenter: worse than the mean: -9.1 ± 0.3 over the mean" in page
    assert "By the planner the barycenter is above the mean, by agents below it" in page
    rows = [*study(100.0, 110.0, 50.0, "agent"), *study(10.0, 20.0, 5.0, "planner")]
    page = page_of("figure2", rows, tmp_path / "two")
    assert "better than the mean and every control: +10.9 ± 0.3 over the mean, +60.3" in page
    assert "disagree" not in page
    rows = study(100.0, 110.0, 500.0, "agent")
    page = page_of("figure2", rows, tmp_path / "three")
    assert "above the mean, yet not above all that knows nothing" in page
    assert "over the blind control with the smallest margin (plus-one, of 1)" in page


def test_refinement_shows_every_resolution_and_both_units_of_epsilon(tmp_path):
    rows = [
        row("Acrobot-v1", "planner", column, seed, -90.0 - seed, split=split,
            points=points, support=support, ground=ground)
        for points, support in (("7x7x5x5", 3_675), ("9x9x5x5", 6_075))
        for ground in ("cells", "paper")
        for column in ("mean", "barycenter", "debiased", "true")
        for split in SPLITS
        for seed in range(3)
    ]  # fmt: skip
    page = page_of("refinement", rows, tmp_path / "run")
    assert page.count("| Acrobot-v1 |") == 8
    assert "7x7x5x5 | 3675" in page
    assert (tmp_path / "run" / "refinement.png").read_bytes().startswith(b"\x89PNG")


def test_what_fusing_costs_is_measured_on_both_lattices(tmp_path, monkeypatch):
    assert scale.FLEETS == (12, 24)
    monkeypatch.setattr(scale, "FLEETS", (2, 3))
    folder = tmp_path / "run"
    words = ["reproduce", "scale", "--scale", "smoke", "--progress", "False"]
    assert main([*words, "--run-dir", str(folder)]) == 0
    rows = pq.read_table(folder / "scale.parquet").to_pylist()
    assert {(row["support"], row["clients"]) for row in rows} == {
        (101_250, 2), (101_250, 3), (6_075, 2), (6_075, 3)
    }  # fmt: skip
    assert all(row["converged"] for row in rows)
    cost = {(row["task"], row["clients"], row["rule"]): row["mebibytes"] for row in rows}
    assert cost["Acrobot-v1", 3, "barycenter"] > cost["Acrobot-v1", 3, "mean"]


@pytest.mark.parametrize("size", ["smoke", "laptop", "paper"])
def test_every_scale_has_its_study_of_every_task(size):
    for task in (*FIGURE_2, *FIGURE_3):
        config = config_of(task, Plan(scale=size))
        assert {"mean", "barycenter"} <= set(config.fusion.rules)
        assert config.control.agents
        assert set(config.control.judged) <= set(worlds_of(config))
    if size == "paper":
        assert config.seeds == 10
        assert config.clients == 6
        assert (config.control.agent.steps, config.control.agent.rows) == (25_000, 1)
        assert not config.control.judged


def test_the_papers_tasks_are_all_there():
    assert set(FIGURE_2) | set(FIGURE_3) == set(TASKS) == set(PUBLISHED)
    assert all(len(shapes) >= 4 for shapes in RESOLUTIONS.values())
    plan = Plan(scale="laptop")
    assert len(refinements(plan)) == 2 * sum(map(len, RESOLUTIONS.values()))
    assert not any(config.control.agents for config in refinements(plan))
    for config in refinements(plan):
        Control(config).check()
