"""Agents trained by PPO, many at once: one array computation, of which each is a part of its own.

An agent is decided by its task, settings, client, reward and seed alone: the same bytes come of it
whoever is trained beside it.

Letters: `b` agents, `r` rows of each, `k` evaluations, `e` episodes of one, `o` numbers in an
observation, `q` action axes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from fedirl_ray.config_control import PPOConfig
from fedirl_ray.errors import ConfigError, DataError, FedirlError
from fedirl_ray.evaluate.distributions import distribution_of
from fedirl_ray.evaluate.environments import Environments
from fedirl_ray.evaluate.networks import POLICY, Layout, Networks
from fedirl_ray.evaluate.ppo import Update
from fedirl_ray.evaluate.rollouts import Rollouts, SeenReward
from fedirl_ray.problem.control.actor import Actor
from fedirl_ray.problem.control.arena import Trajectory
from fedirl_ray.problem.control.task import Task
from fedirl_ray.problem.mdp import Floats, Places
from fedirl_ray.seeds import stream

ROWS = 256
"""Rows of all agents together from which more side by side gain little."""
MOST_AGENTS = 32
"""Side by side at most: work that is cut off is lost for all of them."""
MOST_BROUGHT = 8
"""The same where environments step one after the other."""

_Step = tuple[Floats, Floats, Floats, Floats]
"""What all rows saw, did, were paid, and saw then; axes `[b, r]` in front."""


def side_by_side(task: Task, config: PPOConfig) -> int:
    """How many agents of a task are best trained at once."""
    most = MOST_BROUGHT if task.physics is None else MOST_AGENTS
    return max(1, min(most, ROWS // config.rows))


@dataclass(frozen=True)
class AgentJob:
    """One agent to train."""

    client: float
    """Whose physics it lives in."""
    seed: int
    """Decides everything that is random."""
    reward: SeenReward | None = None
    """What it is paid; None: the task's own reward, which is always what is recorded."""


@dataclass(frozen=True)
class Training:
    """What came of training one agent."""

    at: NDArray[np.int64]
    """Environment steps at each evaluation, `[k]`."""
    episodes: Floats
    """True returns of the evaluations' episodes, `[k, e]`."""
    actors: tuple[Actor, ...]
    """The agent at each evaluation."""
    last: tuple[Trajectory, ...] = ()
    """Episodes of the last evaluation, `e` of them, if they were asked for."""

    @property
    def returns(self) -> Floats:
        """Mean true return at each evaluation, `[k]`."""
        means: Floats = self.episodes.mean(axis=1)
        return means


