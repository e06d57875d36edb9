"""How long work that cannot be done to its end stops: one line, and an exit code."""

import os
import sys
from collections.abc import Callable

from fedirl_ray.errors import RunError, one_line, reason
from fedirl_ray.signals import advise, interrupted, over, stopped


def stoppable(work: Callable[[], int], advice: Callable[[], str]) -> int:
    """Do a command's work; where it stops, say why and how to go on.

    Args:
        work: Returns the exit code of work that was done.
        advice: What is kept and how to go on, asked for when the work has stopped.

    Returns:
        The work's own exit code; 128 and the signal's number where one interrupted it, 1 where it
        failed.
    """
    advise(advice)
    try:
        code = work()
        over()
        return code
    except KeyboardInterrupt:
        why, code = interrupted()
    except (RunError, OSError, MemoryError) as err:
        # A signal to all processes of a run may stop others first: what fails then is its doing.
        why, code = stopped() or (reason(err), 1)
    over()
    say(f"{why}; {advice()}")
    return code


def say(line: str) -> None:
    """Write a line to standard error, be there anybody to read it or not."""
    try:
        print(one_line(line), file=sys.stderr, flush=True)
    except OSError:  # the terminal has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
