"""Settings of what is protected, and from whom; docs/privacy.md says what each one promises."""

from dataclasses import dataclass
from typing import Literal

from fedirl_ray.laws import require, require_positive

Unit = Literal["none", "trajectory", "client", "central"]
Aggregation = Literal["clear", "sums", "masked"]


@dataclass(frozen=True, kw_only=True)
class PrivacyConfig:
    """Differential privacy of what clients send, and what the server sees of it.

    Needs pip install 'fedirl-ray[privacy]' where unit is not none.
    """

    unit: Unit = "none"
    """What is protected: none; trajectory: any one demonstration of a client, from everybody else,
    by noise on the client's feature counts; client: all a client holds, from everybody else, by
    noise on every theta it sends; central: the same, by noise that a trusted server adds to the
    mean."""
    epsilon: float = 4.0
    """Total over all rounds, of each unit; smaller is more private."""
    delta: float = 1e-5
    """Chance that epsilon may fail to hold; in (0, 1), at most 1 over the number of units: a
    client's demonstrations, or clients."""
    clip: Literal["auto"] | float = "auto"
    """Largest norm that noise is calibrated to. trajectory: of an episode's discounted feature
    counts around the features' centre; auto: the largest there can be, from features and horizon
    alone. client, central: of a theta; a number."""
    noise: Literal["os", "seeded"] = "os"
    """os: keyed by the operating system's entropy, not repeatable; seeded: from the root seed, and
    whoever knows that can take it off again: a simulation, not private."""
    aggregation: Aggregation = "clear"
    """What the server works with: clear: every upload; masked: sums over clients alone, under
    pairwise masks; sums: the same sums without masks, to the same bytes."""
    min_cohort: int = 5
    """Least clients whose sum may be taken: fewer would show what each one holds."""
    dropout: float = 0.0
    """sums, masked: chance of each client to be lost while a rule's sums are taken in a round, in
    one of the first ten; the sum is then taken again without it."""

    def __post_init__(self) -> None:
        """Check every limit."""
        require_positive("privacy.epsilon", self.epsilon)
        require(0.0 < self.delta < 1.0, "privacy.delta", "in (0, 1)", self.delta)
        if not isinstance(self.clip, str):
            require_positive("privacy.clip", self.clip)
        bounded = self.unit in ("none", "trajectory") or not isinstance(self.clip, str)
        law = f"a number with privacy.unit {self.unit}, no bound on a theta is known beforehand"
        require(bounded, "privacy.clip", law, self.clip)
        law = "an integer >= 3, of two clients each knows the other"
        require(self.min_cohort >= 3, "privacy.min-cohort", law, self.min_cohort)
        law = "in [0, 1) and finite"
        require(0.0 <= self.dropout < 1.0, "privacy.dropout", law, self.dropout)
        sums = self.dropout == 0.0 or self.aggregation != "clear"
        require(sums, "privacy.dropout", "0 with privacy.aggregation clear", self.dropout)
        law = "clear with privacy.unit central, whose server sees every upload"
        known = self.unit != "central" or self.aggregation == "clear"
        require(known, "privacy.aggregation", law, self.aggregation)

    @property
    def simulated(self) -> bool:
        """Whether noise can be taken off again by whoever knows the root seed."""
        return self.unit != "none" and self.noise == "seeded"

    def require_delta(self, units: int, what: str) -> None:
        """Refuse a delta at which publishing one of the units whole would count as private.

        Args:
            units: How many there are.
            what: Their name.

        Raises:
            ConfigError: It is above 1 / units.
        """
        law = f"at most 1/{units}, of {units} {what}: beyond it one may be published whole"
        require(self.delta <= 1.0 / units, "privacy.delta", law, self.delta)

    def require_covered(
        self,
        rules: tuple[str, ...],
        clients: int,
        asked: int,
        demonstrations: int | None,
        *,
        shared: bool,
        hidden: float,
    ) -> None:
        """Refuse rules and numbers of clients that a mode does not cover.

        Args:
            rules: `fusion.rules`.
            clients: How many there are.
            asked: How many of them a round asks.
            demonstrations: Most that a client holds; None: a file says.
            shared: Whether measures are shifted by what everyone's ranges decide together.
            hidden: `heterogeneity.hidden_support`.

        Raises:
            ConfigError: Says which, and why.
        """
        for rule in rules:
            why = self._not_covered(rule)
            require(not why, "fusion.rules", f"without {rule} here: {why}", ",".join(rules))
        if self.unit == "trajectory" and demonstrations is not None:
            self.require_delta(demonstrations, "demonstrations of a client")
        if self.unit in ("client", "central"):
            self.require_delta(clients, "clients")
        if self.aggregation == "clear":
            return
        law = f"at least privacy.min-cohort {self.min_cohort} with sums of clients alone"
        require(asked >= self.min_cohort, "clients asked in a round", law, asked)
        law = "0 with sums of clients alone: hidden points are filled from single uploads"
        require(hidden == 0.0, "heterogeneity.hidden-support", law, hidden)
        law = "client or a number with sums of clients alone: shared reads everyone's range"
        ranged = shared and any(rule in MEASURED for rule in rules)
        require(not ranged, "fusion.sigma", law, "shared")

    def _not_covered(self, rule: str) -> str:
        """Why a rule or reference would show what is to be hidden; empty if it does not."""
        if self.unit != "none" and self.noise == "os" and rule == "pooled":
            return "it is fitted to raw demonstrations (allowed with privacy.noise seeded)"
        if self.unit != "none" and rule in SCORING:
            return "it scores rewards by demonstrations kept aside, which no noise protects"
        if self.unit == "client" and rule == "fine-tuned":
            return "it learns on from raw demonstrations"
        if self.unit == "central" and rule not in ("mean", *SEEING_NOTHING):
            return "privacy.unit central adds noise to the mean alone"
        if self.unit == "client" and rule == "precision":
            return "curvatures have no noise of their own with privacy.unit client"
        if self.aggregation != "clear" and rule not in (*SUMMED, *SEEING_NOTHING, "pooled"):
            return f"it needs single uploads, which privacy.aggregation {self.aggregation} hides"
        return ""


MEASURED = ("arithmetic", "barycenter", "debiased")
"""Rules whose clients make measures of their own rewards."""
OF_MEANS = (
    "blur",
    "self-control",
    "self-debiased",
    "self-gibbs",
    "self-signed",
    "self-signed-median",
    "self-blur",
)
"""Rules that read nothing but the clients' mean theta."""
SUMMED = ("mean", *MEASURED, *OF_MEANS)
"""Rules that sums over clients suffice for."""
SCORING = ("select", "auto", "personal")
"""Rules and references that read demonstrations kept aside."""
SEEING_NOTHING = (
    "expert",
    "ceiling",
    "true",
    "plus-one",
    "minus-one",
    "random-1",
    "random-2",
)
"""References that read nothing of what clients hold, but for an expert's recorded episodes."""