def train_agents(
    task: Task, config: PPOConfig, jobs: Sequence[AgentJob], *, keep_last: bool = False
) -> list[Training | FedirlError]:
    """Train agents of one task side by side.

    Evaluations play each agent's likeliest actions in episodes of their own. An agent whose numbers
    stop being finite, or whose own environment breaks down, is ended; the others go on as if it had
    never been there.

    Args:
        task: The task.
        config: Budget and hyperparameters of each.
        jobs: The agents.
        keep_last: Whether to return the last evaluation's episodes.

    Returns:
        In the order of `jobs`, each agent's curve and the agent along it, or why it was ended.
    """
    if not jobs:
        return []
    with threadpool_limits(limits=1), np.errstate(all="ignore"):
        company = _Company(task, config, jobs)
        for number in range(1, config.evaluations + 1):
            company.go_on(config.steps * number // config.evaluations)
            company.evaluate(number, keep=keep_last and number == config.evaluations)
    return company.results()


class _Company:
    """Agents in training."""

    def __init__(self, task: Task, config: PPOConfig, jobs: Sequence[AgentJob]) -> None:
        self._task, self._config, self._jobs = task, config, jobs
        self._ended: dict[int, FedirlError] = {}
        self._here = list(range(len(jobs)))
        """Places in `jobs` of the agents that are still here."""
        self._steps = 0
        self._at: list[int] = []
        self._episodes: list[list[Floats]] = [[] for _ in jobs]
        self._actors: list[list[Actor]] = [[] for _ in jobs]
        self._last: list[tuple[Trajectory, ...]] = [() for _ in jobs]
        self._environments = self._begun(config.rows, "arena")
        self._actions, outputs = distribution_of(task)
        layout = Layout(self._environments.observations.shape[2], config.hidden, outputs)
        self._networks = Networks(layout, self._streams("networks"))
        self._rollouts = Rollouts(
            self._environments,
            self._networks,
            self._actions,
            config,
            [job.reward for job in jobs],
            self._streams("actions"),
        )
        self._update = Update(self._networks, self._actions, config)
        self._shuffles = self._streams("minibatches")
        self._end(self._environments.failed)

    def _begun(self, rows: int, *name: str | int) -> Environments:
        """Environments of the agents that are here."""
        clients = [self._jobs[place].client for place in self._here]
        return Environments(self._task, clients, rows, self._streams(*name))

    def _streams(self, *name: str | int) -> list[np.random.Generator]:
        return [stream(self._jobs[place].seed, *name) for place in self._here]

    def _end(self, failed: Mapping[int, FedirlError]) -> None:
        """Let agents go, and remember why."""
        if not failed:
            return
        self._ended |= {self._here[agent]: error for agent, error in failed.items()}
        stay = [agent for agent in range(len(self._here)) if agent not in failed]
        self._here = [self._here[agent] for agent in stay]
        if stay:
            self._rollouts.keep(np.array(stay))
            self._update.keep(np.array(stay))
            self._shuffles = [self._shuffles[agent] for agent in stay]

    def go_on(self, aim: int) -> None:
        """Train until `aim` steps."""
        while self._steps < aim and self._here:
            records, unpaid = self._rollouts.live()
            self._update.run(records, self._shuffles)
            self._steps += self._config.rollout
            unbounded = np.flatnonzero(~self._networks.bounded()).tolist()
            failed: dict[int, FedirlError] = {a: self._overflow(a) for a in unbounded}
            failed |= {agent: self._unpaid(agent) for agent in unpaid}
            self._end(failed | self._environments.failed)

    def _overflow(self, agent: int) -> FedirlError:
        rate = self._config.learning_rate
        return ConfigError(
            f"learning-rate must be one at which agents' numbers stay finite, got {rate:g}, at "
            f"which {self._which(agent)} lost them"
        )

    def _unpaid(self, agent: int) -> FedirlError:
        return DataError(f"the reward must be finite, got one that is not for {self._which(agent)}")

    def _which(self, agent: int) -> str:
        client = self._jobs[self._here[agent]].client
        return f"an agent in client {client:g}'s physics within {self._steps} steps"

    def evaluate(self, number: int, *, keep: bool) -> None:
        """Play every agent's likeliest actions, and keep the agents as they are.

        Args:
            number: Which evaluation, from 1.
            keep: Whether to keep its episodes, too.
        """
        if not self._here:
            return
        environments = self._begun(self._config.episodes, "judge", number)
        track: list[_Step] | None = [] if keep else None
        returns, lengths = self._played(environments, track)
        self._at.append(self._steps)
        for agent, place in enumerate(self._here):
            self._episodes[place].append(returns[agent])
            self._actors[place].append(self._actor(agent))
            if track is not None:
                self._last[place] = tuple(_trajectories(track, agent, lengths[agent]))
        self._end(environments.failed)

    def _played(
        self,
        environments: Environments,
        track: list[_Step] | None,
    ) -> tuple[Floats, Places]:
        """Sums of the task's own reward over one episode a row, and their steps, `[b, e]` each.

        Args:
            environments: Stand before the first step.
            track: Every step is added to it.
        """
        b, e, o = environments.observations.shape
        inputs = np.ones((b, e, o + 1), dtype=np.float32)
        returns, running = np.zeros((b, e)), np.ones((b, e), dtype=bool)
        lengths = np.zeros((b, e), dtype=np.int64)
        while running.any():
            seen = environments.observations
            inputs[..., :o] = self._rollouts.moments.standard(seen)
            actions = self._actions.likeliest(self._networks.policy(inputs))
            move = environments.step(actions)
            if track is not None:
                track.append((seen, actions, move.reward, move.last))
            lengths += running
            returns += np.where(running, move.reward, 0.0)
            running &= ~(move.terminated | move.truncated)
        return returns, lengths

    def _actor(self, agent: int) -> Actor:
        """An agent's policy as it is now."""
        moments, discrete = self._rollouts.moments, self._task.discrete
        weights, biases = self._networks.policy_arrays(agent)
        deviation = np.exp(self._networks.weights.log_std[agent, POLICY, 0].astype(np.float64))
        return Actor(
            self._task.action.points if discrete else None,
            moments.mean[agent].copy(),
            moments.spread[agent].copy(),
            weights,
            biases,
            np.empty(0) if discrete else deviation,
        )

    def results(self) -> list[Training | FedirlError]:
        """What came of each."""
        at = np.array(self._at, dtype=np.int64)
        found: list[Training | FedirlError] = []
        for place, (episodes, actors) in enumerate(zip(self._episodes, self._actors, strict=True)):
            ended = self._ended.get(place)
            kept = self._last[place]
            found.append(ended or Training(at, np.array(episodes), tuple(actors), kept))
        return found


def _trajectories(track: Sequence[_Step], agent: int, lengths: Places) -> Iterator[Trajectory]:
    """One agent's episodes, each as long as it went on."""
    for row, h in enumerate(lengths.tolist()):
        seen, actions, rewards, last = zip(
            *([array[agent, row] for array in step] for step in track[:h]), strict=True
        )
        yield Trajectory(np.array([*seen, last[-1]]), np.array(actions), np.array(rewards))
