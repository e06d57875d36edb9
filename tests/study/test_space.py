from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FixedTrial

from fedirl_ray.config import RunConfig
from fedirl_ray.errors import ConfigError
from fedirl_ray.study.asking import suggest
from fedirl_ray.study.space import Range, parse_study, read_study_file

ROOT = Path(__file__).parents[2]
PLAN = {
    "fixed": {"clients": 2, "problem": {"size": 4}, "fusion.rules": ["mean", "barycenter"]},
    "search": {
        "fusion.epsilon": {"low": "1e-2", "high": 10, "log": True},
        "problem.demonstrations": {"low": 1, "high": 9, "step": 2, "integer": True},
        "fusion": {"sigma": ["shared", "client"]},
    },
    "objectives": {"difference/held-out/barycenter": "maximize"},
}


def test_a_file_says_what_is_fixed_and_what_is_searched():
    study = parse_study(PLAN)
    assert study.fixed["problem.size"] == 4
    assert study.search["fusion.sigma"] == ("shared", "client")
    assert study.search["fusion.epsilon"] == Range(0.01, 10.0, log=True)
    config = study.config({"fusion.epsilon": 0.25, "fusion.sigma": "client"})
    assert (config.clients, config.fusion.epsilon, config.fusion.sigma) == (2, 0.25, "client")
    assert study.base() == parse_study({**PLAN, "search": {"seed": [1]}}).base()


