"""Features of states and actions, made anew of the plain arrays that a file holds.

Letters: `d` features, `p` axes, `s` states, `a` actions, `q` action axes, `o` numbers in an
observation.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedirl_ray.domain.job import Arrays
from fedirl_ray.errors import ConfigError, DataError
from fedirl_ray.laws import names_function
from fedirl_ray.problem.mdp import Floats

if TYPE_CHECKING:  # tables need neither
    from fedirl_ray.problem.control.basis import Basis
    from fedirl_ray.problem.control.task import Task

BASIS: Mapping[str, tuple[str, ...]] = {
    "tabular": ("features", "shape", "horizon"),
    "control": ("low", "high", "wraps", "width", "seen", "choices", "least", "most", "own"),
}
"""What phi is made of, by kind of world; see `Tabular.exported` and `box_basis`."""


class Phi(Protocol):
    """Features of states and actions, and what an episode's end means in their kind of world."""

    @property
    def horizon(self) -> int | None:
        """Steps that an episode which ended earns for where it ended; None: none after its end."""
        ...

    def __call__(self, states: ArrayLike, actions: ArrayLike | None, space: Any) -> Floats:
        """Features, `[..., d]`."""
        ...

    @property
    def choices(self) -> int | None:
        """How many actions there are to choose from; None: they are not numbered."""
        ...


@dataclass(frozen=True, eq=False)
class TablePhi:
    """Features written out."""

    features: Floats
    """`[s, a or 1, d]`."""
    choices: int
    horizon: int | None

    @classmethod
    def of(cls, basis: Mapping[str, NDArray[Any]]) -> Self:
        """Those of a file."""
        s, a, feature_actions = basis["shape"].tolist()
        features = basis["features"].reshape(s, feature_actions, -1)
        return cls(features, a, int(basis["horizon"]))

    def __call__(self, states: ArrayLike, actions: ArrayLike | None, space: Any = None) -> Floats:
        """Features of numbered states and actions, `[..., d]`."""
        s, sighted, _ = self.features.shape
        here = _numbered("states", states, s)
        if actions is None:
            if sighted > 1:
                raise DataError("actions must be given: this reward depends on them, got None")
            alone: Floats = self.features[here, 0]
            return alone
        taken = _numbered("actions", actions, self.choices)
        try:
            here, taken = np.broadcast_arrays(here, taken)
        except ValueError:
            raise DataError(
                f"states and actions must be of one shape, got {here.shape} and {taken.shape}"
            ) from None
        found: Floats = self.features[here, taken if sighted > 1 else np.zeros_like(taken)]
        return found


def _numbered(what: str, given: ArrayLike, count: int) -> NDArray[np.int64]:
    found = np.asarray(given)
    if found.dtype.kind not in "iu":
        raise DataError(f"{what} must be integers, got {found.dtype}")
    if found.size and (found.min() < 0 or found.max() >= count):
        raise DataError(f"{what} must lie in 0..{count - 1}, got {found.min()} to {found.max()}")
    return found.astype(np.int64)


