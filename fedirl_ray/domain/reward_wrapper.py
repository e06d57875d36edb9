"""A Gymnasium environment that pays a reward which was learnt."""

from typing import Any, SupportsFloat

import gymnasium
import numpy as np

from fedirl_ray.domain.reward import LearntReward


class RewardWrapper(gymnasium.Wrapper[Any, Any, Any, Any], gymnasium.utils.RecordConstructorArgs):
    """Pays reward(state, action) of the state left; the environment's own is info["true_reward"].

    A table's reward is learnt as if whoever has ended an episode stood there, and earned what that
    state pays, until the horizon (`problem.mdp` says why). An environment that ends pays all of it
    at once: reward x (discount + discount^2 + ...), by the best action where actions matter, so
    that the return at this discount is the model's. In control tasks an end pays nothing more.

    Example:
        >>> env = RewardWrapper(gymnasium.make("CartPole-v1"), load_reward("runs/cartpole"))

    Args:
        env: An environment of the reward's world.
        reward: See `load_reward`.
        discount: Of whoever learns here, in (0, 1]; read in tables alone.
    """

    def __init__(
        self, env: gymnasium.Env[Any, Any], reward: LearntReward, *, discount: float = 0.99
    ) -> None:
        gymnasium.utils.RecordConstructorArgs.__init__(self, reward=reward, discount=discount)
        gymnasium.Wrapper.__init__(self, env)
        self.learnt, self.discount = reward, discount
        self._seen: Any = None
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        self._seen, info = self.env.reset(seed=seed, options=options)
        self._steps = 0
        return self._seen, info

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Take a step; returns what the environment does, but for the reward."""
        before = self._seen
        self._seen, true, terminated, truncated, info = self.env.step(action)
        self._steps += 1
        paid = self.learnt.given(before, action, self.action_space)
        if terminated:
            paid += self._rest()
        return self._seen, paid, terminated, truncated, {**info, "true_reward": true}

    def _rest(self) -> float:
        """What standing where the episode ended earns to the horizon."""
        horizon, choices = self.learnt.phi.horizon, self.learnt.phi.choices
        if horizon is None or choices is None:
            return 0.0
        weight = float((self.discount ** np.arange(1, horizon - self._steps + 1)).sum())
        return weight * float(np.max(self.learnt(self._seen, np.arange(choices))))
