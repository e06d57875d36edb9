"""Training steps a second: stable-baselines3 alone, and on batched physics, with the same settings.

    python -m benchmarks.ppo [RUNS]

Alone: Gymnasium's own environments in the library's DummyVecEnv, time limit and all. Ours: the same
number of rows in one arena. Observations and rewards are standardised by the library in both. One
thread; both in one process, taking turns; medians. No evaluation on the way.
"""

import statistics
import sys
import time
from dataclasses import replace

import gymnasium
import torch
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from fedirl_ray.cli import load
from fedirl_ray.config import RunConfig
from fedirl_ray.config_control import PPOConfig
from fedirl_ray.evaluate.ppo import _environments, _learner
from fedirl_ray.problem.control.arena import Arena
from fedirl_ray.problem.control.paper import TASKS
from fedirl_ray.problem.control.task import Task
from fedirl_ray.seeds import stream

STEPS = 32_768
PAPERS = PPOConfig(rows=1, steps=STEPS // 4)


def alone(task: Task, rows: int) -> VecEnv:
    """The library's usual way."""

    def make() -> gymnasium.Env:
        return gymnasium.wrappers.TimeLimit(task.environment(0.0), task.steps)

    return DummyVecEnv([make] * rows)


def ours(task: Task, rows: int) -> VecEnv:
    """Rows of one arena."""
    return _environments(Arena(task, [0.0] * rows, stream(0, "arena")), None)


def rate(environments: VecEnv, config: PPOConfig) -> float:
    """Environment steps a second of a training."""
    learner = _learner(environments, config, 0)
    began = time.perf_counter()
    learner.learn(config.steps)
    return learner.num_timesteps / (time.perf_counter() - began)


def preset_for(task: Task) -> PPOConfig:
    """An agent's settings in the task's preset."""
    words = ["--problem.name", task.name]
    return load(RunConfig, words, prog="ppo", description="").control.agent


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    torch.set_num_threads(1)
    print("| task | settings | alone, steps/s | ours, steps/s | ratio |\n|---|---|---:|---:|---:|")
    for task in TASKS.values():
        for name, config in (
            ("paper: 1 row, batch 64", PAPERS),
            ("laptop", replace(preset_for(task), steps=STEPS)),
        ):
            found: dict[str, list[float]] = {"alone": [], "ours": []}
            for run in range(runs + 1):
                ways = [("alone", alone), ("ours", ours)]
                for way, make in ways if run % 2 else ways[::-1]:
                    taken = rate(make(task, config.rows), config)
                    if run:  # the first warms up
                        found[way].append(taken)
            one, other = (statistics.median(found[way]) for way in ("alone", "ours"))
            print(
                f"| {task.name} | {name} | {one:,.0f} | {other:,.0f} | {other / one:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
