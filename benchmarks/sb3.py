"""stable-baselines3's PPO with the settings of `fedirl_ray.evaluate.ppo`: what ours is held to."""

from abc import ABC, abstractmethod
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from fedirl_ray.config_control import PPOConfig
from fedirl_ray.evaluate.rollouts import SeenReward
from fedirl_ray.problem.control.actor import SEEN, Actor
from fedirl_ray.problem.control.arena import Arena, Move, play
from fedirl_ray.problem.control.task import Task
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.seeds import stream


def learner_of(environments: VecEnv, config: PPOConfig, seed: int) -> PPO:
    """An untrained agent."""
    layers = list(config.hidden)
    return PPO(
        "MlpPolicy",
        VecNormalize(environments, gamma=config.discount, clip_obs=SEEN),
        learning_rate=config.learning_rate,
        n_steps=config.rollout // config.rows,
        batch_size=config.batch,
        n_epochs=config.epochs,
        gamma=config.discount,
        gae_lambda=config.gae,
        clip_range=config.clip,
        ent_coef=config.entropy,
        policy_kwargs={"net_arch": {"pi": layers, "vf": layers}},
        seed=seed,
        device="cpu",
    )


def actor_of(task: Task, learner: PPO) -> Actor:
    """An agent's policy as arrays."""
    network: Any = learner.policy
    layers = [*network.mlp_extractor.policy_net, network.action_net]
    linear = [layer for layer in layers if hasattr(layer, "weight")]
    seen = learner.env.obs_rms
    arrays = [(layer.weight.detach().numpy().T, layer.bias.detach().numpy()) for layer in linear]
    weights, biases = zip(*arrays, strict=True)
    deviation = np.empty(0) if task.discrete else np.exp(network.log_std.detach().numpy())
    choices = task.action.points if task.discrete else None
    spread = np.sqrt(seen.var + 1e-8)
    return Actor(choices, seen.mean, spread, weights, biases, deviation)


def final_return(task: Task, client: float, config: PPOConfig, seed: int) -> float:
    """Train an agent, and play it: its mean true return."""
    arena = Arena(task, [client] * config.rows, stream(seed, "arena"))
    learner = learner_of(Rows(arena), config, seed)
    learner.learn(config.steps)
    rng = stream(seed, "judge")
    return float(
        play(task, [client] * config.episodes, actor_of(task, learner), rng).returns.mean()
    )


class Told(VecEnv, ABC):
    """Many environments, as stable-baselines3 sees them, whose steps are `Move`s."""

    def __init__(self, task: Task, rows: int, observed: int) -> None:
        """Know the spaces of a task of which so many numbers are observed."""
        self._task = task
        self._actions: NDArray[np.float64] = np.empty(0)
        seen = gymnasium.spaces.Box(-np.inf, np.inf, (observed,), np.float32)
        acts: gymnasium.Space[Any] = (
            gymnasium.spaces.Discrete(task.action.size)
            if task.discrete
            else gymnasium.spaces.Box(-1.0, 1.0, (len(task.action.axes),), np.float32)
        )
        super().__init__(rows, seen, acts)

    @abstractmethod
    def begin(self) -> Floats:
        """First observations, `[n, o]`."""

    @abstractmethod
    def advance(self, actions: Floats) -> tuple[Move, Floats]:
        """Actions `[n, q]` to what they lead to, and what is paid `[n]`."""

    def reset(self) -> NDArray[np.float32]:
        return self.begin().astype(np.float32)

    def step_async(self, actions: NDArray[Any]) -> None:
        chosen = self._task.action.points[actions] if self._task.discrete else actions
        self._actions = np.asarray(chosen, dtype=np.float64)

    def step_wait(self) -> Any:
        move, paid = self.advance(self._actions)
        over = move.terminated | move.truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for row in np.flatnonzero(over):
            infos[row] = {
                "terminal_observation": move.last[row].astype(np.float32),
                "TimeLimit.truncated": bool(move.truncated[row]),
            }
        return move.observations.astype(np.float32), paid.astype(np.float32), over, infos

    def close(self) -> None:
        """There is nothing to close."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [None] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise AttributeError("these environments have no attributes")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **more: Any) -> Any:
        raise AttributeError("these environments have no methods")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs


class Rows(Told):
    """The rows of an arena."""

    def __init__(self, arena: Arena, reward: SeenReward | None = None) -> None:
        """Stand before the first step; a reward of what is seen takes the place of the task's."""
        self._arena, self._reward = arena, reward
        super().__init__(arena.task, len(arena), arena.observations.shape[1])

    def begin(self) -> Floats:
        return self._arena.reset()

    def advance(self, actions: Floats) -> tuple[Move, Floats]:
        before = self._arena.observations
        move = self._arena.step(actions)
        return move, move.reward if self._reward is None else self._reward(before, actions)
