"""MaxEnt IRL on lattices: seconds and memory of one client's fit against resolution.

    python -m benchmarks.lattice_irl

Each lattice in a process of its own, one thread: the model is built, 64 features are laid out, and
a reward is fitted to 50 demonstrations of a plan for the true reward. Memory is the process's peak,
less what it held after imports (VmHWM).
"""

import subprocess
import sys
import time
from pathlib import Path

from threadpoolctl import threadpool_limits

LATTICES = {
    "Pendulum-v1": ((32, 21), (100, 67), (200, 101), (400, 251)),
    "CartPole-v1": ((5, 5, 7, 5), (9, 9, 13, 9), (13, 13, 21, 13), (16, 16, 25, 16)),
    "Acrobot-v1": ((9, 9, 5, 5), (13, 13, 9, 9), (17, 17, 12, 12), (20, 20, 16, 16)),
}


def peak() -> float:
    """Largest resident memory so far, MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def measure(name: str, shape: tuple[int, ...]) -> None:
    from fedirl_ray.cli import load
    from fedirl_ray.config import RunConfig
    from fedirl_ray.domain.control_settings import Learner, TaskSpec
    from fedirl_ray.evaluate.agent import LatticeAgent
    from fedirl_ray.irl.shown import show
    from fedirl_ray.irl.stationary import LatticeIRL, fit_lattice
    from fedirl_ray.problem.control.arena import play
    from fedirl_ray.problem.control.model import model_from_physics
    from fedirl_ray.problem.control.planning import plan
    from fedirl_ray.seeds import stream

    threadpool_limits(1)
    before = peak()
    words = ["--problem.name", name]
    learner = Learner.of(load(RunConfig, words, prog="lattice_irl", description=""))
    discount = learner.irl.discount
    coarse = TaskSpec(name).task()
    physics = coarse.physics(0.0)
    rough = model_from_physics(coarse, physics, coarse.state, coarse.action, stream(0, "lattice"))
    expert = LatticeAgent(
        coarse,
        rough,
        plan(rough, rough.reward, discount=discount, temperature=0.0),
        lambda places, actions: physics.step(places, actions).reward,
        physics,
        discount,
        stream(0, "ties"),
    )
    episodes = play(coarse, [0.0] * 50, expert, stream(0, "shown"))
    task = TaskSpec(name, shape).task()
    began = time.perf_counter()
    model = model_from_physics(task, physics, task.state, task.action, stream(0, "lattice"))
    features = learner.basis(task).at(task.support.points)
    built = time.perf_counter()
    shown = show(task, episodes, task.state, task.action, discount)
    fit = fit_lattice(
        [LatticeIRL(model, features, shown, learner.irl, learner.objective)], learner.irl
    )
    fitted = time.perf_counter()
    print(
        f"| {name} | {'x'.join(map(str, shape))} | {task.state.size:,} | {task.support.size:,} | "
        f"{built - began:.1f} | {fitted - built:.1f} | {fit.iterations} | {peak() - before:,.0f} |",
        flush=True,
    )


def main() -> None:
    if len(sys.argv) == 3:
        measure(sys.argv[1], tuple(map(int, sys.argv[2].split("x"))))
        return
    print("| task | lattice | states | support | build, s | fit, s | iterations | MiB |")
    print("|---|---|---:|---:|---:|---:|---:|---:|", flush=True)
    for name, shapes in LATTICES.items():
        for shape in shapes:
            words = [
                sys.executable,
                "-m",
                "benchmarks.lattice_irl",
                name,
                "x".join(map(str, shape)),
            ]
            subprocess.run(words, check=True)


if __name__ == "__main__":
    main()
