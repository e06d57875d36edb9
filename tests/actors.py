"""Random actors, for tests of several stages."""

import numpy as np

from fedirl_ray.problem.control.actor import Actor


def make(task, *, seed=0, deviation=0.3):
    rng = np.random.default_rng(seed)
    o = task.physics(0.0).observe(task.physics(0.0).reset(1, rng)).shape[1]
    u = task.action.size if task.discrete else len(task.action.axes)
    return Actor(
        task.action.points if task.discrete else None,
        rng.normal(size=o),
        np.exp(rng.normal(size=o)),
        (rng.normal(size=(o, 8)), rng.normal(size=(8, u))),
        (rng.normal(size=8), rng.normal(size=u)),
        np.empty(0) if task.discrete else np.full(u, deviation),
    )
