"""Fused rewards as a run's product: a file of plain arrays, and functions of states and actions.

rewards.npz holds, for the rules (and references) that have a reward,

    format                  1
    kind, problem           tabular or control, and the problem's name
    rules                   names, [c]
    seeds                   numbers, [seeds]
    theta, offset           the reward is theta . phi + offset: [seeds, c, d], [seeds, c]
    mean, spread            of each reward over the shared support, [seeds, c]
    basis_*                 what phi is made of, by kind; [seeds, ...], or [1, ...] where all seeds
                            share it: see `BASIS`

Letters: `c` rules, `d` features, `s` states, `a` actions, `n` rows, `o` numbers in an observation.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedirl_ray.domain.job import Arrays
from fedirl_ray.errors import DataError
from fedirl_ray.problem.kind import Kind
from fedirl_ray.problem.mdp import Floats, TabularMDP
from fedirl_ray.problem.npz import read_arrays

if TYPE_CHECKING:  # tables need neither
    from fedirl_ray.problem.control.basis import RadialBasis
    from fedirl_ray.problem.control.task import Task

FORMAT = 1
BASIS: Mapping[str, tuple[str, ...]] = {
    "tabular": ("features", "shape", "horizon"),
    "control": ("low", "high", "wraps", "width", "seen", "choices", "least", "most"),
}
"""What phi is made of, by kind of world; see `Tabular.exported` and `box_basis`."""
_COMMON = ("format", "kind", "problem", "rules", "seeds", "theta", "offset", "mean", "spread")


def packed(
    kind: Kind,
    problem: str,
    rules: Sequence[str],
    theta: Floats,
    offset: Floats,
    rewards: Floats,
    bases: Sequence[Arrays],
) -> bytes:
    """The rewards of a run as the bytes of a file.

    Args:
        kind: The kind of world.
        problem: Its name.
        rules: Names, `c` of them.
        theta: `[seeds, c, d]`; NaN where there is none.
        offset: `[seeds, c]`.
        rewards: On the shared support, `[seeds, c, points]`.
        bases: What phi is made of, by seed.
    """
    kept = ~np.isnan(theta).any(axis=2).all(axis=0)
    arrays: dict[str, Any] = {
        "format": np.array(FORMAT),
        "kind": np.array(kind),
        "problem": np.array(problem),
        "rules": np.array(rules)[kept],
        "seeds": np.arange(len(theta)),
        "theta": theta[:, kept],
        "offset": offset[:, kept],
        "mean": rewards[:, kept].mean(axis=2),
        "spread": rewards[:, kept].std(axis=2),
    }
    for name, first in bases[0].items():
        each = [basis[name] for basis in bases]
        shared = all(np.array_equal(first, other) for other in each)
        arrays[f"basis_{name}"] = np.stack(each[:1] if shared else each)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


@dataclass(frozen=True, eq=False)
class LearntReward:
    """A reward theta . phi + offset, to be called with states and actions of its world.

    Tables are called with integers or arrays of them: `reward(state)`, or `reward(state, action)`
    where features see the action. Control tasks are called with what their Gymnasium environment
    shows and takes: `reward(observation, action)`, or rows of both.
    """

    problem: str
    """Name of the problem that it was learnt in."""
    rule: str
    """The rule, or reference, that made it."""
    seed: int
    theta: Floats
    """`[d]`."""
    offset: float
    mean: float
    """Of the reward over the shared support."""
    spread: float
    """Its standard deviation there."""
    phi: "Phi"
    """The features."""
    level: tuple[float, float]
    """Mean and spread, over the shared support, of the parameter mean's reward."""

    def __call__(self, states: ArrayLike, actions: ArrayLike | None = None) -> Any:
        """The reward of states and actions: a float of one, an array of many.

        Raises:
            DataError: They are none of the world's.
        """
        return self.given(states, actions, None)

    def given(self, states: ArrayLike, actions: ArrayLike | None, space: Any) -> Any:
        """The same where actions are those of a Gymnasium space, whose limits may be a client's."""
        reward = self.phi(states, actions, space) @ self.theta + self.offset
        return float(reward) if np.ndim(reward) == 0 else reward

    def matched(self) -> Self:
        """This reward with the mean and the spread that the parameter mean's has on the support.

        Rewards that differ in scale alone lead to the same optimal, but to other soft policies. A
        constant stays one, of that mean.
        """
        mean, spread = self.level
        scale = spread / self.spread if self.spread > 0.0 else 0.0
        offset = mean - scale * (self.mean - self.offset)
        return replace(
            self, theta=scale * self.theta, offset=offset, mean=mean, spread=scale * self.spread
        )

    def on(self, world: TabularMDP) -> Floats:
        """The reward in a table by that world's own features, `[s, a or 1]`.

        Features that move with a world's goal or obstacles differ from those of the shared support.

        Raises:
            DataError: The world has another number of features.
        """
        if world.shape[2] != len(self.theta):
            raise DataError(
                f"world must have the reward's {len(self.theta)} features, got {world.shape[2]}"
            )
        reward: Floats = world.features @ self.theta + self.offset
        return reward

    def __repr__(self) -> str:
        return f"LearntReward({self.problem!r}, rule={self.rule!r}, seed={self.seed})"


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
    """Radial features of what an environment shows and takes."""

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
    def _radial(self) -> Any:
        from fedirl_ray.problem.control.basis import RadialBasis
        from fedirl_ray.problem.lattice import Axis, Lattice

        rows = zip(*(self.basis[name].tolist() for name in ("low", "high", "wraps")), strict=True)
        box = Lattice(tuple(Axis("", low, high, 2, wraps) for low, high, wraps in rows))
        return RadialBasis(box, self.count, float(self.basis["width"]))

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
        found: Floats = self._radial.at(np.concatenate([places, shares], axis=1))
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


