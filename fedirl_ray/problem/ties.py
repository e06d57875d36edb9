"""Which actions are equally good, once rounding is allowed for."""

import numpy as np

from fedirl_ray.problem.mdp import Bools, Floats


def as_good(q: Floats, room: Floats) -> Bools:
    """Whether each action may be the best.

    Args:
        q: What each promises, `[a, ...]`.
        room: By how much rounding may have moved that, of the same shape.

    Returns:
        `[a, ...]`; holds for one action at least, wherever it is asked.
    """
    best = q.argmax(axis=0)[None]
    least = np.take_along_axis(q, best, axis=0) - np.take_along_axis(room, best, axis=0)
    good: Bools = q >= least - room
    return good
