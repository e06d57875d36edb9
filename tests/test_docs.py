"""The pages on Python say what is so: their examples run, in order, as they stand."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

import fedirl_ray
from fedirl_ray.testing import check_features, check_world

DOCS = Path(__file__).parents[1] / "docs"


def examples(page):
    """A page's blocks of Python."""
    text = (DOCS / page).read_text()
    return re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Makes the first example of a page the module `mine`, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(page, which=0):
        (tmp_path / "mine.py").write_text(examples(page)[which])

    yield write
    sys.modules.pop("mine", None)


def small(**more):
    return fedirl_ray.preset(
        "GridWorld", clients=2, seeds=1, problem={"size": 4, "demonstrations": 5},
        **{"fusion.rules": ("mean", "barycenter"), "evaluation.held_out": 2,
           "engine.backend": "local", "record.figure": False, **more},
    )  # fmt: skip


def test_the_tour_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    # The tour's own run is an ordinary one, on Ray: here the same in this process.
    preset = fedirl_ray.preset
    local = {"engine.backend": "local", "record.figure": False}
    monkeypatch.setattr(
        fedirl_ray, "preset", lambda *a, **more: preset(*a, **more, **local), raising=False
    )
    names = {}
    blocks = examples("python.md")
    assert len(blocks) >= 7
    for block in blocks:
        exec(block, names)
    said = capsys.readouterr().out
    assert "GridWorld, 4 clients, 3 seeds" in said
    assert names["rows"].num_rows > 100
    assert names["info"]["true_reward"] != names["paid"]
    assert names["found"].converged
    assert names["fused"].measure.argmax() in (1, 2)
    np.testing.assert_allclose(names["mean"].theta, 1.5 * names["found"].theta)
    assert names["middle"].measure.argmax() == 1
    assert (tmp_path / "runs" / "tour" / "rewards.npz").is_file()


def test_the_tour_says_of_every_function():
    text = (DOCS / "python.md").read_text()
    for name in ("run", "resume", "load", "load_reward", "preset", "fit", "fuse", "barycenter",
                 "wasserstein2", "RewardWrapper", "Support", "RunConfig"):  # fmt: skip
        assert re.search(rf"\b{name}\b", text), name


def test_features_of_ones_own(mine):
    mine("own-features.md")
    first, second, *_ = examples("own-features.md")
    assert len(first.splitlines()) <= 12
    found = fedirl_ray.run(small(**{"problem.features": "mine:corners"}), folder="run")
    assert found.reward("mean").theta.shape == (4,)
    names = {}
    exec(first + second, names)
    with pytest.raises(AssertionError, match="must differ somewhere"):
        check_features(lambda world: 0.0 * names["corners"](world))


def test_features_and_a_metric_of_ones_own_in_a_control_task(mine, tmp_path):
    mine("own-features.md", which=2)
    features, check = examples("own-features.md")[2:]
    metric = examples("own-metric.md")[1]
    with (tmp_path / "mine.py").open("a") as module:
        module.write(metric)
    assert max(len(features.splitlines()), len(metric.splitlines())) <= 12
    tiny = {"steps": 64, "rows": 4, "rollout": 64, "batch": 64, "epochs": 1, "hidden": (4,),
            "evaluations": 1, "episodes": 1}  # fmt: skip
    config = fedirl_ray.preset(
        "Pendulum-v1", clients=1, seeds=1, problem={"demonstrations": 2, "features": "mine:swing"},
        control={"points": (9, 9), "episodes": 2, "agents": False, "expert": tiny},
        evaluation={"held-out": 1, "metrics": ("mine:effort",)},
        **{"fusion.rules": ("mean", "true"), "engine.backend": "local", "record.figure": False},
    )  # fmt: skip
    found = fedirl_ray.run(config, folder="run")
    reward = found.reward("mean")
    wanted = reward.theta @ [0.5**2, (-2.0) ** 2, 0.5**2] + reward.offset
    seen = np.array([np.cos(0.5), np.sin(0.5), -2.0])
    assert reward(seen, np.array([1.0])) == pytest.approx(wanted)  # of the most, which is 2
    rows = [row for row in found.to_arrow().to_pylist() if row["metric"] == "mine:effort"]
    values = [row["value"] for row in rows if row["judge"] == "planner"]
    assert len(values) == 4  # two columns, two splits
    assert all(0.0 <= value <= 1.0 for value in values)
    names = {}
    exec(features + check, names)
    with pytest.raises(AssertionError, match="must differ somewhere"):
        check_features(lambda *both: 0.0 * names["swing"](*both), problem="Pendulum-v1")


def test_a_metric_of_ones_own(mine):
    mine("own-metric.md")
    assert len(examples("own-metric.md")[0].splitlines()) <= 12
    found = fedirl_ray.run(small(**{"evaluation.metrics": ("mine:edge",)}), folder="run")
    rows = [row for row in found.to_arrow().to_pylist() if row["metric"] == "mine:edge"]
    assert {row["rule"] for row in rows} == {"mean", "barycenter"}
    assert all(0.0 < row["value"] <= 1.0 for row in rows)


def test_a_world_of_ones_own_as_a_table(mine):
    mine("own-world.md")
    first, check, _ = examples("own-world.md")
    assert len(first.splitlines()) <= 12
    found = fedirl_ray.run(small(**{"problem.name": "mine:pond"}), folder="run")
    assert found.reward("mean").theta.shape == (16,)
    names = {}
    exec(first + check, names)
    with pytest.raises(AssertionError, match="from the given stream alone"):
        check_world(lambda role, index, rng: names["pond"](role, index, np.random.default_rng()))


def test_a_world_of_ones_own_as_an_environment(mine):
    mine("own-world.md", which=2)
    assert len(examples("own-world.md")[2].splitlines()) <= 12
    tiny = {"steps": 64, "rows": 4, "rollout": 64, "batch": 64, "epochs": 1, "hidden": (4,),
            "evaluations": 1, "episodes": 1}  # fmt: skip
    config = fedirl_ray.preset(
        "mine:car", clients=2, seeds=1, problem={"demonstrations": 2},
        control={"points": (7, 7), "features": 8, "gather": 400, "episodes": 2, "agents": False,
                 "expert": tiny},
        **{"fusion.rules": ("mean", "barycenter"), "evaluation.held_out": 1,
           "engine.backend": "local", "record.figure": False},
    )  # fmt: skip
    found = fedirl_ray.run(config, folder="run")
    assert found.table().startswith("mine:car, 2 clients, 1 seed")
    paid = found.reward("barycenter")(np.array([-0.5, 0.0]), np.array([1.0]))
    assert np.isfinite(paid)


def test_barycenters_on_clouds(capsys):
    names = {}
    (block,) = examples("clouds.md")
    exec(block, names)
    assert "of 6 dimensions" in capsys.readouterr().out
    assert names["found"].converged
    assert names["found"].measure.shape == (300,)
    assert names["apart"].divergence > 0.0
    assert names["fused"].theta.shape == (300,)
