"""Rollouts and updates are stable-baselines3's, number by number; gradients are torch's."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from stable_baselines3.common.logger import configure
from torch.distributions import Categorical, Independent, Normal

from benchmarks.sb3 import Told, learner_of
from fedirl_ray.config_control import PPOConfig
from fedirl_ray.errors import ConfigError
from fedirl_ray.evaluate import ppo
from fedirl_ray.evaluate.distributions import distribution_of
from fedirl_ray.evaluate.environments import Environments
from fedirl_ray.evaluate.networks import POLICY, VALUE, Layout, Networks
from fedirl_ray.evaluate.ppo import Record, Update
from fedirl_ray.evaluate.rollouts import Moments, Rollouts
from fedirl_ray.problem.control.paper import CARTPOLE, PENDULUM, TASKS


class Script(Told):
    """What environments did once, again."""

    def __init__(self, task, first, moves):
        super().__init__(task, *first.shape)
        self.first, self.moves = first, moves

    def begin(self):
        return self.first

    def advance(self, actions):
        done, move = self.moves.pop(0)
        np.testing.assert_allclose(actions, done, atol=1e-6)
        return move, move.reward


class Quiet:
    """A callback that has nothing to say."""

    def __getattr__(self, name):
        return lambda *args, **more: True


class Order:
    """A stream whose permutations are stable-baselines3's, of steps that lie otherwise."""

    def __init__(self, seed, rows):
        self._rng, self._rows = np.random.RandomState(seed), rows

    def permutation(self, n):
        # Theirs lie row by row, ours step by step.
        row, step = divmod(self._rng.permutation(n), n // self._rows)
        return step * self._rows + row


def layers_of(policy, net):
    body = policy.mlp_extractor.policy_net if net == POLICY else policy.mlp_extractor.value_net
    head = policy.action_net if net == POLICY else policy.value_net
    return [*(layer for layer in body if hasattr(layer, "weight")), head]


def give(networks, policy):
    """Copy agent 0's networks into stable-baselines3's."""
    weights = networks.weights
    with torch.no_grad():
        for net in (POLICY, VALUE):
            for depth, layer in enumerate(layers_of(policy, net)):
                array, u = weights.layers[depth][0, net], len(layer.bias)
                bias = weights.biases[depth - 1][0, net, 0, :u] if depth else array[-1]
                layer.weight.copy_(torch.tensor((array if depth else array[:-1]).T[:u].copy()))
                layer.bias.copy_(torch.tensor(bias.copy()))
        if hasattr(policy, "log_std"):
            policy.log_std.copy_(torch.tensor(weights.log_std[0, POLICY, 0].copy()))


def taken_from(networks, policy):
    """Stable-baselines3's networks, as agent 0's lie."""
    other = Networks(networks.layout, [np.random.default_rng(0)])
    other.flat[:] = 0.0
    for net in (POLICY, VALUE):
        for depth, layer in enumerate(layers_of(policy, net)):
            u, array = len(layer.bias), other.weights.layers[depth][0, net]
            bias = other.weights.biases[depth - 1][0, net, 0] if depth else array[-1]
            (array if depth else array[:-1])[:, :u] = layer.weight.detach().numpy().T
            bias[:u] = layer.bias.detach().numpy()
    if hasattr(policy, "log_std"):
        other.weights.log_std[0, POLICY, 0] = policy.log_std.detach().numpy()
    return other.flat[0]


def told_to(policy, told, seen):
    """A policy's forward pass, but for the actions, which are drawn elsewhere."""
    done = next(told)
    values, log_prob, _ = policy.evaluate_actions(seen, done)
    return done, values, log_prob


@pytest.mark.parametrize(
    ("task", "hidden", "entropy"),
    [
        (replace(PENDULUM, steps=30), (64, 64), 0.01),
        (replace(CARTPOLE, steps=20), (24,), 0.0),
        (replace(CARTPOLE, steps=20), (16, 24, 8), 0.02),
    ],
    ids=["pendulum", "pole of one layer", "pole of three"],
)
def test_rollouts_and_updates_are_those_of_stable_baselines3(task, hidden, entropy):
    config = PPOConfig(rows=32, rollout=2_048, batch=256, learning_rate=1e-3, hidden=hidden,
                       entropy=entropy)  # fmt: skip
    streams = [np.random.default_rng(7)]
    environments = Environments(task, [2.0], config.rows, streams)
    actions, outputs = distribution_of(task)
    o = environments.observations.shape[2]
    networks = Networks(Layout(o, hidden, outputs), streams)
    rollouts = Rollouts(environments, networks, actions, config, [None], streams)
    update = Update(networks, actions, config)
    script = Script(task, environments.observations[0], [])
    step = environments.step

    def watched(done):
        move = step(done)
        script.moves.append((done[0], type(move)(*(array[0] for array in move))))
        return move

    environments.step = watched
    learner = learner_of(script, config, 0)
    give(networks, learner.policy)
    learner._setup_learn(10**6)
    learner.set_logger(configure(None, []))
    t, r = config.rollout // config.rows, config.rows
    ends = cuts = 0
    for round_ in range(2):
        records, unpaid = rollouts.live()
        assert not unpaid
        record = Record.of(records[0].reshape(t, r, -1), o)
        ends += sum(int(move.terminated.sum()) for _, move in script.moves)
        cuts += sum(int(move.truncated.sum()) for _, move in script.moves)
        told = [torch.tensor(one) for one in record.actions]
        told = [one[:, 0].long() for one in told] if task.discrete else told

        learner.policy.forward = partial(told_to, learner.policy, iter(told))
        learner.collect_rollouts(learner.env, Quiet(), learner.rollout_buffer, t)
        kept = learner.rollout_buffer
        for ours, theirs in (
            (record.inputs[..., :o], kept.observations),
            (record.log_prob, kept.log_probs),
            (record.advantage, kept.advantages),
            (record.target, kept.returns),
        ):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)
        before = networks.flat.copy()
        update.run(records, [Order(round_, r)])
        np.random.seed(round_)  # noqa: NPY002 (what stable-baselines3 shuffles with)
        learner.train()
        assert np.abs(networks.flat - before).max() > 1e-2
        np.testing.assert_allclose(
            networks.flat[0], taken_from(networks, learner.policy), atol=1e-5
        )
    assert cuts > 100
    assert (ends > 100) == task.discrete


