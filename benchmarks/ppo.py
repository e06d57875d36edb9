"""Agent-steps a CPU second beside stable-baselines3, and whether agents end equally good.

    python -m benchmarks.ppo [RUNS]           speed
    python -m benchmarks.ppo returns [COUNT]  final returns of COUNT agents of each

Speed: stable-baselines3 with the same settings on the same physics (arrays; with one row
Gymnasium's own environment, which is faster then), one agent after the other, and ours with 1, 8
and 32 agents side by side, all paid the same: theta . phi of 64 features, or the task's own reward.
One thread, taking turns in one process, medians of RUNS (3) after one to warm up. Agents take three
rollouts; ours are then judged on one episode, which is counted against them.

Returns: mean true return of the last agent of every training, on client 0, at the laptop budgets;
Kolmogorov-Smirnov and Mann-Whitney.
"""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from scipy.stats import ks_2samp, mannwhitneyu

from benchmarks.sb3 import Rows, final_return, learner_of
from fedirl_ray.cli import load
from fedirl_ray.config import RunConfig
from fedirl_ray.config_control import PPOConfig
from fedirl_ray.evaluate.rollouts import SeenReward
from fedirl_ray.evaluate.training import AgentJob, train_agents
from fedirl_ray.problem.control.arena import Arena
from fedirl_ray.problem.control.basis import LinearReward, RadialBasis
from fedirl_ray.problem.control.paper import ACROBOT, CARTPOLE, PENDULUM
from fedirl_ray.problem.control.task import Task
from fedirl_ray.seeds import stream

SIDE_BY_SIDE = (1, 8, 32)
ROLLOUTS = 3


def usual_agent(task: Task, budget: str) -> PPOConfig:
    """How a preset trains agents: `laptop`, or `paper`."""
    name = task.name.partition("-")[0].lower() + ("-paper" if budget == "paper" else "")
    return load(RunConfig, [name], prog="ppo", description="").control.agent


def reward_of(task: Task, seed: int) -> SeenReward:
    """A random theta's."""
    basis = RadialBasis(task.support, 64)
    linear = LinearReward(basis, np.random.default_rng(seed).normal(size=64))
    return lambda seen, done: linear(task.locate(seen), done)


def theirs(task: Task, config: PPOConfig, reward: SeenReward | None) -> None:
    """Train one agent with stable-baselines3."""
    arena = Arena(task, [0.0] * config.rows, stream(0, "arena"))
    learner_of(Rows(arena, reward), config, 0).learn(config.steps)


def ours(task: Task, config: PPOConfig, reward: SeenReward | None, agents: int) -> None:
    """Train that many of ours."""
    train_agents(task, config, [AgentJob(0.0, seed, reward) for seed in range(agents)])


def spent(work: Callable[[], None]) -> float:
    """CPU seconds."""
    began = time.process_time()
    work()
    return time.process_time() - began


def speed(runs: int) -> None:
    torch.set_num_threads(1)
    heads = "".join(f" {agents} |" for agents in SIDE_BY_SIDE)
    print(f"| task | settings | reward | stable-baselines3 |{heads} times |")
    print(f"|---|---|---|---:|{'---:|' * len(SIDE_BY_SIDE)}---:|")
    for task in (PENDULUM, CARTPOLE, ACROBOT):
        for name in ("laptop", "paper"):
            usual = usual_agent(task, name)
            steps = ROLLOUTS * usual.rollout
            config = replace(usual, steps=steps, evaluations=1, episodes=1)
            for paid, reward in (("theta . phi", reward_of(task, 0)), ("own", None)):
                rates = rates_of(runs, task, config, reward)
                row = "".join(f" {rates[agents]:,.0f} |" for agents in (0, *SIDE_BY_SIDE))
                times = max(rates.values()) / rates[0]
                print(f"| {task.name} | {name} | {paid} |{row} {times:.1f} |", flush=True)


def rates_of(
    runs: int, task: Task, config: PPOConfig, reward: SeenReward | None
) -> dict[int, float]:
    """Steps of all agents a CPU second, by how many are side by side; 0: stable-baselines3."""
    ways: dict[int, Callable[[], None]] = {
        agents: partial(ours, task, config, reward, agents) for agents in SIDE_BY_SIDE
    }
    ways[0] = partial(theirs, task, config, reward)
    found: dict[int, list[float]] = {way: [] for way in ways}
    for run in range(runs + 1):
        for way in sorted(ways, reverse=bool(run % 2)):
            taken = spent(ways[way])
            if run:  # the first warms up
                found[way].append(max(1, way) * config.steps / taken)
    return {way: statistics.median(rates) for way, rates in found.items()}


def returns(count: int) -> None:
    torch.set_num_threads(1)
    print("| task | steps | stable-baselines3 | ours | KS p | Mann-Whitney p |")
    print("|---|---:|---:|---:|---:|---:|")
    for task in (PENDULUM, CARTPOLE):
        config = replace(usual_agent(task, "laptop"), evaluations=1)
        found = train_agents(task, config, [AgentJob(0.0, seed) for seed in range(count)])
        own = [float(one.returns[-1]) for one in found]
        others = [final_return(task, 0.0, config, seed) for seed in range(count)]
        says = [
            f"{np.mean(one):.0f} ± {np.std(one, ddof=1) / count**0.5:.0f}" for one in (others, own)
        ]
        tests = (ks_2samp(own, others).pvalue, mannwhitneyu(own, others).pvalue)
        print(
            f"| {task.name} | {config.steps:,} | {says[0]} | {says[1]} | {tests[0]:.2f} | "
            f"{tests[1]:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    words = sys.argv[1:]
    if words[:1] == ["returns"]:
        returns(int(words[1]) if len(words) > 1 else 32)
    else:
        speed(int(words[0]) if words else 3)
