"""Continuous control behind the seam: its stages done by hand, in this process."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from actors import make
from scipy.optimize import minimize

from fedirl_ray.config import EvaluationConfig, IRLConfig, RunConfig
from fedirl_ray.config_control import ControlConfig, PPOConfig
from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.config_problem import HeterogeneityConfig, ProblemConfig
from fedirl_ray.domain.control import Control
from fedirl_ray.domain.control_learning import named, part
from fedirl_ray.domain.control_settings import worlds_of
from fedirl_ray.domain.domain import Channel, Columns
from fedirl_ray.domain.job import done
from fedirl_ray.problem.control.actor import Actor
from fedirl_ray.problem.control.arena import play
from fedirl_ray.problem.control.paper import PENDULUM
from fedirl_ray.seeds import stream

TINY = PPOConfig(
    steps=192, rows=4, rollout=64, batch=32, epochs=1, hidden=(8,), evaluations=4, episodes=2
)
CONFIG = RunConfig(
    clients=3,
    seeds=2,
    seed=5,
    problem=ProblemConfig(name="Pendulum-v1", demonstrations=3),
    irl=IRLConfig(l2=0.01, iterations=200, tolerance=1e-7, discount=0.95, temperature=0.7),
    fusion=FusionConfig(rules=("local", "mean", "barycenter", "pooled", "expert")),
    evaluation=EvaluationConfig(held_out=2, discount=0.95, discounts=(), by_round=False),
    control=ControlConfig(
        points=(7, 7), features=8, agents=False, episodes=3, expert=TINY, agent=TINY
    ),
)


def do(jobs):
    return [
        job.work([job.arguments])[0] if job.together else job.work(**job.arguments) for job in jobs
    ]


def altered(group, **more):
    return replace(CONFIG, **{group: replace(getattr(CONFIG, group), **more)})


@pytest.fixture(scope="module")
def taught():
    """What clients are given: experts of random weights."""
    return {i: named("actor.", make(PENDULUM, seed=i).arrays()) for i in range(3)}


def learnt(domain, taught, clients, seed=0, start=0.0, pull=0.0):
    held = domain.hold(seed, clients, taught)
    begin = np.zeros((len(clients), 1, 8)) + start
    return domain.learn(held, begin, np.full((len(clients), 1), pull))


def bytes_of(fits, row):
    return [getattr(fits, name)[row].tobytes() for name in vars(fits)]


def test_a_client_learns_the_same_bytes_in_any_block_and_after_any_other_work(taught):
    domain = Control(CONFIG)
    whole = learnt(domain, taught, [0, 1, 2])
    again = learnt(domain, taught, [2, 0])
    moved = pickle.loads(pickle.dumps(domain))
    alone = learnt(moved, taught, [1])
    held = domain.hold(0, [0], taught)
    domain.learn(held, np.ones((1, 3, 8)), np.ones((1, 3)))
    used = domain.learn(held, np.zeros((1, 1, 8)), np.zeros((1, 1)))
    assert bytes_of(whole, 2) == bytes_of(again, 0)
    assert bytes_of(whole, 0) == bytes_of(again, 1) == bytes_of(used, 0)
    assert bytes_of(whole, 1) == bytes_of(alone, 0)
    assert len({whole.theta[i].tobytes() for i in range(3)}) == 3
    assert whole.converged.all()
    assert (learnt(domain, taught, [0], seed=1).theta != whole.theta[:1]).all()


def test_several_starts_are_as_many_fits(taught):
    domain, rng = Control(CONFIG), np.random.default_rng(0)
    start, pull = rng.normal(size=(1, 2, 8)), np.array([[0.0, 0.3]])
    both = domain.learn(domain.hold(0, [1], taught), start, pull)
    for j in range(2):
        one = domain.learn(domain.hold(0, [1], taught), start[:, j : j + 1], pull[:, j : j + 1])
        for name in vars(both).keys() - {"episodes"}:
            np.testing.assert_array_equal(getattr(both, name)[0, j], getattr(one, name)[0, 0])


@pytest.mark.parametrize("objective", ["likelihood", "matching"])
def test_a_fit_is_the_minimum_scipy_finds_of_loss_ridge_and_pull(objective, taught):
    config = altered("control", objective=objective)
    domain, rng = Control(config), np.random.default_rng(1)
    start, pull = rng.normal(size=8), 0.4
    client = domain.hold(0, [1], taught)[0].objective

    def value(theta):
        loss, slope = client(theta)
        away = theta - start
        total = loss + 0.005 * theta @ theta + 0.2 * away @ away
        return total, slope + 0.01 * theta + 0.4 * away

    wanted = minimize(value, np.zeros(8), jac=True, method="BFGS", options={"gtol": 1e-6})
    found = learnt(domain, taught, [1], start=start, pull=pull)
    # Plans settle to 1e-9 of their scale, some 1e-7: gradients to its root.
    np.testing.assert_allclose(found.theta[0, 0], wanted.x, atol=1e-3)
    assert found.objective[0, 0] == pytest.approx(client(wanted.x)[0], rel=1e-3)
    free = learnt(domain, taught, [1], start=start)
    assert np.linalg.norm(free.theta - start) > 1.1 * np.linalg.norm(wanted.x - start)


@pytest.mark.parametrize("tolerance", [1e-2, 1e-5])
@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_tolerance_is_a_share_of_the_demonstrated_feature_counts(tolerance, temperature, taught):
    irl = replace(CONFIG.irl, tolerance=tolerance, temperature=temperature)
    domain = Control(replace(CONFIG, irl=irl))
    held = domain.hold(0, [0], taught)
    # Pendulum's episodes never end, so visits sum to 1 / (1 - .95) = 20, features are below 1.
    client, scale = held[0].objective, held[0].objective.scale
    assert 1.0 < scale * temperature < 20.0
    found = domain.learn(held, np.zeros((1, 1, 8)), np.zeros((1, 1)))
    gradient = client(found.theta[0, 0])[1] + 0.01 * found.theta[0, 0]
    assert found.converged.all()
    assert np.abs(gradient).max() <= 1.01 * tolerance * scale


def test_a_curvature_is_a_steps_fisher_information_and_the_ridge_within_the_doors_bound(taught):
    domain, rng = Control(CONFIG), np.random.default_rng(2)
    bound = domain.ground(0).curvature_bound
    held = domain.hold(0, [0], taught)
    found = learnt(domain, taught, [0])
    fisher = held[0].objective.curvature(found.theta[0, 0])
    np.testing.assert_allclose(found.hessian[0, 0], fisher + 0.01 * np.eye(8), rtol=1e-6)
    for length in (0.0, 1.0, 10.0, 300.0):
        hessian = held[0].objective.curvature(length * rng.normal(size=8))
        assert 0.0 < np.trace(hessian) + 8 * 0.01 <= bound
    assert domain.ground(1) is domain.ground(0)


def test_fewer_demonstrations_and_weak_clients_are_dials_here_too(taught):
    dials = HeterogeneityConfig(demonstrations=1.0, weak_clients=1.0)
    config = replace(CONFIG, heterogeneity=dials, irl=replace(CONFIG.irl, iterations=4))
    found = learnt(Control(config), taught, [0, 1, 2])
    assert (found.iterations <= 3).all()
    assert not found.converged.any()
    plain = learnt(Control(replace(config, heterogeneity=HeterogeneityConfig())), taught, [0, 1, 2])
    assert (plain.iterations == 4).all()
    assert plain.episodes.tolist() == [3, 3, 3]
    many = replace(CONFIG.problem, demonstrations=40)
    dialled = Control(replace(config, problem=many))
    counts = learnt(dialled, taught, [0, 1, 2]).episodes
    assert len(set(counts.tolist())) == 3
    assert 1 <= counts.min() < counts.max() <= 40
    np.testing.assert_array_equal(counts[1:2], learnt(dialled, taught, [1]).episodes)


@pytest.mark.parametrize("rules", [("mean",), ("mean", "personal")])  # the second keeps some aside
def test_to_pool_one_client_is_to_learn_as_it_and_to_pool_all_is_the_minimum_of_their_mean(
    taught, rules
):
    config = replace(CONFIG, fusion=FusionConfig(rules=rules))
    alone = Control(replace(config, clients=1))
    pooled = done(alone.pool(0, [taught[0]]), do)
    np.testing.assert_array_equal(pooled, learnt(alone, taught, [0]).theta[0, 0])
    domain = Control(config)
    theta = done(domain.pool(0, [taught[i] for i in range(3)]), do)
    slopes = [one.objective(theta)[1] for one in domain.hold(0, range(3), taught)]
    assert np.abs(np.mean(slopes, axis=0) + 0.01 * theta).max() < 1e-5


NAMES = ("local", "mean", "barycenter", "true", "expert", "plus-one", "pooled")


def columns_for(config, seed=0):
    """Rewards like a federation's; one of them was never learnt."""
    rng = np.random.default_rng(seed)
    worlds = {"in-distribution": config.clients, "held-out": 2}
    found = {}
    shared = rng.normal(size=(len(NAMES), 8))
    shared[NAMES.index("plus-one")] = 0.0
    for name in ("true", "expert", "pooled"):
        shared[NAMES.index(name)] = np.nan
    for split, count in worlds.items():
        theta = np.tile(shared, (count, 1, 1))
        theta[:, 0] = rng.normal(size=(count, 8))
        offset = np.zeros((count, len(NAMES)))
        offset[:, NAMES.index("plus-one")] = 1.0
        found[split] = Columns(NAMES, theta, offset, 0.5 * theta, offset + 0.25)
    return found


