from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedirl_ray.config import EvaluationConfig, IRLConfig, RunConfig
from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.config_problem import HeterogeneityConfig, ProblemConfig
from fedirl_ray.domain.control_learning import parted
from fedirl_ray.domain.job import done
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.errors import ConfigError
from fedirl_ray.irl.block import demonstrations_of, prepare
from fedirl_ray.problem.aside import kept_aside
from fedirl_ray.problem.control.arena import play
from fedirl_ray.problem.control.paper import PENDULUM
from fedirl_ray.problem.demonstrations import feature_expectation


@given(episodes=st.integers(2, 60), share=st.floats(0.001, 0.999), client=st.integers(0, 50))
def test_some_are_kept_and_some_are_left(episodes, share, client):
    away = kept_aside(episodes, share, 0, 0, client)
    assert away.shape == (episodes,)
    assert 1 <= away.sum() <= episodes - 1
    assert abs(away.sum() - share * episodes) <= 1.0
    np.testing.assert_array_equal(away, kept_aside(episodes, share, 0, 0, client))


def test_clients_and_seeds_keep_others():
    kept = [kept_aside(40, 0.5, 0, seed, client) for seed in range(3) for client in range(3)]
    assert len({one.tobytes() for one in kept}) == len(kept)


def test_what_is_kept_is_not_fitted_to_and_nothing_is_lost():
    config = RunConfig(problem=ProblemConfig(size=4, demonstrations=10))
    whole, block = prepare(config, 1, [2]), prepare(config, 1, [2], aside=0.3)
    shown, (kept,) = demonstrations_of(config, 1)[2], block.aside
    assert (whole.episodes, whole.aside) == ((10,), (None,))
    assert (block.episodes, len(kept.states)) == ((7,), 3)
    away = kept_aside(10, 0.3, config.seed, 1, 2)
    np.testing.assert_array_equal(kept.actions, shown.actions[away])
    others = feature_expectation(block.worlds[0], kept, config.irl.discount)
    np.testing.assert_allclose(0.7 * block.counts[0] + 0.3 * others, whole.counts[0], rtol=1e-12)


def test_data_that_are_pooled_are_without_what_is_kept():
    base = RunConfig(clients=1, problem=ProblemConfig(size=4, demonstrations=10))
    found = {}
    for rules in (("mean",), ("mean", "select")):
        domain = domain_of(replace(base, fusion=FusionConfig(rules=rules)))
        found[rules] = done(domain.pool(0, [{}]), lambda jobs: [
            job.work(**job.arguments) for job in jobs
        ])  # fmt: skip
        own = domain.learn(domain.hold(0, [0], {}), np.zeros((1, 1, 2)), np.zeros((1, 1)))
        np.testing.assert_allclose(found[rules], own.theta[0, 0], atol=1e-4)
    assert np.abs(found["mean",] - found["mean", "select"]).max() > 1e-3


LAW = r"must be at least 2 where clients keep some aside to score rewards by \(federation.aside\)"


@pytest.mark.parametrize("rules", [("mean", "select"), ("mean", "auto"), ("mean", "personal")])
def test_one_demonstration_is_too_few_to_keep_any(rules):
    config = RunConfig(problem=ProblemConfig(demonstrations=1), fusion=FusionConfig(rules=rules))
    with pytest.raises(ConfigError, match=f"^demonstrations of client 0 in seed 0 {LAW}, got 1$"):
        domain_of(config).check()


def test_the_first_client_that_is_shown_too_few_is_named():
    config = RunConfig(
        problem=ProblemConfig(demonstrations=3),
        heterogeneity=HeterogeneityConfig(demonstrations=1.0),
        fusion=FusionConfig(rules=("mean", "select")),
    )
    said = f"^demonstrations of client \\d in seed \\d+ {LAW}, got 1$"
    with pytest.raises(ConfigError, match=said):
        domain_of(config).check()


def test_episodes_of_control_are_parted_whole():
    rng = np.random.default_rng(0)
    task = replace(PENDULUM, steps=5)
    shown = play(task, [1.0] * 6, lambda seen: np.ones((len(seen), 1)), rng)
    fitted, kept = parted(shown, 0.3, 0, 2, 1)
    away = kept_aside(6, 0.3, 0, 2, 1)
    for part, which in ((kept, away), (fitted, ~away)):
        for field in fields(part):
            whole = getattr(shown, field.name)
            np.testing.assert_array_equal(getattr(part, field.name), whole[which])


def test_a_control_task_is_held_to_the_same():
    config = RunConfig(
        problem=ProblemConfig(name="Pendulum-v1", demonstrations=1),
        irl=IRLConfig(discount=0.9),
        evaluation=EvaluationConfig(discount=0.9, discounts=()),
        fusion=FusionConfig(rules=("mean", "select")),
    )
    with pytest.raises(ConfigError, match=LAW):
        domain_of(config).check()


def test_nothing_is_kept_where_nobody_scores():
    config = RunConfig(
        problem=ProblemConfig(demonstrations=1), fusion=FusionConfig(rules=("mean",))
    )
    domain = domain_of(config)
    domain.check()
    (held,) = domain.hold(0, [0], {})
    assert (held.episodes, held.aside) == (1, None)
