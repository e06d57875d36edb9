"""Where a seed's time goes."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fedirl_ray.engine.upload import Answer


class Stopwatch:
    """Wall seconds by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def timing(self, name: str) -> Iterator[None]:
        """Add the time spent inside to a name."""
        began = time.perf_counter()
        yield
        self.add(name, time.perf_counter() - began)

    def add(self, name: str, seconds: float) -> None:
        """Add time that was measured elsewhere."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def add_exchange(self, out: float, answers: Sequence[Answer], back: float) -> None:
        """Add `local`, the time from orders to answers, and its three parts.

        They are those of the actor that was done last: `broadcast` until it began, `work` while
        it learnt, `upload` until its answer, and thereby every answer, was here. Processes of one
        machine share the monotonic clock; the split means nothing where actors run on another.

        Args:
            out: When the driver began to send orders, on its monotonic clock (seconds).
            answers: What came.
            back: When the driver had them all.
        """
        self.add("local", back - out)
        last = max(answers, key=lambda answer: answer.began + answer.seconds, default=None)
        if last is not None:
            self.add("broadcast", last.began - out)
            self.add("work", last.seconds)
            self.add("upload", back - last.began - last.seconds)
