"""Federated inverse reinforcement learning with optimal-transport reward fusion."""

from gymnasium.envs.registration import register

# Gymnasium knows an environment only once somebody has registered it. The class itself is imported
# when it is made.
register(
    id="fedirl_ray/GridWorld-v0",
    entry_point="fedirl_ray.problem.gridworld_env:GridWorldEnv",
)