@given(
    epsilon=st.floats(0.01, 10.0),
    count=st.sampled_from([1, 3, 5, 7, 9]),
    sigma=st.sampled_from(["shared", "client"]),
)
def test_every_draw_is_a_run(epsilon, count, sigma):
    study = parse_study(PLAN)
    drawn = {"fusion.epsilon": epsilon, "problem.demonstrations": count, "fusion.sigma": sigma}
    found = suggest(FixedTrial(drawn), study)
    assert found == drawn
    config = study.config(found)
    assert config.fusion.epsilon == epsilon
    assert config.problem.demonstrations == count


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            {"search": {"fusion.epsilom": [0.1]}},
            "no setting is called --fusion.epsilom; did you mean --fusion.epsilon?",
        ),
        ({"fixed": {"clinets": 3}}, "no setting is called --clinets; did you mean --clients?"),
        (
            {"search": {"fusion.epsilon": {"low": -1.0, "high": 1.0}}},
            "fusion.epsilon must be > 0 and finite, got -1.0",
        ),
        (
            {"search": {"fusion.epsilon": {"low": 2, "high": 1}}},
            "search.fusion.epsilon must be a range with low <= high",
        ),
        (
            {"search": {"fusion.epsilon": {"low": 0, "high": 1, "log": True}}},
            "search.fusion.epsilon must be above 0 where log is true",
        ),
        (
            {"search": {"fusion.epsilon": {"low": 0.1, "high": 1, "step": 0.4}}},
            "search.fusion.epsilon must be a range that its step divides",
        ),
        (
            {"search": {"fusion.epsilon": {"low": 0.1, "high": 1, "step": 0.3, "log": True}}},
            "search.fusion.epsilon must be without step where log is true",
        ),
        (
            {"search": {"fusion.epsilon": {"low": 0.1, "high": 1, "step": 0.0}}},
            "search.fusion.epsilon must be of a step above 0",
        ),
        (
            {"search": {"fusion.epsilon": {"low": 0.1, "high": float("inf")}}},
            "search.fusion.epsilon must be of finite numbers, ends and step, got inf",
        ),
        (
            {"search": {"fusion.epsilon": {"low": 10**400, "high": 1}}},
            "search.fusion.epsilon must be of finite numbers, ends and step, got 1000",
        ),
        (
            {"search": {"fusion.epsilon": {"low": True, "high": 1}}},
            "search.fusion.epsilon must be of finite numbers, ends and step, got True",
        ),
        (
            {"search": {"clients": {"low": 1, "high": 2.5, "integer": True}}},
            "search.clients must be of whole numbers where integer is true",
        ),
        (
            {"search": {"clients": {"low": 1, "high": 3, "integer": True, "step": 0.5}}},
            "search.clients must be of whole numbers where integer is true",
        ),
        (
            {"search": {"clients": {"low": 1, "high": 3, "integer": "no"}}},
            "search.clients.integer must be true or false, got no",
        ),
        (
            {"search": {"fusion.epsilon": {"low": 0.1, "high": 1, "log": "no"}}},
            "search.fusion.epsilon.log must be true or false, got no",
        ),
        (
            {"search": {"fusion.epsilon": {"low": 0.1, "high": 1, "steps": 3}}},
            "search.fusion.epsilon must be a list of values, or a mapping with low, high and",
        ),
        (
            {"search": {"fusion.epsilon": [[0.1], [1.0]]}},
            "search.fusion.epsilon must be a list of words, numbers, true, false and null",
        ),
        (
            {"search": {"clients": [3, 3.0]}},
            "search.clients must be a list of different values, got [3, 3.0]",
        ),
        (
            {"search": {"clients": [3, "3"]}},
            "search.clients must be a list of different values, got [3, '3']",
        ),
        (
            {"search": {"problem": {"goal_shift": [0.0]}, "problem.goal-shift": [1.0]}},
            "search.problem.goal-shift must be said once, got twice",
        ),
        (
            {"search": {"fusion_epsilon.x": [0.1]}},
            "no setting is called --fusion-epsilon.x",
        ),
        (
            {
                "sampler": "grid",
                "search": {
                    "fusion.epsilon": [0.1 * i for i in range(1, 48)],
                    "problem.demonstrations": list(range(1, 48)),
                    "irl.l2": list(range(1, 48)),
                },
            },
            "search must be of at most 100000 combinations with the sampler grid, got 103823",
        ),
        (
            {
                "fixed": {},
                "search": {"fusion.rules": ["mean,barycenter", "mean,median"]},
                "objectives": {"success/held-out/barycenter": "maximize"},
            },
            "objectives must be success|return|difference/in-distribution|held-out/RULE or",
        ),
        (
            {
                "fixed": {},
                "search": {"problem.name": ["GridWorld", "CartPole-v1"]},
                "objectives": {"success/held-out/mean": "maximize"},
            },
            "objectives must be return|distance|difference/in-distribution|held-out/RULE or",
        ),
        (
            {"fixed": {"problem.name": "CartPole-v1"}, "search": {"problem.size": [4, 5]}},
            "problem.size means nothing for problem.name CartPole-v1, got 4",
        ),
        (
            {
                "objectives": {"seconds/expert": "minimize"},
                "fixed": {"fusion.rules": ["mean", "expert"]},
            },
            "objectives must be of a rule that learns, expert takes no seconds",
        ),
        ({"search": {"fusion.sigma": []}}, "search.fusion.sigma must be a list with at least one"),
        ({"search": {}}, "search must be a mapping with at least one entry"),
        ({"search": None}, "search must be a mapping with at least one entry"),
        ({"search": {"clients": [3]}}, "search must be of settings that are not fixed too"),
        ({"samplers": "tpe"}, "a study's keys must be among fixed, search, objectives"),
        ({"sampler": "tpi"}, "sampler must be among tpe, nsga2"),
        ({"pruner": "best"}, "pruner must be among none, median"),
        ({"trials": 0}, "trials must be an integer >= 1, got 0"),
        ({"trials": True}, "trials must be an integer >= 1, got True"),
        ({"objectives": {"success/held-out/median": "maximize"}}, "objectives must be success|"),
        ({"objectives": {"success/barycenter": "maximize"}}, "objectives must be success|"),
        (
            {"objectives": {"seconds/mean": "down"}},
            "objectives.seconds/mean must be minimize or maximize, got down",
        ),
        (
            {
                "pruner": "median",
                "objectives": {"seconds/mean": "minimize", "bytes_up/mean": "minimize"},
            },
            "pruner must be none with several objectives, got median",
        ),
        ({"sampler": "grid"}, "search.fusion.epsilon must be a list of values with the sampler"),
        (
            {"sampler": "axes", "search": {"fusion.epsilon": [0.1, 0.2]}},
            "search.fusion.epsilon must be a list with 0.5, where the axes meet",
        ),
        ({"centre": {"clients": 3}}, "centre must be of settings that are searched, got clients"),
    ],
)
def test_what_could_not_be_run_is_refused_before_anything_starts(tmp_path, change, line):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**PLAN, **change}))
    with pytest.raises(ConfigError) as refusal:
        read_study_file(path)
    said = str(refusal.value)
    assert said.startswith(f"{path}: {line}")
    assert len(said.splitlines()) == 1


