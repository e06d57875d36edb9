"""The seam: what a federation needs to know of a kind of world, and nothing more.

Tables of states and lattices of continuous control are two kinds; a federation does not know which
it runs. To add one: write this protocol, and name it in `domain.kinds`.

Letters: `k` clients, `m` clients of a block, `j` rewards a client learns, `w` worlds of a split,
`c` columns (rules and references), `x` channels, `f` facts, `n` support points, `d` features.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fedirl_ray.cli import leaves, settings
from fedirl_ray.config import RunConfig, narrowed
from fedirl_ray.config_fusion import REFERENCES
from fedirl_ray.domain.job import Arrays, Plan
from fedirl_ray.errors import ConfigError
from fedirl_ray.fusion.spec import Support
from fedirl_ray.problem.kind import Kind
from fedirl_ray.problem.mdp import Floats

Split = Literal["in-distribution", "held-out"]
SPLITS: tuple[Split, Split] = ("in-distribution", "held-out")
"""The clients' own worlds, and worlds that no client has seen."""


class Channel(NamedTuple):
    """One of the numbers that a reward is judged by in a world."""

    judge: str
    """Who judges: a planner, agents, ..."""
    metric: str
    """What of: success, return, ..."""
    step: int = 0
    """After how many steps of training, of judges that learn."""


@dataclass(frozen=True)
class Ground:
    """What all rounds of a seed stand on."""

    support: Support
    """Where rewards are compared and fused, the same for all clients."""
    curvature_bound: float
    """Largest trace that a client's curvature can have."""
    episodes: int
    """Most demonstrations that a client can hold."""


@dataclass(frozen=True)
class Fits:
    """Rewards that a block of clients learnt, each from several starting points."""

    theta: Floats
    """`[m, j, d]`."""
    hessian: Floats | None
    """Curvature of each client's objective at them, L2 term included, `[m, j, d, d]`; None where
    nobody asked."""
    objective: Floats
    """Negative log-likelihood (see the domain) without the L2 term, `[m, j]`."""
    iterations: NDArray[np.int64]
    """Optimiser steps, `[m, j]`."""
    converged: NDArray[np.bool_]
    """Whether they reached their tolerance, `[m, j]`."""
    episodes: NDArray[np.int64]
    """How many demonstrations each client learnt from, `[m]`."""


@dataclass(frozen=True)
class Columns:
    """Rewards theta . phi + offset to judge in the worlds of a split; NaN: there is none."""

    names: tuple[str, ...]
    """Rules and references, `c` of them."""
    theta: Floats
    """`[w, c, d]`."""
    offset: Floats
    """`[w, c]`."""
    matched_theta: Floats
    """Those rewards with the mean and spread, over the support, of the parameter mean's."""
    matched_offset: Floats


@dataclass(frozen=True)
class Judged:
    """What came of judging."""

    scores: Mapping[Split, Floats]
    """`[w, c, x]` by split; NaN where there is none."""
    facts: Floats
    """Of the clients' data and models, for the record, `[k, f]`."""


def require_meant(config: RunConfig, untouched: Sequence[str], references: Collection[str]) -> None:
    """Refuse settings that mean nothing in a kind of world, and references it does not have.

    Args:
        config: The run.
        untouched: Groups and settings, by dotted name, that must keep their defaults.
        references: Those that can be judged.

    Raises:
        ConfigError: Names the first.
    """
    name = config.problem.name
    own = dict(leaves(settings(narrowed(config, RunConfig))))
    usual = dict(leaves(settings(RunConfig())))
    for setting, value in own.items():
        if value != usual[setting] and any(
            setting == one or setting.startswith(f"{one}.") for one in untouched
        ):
            raise ConfigError(f"{setting} means nothing for problem.name {name}, got {value}")
    for rule in config.fusion.rules:
        if rule in REFERENCES and rule not in references:
            known = ", ".join(one for one in REFERENCES if one in references)
            raise ConfigError(
                f"fusion.rules of problem.name {name} may have, beside rules, {known}; got {rule}"
            )


