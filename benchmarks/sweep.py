"""Trials side by side: what two workers gain over one, and what a trial costs beside its own run.

    python -m benchmarks.sweep

Wall seconds, Ray's start left out. The study: 40 trials, each five seeds of the 5x5 grid-world.
"""

import tempfile
import time
from pathlib import Path

from fedirl_ray.engine.cluster import connect, ray
from fedirl_ray.engine.tasks import run_seeds
from fedirl_ray.engine.trials import RayTasks
from fedirl_ray.study.asking import create_study, open_study
from fedirl_ray.study.space import Study, parse_study
from fedirl_ray.study.sweep import sweep
from fedirl_ray.study.trials import TRIALS

COUNT = 40
PLAN = {
    "fixed": {"clients": 4, "seeds": 5, "fusion.rules": ["mean", "arithmetic", "barycenter"]},
    "search": {"fusion.epsilon": {"low": 0.05, "high": 5.0, "log": True}},
    "objectives": {"difference/held-out/barycenter": "maximize"},
    "sampler": "random",
    "trials": COUNT,
}


def take(study: Study, workers: int) -> tuple[float, list[dict[str, float]]]:
    """Seconds of a whole study, and its trials' settings."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / TRIALS).mkdir()
        create_study(folder, study)
        tasks = RayTasks(study.base().engine, workers)
        with open_study(folder, study) as found, tasks:
            began = time.perf_counter()
            trials = list(sweep(study, found, folder, tasks, COUNT))
            return time.perf_counter() - began, [trial.params for trial in trials]


def main() -> None:
    study = parse_study(PLAN)
    connect(None, workers=2)
    take(study, 2)  # worker processes start, modules are imported
    one, params = take(study, 1)
    two, _ = take(study, 2)
    began = time.perf_counter()
    for trial in params:
        list(run_seeds(study.config(trial)))
    alone = time.perf_counter() - began
    ray.shutdown()
    print(f"{COUNT} trials: {one:.1f} s with one worker, {two:.1f} s with two")
    print(f"parallel efficiency of two: {one / two / 2:.2f} (bar .8)")
    print(f"beside its own run a trial costs {1e3 * (one - alone) / COUNT:.0f} ms (bar 100)")


if __name__ == "__main__":
    main()