def test_problems_that_are_searched_start_from_their_own_settings():
    search = {"problem.name": ["CartPole-v1", "Pendulum-v1"], "control.width": [0.5, 1.0]}
    fixed = {"control.features": 9, "fusion.rules": ["mean", "barycenter"]}
    objectives = {"return/held-out/barycenter": "maximize"}
    plan = {"fixed": fixed, "search": search, "objectives": objectives, "sampler": "grid"}
    study = parse_study(plan)
    assert [run.control.features for run in study.starts()] == [9, 9]
    # What neither says is each task's own.
    assert len({run.control.expert.steps for run in study.starts()}) == 2
    assert study.goals[0].metric == "return"


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "3"])
def test_a_file_that_is_no_mapping_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"^.*bad\.yaml.* must be a (YAML file|mapping)"):
        read_study_file(tmp_path / "bad.yaml")


def test_a_grid_has_every_combination_and_a_star_moves_one_setting_at_a_time():
    search = {"fusion.epsilon": [0.1, 0.5], "problem.slip": [0.0, 0.1, 0.2]}
    grid = parse_study({**PLAN, "search": search, "sampler": "grid"}).plan()
    assert len({tuple(params.items()) for params in grid}) == 6
    star = parse_study({**PLAN, "search": search, "sampler": "axes"}).plan()
    centre = {"fusion.epsilon": 0.5, "problem.slip": 0.1}
    assert star[0] == centre
    assert len(star) == 4
    assert all(sum(params[name] != centre[name] for name in centre) == 1 for params in star[1:])
    moved = {**PLAN, "search": search, "sampler": "axes", "centre": {"problem.slip": 0.0}}
    assert parse_study(moved).plan()[0] == {"fusion.epsilon": 0.5, "problem.slip": 0.0}


@pytest.mark.parametrize("path", sorted(ROOT.glob("sweeps/*.yaml")), ids=lambda path: path.name)
def test_the_studies_that_are_shipped_can_be_run(path):
    study = read_study_file(path)
    assert study.base() != RunConfig()
    assert study.plan() is None or len(study.plan()) == study.trials


def test_a_grid_has_all_its_trials_unless_the_file_says_how_many():
    search = {"problem.demonstrations": list(range(1, 51))}
    plan = {**PLAN, "search": search, "sampler": "grid"}
    assert parse_study(plan).trials == 50
    assert parse_study({**plan, "trials": 7}).trials == 7
    assert parse_study({**PLAN, "sampler": "random"}).trials == 40


def test_settings_are_known_however_their_words_are_joined():
    study = parse_study(
        {**PLAN, "search": {"problem": {"goal_shift": [0.0, 1.0]}}, "sampler": "axes"}
    )
    assert study.plan() == [{"problem.goal-shift": 0.0}, {"problem.goal-shift": 1.0}]


def test_a_study_is_written_as_it_is_read():
    study = parse_study({**PLAN, "pruner": "median", "trials": 3, "seed": 4, "max-failures": 2})
    assert parse_study(yaml.safe_load(yaml.safe_dump(study.plain()))) == study


def test_a_yaml_file_that_would_not_end_is_refused(tmp_path):
    (tmp_path / "round.yaml").write_text("fixed: &a {b: *a}\nsearch: {fusion.epsilon: [0.1]}\n")
    with pytest.raises(ConfigError, match="stands inside of itself"):
        read_study_file(tmp_path / "round.yaml")
