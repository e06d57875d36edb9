"""Advancing the shards that are in this process: one alone, or several on threads.

A single shard needs nobody to take a plain step, so it can take many before it is looked at; on a
GPU as one CUDA graph again and again, whose launches cost the host one call together.
"""

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from typing import Any

from fedirl_ray.transport.backend import Array
from fedirl_ray.transport.shard import Shard, advance_shard
from fedirl_ray.transport.step import Advance, Step, Term, gather

THREADS_FROM = 2**16
"""Clients times points of a shard from which it is worth a thread of its own."""

WARM = 2
"""Steps taken launch by launch before they are captured: libraries set themselves up in them."""


class Alone:
    """The only shard of a barycenter, in this process."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self._graph: _Graph | None = None

    def __call__(self, step: Step) -> Term:
        """Take one step, see `advance_shard`."""
        return advance_shard(self.shard, step)

    def repeat(self, step: Step, count: int) -> Array:
        """Take so many unmeasured plain steps, each from where the last led; return `log_b` `[n]`.

        Nothing comes to the host in the plain domain; in logarithms, a look at whether sums
        underflowed.
        """
        if self.shard.problem.place.on_gpu and step.domain == "plain":
            if self._graph is None or not self._graph.fits(self.shard, step):
                self._graph = _Graph(self.shard, step)
            return self._graph.repeat(step.log_b, count)
        for _ in range(count):
            step = replace(step, log_b=_next(self.shard, step))
        return step.log_b


def _next(shard: Shard, step: Step) -> Array:
    """Take a step; return the next `log_b`."""
    return shard.problem.fixed_point.decode(advance_shard(shard, step).total)


class _Graph:
    """A plain step of one shard, and the move of `log_b` to where it leads, captured."""

    def __init__(self, shard: Shard, step: Step) -> None:
        self._shard, self._key = shard, _key(shard, step)
        self._step = replace(step, log_b=step.log_b.clone())
        self._captured: Any = None

    def fits(self, shard: Shard, step: Step) -> bool:
        """Whether a step would read and write the memory that was captured."""
        return _key(shard, step) == self._key

    def repeat(self, log_b: Array, count: int) -> Array:
        """Take so many steps from `log_b`."""
        place = self._shard.problem.place
        torch, here = place.xp, self._step.log_b
        with torch.cuda.device(place.device):
            here.copy_(log_b)
            for taken in range(count):
                if self._captured is not None:
                    self._captured.replay()
                    continue
                here.copy_(_next(self._shard, self._step))
                if taken + 1 == WARM:
                    graph = torch.cuda.CUDAGraph()
                    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                        here.copy_(_next(self._shard, self._step))
                    self._captured = graph
        return here.clone()


def _key(shard: Shard, step: Step) -> tuple[float, int]:
    return step.epsilon, int(shard.logs.data_ptr())


def in_process(shards: Sequence[Shard]) -> Advance:
    """Advance all shards in this process, large ones each in a thread of its own.

    The array libraries release the interpreter's lock while they compute, and the terms add exactly
    in any order, so threads change the time alone.
    """
    if len(shards) == 1:
        return Alone(shards[0])
    if max(math.prod(shard.measures.shape) for shard in shards) < THREADS_FROM:
        return lambda step: gather([advance_shard(shard, step) for shard in shards])
    threads = ThreadPoolExecutor(
        min(len(shards), os.cpu_count() or 1), thread_name_prefix="barycenter"
    )

    def advance(step: Step) -> Term:
        # Each with the caller's handling of floating-point errors, which belongs to a context.
        terms = [threads.submit(copy_context().run, advance_shard, one, step) for one in shards]
        return gather([term.result() for term in terms])

    return advance
