"""The clients' side of a run, in this process: what client actors hold, and the tests' oracle."""

from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from fedirl_ray.config import RunConfig
from fedirl_ray.evaluate.planner import Judgement, judge, judge_references
from fedirl_ray.irl.block import Block, prepare
from fedirl_ray.irl.maxent import Fit, fit, fit_pooled
from fedirl_ray.problem.family import Role, draw_world, horizon
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.problem.planning import Outcome


class Clients:
    """Some clients of a run. Holds a seed's data between calls, and nothing that matters more.

    Letters: `m` members, `q` starting points a client (one for each reward it goes on from),
    `w` worlds, `c` rewards to judge, `d` features.
    """

    def __init__(self, config: RunConfig, members: Sequence[int]) -> None:
        # The work is parallel over clients already, and equal bytes need equal summation.
        threadpool_limits(limits=1)
        self.config = config
        self.members = tuple(members)
        self._seed = -1
        self._block: Block | None = None

    def block(self, seed: int) -> Block:
        """The members' worlds and demonstrations of a seed."""
        if self._block is None or self._seed != seed:
            self._seed, self._block = seed, prepare(self.config, seed, self.members)
        return self._block

    def learn(self, seed: int, start: Floats | None) -> Fit:
        """Fit every member's reward from each of its starting points.

        Args:
            seed: Which repetition.
            start: `[m, q, d]`, or None: one starting point at zero.

        Returns:
            Fits of `m q` problems, a member's starting points side by side.
        """
        block = self.block(seed)
        copies = 1 if start is None else start.shape[1]
        return fit(
            [world for world in block.worlds for _ in range(copies)],
            np.repeat(block.counts, copies, axis=0),
            self.config.irl,
            horizon(self.config.problem),
            start=None if start is None else start.reshape(-1, start.shape[2]),
            iterations=np.repeat(block.iterations, copies),
        )

    def pool(self, seed: int) -> Floats:
        """Fit one theta `[d]` to the data of *all* clients: what privacy forbids."""
        everyone = prepare(self.config, seed, range(self.config.clients))
        return fit_pooled(
            everyone.worlds, everyone.counts, self.config.irl, horizon(self.config.problem)
        )

    def judge(
        self, seed: int, role: Role, indices: Sequence[int], thetas: Floats, matched: Floats
    ) -> tuple[Judgement, Outcome]:
        """Judge rewards, and the references, in some worlds.

        Args:
            seed: Which repetition.
            role: Clients' own worlds, or held-out ones.
            indices: Which worlds, `[w]`.
            thetas: `[w, c, d]`.
            matched: The same at one norm, `[w, c, d]`.

        Returns:
            The rewards' outcomes and the references' (see `judge_references`).
        """
        problem = self.config.problem
        worlds = [draw_world(problem, self.config.seed, seed, role, i) for i in indices]
        return judge(worlds, thetas, matched, self.config), judge_references(worlds, self.config)
