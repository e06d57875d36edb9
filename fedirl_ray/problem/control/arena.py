"""Many episodes side by side, whether their dynamics are arrays or Gymnasium environments.

Letters: `n` rows (one episode each at a time), `p` state axes, `q` action axes, `o` numbers in an
observation.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Protocol, cast

import gymnasium
import numpy as np
from numpy.typing import NDArray

from fedirl_ray.problem.control.commands import to_box, to_numbers
from fedirl_ray.problem.control.physics import Physics
from fedirl_ray.problem.control.sensors import Displaced
from fedirl_ray.problem.control.task import Task
from fedirl_ray.problem.mdp import Bools, Floats

SIDES = ("low", "high")
Policy = Callable[[Floats], Floats]
"""Observations `[n, o]` to actions `[n, q]` in [-1, 1]."""


class Move(NamedTuple):
    """What a step of every row leads to; rows that ended have begun anew."""

    observations: Floats
    """Of the next step to take, `[n, o]`."""
    reward: Floats
    """The task's own, `[n]`."""
    terminated: Bools
    """`[n]`."""
    truncated: Bools
    """Whether the time limit, and nothing else, ended the episode, `[n]`."""
    last: Floats
    """What was seen at the step's end, before any row began anew, `[n, o]`."""


class _Rows(Protocol):
    """Dynamics of `n` rows, which keep their own state."""

    def reset(self, rows: NDArray[np.intp]) -> None: ...

    def step(self, actions: Floats) -> tuple[Floats, Bools]: ...

    def observe(self) -> Floats: ...


class _Arrays:
    """Rows whose dynamics are arrays."""

    def __init__(self, physics: Physics, count: int, rng: np.random.Generator) -> None:
        self._physics, self._rng = physics, rng
        self._states = physics.reset(count, rng)

    def reset(self, rows: NDArray[np.intp]) -> None:
        self._states = self._states.copy()  # what was seen last may be these very numbers
        self._states[rows] = self._physics.reset(len(rows), self._rng)

    def step(self, actions: Floats) -> tuple[Floats, Bools]:
        self._states, reward, terminated = self._physics.step(self._states, actions)
        return reward, terminated

    def observe(self) -> Floats:
        return self._physics.observe(self._states)


class EnvironmentRows:
    """Rows that are Gymnasium environments, one after the other."""

    def __init__(self, task: Task, clients: Sequence[float], rng: np.random.Generator) -> None:
        """Begin an episode in every row; `rng` seeds the environments and nothing else."""
        self._task = task
        self._rows = [task.environment(i) for i in clients]
        self._seen: list[Any] = [env.reset(seed=int(rng.integers(2**31)))[0] for env in self._rows]
        if not task.discrete:
            boxes = [env.action_space for env in self._rows]
            for box in boxes:
                if not isinstance(box, gymnasium.spaces.Box):
                    raise TypeError(f"{task.name}: continuous actions need a Box, got {box}")
            self._limits = [np.array([getattr(box, side) for box in boxes]) for side in SIDES]

    def reset(self, rows: NDArray[np.intp]) -> None:
        """Begin these rows anew."""
        for row in rows:
            self._seen[row] = self._rows[row].reset()[0]

    def step(self, actions: Floats) -> tuple[Floats, Bools]:
        """Advance every row by actions `[n, q]`: rewards `[n]` and whether it terminated."""
        reward = np.empty(len(self._rows))
        terminated = np.empty(len(self._rows), dtype=bool)
        for row, (env, command) in enumerate(zip(self._rows, self._commands(actions), strict=True)):
            self._seen[row], reward[row], terminated[row], _, _ = env.step(command)
        return reward, terminated

    def _commands(self, actions: Floats) -> Iterable[Any]:
        """Actions as the environments take them."""
        if self._task.discrete:
            numbers: list[int] = to_numbers(self._task, actions).tolist()
            return numbers
        commands: Iterable[Any] = to_box(actions, *self._limits)
        return commands

    def observe(self) -> Floats:
        """What is seen now, without noise, `[n, o]`."""
        return np.array(self._seen, dtype=np.float64)


class Arena:
    """Rows of one task, each some client's, with its observation noise and time limit."""

    def __init__(self, task: Task, clients: Sequence[float], rng: np.random.Generator) -> None:
        """Begin an episode in every row.

        Args:
            task: The task.
            clients: Whose physics each row has, `[n]`.
            rng: First states and noise; nothing else is random.
        """
        self.task = task
        self._clients = np.asarray(clients, dtype=np.float64)
        self._spread = task.noise * self._clients[:, None]
        self._rng = rng
        self._age = np.zeros(len(clients), dtype=np.int64)
        self._rows: _Rows
        # Arrays of one row are slower than Python's own numbers.
        if task.physics is None or len(clients) == 1:
            self._rows = EnvironmentRows(task, clients, rng)
        else:
            self._rows = _Arrays(stack_physics(task.physics, clients), len(clients), rng)
        self.observations = self._look()

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._clients)

    def reset(self) -> Floats:
        """Begin every row anew."""
        self._rows.reset(np.arange(len(self)))
        self._age[:] = 0
        self.observations = self._look()
        return self.observations

    def step(self, actions: Floats) -> Move:
        """Advance every row, and begin those anew that ended.

        Args:
            actions: `[n, q]`.
        """
        reward, terminated = self._rows.step(actions)
        self._age += 1
        truncated = (self._age >= self.task.steps) & ~terminated
        last = seen = self._look()
        over = terminated | truncated
        if over.any():
            ended = np.flatnonzero(over)
            self._rows.reset(ended)
            self._age[ended] = 0
            seen = last.copy()
            seen[ended] = self._look()[ended]
        self.observations = seen
        return Move(seen, reward, terminated, truncated, last)

    def _look(self) -> Floats:
        clean = self._rows.observe()
        if self.task.noise == 0.0:
            return clean
        return clean + self._spread * self._rng.normal(size=clean.shape)


