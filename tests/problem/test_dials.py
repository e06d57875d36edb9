import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import shortest_path
from worlds import save_episodes

from fedirl_ray.config import RunConfig
from fedirl_ray.config_problem import HeterogeneityConfig, ProblemConfig
from fedirl_ray.errors import ConfigError
from fedirl_ray.irl.block import prepare
from fedirl_ray.problem.demonstrations import Demonstrations
from fedirl_ray.problem.dials import (
    can_win,
    chosen,
    count_episodes,
    expert_temperatures,
    iteration_limits,
    seen_support,
    spread_start,
)
from fedirl_ray.problem.family import draw_world

DIALS = [
    "demonstrations",
    "weak_clients",
    "expert_temperature",
    "coverage",
    "hidden_support",
    "adversaries",
]
share = st.floats(0.0, 1.0)


def goals(level, role="client", **problem):
    config = ProblemConfig(size=9, goal_shift=level, **problem)
    return [np.argwhere(draw_world(config, 0, 0, role, i).goal.reshape(9, 9))[0] for i in range(60)]


@pytest.mark.parametrize("dial", DIALS)
@pytest.mark.parametrize("level", [-0.1, 1.1, float("nan")])
def test_a_dial_beyond_its_ends_is_refused_by_name(dial, level):
    name = f"heterogeneity.{dial.replace('_', '-')}"
    with pytest.raises(ConfigError, match=rf"{name} must be in \[0, 1\]"):
        HeterogeneityConfig(**{dial: level})


@pytest.mark.parametrize("goal", ["corner", "centre"])
def test_goal_shift_0_leaves_all_goals_where_they_are(goal):
    at = {"corner": [8, 8], "centre": [4, 4]}[goal]
    assert np.array_equal(goals(0.0, goal=goal), [at] * 60)


@pytest.mark.parametrize("level", [0.5, 1.0])
def test_clients_goals_stray_as_far_as_half_the_side_times_the_dial_but_no_farther(level):
    away = np.abs(np.array(goals(level, goal="centre", obstacles=0.0)) - 4).max(axis=1)
    assert away.max() == round(level * 4.5)
    assert away.min() < away.max()


def test_goals_stray_to_every_side_of_the_middle_alike():
    mean = np.mean(goals(0.9, goal="centre", obstacles=0.0), axis=0)
    # Steps uniform on -4..4 have a standard deviation of 2.6.
    np.testing.assert_allclose(mean, 4.0, atol=4 * 2.6 / np.sqrt(60))


@pytest.mark.parametrize("role", ["held-out", "probe"])
@pytest.mark.parametrize(("goal", "at"), [("corner", [8, 8]), ("centre", [4, 4])])
def test_worlds_of_nobody_keep_the_shared_goal(role, goal, at):
    assert np.array_equal(goals(1.0, role, goal=goal), [at] * 60)


@settings(max_examples=25, deadline=None)
@given(level=share, index=st.integers(0, 50))
def test_a_shifted_goal_can_be_reached(level, index):
    config = ProblemConfig(size=6, obstacles=0.45, goal_shift=level)
    world = draw_world(config, 0, 0, "client", index)
    assert can_win(world)[0]
    assert not world.goal[0]


def test_states_that_can_win_are_those_from_which_a_shortest_path_ends():
    world = draw_world(ProblemConfig(size=7, obstacles=0.4), 0, 3, "client", 1)
    s = len(world.goal)
    steps = np.zeros((s, s))
    for branch in range(world.successors.shape[2]):
        for action in range(4):
            steps[np.arange(s), world.successors[:, action, branch]] += world.probabilities[
                :, action, branch
            ]
    away = shortest_path(steps > 0.0, unweighted=True)[:, np.flatnonzero(world.goal)[0]]
    assert np.array_equal(can_win(world), np.isfinite(away))


def test_demonstrations_0_gives_all_clients_as_many_and_1_anything_from_one_on():
    assert {count_episodes(50, 0.0, 0, 0, i) for i in range(50)} == {50}
    counts = np.array([count_episodes(50, 1.0, 0, 0, i) for i in range(400)])
    assert counts.min() >= 1
    assert counts.max() <= 50
    assert abs(counts.mean() - 25) < 4 * 50 / np.sqrt(12 * 400)


def test_half_a_dial_of_demonstrations_leaves_everybody_half():
    assert min(count_episodes(50, 0.5, 0, 0, i) for i in range(200)) >= 25


def test_expert_temperatures_are_spread_evenly_above_the_configured_one():
    assert np.array_equal(expert_temperatures(0.2, 0.0, 0, 0, range(5)), [0.2] * 5)
    drawn = expert_temperatures(0.2, 1.0, 0, 0, range(400))
    assert 0.2 < drawn.min() < 0.3
    assert 5.1 < drawn.max() < 5.2


