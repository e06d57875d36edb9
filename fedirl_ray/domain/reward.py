"""Fused rewards as a run's product: a file of plain arrays, and functions of states and actions.

rewards.npz holds, for the rules (and references) that have a reward,

    format                  2 (1: the same, without `basis_own` of control tasks)
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
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from fedirl_ray.domain.job import Arrays
from fedirl_ray.domain.phi import BASIS, Phi, TablePhi, box_phi
from fedirl_ray.errors import DataError
from fedirl_ray.problem.kind import Kind
from fedirl_ray.problem.mdp import Floats, TabularMDP
from fedirl_ray.problem.npz import read_arrays

FORMAT = 2
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
    phi: Phi
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


def load_reward(path: Path | str, rule: str = "barycenter", seed: int = 0) -> LearntReward:
    """Read a reward that a run has learnt.

    Args:
        path: Its rewards.npz, or its folder. Nothing in it is unpickled, and no code that it names
            is imported: import the module of features of your own before.
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
    if common["format"] not in (1, FORMAT):
        raise DataError(f"{file} must be of format 1 or {FORMAT}, got {common['format']}")
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
    later = ("own",) if kind == "control" and common["format"] == 1 else ()
    wanted = [name for name in BASIS[kind] if name not in later]
    basis = {
        name.removeprefix("basis_"): array[at[0] if len(array) > 1 else 0]
        for name, array in read_arrays(
            file, [f"basis_{name}" for name in wanted], str(file)
        ).items()
    }
    phi: Phi = TablePhi.of(basis) if kind == "tabular" else box_phi(problem, basis, theta, file)
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
