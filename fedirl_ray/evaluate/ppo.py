"""Agents trained by stable-baselines3's PPO in batched control tasks.

Only stepping is ours: PPO's own time goes into its updates, and Gymnasium's, one Python call an
environment, into nothing. The library and torch are imported where an agent is trained.

Letters: `n` rows, `k` evaluations, `e` episodes of one.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from fedirl_ray.config_control import PPOConfig
from fedirl_ray.errors import ConfigError
from fedirl_ray.problem.control.actor import SEEN, Actor
from fedirl_ray.problem.control.arena import Arena, play
from fedirl_ray.problem.control.task import Task
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.seeds import stream

if TYPE_CHECKING:
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import VecEnv

SeenReward = Callable[[Floats, Floats], Floats]
"""A reward of what is seen: observations `[n, o]` and actions `[n, q]` to `[n]`."""


@dataclass(frozen=True)
class Training:
    """What came of training one agent."""

    at: NDArray[np.int64]
    """Environment steps at each evaluation, `[k]`."""
    episodes: Floats
    """True returns of the evaluations' episodes, `[k, e]`."""
    actors: tuple[Actor, ...]
    """The agent at each evaluation."""

    @property
    def returns(self) -> Floats:
        """Mean true return at each evaluation, `[k]`."""
        means: Floats = self.episodes.mean(axis=1)
        return means


def train(
    task: Task, client: float, config: PPOConfig, seed: int, reward: SeenReward | None = None
) -> Training:
    """Train an agent in one client's physics.

    Observations are standardised and rewards divided by the running standard deviation of the
    discounted return (never centred), so that rewards that differ in scale alone train alike.
    Evaluations play the agent's likeliest actions in episodes of their own.

    Args:
        task: The task.
        client: Whose physics.
        config: Budget and hyperparameters.
        seed: Decides everything that is random.
        reward: What the agent is paid instead of the task's reward, which is always what is
            recorded.

    Returns:
        The curve, and the agent along it.

    Raises:
        ConfigError: stable-baselines3 or torch is not installed.
    """
    rows = [client] * config.rows
    arena = Arena(task, rows, stream(seed, "arena"))
    with _one_thread():
        learner = _learner(_environments(arena, reward), config, seed)
        at, episodes, actors = [], [], []
        for number in range(1, config.evaluations + 1):
            aim = config.steps * number // config.evaluations
            if aim > learner.num_timesteps:
                left = aim - learner.num_timesteps
                learner.learn(left, reset_num_timesteps=False)
            actor = _actor(task, learner)
            played = play(task, [client] * config.episodes, actor, stream(seed, "judge", number))
            at.append(learner.num_timesteps)
            episodes.append(played.returns)
            actors.append(actor)
    return Training(np.array(at), np.array(episodes), tuple(actors))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Small networks are slower on several threads, and agents are trained side by side."""
    try:
        import stable_baselines3  # noqa: F401
        import torch
    except ImportError as err:
        raise ConfigError(
            "training agents needs stable-baselines3: pip install 'fedirl-ray[control]'"
        ) from err
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _learner(environments: "VecEnv", config: PPOConfig, seed: int) -> "PPO":
    """An untrained agent."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import VecNormalize

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
        seed=seed % 2**32,
        device="cpu",
    )


def _actor(task: Task, learner: "PPO") -> Actor:
    """An agent's policy as arrays."""
    seen = learner.env.obs_rms  # type: ignore[union-attr]
    network: Any = learner.policy
    layers = [*network.mlp_extractor.policy_net, network.action_net]
    linear = [layer for layer in layers if hasattr(layer, "weight")]

    def array(tensor: Any) -> Floats:
        return np.array(tensor.detach().numpy(), dtype=np.float64)

    return Actor(
        task.action.points if task.discrete else None,
        np.array(seen.mean),
        np.sqrt(seen.var + 1e-8),
        tuple(array(layer.weight).T.copy() for layer in linear),
        tuple(array(layer.bias) for layer in linear),
        np.empty(0) if task.discrete else np.exp(array(network.log_std)),
    )


def _environments(arena: Arena, reward: SeenReward | None) -> "VecEnv":
    """An arena as stable-baselines3 sees many environments."""
    from stable_baselines3.common.vec_env import VecEnv

    task = arena.task

    class Environments(VecEnv):
        """Rows of an arena; defined here because its base is imported late."""

        def __init__(self) -> None:
            box = gymnasium.spaces.Box(-np.inf, np.inf, (arena.observations.shape[1],), np.float32)
            acts: gymnasium.Space[Any] = (
                gymnasium.spaces.Discrete(task.action.size)
                if task.discrete
                else gymnasium.spaces.Box(-1.0, 1.0, (len(task.action.axes),), np.float32)
            )
            self._actions = np.empty(0)
            super().__init__(len(arena), box, acts)

        def reset(self) -> NDArray[np.float32]:
            return arena.reset().astype(np.float32)

        def step_async(self, actions: NDArray[Any]) -> None:
            chosen = task.action.points[actions] if task.discrete else actions
            self._actions = np.asarray(chosen, dtype=np.float64)

        def step_wait(self) -> Any:
            before = arena.observations
            move = arena.step(self._actions)
            paid = move.reward if reward is None else reward(before, self._actions)
            over = move.terminated | move.truncated
            infos: list[dict[str, Any]] = [{} for _ in range(len(arena))]
            for row in np.flatnonzero(over) if over.any() else ():
                infos[row] = {
                    "terminal_observation": move.last[row].astype(np.float32),
                    "TimeLimit.truncated": bool(move.truncated[row]),
                }
            seen = move.observations.astype(np.float32)
            return seen, paid.astype(np.float32), over, infos

        def close(self) -> None:
            """There is nothing to close."""

        def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
            return [None] * len(arena)

        def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
            raise AttributeError("rows of an arena have no attributes")

        def env_method(self, method_name: str, *args: Any, indices: Any = None, **more: Any) -> Any:
            raise AttributeError("rows of an arena have no methods")

        def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
            return [False] * len(arena)

    return Environments()
