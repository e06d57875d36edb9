"""A reward on the support back to parameters (the paper, section 2, step 6)."""

import numpy as np

from fedirl_ray.problem.mdp import Floats


def recover_theta(features: Floats, reward: Floats, *, intercept: bool) -> Floats:
    """Least squares: theta* = (Phi^T Phi)^-1 Phi^T r.

    Args:
        features: Phi on the probe's support, `[n, d]`.
        reward: `[n]`.
        intercept: Fit a constant beside the features and drop it. Without it an offset left in
            the reward leaks into theta.

    Returns:
        theta `[d]`; the shortest one where the features do not determine it.
    """
    if not intercept and _tells_apart(features):
        return reward.astype(np.float64)
    design = np.column_stack([features, np.ones(len(features))]) if intercept else features
    solution = np.linalg.lstsq(design, reward, rcond=None)[0]
    return solution[: features.shape[1]].astype(np.float64)


def _tells_apart(features: Floats) -> bool:
    """Whether there is one feature a point, in order: theta is the reward then.

    Least squares would find the same in n^3 steps, minutes where n is some thousand.
    """
    n, d = features.shape
    return n == d and bool((features.diagonal() == 1.0).all()) and np.count_nonzero(features) == n
