"""A control task that is not in the paper: a car in a valley, whose engine differs by client.

cd docs && python -m fedirl_ray.run control hilly:hilly
"""

from typing import Any

import gymnasium


class Held(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Holds every action for some steps, so that chance alone may climb the hill."""

    def __init__(self, env: gymnasium.Env[Any, Any], steps: int) -> None:
        super().__init__(env)
        self._steps = steps

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take the same action until the steps are over or the episode is."""
        earned = 0.0
        for _ in range(self._steps):
            seen, reward, terminated, truncated, info = self.env.step(action)
            earned += float(reward)
            if terminated or truncated:
                break
        return seen, earned, terminated, truncated, info


def hilly(i: float) -> gymnasium.Env[Any, Any]:
    """Client i's car: its engine is 5 i % stronger."""
    env: Any = gymnasium.make("MountainCarContinuous-v0").unwrapped
    env.power = 0.0015 * (1.0 + 0.05 * i)
    return gymnasium.wrappers.TimeLimit(Held(env, steps=10), max_episode_steps=100)
