"""Settings of fusion: which rules are compared, and what each of them reads."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Literal

from fedirl_ray.laws import names_function, require, require_once, require_positive

RULE_NAMES = (
    "mean", "masked-mean", "median", "trimmed", "geometric-median", "precision", "blur", "register",
    "arithmetic", "barycenter", "debiased", "gibbs", "signed", "signed-median",
    "self-control", "self-debiased", "self-gibbs", "self-signed", "self-signed-median", "self-blur",
    "select", "auto",
)  # fmt: skip
"""Fusion rules that come with the package, see `fedirl_ray.fusion.rules.RULES`."""
CHOOSING = ("select", "auto")
"""Rules that choose between others, see `fedirl_ray.fusion.selection`."""
LEAST_LEFT_OUT = 3
"""Least clients where each scores what the others' come to: of two, that is the other's own."""
BLIND = ("plus-one", "minus-one", "random-1", "random-2")
"""References that know nothing: constant rewards, and random theta."""
REFERENCES = ("local", "personal", "fine-tuned", "pooled", "expert", "ceiling", "true", *BLIND)
"""Columns that fuse nothing: a client alone, or making a fused reward its own, all data in one
place, the expert, the best policy, the true reward, and those that know nothing."""
BY_THEMSELVES = (
    "rules that fuse uploads by themselves, no references, neither select nor auto, and none that "
    "asks clients for scores"
)
"""What candidates must be."""
ON_MEASURES = ("arithmetic", "barycenter", "debiased", "self-control", "self-debiased")
"""Rules that read how a reward becomes a measure: measure, sigma, floor, gibbs-temperature, mass.
`gibbs` and the signed rules have ways of their own."""


@dataclass(frozen=True, kw_only=True)
class FusionConfig:
    """How the clients' rewards become one reward."""

    rules: tuple[str, ...] = (
        "local",
        "mean",
        "arithmetic",
        "barycenter",
        "debiased",
        "self-control",
        "pooled",
        "expert",
        "ceiling",
    )
    """Rules to compare, and references beside them, separated by commas; also masked-mean, median,
    trimmed, geometric-median, precision; gibbs, signed, signed-median, and what they must beat,
    blur and register (docs/why-transport.md); self-debiased, self-gibbs, self-signed,
    self-signed-median, self-blur: a rule on copies of the mean, as self-control is the barycenter;
    and module:function of your own (docs/own-rule.md)."""
    measure: Literal["shift", "gibbs"] = "shift"
    """Reward to probability measure: shift and normalise, or exp(r / temperature)."""
    sigma: Literal["shared", "client"] | float = "shared"
    """Shift that makes rewards positive: one for all, each client's own, or a number."""
    floor: float = 0.01
    """Least entry after the shift, as a share of the reward's range."""
    gibbs_temperature: float = 1.0
    """Temperature of the gibbs measure, in units of reward."""
    mass: Literal["mean"] | float = "mean"
    """Z of the way back, r = Z p - sigma: the clients' weighted mean, or a number."""
    intercept: bool = False
    """Fit theta with a constant column beside the features."""
    epsilon: float = 0.5
    """Entropic regularisation of the barycenter, in units of the scaled ground cost."""
    cost_scale: Literal["none", "max"] = "none"
    """Ground cost: squared distance in cells, or scaled so that its largest entry is 1."""
    iterations: int = 500
    """Largest number of barycenter iterations (the paper: 50 steps of 10)."""
    tolerance: float = 1e-7
    """Marginal error (L1) at which the barycenter stops."""
    trim: float = 0.1
    """Share of clients the trimmed mean drops at each end."""
    tau: float = 0.1
    """Rules signed and signed-median: what of a client's map lies within this share of its highest
    deviation from the median is averaged, what lies beyond is transported, at epsilon."""
    gibbs_relative: float = 0.3
    """Temperature of the rule gibbs, in units of the clients' mean range of rewards."""
    gibbs_epsilon: float = 1.0
    """Entropic regularisation of the rule gibbs, whose barycenter is debiased."""
    blur_width: float = 1.5
    """Standard deviation of the rule blur, in cells of the lattice."""
    candidates: tuple[str, ...] = (
        "mean", "masked-mean", "median", "blur", "gibbs", "barycenter", "signed"
    )  # fmt: skip
    """Rules that select and auto choose between, separated by commas; the first wins ties
    (docs/selection.md)."""
    leave_one_out: bool = False
    """select, auto: have each client score what the others' uploads come to without its own."""

    def __post_init__(self) -> None:
        """Check every limit."""
        for rule in self.rules:
            _require_rule(rule, "fusion.rules")
        require_once("fusion.rules", self.rules)
        law = "a list with mean, which the others are compared to"
        require("mean" in self.rules, "fusion.rules", law, ",".join(self.rules) or "none")
        if not isinstance(self.sigma, str):
            require_positive("fusion.sigma", self.sigma)
        if not isinstance(self.mass, str):
            require_positive("fusion.mass", self.mass)
        require_positive("fusion.floor", self.floor)
        require_positive("fusion.gibbs-temperature", self.gibbs_temperature)
        require_positive("fusion.epsilon", self.epsilon)
        require(self.iterations >= 1, "fusion.iterations", ">= 1", self.iterations)
        require_positive("fusion.tolerance", self.tolerance)
        require(0.0 <= self.trim < 0.5, "fusion.trim", "in [0, 0.5)", self.trim)
        require(0.0 <= self.tau < 1.0, "fusion.tau", "in [0, 1)", self.tau)
        require_positive("fusion.gibbs-relative", self.gibbs_relative)
        require_positive("fusion.gibbs-epsilon", self.gibbs_epsilon)
        require_positive("fusion.blur-width", self.blur_width)
        require(len(self.candidates) > 0, "fusion.candidates", "at least one rule", "none")
        for rule in self.candidates:
            fuses = rule not in REFERENCES and rule not in CHOOSING
            require(fuses, "fusion.candidates", BY_THEMSELVES, rule)
            _require_rule(rule, "fusion.candidates")
        require_once("fusion.candidates", self.candidates)
        self._require_read()

    @property
    def in_use(self) -> tuple[str, ...]:
        """Rules that a run fuses by: its columns, and the candidates of those that choose."""
        chosen = () if set(CHOOSING).isdisjoint(self.rules) else self.candidates
        return (*self.rules, *chosen)

    def _require_read(self) -> None:
        """Refuse a measure for rules with measures of their own, where no other rule reads it."""
        rules = self.in_use
        own = [rule for rule in ("gibbs", "signed", "signed-median") if rule in rules]
        read = any(rule in ON_MEASURES or names_function(rule) for rule in rules)
        if not own or read:
            return
        for one in fields(self):
            if one.name in ("measure", "sigma", "floor", "gibbs_temperature", "mass"):
                law = f"{one.default} for {','.join(self.rules)}, none of which reads it"
                got = getattr(self, one.name)
                require(got == one.default, f"fusion.{one.name.replace('_', '-')}", law, got)


def fusing(names: Iterable[str]) -> tuple[str, ...]:
    """Those of some columns that fuse, in their order; the others are references."""
    return tuple(name for name in names if name not in REFERENCES)


def _require_rule(name: str, setting: str) -> None:
    """Refuse what is neither a rule or reference of ours nor spelt as one of the user's own."""
    known: tuple[str, ...] = (*RULE_NAMES, *REFERENCES)
    if name in known:
        return
    if setting == "fusion.candidates":
        known = tuple(rule for rule in RULE_NAMES if rule not in CHOOSING)
    own, function = names_function(name), name.rpartition(":")[2]
    near = "" if own else next(iter(difflib.get_close_matches(name[:80], known, n=1)), "")
    hint = f"; did you mean {near}?" if near else ""
    law = f"{', '.join(known)} or module:function"
    require(own, setting, law, f"{name[:80]!r}{hint}")
    law = f"a function whose name is none of {', '.join(known)}"
    require(function not in known, setting, law, name)
