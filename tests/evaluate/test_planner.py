import dataclasses

import gymnasium
import numpy as np
import pytest

from fedirl_ray.config import EvaluationConfig, RunConfig
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.evaluate import planner
from fedirl_ray.evaluate.planner import judge, judge_references, policies
from fedirl_ray.problem.demonstrations import expert_policy
from fedirl_ray.problem.family import draw_world
from fedirl_ray.problem.greedy import greedy_policy
from fedirl_ray.problem.mdp import Stack
from fedirl_ray.problem.planning import roll_out, soft_policy

RUN = RunConfig(
    problem=ProblemConfig(size=4, slip=0.4), evaluation=EvaluationConfig(discounts=(0.5,))
)
HORIZON = 24
THETA = np.array([[-1.0, 0.3], [-0.4, 0.8], [1.0, 0.2]])


def worlds(count=4, run=RUN):
    return [draw_world(run.problem, run.seed, 0, "client", i) for i in range(count)]


def everywhere(thetas, count=4):
    return np.broadcast_to(thetas, (count, *thetas.shape)).copy()


def judged(thetas, matched=None, run=RUN):
    """Success `[w, c]` by policy name."""
    given = everywhere(thetas)
    found = judge(worlds(run=run), given, given if matched is None else everywhere(matched), run)
    return dict(zip(policies(run), np.moveaxis(found.success, -1, 0), strict=True))


def test_the_policies_have_names_with_the_tables_first():
    assert policies(RUN) == ("greedy-0.95", "greedy-0.5", "soft", "soft-matched")


@pytest.mark.parametrize(
    ("first", "others", "names"),
    [
        (0.9, (0.9, 0.99), ("greedy-0.9", "greedy-0.99")),
        (0.5, (0.9, 0.5, 0.9), ("greedy-0.5", "greedy-0.9")),
        (0.9999999, (1.0, 0.9999998), ("greedy-0.9999999", "greedy-1", "greedy-0.9999998")),
    ],
)
def test_every_policy_is_judged_once_under_a_name_of_its_own(first, others, names):
    run = dataclasses.replace(RUN, evaluation=EvaluationConfig(discount=first, discounts=others))
    assert policies(run) == (*names, "soft", "soft-matched")
    ends = np.array([[-1.0, 0.0]])  # the goal is where nothing is lost
    assert judged(ends, run=run).keys() == set(policies(run))


@pytest.mark.parametrize("kind", ["greedy-0.95", "soft"])
def test_rollouts_in_the_gymnasium_environment_agree_with_the_exact_judgement(kind):
    world, theta = worlds()[1], THETA[:1]
    found = judge([world], theta[None], theta[None], RUN)
    at = policies(RUN).index(kind)
    stack = Stack([world])
    reward = stack.rewards(theta)
    if kind == "soft":
        model = RUN.irl
        policy = soft_policy(
            stack, reward, horizon=HORIZON, discount=model.discount, temperature=model.temperature
        ).policy
    else:
        greedy = greedy_policy(stack, reward[:, :, None], discount=0.95)[:, :, 0]
        policy = np.broadcast_to(greedy, (HORIZON, *greedy.shape))
    cumulated = np.cumsum(policy, axis=1)
    env = gymnasium.make("fedirl_ray/GridWorld-v0", world=world, horizon=HORIZON)
    rng, episodes, discount = np.random.default_rng(0), 2000, RUN.problem.expert_discount
    won, earned = np.zeros(episodes), np.zeros(episodes)
    env.reset(seed=0)
    for episode in range(episodes):
        state, _ = env.reset()
        terminated = truncated = False
        t = 0
        while not (terminated or truncated):
            action = min(int((cumulated[t, :, state] <= rng.random()).sum()), 3)
            state, paid, terminated, truncated, _ = env.step(action)
            t += 1
        if terminated:
            won[episode] = world.goal[state]
            # The tabular world pays an end's reward from its step to the horizon.
            earned[episode] = paid * sum(discount**u for u in range(t, HORIZON))
    env.close()
    exact = found.success[0, 0, at]
    assert 0.05 < exact < 0.95  # or the comparison would be empty
    assert abs(won.mean() - exact) < 4 * np.sqrt(exact * (1 - exact) / episodes)
    assert abs(earned.mean() - found.value[0, 0, at]) < 4 * earned.std() / np.sqrt(episodes)