@pytest.fixture(scope="module")
def whole():
    """A run by hand, agents in one held-out world: domain, laid, judged."""
    control = replace(CONFIG.control, agents=True, judged=(3.0,))
    domain = Control(replace(CONFIG, control=control))
    domain.check()
    laid = done(domain.lay(), do)
    return domain, laid, done(domain.judge(0, columns_for(domain.config), laid, 1), do)


def test_experts_are_trained_once_and_learnt_from(whole):
    domain, laid, _ = whole
    assert len(laid) == len(worlds_of(domain.config)) == 5
    for one in laid[:3]:
        assert one["at"].tolist() == [64, 128, 192, 192]
        assert Actor.from_arrays(PENDULUM, part("actor.", one)) is not None
    assert laid[3:] == [{}, {}]
    found = domain.learn(domain.hold(0, [2], {2: laid[2]}), np.zeros((1, 1, 8)), np.zeros((1, 1)))
    assert np.isfinite(found.theta).all()


def test_channels_are_the_main_tables_first_and_each_once(whole):
    domain, _, judged = whole
    names = [Channel("agent", "return", 192), Channel("agent-matched", "return", 192),
             Channel("planner", "return"), Channel("planner-matched", "return"),
             Channel("planner", "distance")]  # fmt: skip
    assert list(domain.channels[:5]) == names
    earlier = [(judge, at) for judge in ("agent", "agent-matched") for at in (64, 128)]
    assert [(one.judge, one.step) for one in domain.channels[5:]] == earlier
    assert judged.scores["in-distribution"].shape == (3, len(NAMES), 9)
    assert judged.scores["held-out"].shape == (2, len(NAMES), 9)
    assert Control(CONFIG).channels == tuple(names[2:])