def test_coverage_0_starts_where_the_world_does_and_1_in_one_state_of_the_clients_own():
    world = draw_world(ProblemConfig(size=6), 0, 0, "client", 0)
    assert spread_start(world, 0.0, 0, 0, 0) is world
    starts = [spread_start(world, 1.0, 0, 0, i).initial for i in range(100)]
    assert all(np.sort(initial)[-1] == 1.0 for initial in starts)
    own = {int(initial.argmax()) for initial in starts}
    assert own <= set(np.flatnonzero(can_win(world) & ~world.terminal).tolist())
    assert len(own) > 15


def test_half_a_dial_of_coverage_mixes_both_starts():
    world = draw_world(ProblemConfig(size=6), 0, 0, "client", 0)
    initial = spread_start(world, 0.5, 0, 0, 1).initial
    assert sorted(initial[initial > 0.0]) == [0.5, 0.5]
    assert initial[0] == 0.5


@given(low=share, high=share, clients=st.integers(1, 30), seed=st.integers(0, 9))
def test_turning_a_share_up_only_adds_clients(low, high, clients, seed):
    few, many = (chosen(level, clients, 0, seed, "dial") for level in sorted((low, high)))
    assert set(few) <= set(many)
    assert len(many) == round(max(low, high) * clients)


def test_who_is_chosen_depends_on_the_dial():
    assert not np.array_equal(chosen(0.5, 40, 0, 0, "one"), chosen(0.5, 40, 0, 0, "other"))


def test_weak_clients_0_limits_nobody_and_1_everybody():
    none, every = (
        iteration_limits(200, HeterogeneityConfig(weak_clients=p), 300, 0, 0) for p in (0.0, 1.0)
    )
    assert set(none) == {200}
    assert every.min() >= 1
    assert every.max() <= 199
    assert abs(every.mean() - 100) < 4 * 200 / np.sqrt(12 * 300)


@pytest.mark.parametrize("most", [0, 1])
def test_a_weak_client_is_never_given_more_iterations_than_there_are(most):
    assert set(iteration_limits(most, HeterogeneityConfig(weak_clients=1.0), 5, 0, 0)) == {most}


def test_hidden_support_0_shows_everything_and_1_one_point():
    axes = (np.arange(5.0), np.arange(5.0))
    assert seen_support(axes, 0.0, range(3), 0, 0).all()
    assert seen_support(axes, 1.0, range(3), 0, 0).sum(axis=1).tolist() == [1, 1, 1]


@given(low=share, high=share, seed=st.integers(0, 20))
def test_hiding_more_shows_nothing_new(low, high, seed):
    axes = (np.arange(4.0), np.arange(3.0), 1.0 - np.eye(2))
    less, more = (seen_support(axes, level, range(4), 0, seed) for level in sorted((low, high)))
    assert not (more & ~less).any()


def test_what_a_client_sees_is_nearest_to_its_point():
    axes = (np.arange(6.0), np.arange(6.0))
    cells = np.indices((6, 6)).reshape(2, -1).T
    centres = seen_support(axes, 1.0, range(5), 0, 0).argmax(axis=1)
    for view, centre in zip(seen_support(axes, 0.6, range(5), 0, 0), centres, strict=True):
        away = np.linalg.norm(cells - cells[centre], axis=1)
        assert away[view].max() <= away[~view].min()


def run(**dials):
    return RunConfig(clients=6, heterogeneity=HeterogeneityConfig(**dials))


def test_feature_counts_are_means_over_fewer_episodes_where_fewer_were_shown():
    # One-hot counts of start states are whole episodes: multiples of one over their number.
    problem = ProblemConfig(features="one-hot", horizon=1, demonstrations=20)
    config = dataclasses.replace(run(demonstrations=1.0, coverage=0.5), problem=problem)
    for client, counts in enumerate(prepare(config, 0, range(6)).counts):
        shown = count_episodes(20, 1.0, 0, 0, client) * counts
        np.testing.assert_allclose(shown, np.round(shown), atol=1e-9)


@pytest.mark.parametrize("dial", ["demonstrations", "expert_temperature", "coverage"])
def test_a_block_holds_the_same_whoever_is_prepared_beside_it(dial):
    config = run(**{dial: 0.7})
    whole, part = prepare(config, 1, range(6)), prepare(config, 1, [4, 2])
    assert np.array_equal(part.counts, whole.counts[[4, 2]])
    assert np.array_equal(part.iterations, whole.iterations[[4, 2]])


def test_on_average_hotter_experts_stay_farther_from_the_goal():
    open_ground = ProblemConfig(obstacles=0.0)
    cold, hot = (
        prepare(dataclasses.replace(run(expert_temperature=d), problem=open_ground), 0, range(6))
        for d in (0.0, 1.0)
    )
    # The first feature counts the distance to the goal.
    assert hot.counts[:, 0].mean() > 1.2 * cold.counts[:, 0].mean()


def test_a_file_of_demonstrations_leaves_no_room_for_dials_on_them(tmp_path):
    path = tmp_path / "shown.npz"
    save_episodes(path, [Demonstrations(np.zeros((1, 30), int), np.zeros((1, 30), int))])
    problem = ProblemConfig(demonstrations_file=path)
    with pytest.raises(ConfigError, match="demonstrations-file must be None while"):
        dataclasses.replace(run(coverage=0.5), problem=problem)