def test_greedy_success_is_blind_to_scale_and_soft_success_is_not():
    plain, large = judged(THETA), judged(7.0 * THETA)
    for name in ("greedy-0.95", "greedy-0.5"):
        np.testing.assert_array_equal(plain[name], large[name])
    assert np.abs(plain["soft"] - large["soft"])[:, 0].min() > 1e-3


def test_soft_matched_is_soft_for_the_matched_reward():
    found = judged(THETA, matched=3.0 * THETA)
    np.testing.assert_array_equal(found["soft-matched"], judged(3.0 * THETA)["soft"])


def test_the_expert_is_what_its_policy_earns():
    run = dataclasses.replace(RUN, problem=ProblemConfig(size=4, expert_temperature=0.5))
    for config in (RUN, run):
        stack = Stack(worlds(run=config))
        policy = expert_policy(stack, config.problem, HORIZON)[..., None]
        expected = roll_out(stack, policy, horizon=HORIZON, discount=0.99)
        found = judge_references(worlds(run=config), config)
        np.testing.assert_array_equal(found.success[:, :1], expected.success)
        np.testing.assert_array_equal(found.value[:, :1], expected.value)


@pytest.mark.parametrize("noisy", [{"expert_temperature": 0.5}, {}])
def test_the_true_rewards_plan_is_an_expert_that_never_errs(noisy):
    run = dataclasses.replace(RUN, problem=ProblemConfig(size=4, **noisy))
    drawn = worlds(run=run)
    optimal = judge_references(drawn, RUN)
    for temperatures in (None, np.linspace(0.2, 1.0, len(drawn))):
        found = judge_references(drawn, run, temperatures=temperatures)
        for own, best in zip(found[:2], optimal[:2], strict=True):
            np.testing.assert_array_equal(own[:, 2], best[:, 0])
        errs = bool(noisy) or temperatures is not None
        assert (found.value[:, 0] < found.value[:, 2]).all() == errs


def test_no_reward_earns_more_than_the_expert():
    run = dataclasses.replace(RUN, problem=ProblemConfig(size=4, slip=0.4, horizon=300))
    directions = np.linspace(0.0, 2.0 * np.pi, 16, endpoint=False)
    thetas = everywhere(np.stack([np.cos(directions), np.sin(directions)], axis=1))
    found = judge(worlds(run=run), thetas, thetas, run)
    ceiling = judge_references(worlds(run=run), run).value[:, :1]
    assert (found.value <= ceiling[:, :, None] + 1e-6 * np.abs(ceiling[:, :, None])).all()
    assert found.value.max() > 0.9 * ceiling.max()


def test_no_policy_succeeds_more_often_than_the_ceiling():
    run = dataclasses.replace(RUN, problem=ProblemConfig(size=4, slip=0.4))
    rng = np.random.default_rng(0)
    thetas = everywhere(rng.normal(size=(40, 2)))
    found = judge(worlds(run=run), thetas, thetas, run).success
    references = judge_references(worlds(run=run), run).success
    assert (found <= references[:, [1], None] + 1e-12).all()
    assert (references[:, [0, 2]] <= references[:, [1]] + 1e-12).all()


@pytest.mark.parametrize("cache", [1, 200_000])
def test_a_world_is_judged_to_the_same_bytes_alone_or_beside_others(monkeypatch, cache):
    thetas = np.random.default_rng(0).normal(size=(4, 5, 2))
    together = judge(worlds(), thetas, 2.0 * thetas, RUN)
    # Little room for time-dependent policies: their columns are planned a few at a time.
    monkeypatch.setattr(planner, "POLICY_BYTES", cache)
    for i, world in enumerate(worlds()):
        own = judge([world], thetas[i : i + 1], 2.0 * thetas[i : i + 1], RUN)
        assert together.success[i].tobytes() == own.success[0].tobytes()
        assert together.value[i].tobytes() == own.value[0].tobytes()
