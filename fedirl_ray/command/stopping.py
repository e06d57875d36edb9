"""How long work that cannot be done to its end stops: one line, and an exit code."""

import sys
from collections.abc import Callable

from fedirl_ray.errors import RunError


def stoppable(work: Callable[[], int], advice: Callable[[], str]) -> int:
    """Do a command's work; where it stops, say why and how to go on.

    Args:
        work: Returns the exit code of work that was done.
        advice: What is kept and how to go on, asked for when the work has stopped.

    Returns:
        The work's own exit code; 130 where it was interrupted, 1 where it failed.
    """
    try:
        return work()
    except KeyboardInterrupt:
        why, code = "Interrupted", 130
    except RunError as err:
        why, code = str(err), 1
    except OSError as err:
        why, code = f"{err.strerror}: {err.filename}", 1
    print(f"{why}; {advice()}", file=sys.stderr)
    return code
