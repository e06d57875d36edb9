"""Folders to report on: a run that was really run, and a study that Optuna really kept."""

import itertools
import json

import optuna
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from learning import Learning, results_of
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from fedirl_ray.config import EvaluationConfig, RunConfig
from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.engine.driver import federate
from fedirl_ray.engine.event import Event
from fedirl_ray.engine.identity import identify
from fedirl_ray.engine.local import Clients
from fedirl_ray.engine.record import RunFolder
from fedirl_ray.engine.result import long_table
from fedirl_ray.report.figure import figure_of
from fedirl_ray.report.summary import summary
from fedirl_ray.report.table import full_text
from fedirl_ray.run import main

LEVELS = {"problem.goal-shift": [0.0, 0.5, 1.0], "fusion.epsilon": [0.5, 2.0]}
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    """Three seeds of the default run, made small."""
    path = tmp_path_factory.mktemp("runs") / "small"
    words = "--clients 2 --seeds 3 --problem.size 4 --problem.demonstrations 5"
    words += " --evaluation.held-out 3 --engine.backend local --progress False"
    words += f" --federation.rounds 2 --run-dir {path}"
    assert main(words.split()) == 0
    return path


@pytest.fixture(scope="session")
def learning():
    """Six seeds of agents that learn."""
    domain = Learning()
    return domain, results_of(domain)


@pytest.fixture(scope="session")
def learning_folder(learning, tmp_path_factory):
    """The same as a run leaves them."""
    domain, results = learning
    path = tmp_path_factory.mktemp("runs") / "pole"
    config = domain.config
    with RunFolder.create(path, config, identify(config), overwrite=False) as folder:
        folder.report(Event("placed", "3 clients in this process"))
        texts = summary(domain, results), full_text(domain, results)
        folder.finish(domain, results, *texts, figure_of(domain, results))
    return path


def evaluate(shift, epsilon):
    """A small run's long table."""
    config = RunConfig(
        clients=2,
        seeds=2,
        problem=ProblemConfig(size=4, demonstrations=3, goal_shift=shift),
        fusion=FusionConfig(
            rules=("mean", "median", "arithmetic", "barycenter", "self-control"), epsilon=epsilon
        ),
        evaluation=EvaluationConfig(held_out=2, discounts=()),
    )
    results = [result for _, result in federate(config, Clients(config, range(config.clients)))]
    return long_table(results, domain_of(config))


def keep_study(path, directions):
    """Try every level of two dials, and fail once; keep what a sweep keeps."""
    path.mkdir()
    names = ["held-out success", "seconds"][: len(directions)]
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name="small",
        storage=JournalStorage(JournalFileBackend(str(path / "journal.log"))),
        sampler=optuna.samplers.RandomSampler(seed=0),
        directions=directions,
    )
    for levels in itertools.product(*LEVELS.values()):
        study.enqueue_trial(dict(zip(LEVELS, levels, strict=True)))
    spaces = {name: optuna.distributions.CategoricalDistribution(v) for name, v in LEVELS.items()}
    trials, results = [], []
    for n in range(7):
        trial = study.ask(spaces)
        row = {"number": trial.number, "state": "COMPLETE", "seconds": 0.5 + n, "error": None}
        row |= {f"params.{name}": value for name, value in trial.params.items()}
        if n == 6:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            row |= {"state": "FAIL", "error": f"no world {HOSTILE}"}
            row |= {f"values.{name}": None for name in names}
        else:
            rows = evaluate(*(trial.params[name] for name in LEVELS))
            held = [r.value for r in rows if (r.metric, r.split, r.rule)
                    == ("success", "held-out", "barycenter")]  # fmt: skip
            values = [sum(held) / len(held), 0.5 + n][: len(names)]
            study.tell(trial, values)
            row |= {f"values.{name}": value for name, value in zip(names, values, strict=True)}
            results += [{"trial": trial.number, **r._asdict()} for r in rows]
        trials.append(row)
    pq.write_table(pa.Table.from_pylist(trials), path / "trials.parquet")
    pq.write_table(pa.Table.from_pylist(results), path / "results.parquet")
    plan = {"about": HOSTILE, "search": LEVELS}
    (path / "study.yaml").write_text(yaml.safe_dump(plan))
    (path / "environment.json").write_text(json.dumps({"python": "3"}))
    return path


@pytest.fixture(scope="session")
def study_folder(tmp_path_factory):
    return keep_study(tmp_path_factory.mktemp("studies") / "one", ["maximize"])


@pytest.fixture(scope="session")
def front_folder(tmp_path_factory):
    return keep_study(tmp_path_factory.mktemp("studies") / "two", ["maximize", "minimize"])
