import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from actors import make
from fedirl_ray.command.control import _load
from fedirl_ray.study.control.columns import MATCHED, controls, fused_columns, ground_of
from fedirl_ray.study.control.config import ControlConfig, LearnerConfig, TaskConfig
from fedirl_ray.study.control.learning import model_of, network_of
from fedirl_ray.study.control.pipeline import ControlStudy, judged_columns, size

from fedirl_ray.config import EngineConfig, FusionConfig
from fedirl_ray.engine.jobs import Jobs
from fedirl_ray.errors import ConfigError
from fedirl_ray.evaluate.presets import SMOKE
from fedirl_ray.fusion.spec import Support
from fedirl_ray.problem.control.arena import play
from fedirl_ray.problem.control.basis import RadialBasis
from fedirl_ray.problem.control.demonstrations import demonstrate, save_episodes, to_minari
from fedirl_ray.problem.control.paper import CARTPOLE, PENDULUM
from fedirl_ray.problem.lattice import product
from fedirl_ray.report.reproduction.control import control_text
from fedirl_ray.run import main
from fedirl_ray.seeds import stream
from fedirl_ray.study.control.verdict import by_seed, columns_of, curve, standings

FLAGS = """
--seeds 2 --clients 2 --held-out 0.5 --judged 0,0.5 --randoms 1 --episodes 3 --progress False
--expert.steps 2048 --expert.evaluations 1 --expert.episodes 3
--agent.steps 2048 --agent.evaluations 1 --agent.episodes 3
--learner.demonstrations 3 --fusion.rules mean,barycenter
"""
TINY = FLAGS.split()
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A small study of CartPole in this process: its folder."""
    folder = tmp_path_factory.mktemp("control") / "run"
    words = ["control", "CartPole-v1", *TINY, "--engine.backend", "local"]
    assert main([*words, "--run-dir", str(folder)]) == 0
    return folder


def rows_of(folder):
    return pq.read_table(folder / "results.parquet").to_pylist()


def test_a_study_leaves_its_table_its_page_and_its_curves(whole):
    rows = rows_of(whole)
    assert {row["kind"] for row in rows} == {"expert", "client", "planner", "agent"}
    names = ["mean", "barycenter", "barycenter" + MATCHED, "+1", "-1", "random 1", "true"]
    assert columns_of(rows) == names
    page = (whole / "results.md").read_text()
    for name in names:
        assert f"| {name} |" in page
    assert "control CartPole-v1 --clients 2" in page
    assert "The paper (read off its figure): barycenter about 415" in page
    assert "one if at least 475 (Gymnasium's reward threshold: 475)" in page
    experts = [row["value"] for row in rows if row["name"] == "reached"]
    assert sum(value < 475.0 for value in experts) == page.count("| **no** |")
    assert (whole / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_what_knows_what_stands_in_the_rows(whole):
    rows = rows_of(whole)
    assert by_seed(rows, "planner", "-1", False).max() < 15.0  # dying pays
    assert by_seed(rows, "planner", "true", True).min() > 200.0
    assert by_seed(rows, "planner", "+1", False) == pytest.approx(
        by_seed(rows, "planner", "true", False)
    )
    assert by_seed(rows, "planner", "-1", False, "distance") == pytest.approx(1.0)
    assert by_seed(rows, "planner", "+1", True, "distance") == pytest.approx(0.0, abs=1e-9)
    found = curve(rows, "mean", False)
    assert found.at.tolist() == [2_048.0]
    assert found.returns.shape == (2, 1)


def test_the_same_bytes_come_from_ray_and_a_resumed_run_does_nothing(whole, tmp_path, ray_session):
    folder = tmp_path / "run"
    words = ["control", "CartPole-v1", *TINY, "--run-dir", str(folder)]
    assert main(words) == 0
    table = (folder / "results.parquet").read_bytes()
    assert table == (whole / "results.parquet").read_bytes()
    kept = {path.name: path.stat().st_mtime_ns for path in (folder / "jobs").iterdir()}
    (folder / "results.parquet").unlink()
    assert main(["control", "--resume", str(folder), "--progress", "False"]) == 0
    assert {path.name: path.stat().st_mtime_ns for path in (folder / "jobs").iterdir()} == kept
    assert (folder / "results.parquet").read_bytes() == table


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seeds", "7"], "seeds must stay 2 when a study is resumed, got 7"),
        (["--fusion.epsilon", "0.01"], "fusion.epsilon must stay 0.5 when a study is resumed"),
        (["--agent.steps", "4096"], "agent.steps must stay 2048 when a study is resumed, got 4096"),
        (["Pendulum-v1"], "resume knows its task, got Pendulum-v1 beside it"),
    ],
)
def test_a_study_goes_on_with_what_it_was_begun_with_alone(whole, words, said, capsys):
    before = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    task, flags = (words, []) if len(words) == 1 else ([], words)
    assert main(["control", *task, "--resume", str(whole), *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(said)
    assert {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()} == before


def test_a_studys_settings_that_were_edited_are_refused_by_name(whole, tmp_path, capsys):
    folder = shutil.copytree(whole, tmp_path / "run")
    text = (folder / "control.yaml").read_text()
    (folder / "control.yaml").write_text(text.replace("randoms: 1", "randoms: 2"))
    assert main(["control", "--resume", str(folder)]) == 2
    assert "randoms must stay 1 when a study is resumed, got 2" in capsys.readouterr().err
    (folder / "control.yaml").write_text(text.replace("backend: local", "backend: ray"))
    words = ["--engine.backend", "local", "--progress", "False"]
    assert main(["control", "--resume", str(folder), *words]) == 0


def test_a_studys_settings_can_be_fed_back(whole, tmp_path):
    folder = tmp_path / "again"
    words = ["control", str(whole / "control.yaml"), "--progress", "False"]
    assert main([*words, "--run-dir", str(folder)]) == 0
    for name in ("results.parquet", "results.md", "control.yaml", "identity.json"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()


def test_a_file_that_names_a_task_alone_has_the_tasks_budgets(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("task: {name: CartPole-v1}\nseeds: 2\nagent: {steps: 4096}\n")
    asked = _load([str(file), "--clients", "3"])
    usual = ControlConfig.of("CartPole-v1")
    assert (asked.task.name, asked.seeds, asked.clients) == ("CartPole-v1", 2, 3)
    assert asked.expert == usual.expert
    assert asked.agent == replace(usual.agent, steps=4096)


def test_other_code_does_the_pieces_of_an_unfinished_study_again_and_no_finished_one(
    whole, tmp_path, capsys
):
    folder = shutil.copytree(whole, tmp_path / "run")
    identity = json.loads((folder / "identity.json").read_text())
    old = json.dumps(identity | {"version": "0.0.1", "source": "0123"})
    (folder / "identity.json").write_text(old)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert main(["control", "--resume", str(folder), "--progress", "False"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"got {folder}, which fedirl_ray 0.0.1 (source 0123) has ended" in line
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    (folder / "results.md").unlink()
    assert main(["control", "--resume", str(folder), "--seeds", "7"]) == 2
    assert main(["control", "--resume", str(folder), "--progress", "False"]) == 0
    said = capsys.readouterr().err
    assert f"{folder} was begun by fedirl_ray 0.0.1 (source 0123): all its pieces are done" in said
    assert json.loads((folder / "identity.json").read_text()) == identity


def test_demonstrations_of_ones_own_that_were_changed_are_refused(whole, tmp_path, monkeypatch,
                                                                  capsys):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    shutil.copytree(whole, "one")
    export = ["--export", "pole{client}.npz"]
    assert main(["control", "--resume", "one", "--progress", "False", *export]) == 0
    words = ["control", "CartPole-v1", *TINY, "--agents", "False", "--engine.backend", "local"]
    assert main([*words, "--run-dir", "two", "--learner.data", "pole{client}.npz"]) == 0
    capsys.readouterr()
    shutil.copy("pole0.npz", "pole1.npz")
    assert main(["control", "--resume", "two"]) == 2
    assert capsys.readouterr().err.startswith("learner.data pole{client}.npz must hold what it did")


def test_an_environment_of_ones_own_is_studied(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    folder = tmp_path / "run"
    words = ["control", "hilly:hilly", *TINY, "--task.points", "9,9", "--engine.backend", "local"]
    words += ["--learner.gather", "1500", "--learner.features", "16", "--run-dir", str(folder)]
    assert main(words) == 0
    guessed = [row["value"] for row in rows_of(folder) if row["name"] == "extrapolated"]
    assert len(guessed) == 2
    assert 0.0 < min(guessed) <= max(guessed) < 1.0
    page = (folder / "results.md").read_text()
    assert "one if at least 90 (the environment's reward threshold)" in page
    sys.modules.pop("hilly", None)


@pytest.fixture
def one_seed():
    """Rows of an own task without a stated bar: an expert, a mean, a barycenter, a control."""
    row = {"task": "mine", "column": "expert", "seed": 0, "client": 0.0, "held_out": False}
    row |= {"step": 0}
    client = {"outside": 0.0, "extrapolated": 0.0, "objective": 1.0, "demonstrated": 3.0}
    agents = {"mean": 3.0, "barycenter": 5.0, "+1": 1.0}
    return [
        row | {"kind": "expert", "name": "reached", "value": 7.0},
        *(row | {"kind": "client", "name": name, "value": x} for name, x in client.items()),
        *(
            row | {"kind": "agent", "column": name, "name": "return", "value": value}
            for name, value in agents.items()
        ),
    ]


def test_a_page_claims_nothing_where_nothing_can_be_claimed(one_seed):
    mine = replace(PENDULUM, name="mine", expert_return=-np.inf)
    page = "\n".join(control_text(one_seed, tasks={"mine": mine}))
    assert "no bar is stated" in page
    assert "| 0 | 7 | not stated |" in page
    assert "one seed, which gives no interval and so no answer: +2.0 over the mean" in page
    assert "inf" not in page
    assert "nan" not in page


@pytest.fixture
def hilly(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    yield "hilly:hilly"
    sys.modules.pop("hilly", None)


def own_study(name, **more):
    """A study of a task whose lattices are estimated, judged by the planner alone."""
    learner = LearnerConfig(features=8, gather=400, demonstrations=2, **more)
    return ControlConfig(
        task=TaskConfig(name=name, points=(7, 7)),
        clients=2,
        held_out=(5.0,),
        seeds=2,
        learner=learner,
        expert=SMOKE,
        fusion=FusionConfig(rules=("local", "mean", "pooled", "barycenter")),
        agents=False,
        episodes=2,
    )


def test_a_world_has_one_model_which_its_own_expert_has_flown_in(hilly, tmp_path):
    config = own_study(hilly)
    with Jobs(EngineConfig(backend="local"), tmp_path / "jobs", pytest.fail) as jobs:
        seen = Watched(jobs)
        pieces = list(ControlStudy(config, seen).run())
    assert len(pieces) == size(config)
    steps = [job for job in seen.done if job.kind == "steps"]
    assert [job.arguments["world"] for job in steps] == [0.0, 1.0, 5.0]
    experts = [network_of(found) for job, found in seen.results if job.kind == "expert"]
    flown = [job.arguments["pilots"] for job in steps]
    assert [len(pilots) for pilots in flown] == [1, 1, 2]
    for pilots, wanted in zip(flown, (experts[:1], experts[1:], experts), strict=True):
        for pilot, network in zip(pilots, wanted, strict=True):
            assert all((pilot[name] == network[name]).all() for name in network)
    recorded = [found for job, found in seen.results if job.kind == "steps"]
    used = {kind: [j.arguments for j in seen.done if j.kind == kind] for kind in
            ("client", "pooled", "planner")}  # fmt: skip
    asked = [
        *((one["client"], one["recorded"]) for one in used["client"]),
        *enumerate(used["pooled"][0]["recorded"]),
        *((one["world"], one["recorded"]) for one in used["planner"]),
    ]
    assert len(asked) == 2 + 2 + 3
    task = config.task.task()
    for world, steps_of_it in asked:
        wanted = recorded[config.worlds.index(float(world))]
        assert steps_of_it.keys() == wanted.keys()
        assert all((steps_of_it[name] == wanted[name]).all() for name in wanted)
        assert model_of(task, world, steps_of_it, 0).reward.shape == (3, 49)


class Watched:
    """Does jobs as another does, and remembers them."""

    def __init__(self, jobs):
        self._jobs, self.done, self.results = jobs, [], []

    def run(self, jobs):
        self.done += jobs
        found = dict(self._jobs.run(jobs))
        self.results += [(job, found[place]) for place, job in enumerate(jobs)]
        yield from found.items()


@pytest.mark.parametrize("kind", ["hilly", "pole"])
def test_recorded_demonstrations_are_learnt_from_once_and_judged_for_every_seed(
    kind, request, tmp_path
):
    name = request.getfixturevalue("hilly") if kind == "hilly" else "CartPole-v1"
    config = own_study(name, data=str(tmp_path / "{client}.npz"))
    if kind == "pole":
        config = replace(config, task=TaskConfig(name=name, points=(3, 3, 3, 3)))
    task = config.task.task()
    for client in range(2):
        rng = stream(client, "shown")
        choices = task.action.points

        def drunk(seen, rng=rng, choices=choices):
            return choices[rng.integers(len(choices), size=len(seen))]

        episodes = play(task, [float(client)] * 2, drunk, rng)
        save_episodes(tmp_path / f"{client}.npz", episodes)
    with Jobs(EngineConfig(backend="local"), tmp_path / "jobs", pytest.fail) as jobs:
        seen = Watched(jobs)
        pieces = list(ControlStudy(config, seen).run())
    assert len(pieces) == size(config)
    kinds = [job.kind for job in seen.done]
    assert (kinds.count("client"), kinds.count("fused"), kinds.count("expert")) == (2, 1, 0)
    assert all(found["theta"].shape[0] == 1 for job, found in seen.results if job.kind == "client")
    rows = [row for piece in pieces for row in piece]
    assert {row["seed"] for row in rows if row["kind"] == "client"} == {0}
    assert {row["seed"] for row in rows if row["kind"] == "planner"} == {0, 1}
    for column in ("mean", "pooled", "local", "barycenter"):
        distance = by_seed(rows, "planner", column, True, "distance")
        assert distance[0] == distance[1]
        assert len(by_seed(rows, "planner", column, True)) == 2
    page = "\n".join(control_text(rows, tasks={name: task}))
    assert "recorded demonstrations, the same for every seed" in page
    unlikely = [row["value"] for row in rows if row["name"] == "least likely"]
    assert len(unlikely) == (2 if kind == "hilly" else 0)
    assert all(0.0 <= value <= 1.0 for value in unlikely)
    assert ("Least likely recorded step" in page) == (kind == "hilly")


def test_minari_data_sets_stand_in_for_experts(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    (tmp_path / "minari").mkdir()
    for client in (0, 1):
        episodes = demonstrate(CARTPOLE, client, make(CARTPOLE), 3, stream(client, "shown"))
        to_minari(CARTPOLE, client, episodes, f"mine/pole{client}-v0")
    config = ControlConfig(
        task=TaskConfig(name="CartPole-v1"),
        clients=2,
        held_out=(),
        seeds=1,
        learner=LearnerConfig(data="mine/pole{client}-v0", features=16),
        fusion=FusionConfig(rules=("mean", "barycenter")),
        agents=False,
        episodes=2,
    )
    with Jobs(EngineConfig(backend="local"), tmp_path / "jobs", pytest.fail) as jobs:
        pieces = list(ControlStudy(config, jobs).run())
    assert len(pieces) == size(config)
    rows = [row for piece in pieces for row in piece]
    assert {row["kind"] for row in rows} == {"client", "planner"}
    assert len(by_seed(rows, "planner", "barycenter", False)) == 1


@pytest.mark.parametrize("target", ["pole{client}.npz", "mine/pole{client}-v0"])
def test_what_one_run_exports_another_learns_the_same_from(target, whole, tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    (tmp_path / "minari").mkdir()
    monkeypatch.chdir(tmp_path)
    shutil.copytree(whole, tmp_path / "one")
    export = ["--export", target]
    assert main(["control", "--resume", "one", "--progress", "False", *export]) == 0
    words = ["control", "CartPole-v1", *TINY, "--agents", "False", "--engine.backend", "local"]
    assert main([*words, "--run-dir", "two", "--learner.data", target]) == 0
    fits = [
        [
            row["value"]
            for row in rows_of(tmp_path / run)
            if row["name"] == "objective" and row["seed"] == 0
        ]
        for run in ("one", "two")
    ]
    assert fits[0] == pytest.approx(fits[1], abs=1e-6)  # Minari keeps single precision
    assert main([*words, "--run-dir", "three", *export]) == 2
    assert not (tmp_path / "three").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["CartPol-v1"], "did you mean CartPole-v1?"),
        (["CartPole-v1", "--held-out", "1"], "held-out must be finite, >= 0 and no client's"),
        (["CartPole-v1", "--judged", "9"], "judged must be a client's number or held out, got 9"),
        (["CartPole-v1", "--task.limits", "0,1"], "task.limits is for environments of your own"),
        (["CartPole-v1", "--task.points", "3,3,3"], "got 3"),
        (["CartPole-v1", "--task.points", "3,3,3,1"], "axis turn needs at least 2 points, got 1"),
        (["CartPole-v1", "--fusion.rules", "mean,ceiling"], "the true reward is judged always"),
        (["--task.name", "nobody:knows"], "task.name"),
        (
            ["CartPole-v1", "--learner.data", "no/{client}.npz"],
            "no/0.npz must be a readable .npz of plain arrays, got: no such file",
        ),
        (["CartPole-v1", "--learner.data", "no/pole-v0"], "a local Minari data set, got no/pole"),
        (["CartPole-v1", "--export", "no/{client}.npz"], "export must be in a folder that exists"),
    ],
)
def test_what_cannot_be_studied_is_said_in_one_line(words, said, tmp_path, capsys):
    folder = tmp_path / "run"
    assert main(["control", *words, "--run-dir", str(folder)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not folder.exists()


def test_a_folder_of_something_else_is_not_resumed(tmp_path, capsys):
    assert main(["control", "--resume", str(tmp_path)]) == 2
    assert "must be the folder of a control study" in capsys.readouterr().err


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_matched_rewards_have_the_means_offset_and_scale(unit):
    support = Support(RadialBasis(PENDULUM.support, 16).at(PENDULUM.support.points), ())
    support = Support(support.features, ground_of(PENDULUM.support))
    thetas = unit * np.random.default_rng(0).normal(size=(3, 16))
    found = fused_columns(
        thetas, np.zeros((3, 16, 16)), support, FusionConfig(rules=("mean", "barycenter"))
    )
    assert found["mean"].offset == found["barycenter"].offset == 0.0
    base = support.features @ found["mean"].theta
    matched = found["barycenter" + MATCHED]
    reward = support.features @ matched.theta + matched.offset
    assert reward.mean() == pytest.approx(base.mean())
    assert reward.std() == pytest.approx(base.std())
    plain = support.features @ found["barycenter"].theta
    assert np.corrcoef(reward, plain)[0, 1] == pytest.approx(1.0)


def test_blind_controls_are_constants_and_directions_as_long_as_the_mean():
    mean = np.array([3.0, 4.0, 0.0])
    found = controls(mean, np.random.default_rng(0), 2)
    assert list(found) == ["+1", "-1", "random 1", "random 2"]
    assert [found[name].offset for name in ("+1", "-1")] == [1.0, -1.0]
    for name in ("random 1", "random 2"):
        assert np.linalg.norm(found[name].theta) == pytest.approx(5.0)
    assert (found["random 1"].theta != found["random 2"].theta).all()


def test_ground_cost_in_the_papers_spacings_does_not_change_with_resolution():
    finer = product(PENDULUM.state.resized((64, 41)), PENDULUM.action)
    fine, coarse = ground_of(finer, PENDULUM.support), ground_of(PENDULUM.support)
    assert fine[0][0, 2] == pytest.approx(coarse[0][0, 1])  # two fine cells are one coarse one
    assert fine[1][2] == pytest.approx(coarse[1][1])
    assert fine[2] == pytest.approx(coarse[2])


def test_a_rule_is_better_only_above_the_mean_and_every_control():
    rng = np.random.default_rng(1)

    def rows(column, level):
        return [
            {"kind": "agent", "column": column, "seed": seed, "client": 0.0, "held_out": False,
             "step": 9, "name": "return", "value": level + 0.1 * rng.normal()}
            for seed in range(5)
        ]  # fmt: skip

    def standing(mean, barycenter, blind):
        found = [*rows("mean", mean), *rows("barycenter", barycenter), *rows("+1", blind)]
        (one,) = standings(found, "agent", False)
        return one

    assert standing(1.0, 3.0, 2.0).better
    assert not standing(1.0, 3.0, 4.0).better
    assert not standing(3.0, 3.0, 2.0).better
    assert standing(3.0, 1.0, 2.0).worse


def test_held_out_physics_follow_the_number_of_clients():
    assert ControlConfig().worlds[6:] == (2.5, 6.0, 7.0)
    for clients in range(1, 12):
        own, new = range(clients), ControlConfig(clients=clients).worlds[clients:]
        assert not set(new) & set(own)
        assert 0.0 < new[0] < max(1, clients - 1)
        assert new[1:] == (clients, clients + 1)
    assert ControlConfig(clients=3, held_out=()).worlds == (0.0, 1.0, 2.0)


def test_every_column_is_counted_before_it_is_judged():
    config = ControlConfig.of("Pendulum-v1", seeds=3)
    columns = judged_columns(config)
    assert columns[:2] == ("local", "pooled")
    trainings = len(config.worlds) * 3 * (len(columns) + 1)
    assert size(config) == 6 + 6 + 1 + 3 + 9 + trainings
    with pytest.raises(ConfigError, match="the true reward is judged always"):
        ControlConfig(fusion=FusionConfig(rules=("mean", "expert")))
