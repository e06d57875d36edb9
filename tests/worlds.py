"""Small worlds, and the dense arrays that the package never makes, for tests to compare with."""

import numpy as np

from fedirl_ray.problem.mdp import TabularMDP, absorb


def random_world(seed, s=6, a=3, b=2, d=2, feature_actions=1, reward_actions=1, ends=2):
    """A world without any structure; its last `ends` states are terminal, the very last a goal."""
    rng = np.random.default_rng(seed)
    terminal = np.arange(s) >= s - ends
    successors, probabilities = absorb(
        rng.integers(s, size=(s, a, b), dtype=np.int32), rng.dirichlet(np.ones(b), (s, a)), terminal
    )
    return TabularMDP(
        successors=successors,
        probabilities=probabilities,
        initial=rng.dirichlet(np.ones(s)),
        terminal=terminal,
        goal=(np.arange(s) == s - 1) & terminal,
        features=rng.normal(size=(s, feature_actions, d)),
        reward=rng.normal(size=(s, reward_actions)),
        axes=(np.arange(float(s)),),
    )


def dense(world):
    """Transition probabilities `[s, a, s]`."""
    s, a, b = world.successors.shape
    matrix = np.zeros((s, a, s))
    for branch in range(b):
        for action in range(a):
            np.add.at(
                matrix,
                (np.arange(s), action, world.successors[:, action, branch]),
                world.probabilities[:, action, branch],
            )
    return matrix


def dense_soft(world, theta, horizon, discount, temperature):
    """Soft policy `[h, s, a]`, first value `[s]` and discounted occupancy `[s, a]`, all dense."""
    s, a, _, _ = world.shape
    matrix = dense(world)
    reward = np.broadcast_to(world.features @ theta, (s, a))
    value, policy = np.zeros(s), np.empty((horizon, s, a))
    for t in reversed(range(horizon)):
        q = reward + discount * matrix @ value
        value = temperature * np.log(np.exp(q / temperature).sum(axis=1))
        policy[t] = np.exp((q - value[:, None]) / temperature)
    visits, mass = np.zeros((s, a)), world.initial
    for t in range(horizon):
        flow = mass[:, None] * policy[t]
        visits += discount**t * flow
        mass = np.einsum("sa,sat->t", flow, matrix)
    return policy, value, visits


def save_episodes(path, data):
    """Write all clients' episodes as `problem.demonstrations-file` wants them."""
    np.savez(
        path,
        client=np.concatenate([np.full(len(d.states), i, np.int32) for i, d in enumerate(data)]),
        states=np.concatenate([d.states for d in data]),
        actions=np.concatenate([d.actions for d in data]),
    )
