"""When a barycenter's loop looks at the error: a look costs a few passes over the clients."""

import math

FIRST, SECOND = 2, 4
"""Steps of the first two looks: from two errors the rate is known."""

LONGEST = 10
"""Most steps between two looks."""


class Looks:
    """The step of the next look, by what the last ones saw.

    Errors fall by a factor a step that changes slowly, so two of them foresee the step at which the
    tolerance is reached. Where a look has the host wait for a GPU it is taken every so many steps.
    """

    def __init__(self, tol: float, every: int | None) -> None:
        """Begin before the first step.

        Args:
            tol: The error to be reached.
            every: Steps between two looks; `None` to foresee.
        """
        self.at = FIRST if every is None else every
        """The step that is to be looked at next."""
        self._tol, self._every = tol, every
        self._last: tuple[int, float] | None = None

    def see(self, taken: int, error: float | None, slots: int) -> None:
        """Take note of a step; of its error too, if that was looked for.

        Args:
            taken: Steps taken.
            error: What was seen.
            slots: Kept steps: a mixed step can be taken back only as long as the last one that was
                looked at is kept.
        """
        if error is None:
            return
        if self._every is not None:
            self.at = taken + (self._every if slots == 1 else min(self._every, slots - 1))
            return
        before, self._last = self._last, (taken, error)
        ahead = LONGEST
        if before is None:
            ahead = SECOND - FIRST
        elif 0.0 < error < before[1] and self._tol > 0:
            rate = math.log(before[1] / error) / (taken - before[0])
            ahead = min(LONGEST, math.ceil(math.log(max(error / self._tol, 1.0)) / rate))
        self.at = taken + max(1, ahead)
