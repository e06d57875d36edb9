"""Rows of many agents side by side: one array computation, or Gymnasium environments in turn.

Each agent has its own client's dynamics and its own stream, so what happens to it does not depend
on who else is there.

Letters: `b` agents, `r` rows of each, `p` numbers in a state, `q` action axes, `o` numbers in an
observation.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from fedirl_ray.errors import FedirlError
from fedirl_ray.problem.control.arena import EnvironmentRows, Move, stack_physics
from fedirl_ray.problem.control.physics import Physics
from fedirl_ray.problem.control.task import Task
from fedirl_ray.problem.mdp import Bools, Floats, Places

AHEAD = 64
"""Steps whose observation noise is drawn at once; part of what a seed means."""


class _Dynamics(Protocol):
    """Rows of all agents, which keep their own states."""

    failed: dict[int, FedirlError]
    """Agents whose own code broke down, and how; their rows stand still."""

    def step(self, actions: Floats) -> tuple[Floats, Bools]:
        """Actions `[b, r, q]` to rewards and whether the episode terminated, `[b, r]`."""
        ...

    def restart(self, agent: int, rows: Places) -> None: ...

    def observe(self) -> Floats:
        """`[b, r, o]`."""
        ...

    def keep(self, which: Places) -> None: ...


class _Stacked:
    """Dynamics that are arrays: a step of all rows is one."""

    def __init__(
        self,
        physics: Callable[[float], Physics],
        clients: Sequence[float],
        rows: int,
        streams: Sequence[np.random.Generator],
    ) -> None:
        self.failed: dict[int, FedirlError] = {}
        self._physics, self._rows = physics, rows
        self._clients, self._streams = np.asarray(clients), list(streams)
        firsts = [physics(i).reset(rows, rng) for i, rng in zip(clients, streams, strict=True)]
        self._states = np.concatenate(firsts)
        self._all = stack_physics(physics, self._clients.repeat(rows).tolist())

    def step(self, actions: Floats) -> tuple[Floats, Bools]:
        shape = actions.shape[:2]
        flat = actions.reshape(len(self._states), -1)
        self._states, reward, terminated = self._all.step(self._states, flat)
        return reward.reshape(shape), terminated.reshape(shape)

    def restart(self, agent: int, rows: Places) -> None:
        own = self._physics(float(self._clients[agent]))
        fresh = own.reset(len(rows), self._streams[agent])
        self._states[agent * self._rows + rows] = fresh

    def observe(self) -> Floats:
        seen = self._all.observe(self._states)
        return seen.reshape(len(self._clients), self._rows, -1)

    def keep(self, which: Places) -> None:
        states = self._states.reshape(len(self._clients), self._rows, -1)[which]
        self._states = states.reshape(len(which) * self._rows, -1)
        self._clients = self._clients[which]
        self._streams = [self._streams[agent] for agent in which]
        self._all = stack_physics(self._physics, self._clients.repeat(self._rows).tolist())


class _Brought:
    """Dynamics that only Gymnasium environments know, one after the other."""

    def __init__(
        self,
        task: Task,
        clients: Sequence[float],
        rows: int,
        streams: Sequence[np.random.Generator],
    ) -> None:
        self.failed: dict[int, FedirlError] = {}
        self._rows: list[EnvironmentRows | None] = []
        for agent, (client, rng) in enumerate(zip(clients, streams, strict=True)):
            try:
                self._rows.append(EnvironmentRows(task, [client] * rows, rng))
            except FedirlError as err:
                self._rows.append(None)
                self.failed[agent] = err
        seen = [None if one is None else one.observe() for one in self._rows]
        known = next((one for one in seen if one is not None), np.zeros((rows, 1)))
        self._seen = np.array([np.zeros_like(known) if one is None else one for one in seen])

    def step(self, actions: Floats) -> tuple[Floats, Bools]:
        reward = np.zeros(actions.shape[:2])
        terminated = np.zeros(actions.shape[:2], dtype=bool)
        for agent, rows in enumerate(self._rows):
            if rows is None or agent in self.failed:
                continue
            try:
                reward[agent], terminated[agent] = rows.step(actions[agent])
                self._seen[agent] = rows.observe()
            except FedirlError as err:
                self.failed[agent] = err
        return reward, terminated

    def restart(self, agent: int, rows: Places) -> None:
        environments = self._rows[agent]
        if environments is None or agent in self.failed:
            return
        try:
            environments.reset(rows)
            self._seen[agent] = environments.observe()
        except FedirlError as err:
            self.failed[agent] = err

    def observe(self) -> Floats:
        return self._seen.copy()

    def keep(self, which: Places) -> None:
        self._rows = [self._rows[agent] for agent in which]
        self._seen = self._seen[which]
        places = {int(agent): place for place, agent in enumerate(which)}
        self.failed = {places[a]: err for a, err in self.failed.items() if a in places}


class Environments:
    """`r` episodes of each of `b` agents, with observation noise and time limit."""

    def __init__(
        self,
        task: Task,
        clients: Sequence[float],
        rows: int,
        streams: Sequence[np.random.Generator],
    ) -> None:
        """Begin an episode in every row.

        Args:
            task: The task.
            clients: Whose physics each agent has, `[b]`.
            rows: r.
            streams: Each agent's own: first states and noise, nothing else is random; consumed.
        """
        self._steps = task.steps
        self._streams = list(streams)
        self._spread = task.noise * np.asarray(clients, dtype=np.float64)
        self._dynamics: _Dynamics
        if task.physics is None:
            self._dynamics = _Brought(task, clients, rows, streams)
        else:
            self._dynamics = _Stacked(task.physics, clients, rows, streams)
        clean = self._dynamics.observe()
        self._age = np.zeros(clean.shape[:2], dtype=np.int64)
        self._noise = np.zeros((len(clean), AHEAD, *clean.shape[1:]), dtype=np.float32)
        self._used = AHEAD
        self.observations = self._noisy(clean)
        """Of the next step to take, `[b, r, o]`."""

    @property
    def failed(self) -> dict[int, FedirlError]:
        """Agents whose own environment broke down, and how; their rows stand still."""
        return self._dynamics.failed

    def keep(self, which: Places) -> None:
        """Forget all agents but these."""
        self._dynamics.keep(which)
        self._streams = [self._streams[agent] for agent in which]
        self._spread, self._age = self._spread[which], self._age[which]
        self._noise, self.observations = self._noise[which], self.observations[which]

    def step(self, actions: Floats) -> Move:
        """Advance every row, and begin those anew that ended.

        Args:
            actions: `[b, r, q]`.

        Returns:
            What it led to; every array has axes `[b, r]` in front.
        """
        reward, terminated = self._dynamics.step(actions)
        self._age += 1
        truncated = (self._age >= self._steps) & ~terminated
        last = seen = self._noisy(self._dynamics.observe())
        over = terminated | truncated
        if over.any():
            self._age[over] = 0
            seen = self._restarted(last, over)
        self.observations = seen
        return Move(seen, reward, terminated, truncated, last)

    def _restarted(self, last: Floats, over: Bools) -> Floats:
        """What is seen once the rows that are over have begun anew."""
        agents = np.flatnonzero(over.any(axis=1)).tolist()
        for agent in agents:
            self._dynamics.restart(agent, np.flatnonzero(over[agent]))
        clean, seen = self._dynamics.observe(), last.copy()
        seen[over] = clean[over]
        for agent in agents:
            if self._spread[agent]:
                rows = over[agent]
                shape = (int(rows.sum()), last.shape[2])
                noise = self._streams[agent].standard_normal(shape, dtype=np.float32)
                seen[agent, rows] += self._spread[agent] * noise
        return seen

    def _noisy(self, clean: Floats) -> Floats:
        if not self._spread.any():
            return clean + 0.0  # a copy, and no minus zeros, as beside an agent with noise
        if self._used == AHEAD:
            for noise, spread, rng in zip(self._noise, self._spread, self._streams, strict=True):
                if spread:
                    rng.standard_normal(out=noise, dtype=np.float32)
            self._used = 0
        self._used += 1
        return clean + self._spread[:, None, None] * self._noise[:, self._used - 1]
