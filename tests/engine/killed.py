"""A run that kills itself: `python killed.py MOMENT COUNT WORDS`.

It has kept COUNT of what is kept at that moment: `round`s of the first seed, `seed`s or `job`s.
"""

import os
import signal
import sys

from fedirl_ray.api import running
from fedirl_ray.engine.checkpoint import Checkpoints, Shelf
from fedirl_ray.run import main

MOMENTS = {
    "round": (Checkpoints, "save_round"),
    "seed": (Checkpoints, "save_seed"),
    "job": (Shelf, "put"),
}


def arm(moment, count):
    """Have this process die as soon as so much is kept."""
    owner, name = MOMENTS[moment]
    keep, kept = getattr(owner, name), 0

    def dying(*arguments):
        nonlocal kept
        keep(*arguments)
        kept += 1
        if kept == count:
            os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, dying)
    running.SAVING = 0.0  # every round is kept


if __name__ == "__main__":
    arm(sys.argv[1], int(sys.argv[2]))
    sys.exit(main(sys.argv[3:]))
