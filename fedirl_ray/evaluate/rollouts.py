"""What many agents live through between two updates, and what it was worth to them.

Observations are standardised by their running moments and rewards divided by the running standard
deviation of the discounted return (never centred), both cut at ten: stable-baselines3's
`VecNormalize`. Advantages are generalised ones (Schulman et al. 2016,
https://arxiv.org/abs/1506.02438); where the time limit alone ended an episode, what was seen last
is still worth its value.

Letters: `b` agents, `r` rows of each, `t` steps of a row, `n = t r`, `o` numbers in an observation,
`q` action axes, `k` numbers that say which action was taken, `u` outputs of a policy.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from fedirl_ray.config_control import PPOConfig
from fedirl_ray.evaluate.distributions import Distribution
from fedirl_ray.evaluate.environments import Environments
from fedirl_ray.evaluate.networks import POLICY, Networks, Singles
from fedirl_ray.evaluate.ppo import Record
from fedirl_ray.problem.control.actor import SEEN
from fedirl_ray.problem.mdp import Floats, Places

SeenReward = Callable[[Floats, Floats], Floats]
"""A reward of what is seen: observations `[n, o]` and actions `[n, q]` to `[n]`."""
PRIOR = 1e-4
"""Observations, of mean 0 and variance 1, that moments begin with."""
LEAST = 1e-8
"""Added to variances."""


class Moments:
    """Running moments of every agent's observations."""

    def __init__(self, first: Floats) -> None:
        """Begin with the observations `[b, r, o]` that episodes begin with."""
        # Sums of differences from a number that is near, else large offsets cancel digits.
        self._near = first.mean(axis=1)
        self._count = PRIOR
        self._sum = -PRIOR * self._near
        self._squares = PRIOR * (1.0 + np.square(self._near))
        self.mean: Floats
        """`[b, o]`."""
        self.spread: Floats
        """Standard deviation, `[b, o]`."""
        self.add(first)

    def keep(self, which: Places) -> None:
        """Forget all agents but these."""
        self._near, self._sum = self._near[which], self._sum[which]
        self._squares = self._squares[which]
        self.mean, self.spread = self.mean[which], self.spread[which]

    def add(self, seen: Floats) -> None:
        """Count observations `[b, r, o]`."""
        apart = seen - self._near[:, None]
        self._count += seen.shape[1]
        self._sum += apart.sum(axis=1)
        self._squares += np.square(apart).sum(axis=1)
        shift = self._sum / self._count
        self.mean = self._near + shift
        variance = np.maximum(self._squares / self._count - np.square(shift), 0.0)
        self.spread = np.sqrt(variance + LEAST)

    def standard(self, seen: Floats) -> Floats:
        """Observations `[b, r, o]` in standard deviations from the mean."""
        apart: Floats = seen - self.mean[:, None]
        apart /= self.spread[:, None]
        np.maximum(apart, -SEEN, out=apart)  # what np.clip does takes longer to begin
        return np.minimum(apart, SEEN, out=apart)


class _Returns:
    """Running second moments of every agent's discounted returns."""

    def __init__(self, agents: int, rows: int, discount: float) -> None:
        self._discount, self._count = discount, PRIOR
        self._now = np.zeros((agents, rows))
        self._sum, self._squares = np.zeros(agents), np.full(agents, PRIOR)

    def keep(self, which: Places) -> None:
        self._now, self._sum = self._now[which], self._sum[which]
        self._squares = self._squares[which]

    def divide(self, reward: Floats, over: NDArray[np.bool_]) -> Singles:
        """Rewards `[b, t, r]` over the deviation of the returns up to each step.

        Args:
            reward: As paid.
            over: Whether the episode ended with the step, `[b, t, r]`.
        """
        _, t, r = reward.shape
        returns, now = np.empty_like(reward), self._now
        for step in range(t):
            now = now * self._discount + reward[:, step]
            returns[:, step] = now
            now[over[:, step]] = 0.0
        self._now = now
        counts = self._count + r * np.arange(1, t + 1)
        sums = self._sum[:, None] + returns.sum(axis=2).cumsum(axis=1)
        squares = self._squares[:, None] + np.square(returns).sum(axis=2).cumsum(axis=1)
        self._count = float(counts[-1])
        self._sum, self._squares = sums[:, -1].copy(), squares[:, -1].copy()
        variance = np.maximum(squares / counts - np.square(sums / counts), 0.0)
        divided = reward / np.sqrt(variance + LEAST)[..., None]
        cut: Singles = np.clip(divided, -SEEN, SEEN).astype(np.float32)
        return cut


