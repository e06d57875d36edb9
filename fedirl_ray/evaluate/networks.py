"""Policy and value networks of many agents at once: what stable-baselines3 calls MlpPolicy.

Every agent's matrices are multiplied on their own, in a stack. Products of the same shapes give the
same bytes, so an agent's numbers do not depend on who else is in the stack.

Letters: `b` agents, `m` rows of one, `i` inputs, `h` units of a layer, `u` outputs, `p` parameters
of one network.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedirl_ray.problem.mdp import Bools, Floats, Places

Singles = NDArray[np.float32]
POLICY, VALUE = 0, 1
"""An agent's two networks."""
LARGEST = 1e30
"""Parameters beyond this are taken for infinite: products of them are, in single precision."""


class Weights(NamedTuple):
    """The parameters of both networks of all agents, as views."""

    layers: tuple[Singles, ...]
    """One `[b, 2, inputs, outputs]` a layer; the first has a last input that is always one."""
    biases: tuple[Singles, ...]
    """One `[b, 2, 1, outputs]` a layer but the first."""
    log_std: Singles
    """Of continuous actions, `[b, 2, 1, u]`; the value network's are not used."""


class Layout:
    """Where the parameters of one network lie in one row of numbers.

    Both networks have as many outputs as the policy; the value is the first, and the weights of the
    others stay zero.
    """

    def __init__(self, inputs: int, hidden: Sequence[int], outputs: int) -> None:
        """Lay out layers of `hidden` units between inputs and outputs."""
        self.inputs, self.outputs, self.hidden = inputs, outputs, tuple(hidden)
        ends = [*hidden, outputs]
        begins = [inputs + 1, *hidden]
        self._shapes = [*zip(begins, ends, strict=True), *((1, k) for k in ends[1:]), (1, outputs)]
        self.size = sum(math.prod(shape) for shape in self._shapes)

    def weights(self, flat: Singles) -> Weights:
        """Views of parameters `[b, 2, p]`."""
        parts, at = [], 0
        for shape in self._shapes:
            length = math.prod(shape)
            parts.append(flat[..., at : at + length].reshape(*flat.shape[:-1], *shape))
            at += length
        depth = len(self.hidden) + 1
        return Weights(tuple(parts[:depth]), tuple(parts[depth:-1]), parts[-1])


class Networks:
    """The networks of `b` agents."""

    def __init__(self, layout: Layout, streams: Sequence[np.random.Generator]) -> None:
        """Begin with orthogonal weights and no biases.

        Args:
            layout: Of one network.
            streams: Each agent's own; consumed.
        """
        self.layout = layout
        self.flat: Singles = np.zeros((len(streams), 2, layout.size), dtype=np.float32)
        self.weights = layout.weights(self.flat)
        *hidden, head = self.weights.layers
        for agent, rng in enumerate(streams):
            for net, gain, outputs in ((POLICY, 0.01, layout.outputs), (VALUE, 1.0, 1)):
                inputs = layout.inputs
                for layer, units in zip(hidden, layout.hidden, strict=True):
                    layer[agent, net, :inputs] = _orthogonal(rng, inputs, units, math.sqrt(2.0))
                    inputs = units
                head[agent, net, :, :outputs] = _orthogonal(rng, inputs, outputs, gain)

    def keep(self, which: Places) -> None:
        """Forget all agents but these."""
        self.flat = self.flat[which]
        self.weights = self.layout.weights(self.flat)

    def policy(self, inputs: Singles) -> Singles:
        """Outputs `[b, m, u]` of every agent's policy for `[b, m, i + 1]`."""
        weights = self.weights
        biases = [bias[:, POLICY] for bias in weights.biases]
        return _outputs(inputs, [layer[:, POLICY] for layer in weights.layers], biases)

    def value(self, agent: int, inputs: Singles) -> Singles:
        """One agent's values `[m]` of `[m, i + 1]`."""
        weights = self.weights
        biases = [bias[agent, VALUE] for bias in weights.biases]
        return _outputs(inputs, [layer[agent, VALUE] for layer in weights.layers], biases)[:, 0]

    def policy_arrays(self, agent: int) -> tuple[tuple[Floats, ...], tuple[Floats, ...]]:
        """Weights, one `[inputs, outputs]` a layer, and biases `[outputs]` of one policy."""
        first, *rest = (layer[agent, POLICY].astype(np.float64) for layer in self.weights.layers)
        biases = (bias[agent, POLICY, 0].astype(np.float64) for bias in self.weights.biases)
        return (first[:-1], *rest), (first[-1], *biases)

    def bounded(self) -> Bools:
        """Which agents' parameters are all finite, and so then are their outputs, `[b]`."""
        return np.asarray((np.abs(self.flat) < LARGEST).all(axis=(1, 2)))


def _outputs(inputs: Singles, layers: Sequence[Singles], biases: Sequence[Singles]) -> Singles:
    """Layers of tanh and a linear one."""
    found: Singles = np.matmul(inputs, layers[0])
    for layer, bias in zip(layers[1:], biases, strict=True):
        np.tanh(found, out=found)
        found = np.matmul(found, layer)
        found += bias
    return found


def _orthogonal(rng: np.random.Generator, inputs: int, outputs: int, gain: float) -> Floats:
    """A matrix `[inputs, outputs]` with orthogonal rows or columns of length `gain`.

    Source: Saxe, McClelland & Ganguli (2014), as `torch.nn.init.orthogonal_` has it.
    """
    tall = rng.standard_normal((max(inputs, outputs), min(inputs, outputs)))
    q, r = np.linalg.qr(tall)
    q *= np.sign(np.diagonal(r))  # else not uniform
    turned: Floats = gain * (q if inputs >= outputs else q.T)
    return turned