def torch_loss(config, task, hidden, flat, record):
    """What stable-baselines3 minimises, of one agent, from its parameters in our order."""
    layout = Layout(record.inputs.shape[-1] - 1, hidden, distribution_of(task)[1])
    weights = layout.weights(flat)
    inputs = torch.tensor(record.inputs.astype(np.float64))

    def net(which):
        found = inputs @ weights.layers[0][which]
        for layer, bias in zip(weights.layers[1:], weights.biases, strict=True):
            found = torch.tanh(found) @ layer[which] + bias[which]
        return found

    columns = (torch.tensor(x.astype(np.float64)) for x in record[1:])
    done, old, advantage, target = columns
    if task.discrete:
        drawn = Categorical(logits=net(POLICY))
        done = done[:, 0]
    else:
        drawn = Independent(Normal(net(POLICY), weights.log_std[POLICY].exp()), 1)
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    ratio = (drawn.log_prob(done) - old).exp()
    low, high = 1.0 - config.clip, 1.0 + config.clip
    gain = torch.min(advantage * ratio, advantage * ratio.clamp(low, high)).mean()
    error = ((net(VALUE)[:, 0] - target) ** 2).mean()
    return -gain + 0.5 * error - config.entropy * drawn.entropy().mean()


@pytest.mark.parametrize("task", [CARTPOLE, PENDULUM, TASKS["Acrobot-v1"]], ids=lambda x: x.name)
@pytest.mark.parametrize(("hidden", "entropy"), [((8,), 0.0), ((8, 5), 0.3), ((4, 7, 3), 0.0)])
def test_gradients_are_torchs(task, hidden, entropy):
    rng = np.random.default_rng(3)
    config = PPOConfig(batch=32, hidden=hidden, entropy=entropy)
    actions, outputs = distribution_of(task)
    layout = Layout(5, hidden, outputs)
    networks = Networks(layout, [np.random.default_rng(i) for i in range(3)])
    networks.flat += 0.3 * rng.standard_normal(networks.flat.shape, dtype=np.float32)
    array = rng.standard_normal((3, 32, 6 + actions.kept + 3), dtype=np.float32)
    record = Record.of(array, 5)
    record.inputs[..., -1] = 1.0
    if task.discrete:
        record.actions[:] = rng.integers(outputs, size=record.actions.shape)
    policy = networks.policy(record.inputs)
    log_std = networks.weights.log_std[:, POLICY]
    score = actions.score(policy, record.actions, log_std)
    record.log_prob[:] = score.log_prob + 0.3 * rng.standard_normal((3, 32), dtype=np.float32)
    tile = ppo._Tile(layout, 3, 32)
    Update(networks, actions, config)._slopes(tile, networks.weights, record)
    for agent in range(3):
        flat = torch.tensor(networks.flat[agent].astype(np.float64), requires_grad=True)
        mine = Record(*(column[agent] for column in record))
        torch_loss(config, task, hidden, flat, mine).backward()
        np.testing.assert_allclose(tile.gradient[agent], flat.grad.numpy(), atol=2e-6)
        assert np.abs(flat.grad.numpy()).max() > 1e-2


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_moments_are_those_of_all_that_was_seen(offset):
    seen = offset + np.random.default_rng(0).normal(3.0, [0.5, 20.0], size=(40, 2, 8, 2))
    moments = Moments(seen[0])
    for one in seen[1:]:
        moments.add(one)
    every = seen.transpose(1, 0, 2, 3).reshape(2, -1, 2)
    # 1e-4 observations of mean zero and variance one came before.
    weight, count = 1e-4, every.shape[1] + 1e-4
    mean = every.sum(axis=1) / count
    square = ((every - mean[:, None]) ** 2).sum(axis=1) + weight * (1.0 + mean**2)
    np.testing.assert_allclose(moments.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(moments.spread, np.sqrt(square / count + 1e-8), rtol=1e-9)
    standard = moments.standard(seen[-1] + [1e9, 0.0])
    np.testing.assert_array_equal(standard[..., 0], 10.0)
    np.testing.assert_allclose(
        standard[..., 1], (seen[-1, ..., 1] - mean[:, None, 1]) / moments.spread[:, None, 1]
    )


def test_first_weights_are_orthogonal_and_biases_none():
    networks = Networks(Layout(5, (16, 24), 3), [np.random.default_rng(i) for i in range(2)])
    one, two, head = networks.weights.layers
    for agent in range(2):
        for net, gain, u in ((POLICY, 0.01, 3), (VALUE, 1.0, 1)):
            for matrix, length in ((one[agent, net, :5], np.sqrt(2)), (two[agent, net], np.sqrt(2)),
                                   (head[agent, net, :, :u], gain)):  # fmt: skip
                short = min(matrix.shape)
                gram = matrix @ matrix.T if matrix.shape[0] == short else matrix.T @ matrix
                np.testing.assert_allclose(gram, length**2 * np.eye(short), atol=1e-6)
    assert not any(bias.any() for bias in networks.weights.biases)
    assert not one[:, :, 5].any()
    assert not head[:, VALUE, :, 1:].any()
    assert (one[0] != one[1]).any()
    assert (one[0, POLICY] != one[0, VALUE]).any()


def test_rollouts_that_do_not_divide_are_refused():
    with pytest.raises(ConfigError, match="rollout must be a multiple of rows and of batch"):
        PPOConfig(rollout=1_000, rows=16, batch=64)


@pytest.mark.parametrize(
    ("name", "least"),
    [("steps", 1), ("rows", 1), ("batch", 2), ("epochs", 1), ("evaluations", 1), ("episodes", 1)],
)
def test_a_budget_of_nothing_is_refused(name, least):
    with pytest.raises(ConfigError, match=f"{name} must be an integer >= {least}, got {least - 1}"):
        PPOConfig(**{name: least - 1})