class Rollouts:
    """Lives through rollouts of `b` agents, one after the other."""

    def __init__(
        self,
        environments: Environments,
        networks: Networks,
        actions: Distribution,
        config: PPOConfig,
        rewards: Sequence[SeenReward | None],
        streams: Sequence[np.random.Generator],
    ) -> None:
        """Stand before the first step.

        Args:
            environments: Of config.rows rows; stepped.
            networks: Act, and say what observations are worth.
            actions: What the policy's outputs mean.
            config: Rows, rollout, discount and gae are used.
            rewards: What each agent is paid; None: the task's own reward.
            streams: Each agent's, for its actions; consumed.
        """
        self.moments = Moments(environments.observations)
        self._environments, self._networks, self._actions = environments, networks, actions
        self._config, self._rewards, self._streams = config, list(rewards), list(streams)
        b, r, o = environments.observations.shape
        self._returns = _Returns(b, r, config.discount)
        self._shape = (config.rollout // r, r)
        self._rooms(b, o)
        self._inputs[:, -1, :, :o] = self.moments.standard(environments.observations)

    def _rooms(self, b: int, o: int) -> None:
        """Arrays for a rollout, used again and again."""
        t, r = self._shape
        u = self._networks.layout.outputs
        self._inputs = np.ones((b, t + 1, r, o + 1), dtype=np.float32)
        """What the networks see; the last is one, whose weights are the first layer's biases."""
        self._ends = np.ones((b, t, r, o + 1), dtype=np.float32)
        """The same of what was seen last, where the time limit ended an episode."""
        self._outputs = np.zeros((b, t, r, u), dtype=np.float32)
        self._noise = np.zeros((b, t, r, u), dtype=np.float32)
        self._taken = np.zeros((b, t, r, self._actions.kept), dtype=np.float32)
        self._seen = np.zeros((b, t, r, o))
        self._reward = np.zeros((b, t, r))
        self._over = np.zeros((b, t, r), dtype=bool)
        self._cut = np.zeros((b, t, r), dtype=bool)

    def keep(self, which: Places) -> None:
        """Forget all agents but these."""
        inputs = self._inputs[which, -1]
        self._environments.keep(which)
        self._networks.keep(which)
        self.moments.keep(which)
        self._returns.keep(which)
        self._rewards = [self._rewards[agent] for agent in which]
        self._streams = [self._streams[agent] for agent in which]
        self._rooms(len(which), inputs.shape[-1] - 1)
        self._inputs[:, -1] = inputs

    def live(self) -> tuple[Singles, list[int]]:
        """Take config.rollout steps with every agent.

        Returns:
            Records `[b, n, ...]`, see `Record`; and agents whose reward was not finite, the records
            of whom mean nothing.
        """
        self._step_on()
        unpaid = [agent for agent in range(len(self._rewards)) if not self._pay(agent)]
        return self._appraise(), unpaid

    def _step_on(self) -> None:
        """Act, and write down what that led to."""
        t, _ = self._shape
        environments, log_std = self._environments, self._networks.weights.log_std[:, POLICY]
        for noise, rng in zip(self._noise, self._streams, strict=True):
            self._actions.fill(noise, rng)
        self._inputs[:, 0] = self._inputs[:, t]
        for step in range(t):
            outputs = self._networks.policy(self._inputs[:, step])
            taken = self._actions.draw(outputs, self._noise[:, step], log_std)
            self._outputs[:, step], self._taken[:, step] = outputs, taken
            self._seen[:, step] = environments.observations
            move = environments.step(self._actions.taken(taken))
            self._reward[:, step], self._cut[:, step] = move.reward, move.truncated
            self._over[:, step] = move.terminated | move.truncated
            self.moments.add(move.observations)
            self._inputs[:, step + 1, :, :-1] = self.moments.standard(move.observations)
            if move.truncated.any():
                self._ends[:, step, :, :-1] = self.moments.standard(move.last)

    def _pay(self, agent: int) -> bool:
        """Pay an agent its own reward, if it has one, and say whether that is finite."""
        own = self._rewards[agent]
        if own is not None:
            t, r = self._shape
            seen = self._seen[agent].reshape(t * r, -1)
            taken = self._actions.taken(self._taken[agent]).reshape(t * r, -1)
            self._reward[agent] = own(seen, taken).reshape(t, r)
        return bool(np.isfinite(self._reward[agent]).all())

    def _appraise(self) -> Singles:
        """What every step was worth, as records."""
        b, (t, r) = len(self._rewards), self._shape
        discount, networks = self._config.discount, self._networks
        paid = self._returns.divide(self._reward, self._over)
        values = np.empty((b, t + 1, r), dtype=np.float32)
        width = self._inputs.shape[-1]
        for agent in range(b):
            inputs = self._inputs[agent].reshape(-1, width)
            values[agent] = networks.value(agent, inputs).reshape(t + 1, r)
            cut = self._cut[agent]
            if cut.any():
                paid[agent][cut] += discount * networks.value(agent, self._ends[agent][cut])
        records = np.empty((b, t, r, width + self._actions.kept + 3), dtype=np.float32)
        record = Record.of(records, width - 1)
        record.inputs[:] = self._inputs[:, :t]
        record.actions[:] = self._taken
        log_std = networks.weights.log_std[:, POLICY, None]
        record.log_prob[:] = self._actions.score(self._outputs, self._taken, log_std).log_prob
        record.advantage[:] = _advantages(paid, values, self._over, self._config)
        record.target[:] = record.advantage + values[:, :t]
        return records.reshape(b, t * r, -1)


def _advantages(
    paid: Singles, values: Singles, over: NDArray[np.bool_], config: PPOConfig
) -> Singles:
    """Generalised advantages `[b, t, r]` of rewards `[b, t, r]` and values `[b, t + 1, r]`."""
    goes_on = (~over).astype(np.float32)
    found = paid + config.discount * goes_on * values[:, 1:] - values[:, :-1]
    decay = (config.discount * config.gae) * goes_on
    for step in reversed(range(paid.shape[1] - 1)):
        found[:, step] += decay[:, step] * found[:, step + 1]
    return found