def stack_physics(physics: Callable[[float], Physics], clients: Sequence[float]) -> Physics:
    """The physics of several clients as one whose every parameter is an array, one a row."""
    each = [physics(i) for i in clients]
    first: Any = each[0]
    if isinstance(first, Displaced):
        # One task's rows are seen by the same sensors.
        return Displaced(_stack([one.inner for one in cast(list[Displaced], each)]), first.offset)
    return _stack(each)


def _stack(each: Sequence[Physics]) -> Physics:
    first: Any = each[0]
    columns = {
        field.name: np.array([getattr(one, field.name) for one in each]) for field in fields(first)
    }
    stacked: Physics = type(first)(**columns)
    return stacked


@dataclass(frozen=True)
class Episodes:
    """Whole episodes of one client, padded to the longest."""

    observations: Floats
    """What was seen before each step, `[m, h, o]`."""
    actions: Floats
    """What was done then, `[m, h, q]`."""
    lengths: NDArray[np.int64]
    """Steps of each, `[m]`; what lies beyond is zero."""
    returns: Floats
    """Sums of the task's own reward, `[m]`."""
    last: Floats
    """What was seen at the end, `[m, o]`."""
    terminated: Bools
    """Whether the task, not the time limit, ended it, `[m]`."""

    def steps(self) -> tuple[Floats, Floats]:
        """All steps of all episodes: observations `[t, o]` and actions `[t, q]`."""
        inside = np.arange(self.actions.shape[1]) < self.lengths[:, None]
        return self.observations[inside], self.actions[inside]


class Trajectory(NamedTuple):
    """One episode, as its environment tells it."""

    observations: Floats
    """What was seen before each of h steps and at the end, `[h + 1, o]`."""
    actions: Floats
    """What was done at each, within [-1, 1], `[h, q]`."""
    rewards: Floats
    """The task's own, `[h]`."""


def trajectories(episodes: Episodes, rewards: Floats) -> Iterator[Trajectory]:
    """Episodes one by one, with the rewards `[m, h]` of their steps; copies."""
    for row, h in enumerate(episodes.lengths):
        seen = np.vstack([episodes.observations[row, :h], episodes.last[row]])
        actions = np.clip(episodes.actions[row, :h], -1.0, 1.0)
        yield Trajectory(seen, actions, rewards[row, :h].copy())


def play(
    task: Task,
    clients: Sequence[float],
    policy: Policy,
    rng: np.random.Generator,
    *,
    steps: int | None = None,
) -> Episodes:
    """Play one episode in every row.

    Args:
        task: The task.
        clients: Whose physics each row has, `[m]`.
        policy: Acts in all rows at once, also in those that have ended.
        rng: First states and noise.
        steps: Most steps; None: the task's.

    Returns:
        One episode a row, in the rows' order.
    """
    return play_paid(task, clients, policy, rng, steps=steps)[0]


def play_paid(
    task: Task,
    clients: Sequence[float],
    policy: Policy,
    rng: np.random.Generator,
    *,
    steps: int | None = None,
) -> tuple[Episodes, Floats]:
    """The same, and the task's own reward of every step, `[m, h]`, zero beyond an episode's end."""
    arena = Arena(task, clients, rng)
    m, most = len(arena), steps or task.steps
    seen: list[Floats] = []
    done: list[Floats] = []
    paid: list[Floats] = []
    running = np.ones(m, dtype=bool)
    lengths, returns = np.zeros(m, dtype=np.int64), np.zeros(m)
    last, terminated = arena.observations.copy(), np.zeros(m, dtype=bool)
    while running.any() and len(done) < most:
        observations = arena.observations
        actions = policy(observations)
        move = arena.step(actions)
        seen.append(np.where(running[:, None], observations, 0.0))
        done.append(np.where(running[:, None], actions, 0.0))
        paid.append(np.where(running, move.reward, 0.0))
        lengths += running
        returns += paid[-1]
        last[running] = move.last[running]
        terminated |= running & move.terminated
        running &= ~(move.terminated | move.truncated)
    steps_of = (np.stack(seen, 1), np.stack(done, 1))
    return Episodes(*steps_of, lengths, returns, last, terminated), np.stack(paid, 1)
