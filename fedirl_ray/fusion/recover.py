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
    design = np.column_stack([features, np.ones(len(features))]) if intercept else features
    solution = np.linalg.lstsq(design, reward, rcond=None)[0]
    return solution[: features.shape[1]].astype(np.float64)
