"""The expert's row is what the demonstrations come from."""

import dataclasses

import numpy as np
import pytest
from worlds import save_episodes

from fedirl_ray.config import EvaluationConfig, RunConfig
from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.config_problem import HeterogeneityConfig, ProblemConfig
from fedirl_ray.domain.domain import Channel
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.engine.driver import federate
from fedirl_ray.engine.local import Clients
from fedirl_ray.irl.block import prepare
from fedirl_ray.problem.demonstrations import demonstrate
from fedirl_ray.problem.dials import expert_temperatures
from fedirl_ray.problem.family import draw_world
from fedirl_ray.problem.mdp import Stack
from fedirl_ray.problem.planning import roll_out, soft_policy
from fedirl_ray.report.table import full_text

RUN = RunConfig(
    clients=3,
    seeds=1,
    problem=ProblemConfig(size=4, slip=0.3, demonstrations=5),
    fusion=FusionConfig(rules=("mean", "expert", "ceiling")),
    evaluation=EvaluationConfig(held_out=5, discounts=()),
)
EXPERT = RUN.fusion.rules.index("expert")


def judged(run):
    ((_, found),) = federate(run, Clients(run, range(run.clients)))
    return found


def expert(run, scores, metric):
    """The expert's scores by the main table's judge, by world."""
    channel = domain_of(run).channels.index(Channel("greedy-0.95", metric))
    return scores[:, EXPERT, channel]


def test_with_a_dial_up_each_client_has_its_own_expert_and_held_out_worlds_take_turns():
    run = dataclasses.replace(RUN, heterogeneity=HeterogeneityConfig(expert_temperature=1.0))
    drawn = expert_temperatures(0.0, 1.0, 0, 0, range(3))
    assert np.ptp(drawn) > 0.5
    found = judged(run)
    for role, scores in (("client", found.client_scores), ("held-out", found.held_out_scores)):
        success, value = (expert(run, scores, metric) for metric in ("success", "return"))
        assert len(scores) == {"client": 3, "held-out": 5}[role]
        for i in range(len(scores)):
            stack = Stack([draw_world(run.problem, 0, 0, role, i)])
            policy = soft_policy(
                stack, stack.true_rewards(), horizon=24, discount=0.99, temperature=drawn[i % 3]
            ).policy
            wanted = roll_out(stack, policy[..., None], horizon=24, discount=0.99)
            np.testing.assert_allclose(success[i], wanted.success[0, 0], rtol=1e-9)
            np.testing.assert_allclose(value[i], wanted.value[0, 0], rtol=1e-9, atol=1e-12)
    assert "expert: each client's own; in held-out worlds they take turns." in full_text(
        domain_of(run), [found]
    )


def test_recorded_demonstrations_are_the_row_where_they_were_recorded(tmp_path):
    path = tmp_path / "own.npz"
    run = dataclasses.replace(
        RUN, problem=dataclasses.replace(RUN.problem, demonstrations_file=path)
    )
    worlds = [draw_world(run.problem, 0, 0, "client", i) for i in range(3)]
    walk = np.full((24, 4, 16), 0.25)
    walk[:, 1:3] += 0.2  # rather down and to the right, where the goal is
    walk /= walk.sum(axis=1, keepdims=True)
    data = [
        demonstrate(world, walk, 40 + i, np.random.default_rng(i)) for i, world in enumerate(worlds)
    ]
    save_episodes(path, data)
    found = judged(run)
    success, value = (expert(run, found.client_scores, one) for one in ("success", "return"))
    for i, (world, shown) in enumerate(zip(worlds, data, strict=True)):
        on_goal = world.goal[shown.states[:, -1]].mean()
        # The very last step may still reach it.
        assert on_goal <= success[i] <= on_goal + 0.1
        earned = [
            sum(0.99**t * world.reward[x, 0] for t, x in enumerate(states))
            for states in shown.states
        ]
        assert value[i] == pytest.approx(np.mean(earned))
    assert success.min() > 0.0
    assert np.isnan(found.held_out_scores[:, EXPERT]).all()
    assert np.isfinite(found.held_out_scores[:, [0, 2]]).all()
    text = full_text(domain_of(run), [found])
    assert "nan" not in text
    assert "expert: the recorded episodes, in their clients' worlds; none in held-out ones." in text


def test_the_last_recorded_step_counts_by_its_chance(tmp_path):
    path = tmp_path / "own.npz"
    run = dataclasses.replace(
        RUN,
        clients=1,
        problem=ProblemConfig(
            size=2, slip=1.0, obstacles=0.0, horizon=2, slip_to="anywhere", demonstrations_file=path
        ),
    )
    (world,) = (draw_world(run.problem, 0, 0, "client", 0),)
    walk = np.full((2, 4, 4), 0.25)
    data = demonstrate(world, walk, 60, np.random.default_rng(0))
    save_episodes(path, [data])
    last = list(zip(data.states[:, -1], data.actions[:, -1], strict=True))
    chance = [
        sum(p for p, y in zip(world.probabilities[x, a], world.successors[x, a], strict=True)
            if world.goal[y])
        for x, a in last
    ]  # fmt: skip
    assert 0.0 < np.mean(chance) < 1.0
    assert expert(run, judged(run).client_scores, "success")[0] == pytest.approx(np.mean(chance))
    assert len(prepare(run, 0, [0]).counts) == 1
