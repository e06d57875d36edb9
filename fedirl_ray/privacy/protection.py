"""What a run promises of its clients' data, and the noise that keeps the promise.

Letters: `d` features.
"""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedirl_ray.config import RunConfig
from fedirl_ray.config_fusion import fusing
from fedirl_ray.config_privacy import PrivacyConfig
from fedirl_ray.privacy.accountant import Spent, multiplier_for, spent
from fedirl_ray.privacy.mechanism import Ball, Source, add_noise, keyed, private_mean, seeded
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.seeds import stream

MULTIPLIER, KEY = "privacy.multiplier", "privacy.key"
"""What a client is given: noise in sensitivities, and the key of its noise."""
KEY_BYTES = 32
SIMULATED = "simulation, not private: noise from the root seed"
PROMISES = {
    "trajectory": (
        "any one demonstration of a client, replaced by another",
        "nobody but the client itself",
    ),
    "client": (
        "all demonstrations of a client, replaced by as many others",
        "nobody but the client itself",
    ),
    "central": (
        "all demonstrations of a client, replaced by as many others",
        "the server, which sees every upload",
    ),
}
"""What neighbours differ in, and who is trusted, by unit."""


@dataclass(frozen=True)
class Promise:
    """What a run promises; every report says all of it."""

    unit: str
    adjacency: str
    trusted: str
    multiplier: float
    """Noise in sensitivities, z."""
    cost: Spent
    simulated: bool
    """Whether the noise can be taken off by whoever knows the root seed."""

    def in_words(self) -> list[str]:
        """The promise as lines under a table."""
        cost, times = self.cost, "release" if self.cost.releases == 1 else "releases"
        lines = [
            f"Privacy: epsilon {cost.epsilon:.4g}, delta {cost.delta:.3g} (rho {cost.rho:.3g}; "
            f"{cost.releases} {times}, noise {self.multiplier:.4g} sensitivities).",
            f"Protected: {self.adjacency}. Trusted: {self.trusted}.",
        ]
        return [*lines, f"{SIMULATED}."] if self.simulated else lines


def promise_of(config: RunConfig) -> Promise | None:
    """What a run promises; None: nothing."""
    privacy, times = config.privacy, releases(config)
    if privacy.unit == "none":
        return None
    z = multiplier_for(privacy.epsilon, privacy.delta, times)
    cost = spent([z] * times, privacy.delta)
    adjacency, trusted = PROMISES[privacy.unit]
    return Promise(privacy.unit, adjacency, trusted, z, cost, privacy.simulated)


def releases(config: RunConfig) -> int:
    """How often a run looks at the same unit through fresh noise.

    trajectory: once; all rounds start from the same noisy counts. client: every theta that a client
    sends, the one learnt alone and one for each rule; in the first round they are one. central:
    the mean of every round.
    """
    rounds = config.federation.rounds
    fused = len(fusing(config.fusion.rules))
    match config.privacy.unit:
        case "client":
            return 1 + (rounds - 1) * (1 + fused)
        case "central":
            return rounds
        case _:
            return 1


def is_repeated(config: RunConfig) -> bool:
    """Whether all seeds look at the same data; then they must share one noise."""
    return config.problem.demonstrations_file is not None


def keys(holders: int) -> dict[str, NDArray[Any]]:
    """A key for each of some, from the operating system; a job whose result a run keeps."""
    drawn = secrets.token_bytes(KEY_BYTES * holders)
    return {KEY: np.frombuffer(drawn, dtype=np.uint8).reshape(holders, KEY_BYTES)}


def given_to(config: RunConfig, own: NDArray[Any] | None) -> dict[str, NDArray[Any]]:
    """What it takes to add noise.

    Args:
        config: The run.
        own: The key of who adds it; None where noise is seeded.
    """
    privacy = config.privacy
    z = multiplier_for(privacy.epsilon, privacy.delta, releases(config))
    return {MULTIPLIER: np.array(z)} | ({} if own is None else {KEY: own})


@dataclass(frozen=True)
class Guard:
    """Adds a client's noise."""

    config: RunConfig
    given: Mapping[str, NDArray[Any]]
    """See `given_to`; a run that promises something and was given nothing goes no further."""
    client: int
    seed: int

    def counts(self, rows: Floats, ball: Ball) -> Floats:
        """The mean of episodes' feature counts `[m, d]`, protected; the same whenever asked."""
        z = float(self.given[MULTIPLIER])
        seed = 0 if is_repeated(self.config) else self.seed
        named = _digest(z, ball.radius, len(rows), *ball.centre)
        return private_mean(rows, ball, z, self._source(seed, "counts", named))

    def theta(self, theta: Floats, radius: float, release: str) -> Floats:
        """A theta `[d]`, clipped to a norm and protected, for one release of a name of its own."""
        z = float(self.given[MULTIPLIER])
        ball = Ball(np.zeros_like(theta), radius)
        named = _digest(z, radius)
        return private_mean(theta[None], ball, z, self._source(self.seed, release, named))

    def _source(self, seed: int, *name: str) -> Source:
        return source_of(self.config, self.given, seed, "client", self.client, *name)


@dataclass(frozen=True)
class CentralGuard:
    """Adds a trusted server's noise to means of clipped thetas."""

    config: RunConfig
    given: Mapping[str, NDArray[Any]]
    """See `given_to`."""
    seed: int

    def clip(self, thetas: Floats) -> Floats:
        """Thetas `[k, d]`, none longer than `privacy.clip`."""
        return Ball(np.zeros(thetas.shape[1]), clip_of(self.config.privacy)).clip(thetas)

    def mean(self, mean: Floats, weights: Floats, number: int) -> Floats:
        """A round's mean `[d]` of clipped thetas, by which each client counted, protected."""
        z = float(self.given[MULTIPLIER])
        moves = 2.0 * clip_of(self.config.privacy) * float(weights.max())
        named = _digest(z, moves)
        source = source_of(self.config, self.given, self.seed, "server", number, named)
        return add_noise(mean, moves, z, source)


def clip_of(privacy: PrivacyConfig) -> float:
    """The norm that thetas are clipped to, which `PrivacyConfig` has seen to."""
    assert not isinstance(privacy.clip, str)
    return privacy.clip


def source_of(
    config: RunConfig, given: Mapping[str, NDArray[Any]], seed: int, *name: str | int
) -> Source:
    """Uniform words for one release.

    Names hold all that a release is calibrated to, so that no two of different noise share their
    random numbers: their difference would show what both hide.
    """
    if config.privacy.noise == "seeded":
        return seeded(stream(config.seed, "seed", seed, "privacy", *name))
    return keyed(given[KEY].tobytes(), "seed", seed, *name)


def _digest(*numbers: float) -> str:
    """Numbers as a word of a name."""
    return hashlib.sha256(np.array(numbers, dtype=np.float64).tobytes()).hexdigest()
