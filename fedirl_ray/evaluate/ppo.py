"""PPO: its settings, and the update of many agents at once, with gradients written out.

It is stable-baselines3's `PPO` to the last constant, which tests hold it to. What a rollout leaves
of a step is one row of numbers, so that a shuffled minibatch lies in one piece. Agents are updated
in tiles whose minibatches stay in the cache through all epochs; a tile's size changes no number.

Source: Schulman et al. (2017), https://arxiv.org/abs/1707.06347.

Letters: `b` agents, `n` steps of a rollout, `m` of a minibatch, `i` inputs, `k` numbers that say
which action was taken, `h` units of a layer, `p` parameters of one network.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np

from fedirl_ray.config_control import PPOConfig
from fedirl_ray.evaluate.distributions import Distribution
from fedirl_ray.evaluate.networks import POLICY, VALUE, Layout, Networks, Singles, Weights
from fedirl_ray.problem.mdp import Places

TILE = 1_024
"""Rows of all minibatches of a tile together: with layers of 64 units they fit the cache."""
MOST_AGENTS = 16
"""Agents of a tile: their parameters must fit too."""
MOST_NORM = 0.5
"""Longest gradient of both networks together."""
VALUE_WEIGHT = 0.5
"""Of the value's squared error."""
DECAY = (0.9, 0.999)
"""Adam's, of gradients and of their squares."""
EPSILON = 1e-5
"""Adam's."""


class Record(NamedTuple):
    """What a rollout leaves of its steps for the update: columns of one array."""

    inputs: Singles
    """What the networks saw, `[..., i + 1]`."""
    actions: Singles
    """As kept, `[..., k]`."""
    log_prob: Singles
    """Of the action when it was drawn, `[...]`."""
    advantage: Singles
    """`[...]`."""
    target: Singles
    """What the value should have been, `[...]`."""

    @classmethod
    def of(cls, array: Singles, inputs: int) -> Self:
        """Views of `[..., i + 1 + k + 3]`."""
        columns = (array[..., -3], array[..., -2], array[..., -1])
        return cls(array[..., : inputs + 1], array[..., inputs + 1 : -3], *columns)


class _Tile:
    """Arrays for the minibatches of `b` agents, used again and again."""

    def __init__(self, layout: Layout, agents: int, rows: int) -> None:
        def room(units: int) -> Singles:
            return np.zeros((agents, 2, rows, units), dtype=np.float32)

        self.gradient, self.spare = np.zeros((2, agents, 2, layout.size), dtype=np.float32)
        self.slopes = layout.weights(self.gradient)
        units = (*layout.hidden, layout.outputs)
        self.found = [room(count) for count in units]
        """What each layer says, `[b, 2, m, h]`."""
        self.pulls = [room(count) for count in units]
        """Slopes of the loss by what each layer says before its tanh."""
        self.ones = np.ones((1, rows), dtype=np.float32)