@dataclass(frozen=True, eq=False)
class BoxPhi:
    """Features of a control task, of what its environment shows and takes."""

    problem: str
    basis: Mapping[str, NDArray[Any]]
    """See `box_basis`."""
    count: int
    """Features d."""
    horizon: int | None = None

    @property
    def choices(self) -> int | None:
        """Numbered actions."""
        return len(self.basis["choices"]) or None

    @cached_property
    def features(self) -> "Basis":
        """Of places and shares of what can be done."""
        from fedirl_ray.problem.control.basis import RadialBasis
        from fedirl_ray.problem.control.own_basis import OwnBasis
        from fedirl_ray.problem.lattice import Axis, Lattice

        rows = zip(*(self.basis[name].tolist() for name in ("low", "high", "wraps")), strict=True)
        box = Lattice(tuple(Axis("", low, high, 2, wraps) for low, high, wraps in rows))
        if not self.own:
            return RadialBasis(box, self.count, float(self.basis["width"]))
        return OwnBasis.named(box, len(box.axes) - self.basis["choices"].shape[1], self.own)

    @property
    def own(self) -> str:
        """`module:function` of the user's own features; none where they are radial."""
        return str(self.basis.get("own", ""))

    @cached_property
    def _locate(self) -> Any:
        from fedirl_ray.problem.control.paper import TASKS

        # Observations of environments of the user's own are places as they are.
        return TASKS[self.problem].locate if self.problem in TASKS else np.asarray

    def __call__(self, states: ArrayLike, actions: ArrayLike | None, space: Any = None) -> Floats:
        """Features of observations `[..., o]` and actions, `[..., d]`."""
        if actions is None:
            raise DataError("actions must be given: this reward depends on them, got None")
        seen = np.asarray(states, dtype=np.float64)
        if seen.ndim == 0:
            raise DataError(f"states must be observations, arrays of numbers, got {states!r}")
        if seen.shape[-1] != self.basis["seen"]:
            raise DataError(
                f"states must be observations of {self.problem}, {self.basis['seen']} numbers, got "
                f"shape {seen.shape}"
            )
        rows = seen.reshape(-1, seen.shape[-1])
        places = self._locate(rows)
        shares = self._shares(actions, space).reshape(len(rows), -1)
        found = self.features.at(np.concatenate([places, shares], axis=1))
        return found.reshape(*seen.shape[:-1], self.count)

    def _shares(self, actions: ArrayLike, space: Any) -> Floats:
        """Actions as shares of the most that can be done, in [-1, 1]."""
        if self.choices is not None:
            places: Floats = self.basis["choices"][_numbered("actions", actions, self.choices)]
            return places
        from fedirl_ray.problem.control.commands import from_box

        low, high = (
            (self.basis["least"], self.basis["most"])
            if space is None
            else (np.asarray(space.low), np.asarray(space.high))
        )
        return from_box(np.asarray(actions, dtype=np.float64), low, high)


def box_basis(task: "Task", basis: "Basis") -> Arrays:
    """What the features of a control task are made of.

    Args:
        task: The task.
        basis: Its features.

    Returns:
        `low`, `high`, `wraps`: the box, state axes first, `[p]` each; `width` of the bumps; `own`:
        `module:function` instead of bumps, whose code is not held; `seen`: how many numbers an
        observation has; `choices`: where numbered actions stand, `[a, q]`, none of continuous ones;
        `least`, `most`: what client 0's environment takes, `[q]`.
    """
    axes, env = task.support.axes, task.environment(0.0)
    seen, space, none = env.observation_space.shape or (1,), env.action_space, np.empty(0)
    return {
        "low": np.array([axis.low for axis in axes]),
        "high": np.array([axis.high for axis in axes]),
        "wraps": np.array([axis.wraps for axis in axes]),
        "width": np.array(getattr(basis, "width", np.nan)),
        "own": np.array(getattr(basis, "name", "")),
        "seen": np.array(seen[0]),
        "choices": task.action.points if task.discrete else np.empty((0, len(task.action.axes))),
        "least": np.asarray(getattr(space, "low", none)),
        "most": np.asarray(getattr(space, "high", none)),
    }


def box_phi(problem: str, basis: Mapping[str, NDArray[Any]], theta: Floats, file: Path) -> BoxPhi:
    """Features of a control task, of the user's own module only if that is there already.

    A file must not decide what is imported.
    """
    phi = BoxPhi(problem, basis, len(theta))
    own = phi.own
    if own:
        module = own.partition(":")[0]
        law = f"{file} has features of your own, {own[:80]!r}, which"
        if not names_function(own) or module not in sys.modules:
            raise DataError(f"{law} must be imported before it is read: import {module[:80]}")
        try:
            d = phi.features.count
        except ConfigError as err:
            raise DataError(f"{law} must work as they did, got: {err}") from err
        if d != len(theta):
            raise DataError(f"{law} must have the {len(theta)} of its theta, got {d}")
    return phi