def scores_of(whole, column, *channel):
    domain, _, judged = whole
    at = domain.channels.index(Channel(*channel))
    return np.concatenate(
        [judged.scores[split][:, NAMES.index(column), at] for split in judged.scores]
    )


def test_plans_are_judged_in_all_worlds_and_agents_where_they_are_trained(whole):
    for name in ("local", "mean", "barycenter", "true", "plus-one"):
        assert np.isfinite(scores_of(whole, name, "planner", "return")).all()
        agents = scores_of(whole, name, "agent", "return", 192)
        assert np.isfinite(agents).tolist() == [False, False, False, False, True]
        assert np.isfinite(scores_of(whole, name, "agent", "return", 64)).sum() == 1
    for judge, metric, step in whole[0].channels:
        assert np.isnan(scores_of(whole, "pooled", judge, metric, step)).all()


def test_what_is_at_another_level_is_judged_there_and_the_mean_is_at_its_own(whole):
    for own in (("planner", "return", 0), ("agent", "return", 192), ("agent", "return", 64)):
        matched = (f"{own[0]}-matched", *own[1:])
        np.testing.assert_array_equal(
            scores_of(whole, "mean", *own), scores_of(whole, "mean", *matched)
        )
        assert np.isfinite(scores_of(whole, "barycenter", *matched)).any()
        for name in ("local", "true", "plus-one", "expert", "pooled"):
            assert np.isnan(scores_of(whole, name, *matched)).all()
    # Scale and offset change no plan of a pendulum, whose episodes never end.
    np.testing.assert_array_equal(
        scores_of(whole, "barycenter", "planner", "return"),
        scores_of(whole, "barycenter", "planner-matched", "return"),
    )