def box_basis(task: "Task", basis: "RadialBasis") -> Arrays:
    """What the features of a control task are made of.

    Args:
        task: The task.
        basis: Its features.

    Returns:
        `low`, `high`, `wraps`: the box, state axes first, `[p]` each; `width` of the bumps;
        `seen`: how many numbers an observation has; `choices`: where numbered actions stand,
        `[a, q]`, none of continuous ones; `least`, `most`: what client 0's environment takes,
        `[q]`.
    """
    axes, env = task.support.axes, task.environment(0.0)
    seen, space, none = env.observation_space.shape or (1,), env.action_space, np.empty(0)
    return {
        "low": np.array([axis.low for axis in axes]),
        "high": np.array([axis.high for axis in axes]),
        "wraps": np.array([axis.wraps for axis in axes]),
        "width": np.array(basis.width),
        "seen": np.array(seen[0]),
        "choices": task.action.points if task.discrete else np.empty((0, len(task.action.axes))),
        "least": np.asarray(getattr(space, "low", none)),
        "most": np.asarray(getattr(space, "high", none)),
    }


def load_reward(path: Path | str, rule: str = "barycenter", seed: int = 0) -> LearntReward:
    """Read a reward that a run has learnt.

    Args:
        path: Its rewards.npz, or its folder. Nothing in it is unpickled.
        rule: Whose reward: a rule's, or a reference's that has one.
        seed: Of which repetition.

    Returns:
        A function of states and actions.

    Raises:
        DataError: The file cannot be read, or holds no such reward; one line.
    """
    path = Path(path)
    file = path / "rewards.npz" if path.is_dir() else path
    common = read_arrays(file, _COMMON, str(file))
    if common["format"] != FORMAT:
        raise DataError(f"{file} must be of format {FORMAT}, got {common['format']}")
    kind, problem = str(common["kind"]), str(common["problem"])
    if kind not in BASIS:
        raise DataError(f"{file} must be of a kind among {', '.join(BASIS)}, got {kind}")
    names = common["rules"].tolist()
    if rule not in names:
        raise DataError(f"rule must be one of {', '.join(names)} in {file}, got {rule}")
    seeds = common["seeds"].tolist()
    if seed not in seeds:
        raise DataError(f"seed must be one of {seeds[0]} to {seeds[-1]} in {file}, got {seed}")
    at = seeds.index(seed), names.index(rule)
    theta = common["theta"][at]
    if np.isnan(theta).any():
        raise DataError(f"{file} must hold a reward of {rule} in seed {seed}, got none")
    basis = {
        name.removeprefix("basis_"): array[at[0] if len(array) > 1 else 0]
        for name, array in read_arrays(
            file, [f"basis_{name}" for name in BASIS[kind]], str(file)
        ).items()
    }
    phi: Phi = TablePhi.of(basis) if kind == "tabular" else BoxPhi(problem, basis, len(theta))
    mean = (at[0], names.index("mean"))
    return LearntReward(
        problem,
        rule,
        seed,
        theta,
        float(common["offset"][at]),
        float(common["mean"][at]),
        float(common["spread"][at]),
        phi,
        (float(common["mean"][mean]), float(common["spread"][mean])),
    )
