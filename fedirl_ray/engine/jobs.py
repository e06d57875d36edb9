"""Independent pieces of work, and what is kept of them on disk, wherever they are done.

One call does one, or several of a function that does them faster side by side.

A job is named after its function, every argument and the code, the user's own among its arguments
included, so a result is found again wherever the same work is asked for, and never where anything
differs.
"""

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from fedirl_ray.domain.job import Arrays, Job
from fedirl_ray.engine.checkpoint import Shelf, Warn
from fedirl_ray.engine.identity import code_in_words, digest_of, module_digest, source_digest
from fedirl_ray.errors import FedirlError
from fedirl_ray.laws import names_function


def asked(job: Job) -> str:
    """The kind and a digest of all that is asked: the function, and every argument."""
    digest = hashlib.sha256()
    whole = [job.work.__module__, job.work.__qualname__, dict(job.arguments)]
    digest.update(json.dumps(whole, sort_keys=True, default=_plain).encode())
    return f"{job.kind}-{digest.hexdigest()[:16]}"


def name_of(job: Job) -> str:
    """What is asked, and a digest of all code that answers it."""
    codes = [source_digest()]
    if not job.work.__module__.startswith("fedirl_ray."):
        codes.append(module_digest(job.work.__module__, "a job's function"))
    own = {text for text in _texts(job.arguments) if names_function(text)}
    codes += [module_digest(name, "a job's argument") for name in sorted(own)]
    return f"{asked(job)}-{digest_of(one.encode() for one in codes)}"


def _texts(value: Any) -> Iterator[str]:
    """All text within a job's arguments."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(one)


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


def calls(jobs: Sequence[Job], workers: int) -> list[list[int]]:
    """Cut jobs into calls: neighbours of one function together, work for every worker.

    Args:
        jobs: In their order.
        workers: How many calls run at once.

    Returns:
        Places, in their order.
    """
    found: list[list[int]] = []
    kinds = itertools.groupby(range(len(jobs)), lambda i: (jobs[i].work, jobs[i].together))
    for (_, together), group in kinds:
        places = list(group)
        size = min(together or 1, math.ceil(len(places) / workers))
        found += [places[at : at + size] for at in range(0, len(places), size)]
    return found


def good(
    places: Sequence[int], results: Sequence[Arrays | FedirlError]
) -> Iterator[tuple[int, Arrays]]:
    """What came of the jobs of one call, by their places.

    Raises:
        FedirlError: Of the first that failed, after all that did not.
    """
    failed = [result for result in results if isinstance(result, FedirlError)]
    for place, result in zip(places, results, strict=True):
        if not isinstance(result, FedirlError):
            yield place, result
    if failed:
        raise failed[0]


Progress = Callable[[str, int, int], None]
"""Told, of a stage of jobs: their kind, how many are done, and of how many."""


class Worker:
    """Does jobs in its process, one after the other, with one thread."""

    def __init__(self) -> None:
        # The work is parallel over workers already, and equal bytes need equal summation.
        threadpool_limits(limits=1)

    def ready(self) -> None:
        """Answer, which tells that this process is up."""

    def work(self, jobs: Sequence[Job]) -> Sequence[Arrays | FedirlError]:
        """Do the jobs of one call; returns results in their order."""
        threadpool_limits(limits=1)  # of libraries loaded since, too
        work: Any = jobs[0].work
        if jobs[0].together:
            found: Sequence[Arrays | FedirlError] = work([job.arguments for job in jobs])
            return found
        return [work(**job.arguments) for job in jobs]

    def do(self, pieces: Sequence[Job]) -> Iterator[tuple[int, Arrays]]:
        """Do jobs; yields their places and results."""
        for places in calls(pieces, 1):
            yield from good(places, self.work([pieces[place] for place in places]))


class Doer(Protocol):
    """Who does jobs: a `Worker`, seats, a fleet."""

    def do(self, pieces: Sequence[Job]) -> Iterator[tuple[int, Arrays]]:
        """Do jobs, none of which waits for another; yields places and results as they come."""
        ...


class Jobs:
    """Has jobs done that are not done, and keeps what came of those that are to be kept."""

    def __init__(
        self,
        doer: Doer,
        folder: Path | None = None,
        warn: Warn = lambda line: None,
        *,
        progress: Progress = lambda kind, done, count: None,
    ) -> None:
        """Read what was kept.

        Args:
            doer: Who does them.
            folder: Where results are kept; made if missing. None: nowhere.
            warn: Told of files that are damaged, or of other code.
            progress: Told how many of a stage's jobs are done.
        """
        self._doer, self._warn, self._progress = doer, warn, progress
        self._kept: Shelf | None = None
        self._told = False
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._kept = Shelf(folder, code_in_words(), warn)

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
        names: dict[int, str] = {}
        left = []
        for place, job in enumerate(jobs):
            kept = None
            if self._kept is not None and job.kept:
                names[place] = name_of(job)
                kept = self._kept.get(names[place])
            if kept is not None:
                yield place, kept
                continue
            left.append(place)
            if self._kept is not None and job.kept:
                self._tell_of_others(self._kept, job.kind, names[place])
        for i, result in self._doer.do([jobs[place] for place in left]):
            place = left[i]
            if self._kept is not None and place in names:
                self._kept.put(names[place], result)
            yield place, result

    def holds(self, job: Job) -> bool:
        """Whether what came of a job is kept, and whole."""
        return self._kept is not None and self._kept.get(name_of(job)) is not None

    def all(self, jobs: Sequence[Job]) -> list[Arrays]:
        """Do jobs, and return all results in their order."""
        found: dict[int, Arrays] = {}
        for place, result in self.run(jobs):
            found[place] = result
            self._progress(jobs[place].kind, len(found), len(jobs))
        return [found[place] for place in range(len(jobs))]

    def _tell_of_others(self, kept: Shelf, kind: str, name: str) -> None:
        """Say, once, that what other code has found is not used."""
        by = None if self._told else kept.by_other_code(name)
        if by is not None:
            self._told = True
            self._warn(f"results of {by} are kept but not used: {kind} and others run again")