class Update:
    """Passes over rollouts, and what Adam remembers of earlier ones."""

    def __init__(self, networks: Networks, actions: Distribution, config: PPOConfig) -> None:
        """Prepare to update.

        Args:
            networks: Changed in place by `run`.
            actions: What the policy's outputs mean.
            config: Batch, epochs, learning rate, clip and entropy are used.
        """
        self._networks, self._actions, self._config = networks, actions, config
        self._first = np.zeros_like(networks.flat)
        self._second = np.zeros_like(networks.flat)
        self._number = 0
        self._agents = max(1, min(MOST_AGENTS, TILE // config.batch))
        self._tiles: dict[int, _Tile] = {}

    def keep(self, which: Places) -> None:
        """Forget all agents but these; the networks must have done so."""
        self._first, self._second = self._first[which], self._second[which]

    def run(self, records: Singles, streams: Sequence[np.random.Generator]) -> None:
        """Update every agent by its own rollout.

        Args:
            records: `[b, n, ...]`, see `Record`.
            streams: Each agent's, for the order of its steps; consumed.
        """
        b, n, width = records.shape
        batch, inputs = self._config.batch, self._networks.layout.inputs
        for begin in range(0, b, self._agents):
            of = slice(begin, min(begin + self._agents, b))
            agents = of.stop - begin
            if agents not in self._tiles:
                self._tiles[agents] = _Tile(self._networks.layout, agents, batch)
            tile = self._tiles[agents]
            flat = self._networks.flat[of]
            weights = self._networks.layout.weights(flat)
            rows = records[of].reshape(-1, width)
            first_rows = n * np.arange(agents)[:, None]
            number = self._number
            for _ in range(self._config.epochs):
                order = np.stack([rng.permutation(n) for rng in streams[of]]) + first_rows
                mixed = rows.take(order.ravel(), axis=0).reshape(agents, n, width)
                for at in range(0, n, batch):
                    number += 1
                    self._slopes(tile, weights, Record.of(mixed[:, at : at + batch], inputs))
                    _clip(tile.gradient)
                    self._step(tile, flat, self._first[of], self._second[of], number)
        self._number += self._config.epochs * n // batch

    def _slopes(self, tile: _Tile, weights: Weights, record: Record) -> None:
        """Gradient of the loss of one minibatch an agent, into the tile."""
        layers, biases, inputs = weights.layers, weights.biases, record.inputs[:, None]
        below = inputs
        for depth, (layer, found) in enumerate(zip(layers, tile.found, strict=True)):
            np.matmul(below, layer, out=found)
            if depth:
                found += biases[depth - 1]
            if depth < len(biases):
                np.tanh(found, out=found)
            below = found
        self._pull(tile, weights.log_std, record)
        for depth in reversed(range(len(layers))):
            pull = tile.pulls[depth]
            below = tile.found[depth - 1] if depth else inputs
            np.matmul(below.swapaxes(-1, -2), pull, out=tile.slopes.layers[depth])
            if depth:
                np.matmul(tile.ones, pull, out=tile.slopes.biases[depth - 1])
                lower = tile.pulls[depth - 1]
                if depth == len(biases):
                    _through_heads(pull, layers[depth], lower)
                else:
                    np.matmul(pull, layers[depth].swapaxes(-1, -2), out=lower)
                below *= below  # the tanh's slope is 1 - tanh²; its own value is not needed again
                np.subtract(1.0, below, out=below)
                lower *= below

    def _pull(self, tile: _Tile, log_std: Singles, record: Record) -> None:
        """Slopes of the loss by the networks' outputs, and by the policy's log_std."""
        clip, entropy, m = self._config.clip, self._config.entropy, self._config.batch
        outputs, pulls = tile.found[-1], tile.pulls[-1]
        advantage = record.advantage - record.advantage.mean(axis=1, keepdims=True)
        variance = np.square(advantage).sum(axis=1, keepdims=True) / (m - 1)
        advantage /= np.sqrt(variance) + 1e-8
        policy = outputs[:, POLICY]
        score = self._actions.score(policy, record.actions, log_std[:, POLICY])
        ratio = np.exp(score.log_prob - record.log_prob)
        gain = advantage * ratio
        clipped = advantage * np.clip(ratio, 1.0 - clip, 1.0 + clip)
        # The lesser of both counts, and the clipped one has no slope.
        pull = np.where(gain <= clipped, gain, np.float32(0.0))[..., None] * (-1.0 / m)
        np.multiply(pull, score.outputs, out=pulls[:, POLICY])
        if score.log_std is not None:
            slope = (pull * score.log_std).sum(axis=1, keepdims=True)
            tile.slopes.log_std[:, POLICY] = slope
        if entropy:
            by_outputs, by_log_std = self._actions.entropy_slopes(policy)
            tile.slopes.log_std[:, POLICY] -= entropy * by_log_std
            if by_outputs is not None:
                pulls[:, POLICY] -= (entropy / m) * by_outputs
        error = outputs[:, VALUE, :, 0] - record.target
        np.multiply(error, 2.0 * VALUE_WEIGHT / m, out=pulls[:, VALUE, :, 0])

    def _step(
        self, tile: _Tile, flat: Singles, first: Singles, second: Singles, number: int
    ) -> None:
        """Adam; its moments are kept divided by one minus their decay.

        Source: Kingma & Ba (2015), algorithm 1.
        """
        gradient, spare = tile.gradient, tile.spare
        one, two = DECAY
        first *= one
        first += gradient
        second *= two
        np.multiply(gradient, gradient, out=gradient)
        second += gradient
        scale = math.sqrt((1.0 - two) / (1.0 - two**number))
        np.sqrt(second, out=spare)
        spare += EPSILON / scale
        np.divide(first, spare, out=spare)
        rate = self._config.learning_rate * (1.0 - one) / (1.0 - one**number)
        spare *= rate / scale
        flat -= spare


def _through_heads(pull: Singles, heads: Singles, lower: Singles) -> None:
    """Slopes by what the heads see; a product with one output is an outer one, and faster so."""
    backward = heads.swapaxes(-1, -2)
    outer = (VALUE,) if pull.shape[-1] > 1 else (POLICY, VALUE)
    for net in outer:
        np.multiply(pull[:, net, :, :1], backward[:, net, :1], out=lower[:, net])
    if POLICY not in outer:
        np.matmul(pull[:, POLICY], backward[:, POLICY], out=lower[:, POLICY])


def _clip(gradient: Singles) -> None:
    """Shorten each agent's gradient `[b, 2, p]` to `MOST_NORM`."""
    norm = np.sqrt(np.vecdot(gradient, gradient).sum(axis=1))
    gradient *= np.minimum(MOST_NORM / (norm + 1e-6), 1.0)[:, None, None]
