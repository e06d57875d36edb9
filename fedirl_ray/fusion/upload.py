"""What reaches the server: honest rewards, those of adversaries, and those seen in part.

Letters: `k` clients, `n` support points, `d` features.
"""

from dataclasses import dataclass
from typing import assert_never

import numpy as np

from fedirl_ray.config import HeterogeneityConfig
from fedirl_ray.fusion.recover import recover_theta
from fedirl_ray.problem.dials import chosen, seen_support
from fedirl_ray.problem.mdp import Bools, Floats
from fedirl_ray.seeds import stream

SCALED = 100.0
"""What an adversary with attack `scale` multiplies its reward by."""


@dataclass(frozen=True)
class Channel:
    """How clients' rewards are changed on their way to the server in one seed."""

    config: HeterogeneityConfig
    adversaries: tuple[int, ...]
    """Client numbers."""
    noise: Floats
    """A unit direction a client, `[k, d]`."""
    seen: Bools | None
    """Support points each client sees, `[k, n]`; None: all."""
    features: Floats
    """Phi on the shared support, `[n, d]`."""

    def send(self, thetas: Floats) -> Floats:
        """What the server reads off the uploads.

        Args:
            thetas: What the clients learnt, `[k, d]`.

        Returns:
            `[k, d]`; the same array if no dial is up. Of a client that sees part of the support:
            least squares on that part, the shortest solution (features that vanish there get no
            weight).
        """
        sent = thetas
        if self.adversaries:
            sent = thetas.copy()
            for i in self.adversaries:
                sent[i] = self._attack(thetas[i], i)
        if self.seen is not None:
            sent = np.stack(
                [
                    recover_theta(self.features[view], self.features[view] @ own, intercept=False)
                    for own, view in zip(sent, self.seen, strict=True)
                ]
            )
        return sent

    def _attack(self, theta: Floats, client: int) -> Floats:
        match self.config.attack:
            case "flip":
                return -theta
            case "scale":
                return SCALED * theta
            case "noise":
                drawn: Floats = np.linalg.norm(theta) * self.noise[client]
                return drawn
            case other:
                assert_never(other)


def open_channel(
    config: HeterogeneityConfig,
    features: Floats,
    axes: tuple[Floats, ...],
    clients: int,
    root: int,
    seed: int,
) -> Channel:
    """Draw which clients lie, and what each one sees, in a seed.

    Args:
        config: Shares of adversaries and of the hidden support.
        features: Phi on the shared support, `[n, d]`.
        axes: The support's lattice.
        clients: Number of clients `k`.
        root: Root seed.
        seed: Repetition.
    """
    liars = chosen(config.adversaries, clients, root, seed, "adversaries")
    noise = np.zeros((clients, features.shape[1]))
    for i in liars:
        drawn = stream(root, "seed", seed, "client", int(i), "noise").normal(size=noise.shape[1])
        noise[i] = drawn / np.linalg.norm(drawn)
    hidden = config.hidden_support
    seen = seen_support(axes, hidden, clients, root, seed) if hidden > 0.0 else None
    return Channel(config, tuple(liars.tolist()), noise, seen, features)