def test_the_true_reward_is_no_distance_from_itself_and_a_constant_half_of_all(whole):
    np.testing.assert_array_equal(scores_of(whole, "true", "planner", "distance"), 0.0)
    np.testing.assert_allclose(scores_of(whole, "plus-one", "planner", "distance"), 0.5)
    own, nothing = (scores_of(whole, name, "planner", "return") for name in ("true", "plus-one"))
    assert (own > nothing).all()


def test_experts_play_at_home_and_take_turns_elsewhere(whole):
    domain, laid, _ = whole
    returns = scores_of(whole, "expert", "planner", "return")
    for place, (world, who) in enumerate(
        zip(worlds_of(domain.config), (0, 1, 2, 0, 1), strict=True)
    ):
        name = ("control", PENDULUM.name, "seed", 0, "world", f"{world:g}", "planner")
        actor = Actor.from_arrays(PENDULUM, part("actor.", laid[who]))
        policy = actor.sampled(stream(5, *name, "expert"))
        played = play(PENDULUM, [world] * 3, policy, stream(5, *name))
        assert returns[place] == pytest.approx(played.returns.mean())
    agents = scores_of(whole, "expert", "agent", "return", 192)
    np.testing.assert_array_equal(agents, np.where(np.isnan(agents), np.nan, returns))
    assert np.isfinite(agents).tolist() == [False, False, False, False, True]
    assert np.isnan(scores_of(whole, "expert", "agent", "return", 64)).all()


def test_facts_are_of_what_clients_were_shown(whole):
    domain, laid, judged = whole
    assert domain.facts == ("demonstrated", "outside", "extrapolated", "unlikeliest")
    assert judged.facts.shape == (3, 4)
    held = domain.hold(0, range(3), dict(enumerate(laid)))
    outside = [one.objective.shown.outside for one in held]
    np.testing.assert_array_equal(judged.facts[:, 1], outside)
    np.testing.assert_array_equal(judged.facts[:, 2], 0.0)
    assert np.isnan(judged.facts[:, 3]).all()
    assert (judged.facts[:, 0] < -100.0).all()  # nobody balances after 192 steps


def test_judging_does_not_depend_on_what_else_is_judged(whole):
    domain, laid, judged = whole
    columns = {
        split: Columns(
            ("mean", "barycenter"), own.theta[:, 1:3], own.offset[:, 1:3],
            own.matched_theta[:, 1:3], own.matched_offset[:, 1:3],
        )
        for split, own in columns_for(domain.config).items()
    }  # fmt: skip
    few = done(pickle.loads(pickle.dumps(domain)).judge(0, columns, laid, 3), do)
    for split, own in few.scores.items():
        np.testing.assert_array_equal(own, judged.scores[split][:, 1:3])


def test_long_work_is_kept_and_given_time(whole):
    domain, laid, _ = whole
    slow = replace(domain.config.control, agent=replace(TINY, steps=200_000))
    patient = Control(replace(domain.config, control=slow))
    jobs = next(patient.judge(0, columns_for(domain.config), laid, 1))
    assert all(job.kept for job in jobs)
    assert {(job.kind, job.patience) for job in jobs} == {("planner", 1.0), ("agent", 4.0)}
    # a world each; local, mean, barycenter twice, true and a constant in one of them
    assert [job.kind for job in jobs] == ["planner"] * 5 + ["agent"] * 6
