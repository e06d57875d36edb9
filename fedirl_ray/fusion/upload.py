"""What clients send of what they learnt: honest rewards, those of adversaries, those seen in part.

All of it happens on the client's side, before the server's door.

Letters: `m` clients, `n` support points, `p` federations, `d` features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np

from fedirl_ray.config_problem import HeterogeneityConfig
from fedirl_ray.fusion.recover import recover_theta
from fedirl_ray.fusion.spec import BEST, Support
from fedirl_ray.problem.dials import chosen, seen_support
from fedirl_ray.problem.mdp import Bools, Floats
from fedirl_ray.seeds import stream

SCALED = 100.0
"""What an adversary with attack `scale` multiplies its reward by."""


@dataclass(frozen=True)
class Channel:
    """How some clients' rewards are changed on their way to the server in one seed."""

    config: HeterogeneityConfig
    lies: Bools
    """Which of them are adversaries, `[m]`."""
    noise: Floats
    """A unit direction of each adversary, `[m, d]`; 0 of the others."""
    seen: Bools | None
    """Support points each sees, `[m, n]`; None: all."""
    features: Floats
    """Phi on the shared support, `[n, d]`."""

    def send(self, thetas: Floats) -> Floats:
        """What is uploaded of what was learnt.

        Args:
            thetas: What the clients learnt in each federation, `[m, p, d]`.

        Returns:
            `[m, p, d]`; the same array if no dial is up. Of a client that sees part of the support:
            least squares on that part, the shortest solution (features that vanish there get no
            weight).
        """
        sent = thetas
        if self.lies.any():
            sent = thetas.copy()
            for i in np.flatnonzero(self.lies).tolist():
                for p, theta in enumerate(thetas[i]):
                    sent[i, p] = self._attack(theta, i)
        if self.seen is not None:
            sent = sent.copy()
            for own, view in zip(sent, self.seen, strict=True):
                part = self.features[view]
                for p in np.flatnonzero(np.isfinite(own).all(axis=1)).tolist():
                    # What is not finite stays so, and the door refuses it.
                    own[p] = recover_theta(part, part @ own[p], intercept=False)
        return sent

    def _attack(self, theta: Floats, i: int) -> Floats:
        match self.config.attack:
            case "flip":
                return -theta
            case "scale":
                with np.errstate(over="ignore"):
                    return SCALED * theta
            case "noise":
                drawn: Floats = np.linalg.norm(theta) * self.noise[i]
                return drawn
            case other:
                assert_never(other)


def vote(
    config: HeterogeneityConfig,
    scores: Floats,
    members: Sequence[int],
    clients: int,
    root: int,
    seed: int,
    question: tuple[str | int, ...],
) -> Floats:
    """What clients say of the scores in [0, 2] that they found; adversaries say something else.

    Under flip and scale 2 - score, so that the worst reward looks best; under noise anything,
    uniform in [0, 2].

    Args:
        config: Share of adversaries, and their attack.
        scores: `[m, c]`.
        members: Whose, `m` client numbers.
        clients: Number of all clients.
        root: Root seed.
        seed: Repetition.
        question: What was asked, for the stream that noise is drawn from.

    Returns:
        `[m, c]`.
    """
    said = scores.copy()
    liars = chosen(config.adversaries, clients, root, seed, "adversaries")
    for i in np.flatnonzero(np.isin(members, liars)).tolist():
        if config.attack == "noise":
            rng = stream(root, "seed", seed, "client", members[i], *question, "noise")
            said[i] = rng.uniform(0.0, BEST, size=scores.shape[1])
        else:
            said[i] = BEST - scores[i]
    return said


def open_channel(
    config: HeterogeneityConfig,
    support: Support,
    members: Sequence[int],
    clients: int,
    root: int,
    seed: int,
) -> Channel:
    """Draw which clients lie, and what each one sees, in a seed.

    Args:
        config: Shares of adversaries and of the hidden support.
        support: Where rewards are compared, the same for all clients.
        members: Whose channel, `m` client numbers.
        clients: Number of all clients.
        root: Root seed.
        seed: Repetition.
    """
    liars = chosen(config.adversaries, clients, root, seed, "adversaries")
    lies = np.isin(members, liars)
    noise = np.zeros((len(members), support.features.shape[1]))
    for i in np.flatnonzero(lies).tolist():
        rng = stream(root, "seed", seed, "client", members[i], "noise")
        drawn = rng.normal(size=noise.shape[1])
        noise[i] = drawn / np.linalg.norm(drawn)
    seen = None
    if config.hidden_support > 0.0:
        seen = seen_support(support.axes, config.hidden_support, members, root, seed)
    return Channel(config, lies, noise, seen, support.features)