class Domain(Protocol):
    """A kind of world, under the settings of a run."""

    @property
    def config(self) -> RunConfig:
        """The run."""
        ...

    @property
    def kind(self) -> Kind:
        """Its name."""
        ...

    @property
    def held_out(self) -> int:
        """Number of worlds that no client has seen."""
        ...

    @property
    def channels(self) -> tuple[Channel, ...]:
        """What rewards are judged by; the main table's first."""
        ...

    @property
    def metric(self) -> str:
        """The metric of tables and verdicts: success (a share, shown in %) or return."""
        ...

    @property
    def facts(self) -> tuple[str, ...]:
        """Names of facts about clients, `f` of them."""
        ...

    @property
    def references(self) -> frozenset[str]:
        """References that can be judged here (see `config_fusion.REFERENCES`)."""
        ...

    @property
    def varies(self) -> str:
        """What differs between the seeds of a run, in words."""
        ...

    @property
    def sizes(self) -> tuple[str, ...]:
        """Settings that say how much of something there is, as the user types them."""
        ...

    def room(self) -> int:
        """Bytes that a run in one process holds at its largest, beside the interpreter itself."""
        ...

    def check(self) -> None:
        """Refuse what cannot be run, before anything is written.

        Raises:
            FedirlError: Says which setting, or which file.
        """
        ...

    def recorded(self) -> Iterable[bytes]:
        """Content of demonstrations brought along; nothing where experts make them.

        Raises:
            FedirlError: They cannot be read.
        """
        ...

    def keep_demonstrations(self, laid: Sequence[Arrays], target: str) -> None:
        """Write the first seed's demonstrations where they can be read again.

        Args:
            laid: See `lay`.
            target: `record.demonstrations`; what is there already is left as it is.

        Raises:
            ConfigError: They cannot be written.
        """
        ...

    def costs(self) -> list[float]:
        """Expected work of each client's fits, `[k]`, in any unit."""
        ...

    def pooled_bytes(self) -> int:
        """Bytes that all clients' demonstrations take, sent once."""
        ...

    def ground(self, seed: int) -> Ground:
        """The shared support of a seed."""
        ...

    def exported(self, seed: int) -> Arrays:
        """What it takes to evaluate features anywhere, of the names in `domain.phi.BASIS`."""
        ...

    def lay(self) -> Plan[list[Arrays]]:
        """Do what a run does once, before its seeds.

        Returns:
            What each client is given, `k` of them, then whatever `judge` and `pool` read beside.
        """
        ...

    def hold(self, seed: int, clients: Sequence[int], laid: Mapping[int, Arrays]) -> list[Any]:
        """Draw some clients' worlds and demonstrations.

        Args:
            seed: Which repetition.
            clients: Whose.
            laid: What `lay` gave them, by client; empty if that is nothing.

        Returns:
            One object a client, of which `learn` alone knows what it is.
        """
        ...

    def learn(
        self,
        held: Sequence[Any],
        start: Floats,
        pull: Floats,
        most: int | None = None,
        *,
        curvature: bool = True,
    ) -> Fits:
        """Fit rewards to what clients hold.

        Args:
            held: `m` of them, see `hold`.
            start: Where each begins, `[m, j, d]`.
            pull: Weight of |theta - start|^2 / 2, `[m, j]`.
            most: Most optimiser steps of each; None: irl.iterations.
            curvature: Whether hessians are asked for.
        """
        ...

    def score(self, held: Sequence[Any], thetas: Floats) -> Floats:
        """Compare plans for rewards with the demonstrations that clients keep aside.

        Args:
            held: `m` of them, see `hold`, of a run that keeps some aside.
            thetas: `[m, c, d]`, for each client its own.

        Returns:
            Overlaps of what a plan in the client's model does with what was shown, of
            `evaluate.overlap.KINDS`, `[m, c, 2]`, each in [0, 1].
        """
        ...

    def pool(self, seed: int, laid: Sequence[Arrays]) -> Plan[Floats]:
        """Fit one reward, `[d]`, to all clients' data: what privacy forbids."""
        ...

    def judge(
        self, seed: int, columns: Mapping[Split, Columns], laid: Sequence[Arrays], workers: int
    ) -> Plan[Judged]:
        """Judge rewards, and the references that are none, in all worlds.

        Args:
            seed: Which repetition.
            columns: By split. Of references whose reward is NaN (expert, ceiling, true) the domain
                knows itself what they come to.
            laid: See `lay`.
            workers: How many jobs can be done at once.
        """
        ...
