"""Independent pieces of work: what came of each is kept on disk.

A Ray task does one, or several of a function that does them faster side by side.

A job is named after its function, every argument and the code, so a result is found again wherever
the same work is asked for, and never where anything differs.
"""

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from threadpoolctl import threadpool_limits

from fedirl_ray.config import EngineConfig
from fedirl_ray.engine.checkpoint import Arrays, Shelf, Warn
from fedirl_ray.engine.identity import code_in_words, digest_of, module_digest, source_digest
from fedirl_ray.errors import FedirlError, RunError

Work = Callable[..., Arrays]
ManyWork = Callable[[Sequence[Any]], Sequence[Arrays | FedirlError]]
"""Arguments of jobs to their results in that order; what went wrong stands in a result's place."""


class Job(NamedTuple):
    """A function of a module, and what it is called with: plain values, dataclasses, arrays."""

    kind: str
    """What its file is called by: lower-case letters and hyphens."""
    work: Work | ManyWork
    """Called with the arguments by name, or, see `together`, with a list of jobs' arguments."""
    arguments: dict[str, Any]
    code: str = ""
    """Digest of a user's code that the function calls (see `engine.identity`)."""
    together: int = 0
    """How many such jobs one call may do, for speed: no result depends on it. 0: the function does
    one job."""

    @property
    def asked(self) -> str:
        """The kind and a digest of all that is asked: the function, and every argument."""
        digest = hashlib.sha256()
        whole = [self.work.__module__, self.work.__qualname__, self.arguments]
        digest.update(json.dumps(whole, sort_keys=True, default=_plain).encode())
        return f"{self.kind}-{digest.hexdigest()[:16]}"

    @property
    def name(self) -> str:
        """What is asked, and a digest of all code that answers it."""
        codes = [source_digest(), self.code]
        if not self.work.__module__.startswith("fedirl_ray."):
            codes.append(module_digest(self.work.__module__, "a job's function"))
        return f"{self.asked}-{digest_of(code.encode() for code in codes)}"


def _plain(value: Any) -> Any:
    """What JSON does not know, in terms of what it does."""
    if isinstance(value, np.ndarray):
        whole = np.ascontiguousarray(value)
        return [str(whole.dtype), whole.shape, hashlib.sha256(whole.tobytes()).hexdigest()]
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a job's arguments must be plain, dataclasses or arrays, got {type(value)}")


def do(jobs: Sequence[Job]) -> Sequence[Arrays | FedirlError]:
    """Do jobs of one call in this process, with one thread; results in their order."""
    threadpool_limits(limits=1)
    work: Any = jobs[0].work
    if jobs[0].together:
        found: Sequence[Arrays | FedirlError] = work([job.arguments for job in jobs])
        return found
    return [work(**job.arguments) for job in jobs]


def calls(jobs: Sequence[Job], left: Sequence[int], workers: int) -> list[list[int]]:
    """Cut what is left into calls: neighbours of one function together, work for every worker.

    Args:
        jobs: All.
        left: Places of those to do.
        workers: How many calls run at once.

    Returns:
        Places, in their order.
    """
    found: list[list[int]] = []
    for _, group in itertools.groupby(left, lambda place: (jobs[place].work, jobs[place].together)):
        places = list(group)
        most = jobs[places[0]].together or 1
        size = min(most, math.ceil(len(places) / workers))
        found += [places[at : at + size] for at in range(0, len(places), size)]
    return found


_Done = tuple[list[int], Sequence[Arrays | FedirlError]]
"""Places of the jobs of one call, and their results."""


class Jobs:
    """Does jobs, as many at once as the cluster has CPUs, and keeps what came of them."""

    def __init__(self, engine: EngineConfig, folder: Path, warn: Warn) -> None:
        """Join or start Ray, and read what was kept.

        Args:
            engine: `backend`; `address` says which cluster.
            folder: Where results are kept; made if missing.
            warn: Told of files that are damaged, or of other code.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._kept, self._warn = Shelf(folder, code_in_words(), warn), warn
        self._told = False
        self._ray: Any = None
        self._joined = False
        if engine.backend == "ray":
            from fedirl_ray.engine.cluster import connect, leave, ray
            from fedirl_ray.engine.pulse import BEAT, Pulse

            self._joined = connect(engine.address, workers=8)
            self._ray, self._leave, self._pulse, self._beat = ray, leave, Pulse(), BEAT

    def __enter__(self) -> Self:
        """Be ready to work."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave Ray if it was started for these jobs."""
        if self._joined:
            self._leave()

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Arrays]]:
        """Do jobs that are not done.

        Args:
            jobs: In any order; none may wait for another.

        Yields:
            Places in `jobs` and results, as they come: those kept from before first.

        Raises:
            FedirlError: What a job's own input is to blame for.
            RunError: A job failed otherwise.
        """
        names, left = [job.name for job in jobs], []
        for place, name in enumerate(names):
            kept = self._kept.get(name)
            if kept is None:
                left.append(place)
                self._tell_of_others(jobs[place].kind, name)
            else:
                yield place, kept
        came = self._here(jobs, left) if self._ray is None else self._spread(jobs, left)
        for places, results in came:
            failed = [result for result in results if isinstance(result, FedirlError)]
            good = [
                (place, result)
                for place, result in zip(places, results, strict=True)
                if not isinstance(result, FedirlError)
            ]
            for place, result in good:
                self._kept.put(names[place], result)
            if failed:
                raise failed[0]
            yield from good

    def _tell_of_others(self, kind: str, name: str) -> None:
        """Say, once, that what other code has found is not used."""
        by = None if self._told else self._kept.by_other_code(name)
        if by is not None:
            self._told = True
            self._warn(f"results of {by} are kept but not used: {kind} and others run again")

    def all(self, jobs: Sequence[Job]) -> list[Arrays]:
        """Do jobs, and return all results in their order."""
        found = dict(self.run(jobs))
        return [found[place] for place in range(len(jobs))]

    def _here(self, jobs: Sequence[Job], left: list[int]) -> Iterator[_Done]:
        for places in calls(jobs, left, workers=1):
            yield places, do([jobs[place] for place in places])

    def _spread(self, jobs: Sequence[Job], left: list[int]) -> Iterator[_Done]:
        """One task a call; a task whose worker dies is done again by Ray, with the same result."""
        task = self._ray.remote(num_cpus=1)(do)
        workers = max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        running = {
            task.remote([jobs[place] for place in places]): places
            for places in calls(jobs, left, workers)
        }
        try:
            while running:
                self._pulse.look()
                came, _ = self._ray.wait(list(running), num_returns=1, timeout=self._beat)
                if not came:
                    continue
                ready = came[0]
                places = running.pop(ready)
                kind = jobs[places[0]].kind
                try:
                    yield places, self._ray.get(ready)
                except self._ray.exceptions.RayTaskError as err:
                    if isinstance(err.cause, FedirlError):
                        raise err.cause from None
                    raise RunError(f"{kind} failed: {err.cause!r}") from err
                except self._ray.exceptions.RayError as err:
                    self._pulse.look(now=True)
                    raise RunError(f"{kind} failed: {err}") from err
        finally:
            for reference in running:
                self._ray.cancel(reference, force=True)
