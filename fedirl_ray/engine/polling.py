"""Asking the clients of a round, on behalf of a rule, how well rewards do.

Letters: `k` clients, `m` clients asked, `c` rewards, `d` features.
"""

from collections.abc import Iterator, Sequence
from math import ceil

import numpy as np

from fedirl_ray.config import RunConfig
from fedirl_ray.engine.door import tally
from fedirl_ray.engine.event import Event, Report
from fedirl_ray.engine.fleet import Fleet
from fedirl_ray.engine.upload import Floats, Order, Poll
from fedirl_ray.errors import ConfigError
from fedirl_ray.fusion.selection import NoScoresError


class Pollster:
    """What `Given.score` is in a run: asks the clients whose uploads a rule fuses, and counts."""

    def __init__(
        self,
        config: RunConfig,
        fleet: Fleet,
        order: Order,
        numbers: Iterator[int],
        who: Sequence[int],
        report: Report,
    ) -> None:
        """Ask nothing yet.

        Args:
            config: The run.
            fleet: Its clients.
            order: The round's.
            numbers: Numbers of the round's polls.
            who: Clients to ask, `m` of them, ascending.
            report: Told of ballots refused and missing.
        """
        self._config, self._fleet, self._order = config, fleet, order
        self._numbers, self._who, self._report = numbers, tuple(who), report
        self.asked = np.zeros(config.clients, dtype=np.int64)
        """Rewards that each client was asked to score, `[k]`."""
        self.scored = np.zeros(config.clients, dtype=np.int64)
        """Scores that were let in, `[k]`."""

    def __call__(self, thetas: Floats) -> Floats:
        """Have clients score rewards.

        Args:
            thetas: `[c, d]`, or `[m, c, d]`, where each client is asked about its own.

        Returns:
            `[m, c]` in [0, 2]; NaN of clients without an answer.

        Raises:
            ConfigError: It is no finite rewards.
            NoScoresError: Fewer have answered than `federation.quorum` of those asked.
        """
        own, order, m = self._as_rewards(thetas), self._order, len(self._who)
        number = next(self._numbers)
        poll = Poll(order.run, order.seed, order.round, number, self._who, own)
        found = tally(self._fleet.score(poll), poll)
        for client, reason in found.refused:
            who = () if client is None else (client,)
            self._report(Event("refused", f"scores: {reason}", order.seed, order.round, who))
        came = ~np.isnan(found.scores).any(axis=1)
        clients, c = np.array(self._who), own.shape[1]
        self.asked[clients] += c
        self.scored[clients[came]] += c
        missing = tuple(clients[~came].tolist())
        if missing:
            self._report(
                Event("missing", "no scores were let in", order.seed, order.round, missing)
            )
        quorum = self._config.federation.quorum
        needed = max(1, ceil(quorum * m - 1e-9))
        if came.sum() < needed:
            raise NoScoresError(
                f"federation.quorum {quorum:g} needs the scores of {needed} of {m} clients, got "
                f"those of {came.sum()}"
            )
        return found.scores

    def _as_rewards(self, thetas: Floats) -> Floats:
        """Rewards to score, `[1 or m, c, d]`."""
        d = self._order.own.shape[1]
        own = np.asarray(thetas, dtype=np.float64)
        own = own[None] if own.ndim == 2 else own
        fits = own.ndim == 3 and len(own) in (1, len(self._who)) and own.shape[1] > 0
        fits = fits and own.shape[2] == d
        if not fits or not np.isfinite(own).all():
            law = f"[c, {d}] or [{len(self._who)}, c, {d}], c >= 1"
            got = "NaN or infinity" if fits else np.shape(thetas)
            raise ConfigError(f"a rule must have finite rewards of shape {law}, scored, got {got}")
        return own
