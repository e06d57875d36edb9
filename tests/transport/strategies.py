"""Measures and lattices that more than one test file draws."""

import numpy as np
from hypothesis import strategies as st

LENGTHS = [(9,), (5, 4), (3, 4, 2), (2, 3, 2, 2), (2, 2, 3, 2, 2)]


@st.composite
def problems(draw, most=4):
    """Draw measures `[k, *shape]`, non-uniform axes and weights `[k]` of sum 1."""
    shape = draw(st.sampled_from(LENGTHS))
    k = draw(st.integers(1, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    axes = [np.cumsum(0.1 + rng.random(m)) for m in shape]
    rows = rng.random((k, *shape)) ** draw(st.sampled_from([1, 4]))
    rows[rng.random(rows.shape) < draw(st.sampled_from([0.0, 0.3]))] = 0.0
    rows[(slice(None), *(0,) * len(shape))] += 0.01
    weights = 0.05 + rng.random(k)
    return (
        rows / rows.reshape(k, -1).sum(1).reshape(-1, *[1] * len(shape)),
        axes,
        (weights / weights.sum()),
    )


def bumps(axes, k, width=0.15, floor=1e-3, seed=0):
    """Return `k` Gaussian bumps on a floor, `[k, *shape]`, of sum 1."""
    rng = np.random.default_rng(seed)
    grid = np.meshgrid(*axes, indexing="ij")
    rows = []
    for _ in range(k):
        centre = [axis[0] + (0.2 + 0.6 * rng.random()) * (axis[-1] - axis[0]) for axis in axes]
        spans = [axis[-1] - axis[0] for axis in axes]
        square = sum(((x - c) / s) ** 2 for x, c, s in zip(grid, centre, spans, strict=True))
        bump = np.exp(-square / (2 * width**2))
        rows.append(bump / bump.sum() + floor / bump.size)
    return np.array(rows) / (1 + floor)


def dense_cost(axes):
    """Return the ground cost `[n, n]` of squared distances, its largest entry 1."""
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))
    cost = ((points[:, None] - points[None]) ** 2).sum(-1)
    return cost / cost.max()
