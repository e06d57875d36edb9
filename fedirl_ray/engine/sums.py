"""A round whose server sees sums over clients alone: who is lost on the way, and what is recorded.

Clients' sides and the server's live in one process here; what passes between them is the messages
of `privacy.masking`, and a sample of those is written to events.jsonl.
"""

import secrets
from collections.abc import Sequence

import numpy as np

from fedirl_ray.config import RunConfig
from fedirl_ray.engine.event import Event, Report
from fedirl_ray.errors import RunError
from fedirl_ray.fusion.spec import Fused, Given
from fedirl_ray.fusion.sums import fuse_sums
from fedirl_ray.privacy.masking import CohortError, Look, Message, SecureSum
from fedirl_ray.seeds import stream

LATEST = 10
"""Clients that are lost are lost in one of so many first sums."""
SHOWN = 64
"""Numbers of the recorded message that are written down."""


def lost_in(
    config: RunConfig, seed: int, number: int, rule: str, who: Sequence[int]
) -> dict[int, int]:
    """Which clients are lost while a rule's sums are taken in a round, and in which sum."""
    chance = config.privacy.dropout
    found = {}
    for client in who if chance > 0.0 else ():
        rng = stream(config.seed, "seed", seed, "round", number, "lost", rule, client)
        if rng.random() < chance:
            found[client] = int(rng.integers(LATEST))
    return found


def fuse_by_sums(
    config: RunConfig,
    rule: str,
    given: Given,
    who: Sequence[int],
    seed: int,
    number: int,
    report: Report,
    look: Look = lambda message: None,
) -> Fused | None:
    """Fuse one rule's uploads by sums, and tell of what the server saw.

    Args:
        config: The run.
        rule: Which rule.
        given: What the clients hold.
        who: Their numbers.
        seed: Repetition.
        number: Round.
        report: Told.
        look: Told every message.

    Returns:
        The fused reward; None: too few clients were left, and the rule keeps the reward it had.

    Raises:
        RunError: Too few were left to the mean, which all others are compared to.
    """
    first: list[Message] = []

    def seen(message: Message) -> None:
        if not first:
            first.append(message)
        look(message)

    masked = config.privacy.aggregation == "masked"
    least, lost = config.privacy.min_cohort, lost_in(config, seed, number, rule, who)
    key = secrets.token_bytes(32) if masked else None
    try:
        sums = SecureSum(tuple(who), least, key, lost, seen)
        fused = fuse_sums(rule, given, sums)
    except CohortError as err:
        if rule == "mean":
            raise RunError(f"{err} in round {number} of seed {seed}") from err
        report(Event("skipped", f"{rule}: {err}; it keeps the reward it had", seed, number))
        return None
    words = first[0].words
    shown = " ".join(f"{word:016x}" for word in np.asarray(words)[:SHOWN].tolist())
    how = "under masks" if masked else "without masks"
    told = (
        f"{rule}: {sums.number} sums of {len(sums.clients)} clients' messages {how}; the first "
        f"one, of client {first[0].client}: {shown}"
    )
    report(Event("summed", told, seed, number, tuple(sums.dropped)))
    return fused
