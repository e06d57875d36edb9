"""What a run is said to hold beside what it holds, and what is refused before any work begins."""

import time
import tracemalloc

import pytest

from fedirl_ray.config import EvaluationConfig, FederationConfig, IRLConfig, RunConfig
from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.engine.checkpoint import Checkpoints
from fedirl_ray.engine.driver import federate
from fedirl_ray.engine.identity import identify
from fedirl_ray.engine.local import Clients
from fedirl_ray.engine.memory import require_memory
from fedirl_ray.engine.result import long_table, stack
from fedirl_ray.errors import ConfigError
from fedirl_ray.run import main
from fedirl_ray.transport.memory import _left_in_groups, available

QUICK = {
    "irl": IRLConfig(optimizer="adam", iterations=1),
    "fusion": FusionConfig(rules=("mean", "barycenter"), iterations=2),
    "evaluation": EvaluationConfig(held_out=1, discounts=(), discount=0.5),
}


def shape(**changed):
    clients, seeds = changed.pop("clients", 1), changed.pop("seeds", 1)
    rounds, held_out = changed.pop("rounds", 1), changed.pop("held_out", 1)
    problem = {"size": 3, "demonstrations": 1, "horizon": 2, "obstacles": 0.0, **changed}
    return RunConfig(
        clients=clients,
        seeds=seeds,
        problem=ProblemConfig(**problem),
        federation=FederationConfig(rounds=rounds),
        **{**QUICK, "evaluation": EvaluationConfig(held_out=held_out, discounts=(), discount=0.5)},
    )


def peak(config, folder):
    """Bytes a run takes at most, from its worlds to its tables."""
    tracemalloc.start()
    try:
        found = []
        fleet = Clients(config, range(config.clients))
        kept = Checkpoints(folder, identify(config), pytest.fail)
        for seed, result in federate(config, fleet, keep=kept.save_round):
            kept.save_seed(seed, result)
            found.append(result)
        tables = long_table(found, domain_of(config)), stack(found)
        del tables
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


SHAPES = {
    "large worlds": shape(size=60),
    "many clients": shape(clients=150, size=4),
    "many demonstrations": shape(demonstrations=50_000, horizon=8),
    "long episodes": shape(horizon=2_000),
    "many held-out worlds": shape(held_out=300),
    "many seeds": shape(seeds=40, clients=4, size=2),
    "one-hot": shape(size=16, features="one-hot", clients=4),
}


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES.keys())
def test_the_estimate_is_within_a_factor_of_four_of_what_a_run_takes(config, tmp_path):
    run = peak(shape(), tmp_path)  # caches are filled, imports done
    run = peak(config, tmp_path)
    said = domain_of(config).room()
    assert 0.25 < said / run < 4.0, (said, run)


SMALL = ["--seeds", "1", "--engine.backend", "local", "--progress", "False"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("problem.size", 10**9),
        ("problem.size", 30_000),
        ("clients", 10**9),
        ("clients", 10**22),
        ("problem.demonstrations", 10**9),
        ("problem.horizon", 10**12),
        ("evaluation.held-out", 10**9),
        ("federation.rounds", 10**11),
        ("seeds", 10**12),
    ],
)
def test_sizes_that_no_machine_can_hold_are_refused_by_name_at_once(
    capsys, tmp_path, monkeypatch, name, value
):
    monkeypatch.chdir(tmp_path)
    began = time.process_time()
    assert main([*SMALL, f"--{name}", str(value)]) == 2
    assert time.process_time() - began < 5.0
    said = capsys.readouterr().err
    assert said.startswith(f"{name} must leave room in this machine's memory, got {value}: ")
    assert "are available" in said
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["stress", "--clients", "3,1000000000000"], "clients"),
        (["pendulum", "--clients", "10" + "0" * 20], "clients"),
        (["--problem.name", "Pendulum-v1", "--problem.demonstrations", "10" + "0" * 20],
         "problem.demonstrations"),
        (["pendulum", "--seeds", "10" + "0" * 20], "seeds"),
        (["pendulum", "--evaluation.held-out", "10" + "0" * 20], "evaluation.held-out"),
        (["sweep", "study.yaml", "--run-dir", "s"], "study.yaml: evaluation.held-out"),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, list) else value,
)  # fmt: skip
def test_every_command_asks_for_the_memory_first(capsys, tmp_path, monkeypatch, argv, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(
        "fixed: {fusion.rules: [mean]}\nsearch: {evaluation.held-out: [3, 1000000000000]}\n"
        "objectives: {success/held-out/mean: maximize}\n"
    )
    assert main(argv) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"{name} must leave room in this machine's memory, got 10000000")
    assert [path.name for path in tmp_path.iterdir()] == ["study.yaml"]


def test_what_is_usual_fits():
    require_memory(RunConfig())
    require_memory(RunConfig(clients=3000, problem=ProblemConfig(size=20)))


def test_worlds_of_ones_own_are_judged_by_what_is_known_of_them(tmp_path, monkeypatch):
    (tmp_path / "own_for_memory.py").write_text("def world(role, index, rng): ...")
    monkeypatch.syspath_prepend(tmp_path)
    problem = ProblemConfig(name="own_for_memory:world", demonstrations=10**12)
    config = RunConfig(problem=problem)
    with pytest.raises(ConfigError, match=r"^problem\.demonstrations must leave room"):
        require_memory(config)


def test_a_group_of_processes_leaves_its_limit_without_what_it_holds_for_good(tmp_path):
    assert available() > 2**20
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 300\ninactive_file 150\nactive_file 250\n")
    assert 700 in list(_left_in_groups(tmp_path))
    (tmp_path / "memory.max").write_text("max\n")
    assert not list(_left_in_groups(tmp_path))
