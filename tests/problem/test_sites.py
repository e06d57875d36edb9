import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist
from worlds import dense

from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.errors import ConfigError
from fedirl_ray.problem import sites
from fedirl_ray.problem.dials import can_win
from fedirl_ray.problem.family import draw_world
from fedirl_ray.seeds import stream

DIALS = {"frame_shift": 2.0, "frame_turn": 15.0, "frame_scale": 10.0, "site_shift": 1.5}
MAP = ProblemConfig(name="SitesWorld", size=16)


def levels(most):
    """Of a dial: off, or no smaller than what is let in."""
    return st.just(0.0) | st.floats(1e-9, most)


def draw(role="client", index=0, seed=0, **problem):
    return draw_world(dataclasses.replace(MAP, **problem), 0, seed, role, index)


def shared(config=MAP, seed=0):
    return sites.place_sites(config, stream(0, "seed", seed, "layout"))


def bytes_of(world):
    arrays = (world.successors, world.probabilities, world.initial, world.features, world.reward)
    return [array.tobytes() for array in arrays]


def moved(places, client=0, **dials):
    config = dataclasses.replace(MAP, **dials)
    return sites.displacement(len(places), 0, 0, client).moved(places, config)


@pytest.mark.parametrize(
    ("size", "apart", "margin"), [(24, 3.5, 4.0), (16, 3.5, 4.0), (6, 3.5 / 3, 4 / 3)]
)
def test_sites_lie_apart_and_off_the_border_in_proportion_on_small_maps(size, apart, margin):
    config = dataclasses.replace(MAP, size=size)
    drawn = np.array([shared(config, seed) for seed in range(50)])
    assert min(pdist(places).min() for places in drawn) >= apart
    assert margin <= drawn.min() < margin + 0.1
    assert size - 1.1 - margin < drawn.max() <= size - 1 - margin


def test_a_cell_belongs_to_a_site_within_reach_and_the_first_sites_are_goals():
    places = shared()
    world = draw("held-out", goals=2)
    for s, cell in enumerate(itertools.product(range(16), repeat=2)):
        near = [np.hypot(*(np.array(cell) - place)) <= 1.05 for place in places]
        assert world.goal[s] == any(near[:2])
        assert world.terminal[s] == any(near)
        assert world.reward[s, 0] == (1.0 if any(near[:2]) else -1.0 if any(near) else 0.0)
    assert 5 <= world.goal.sum() <= 10  # a disc of that radius covers 3.5 cells


def test_however_narrow_a_site_has_the_cell_it_is_nearest_to():
    cells = np.argwhere(draw("probe", site_radius=0.0).terminal.reshape(16, 16))
    assert sorted(map(tuple, cells)) == sorted(map(tuple, np.rint(shared()).astype(int)))


def test_where_a_goal_and_a_hazard_overlap_the_cell_is_the_goals():
    world = sites.world(MAP, np.array([[5.0, 5.0], [5.0, 6.0]]), 0.0)
    goal, hazard = (m.reshape(16, 16) for m in (world.goal, world.terminal & ~world.goal))
    assert np.argwhere(goal).tolist() == [[4, 5], [5, 4], [5, 5], [5, 6], [6, 5]]
    assert np.argwhere(hazard).tolist() == [[4, 6], [5, 7], [6, 6]]


def test_episodes_start_evenly_on_what_is_open():
    world = draw()
    open_cells = ~world.terminal
    np.testing.assert_array_equal(world.initial > 0.0, open_cells)
    np.testing.assert_allclose(world.initial[open_cells], 1.0 / open_cells.sum(), rtol=1e-12)


@pytest.mark.parametrize("size", [4, 5, 8, 16])
def test_a_goal_can_be_reached_on_maps_of_any_size(size):
    for seed in range(40):
        world = draw("client", 3, seed, size=size, frame_shift=(size - 1) / 15)
        assert (can_win(world) & ~world.terminal).any()


def test_slips_are_uniform_up_to_the_limit():
    places, slips = shared(), []
    for index in range(100):
        inner = np.argmax(~sites.world(MAP, places, 0.0).terminal.reshape(16, 16)[1:-1, 1:-1])
        s = 17 + inner // 14 * 16 + inner % 14
        slips.append(1.0 - draw("held-out", index, slip=0.2).probabilities[s, 0, 0])
    assert 0.0 <= min(slips) < 0.02
    assert 0.18 < max(slips) <= 0.2


@pytest.mark.parametrize(("down", "right"), [(2, -1), (0, 3), (-2, -2)])
def test_a_map_moved_by_whole_cells_is_the_map_read_elsewhere(down, right):
    # Sites keep off the border by 4 cells, so that what rolls around is open ground.
    here, there = (sites.world(MAP, shared() + by, 0.3) for by in (0, [down, right]))
    to = np.roll(np.arange(256).reshape(16, 16), (down, right), axis=(0, 1)).ravel()
    for name in ("reward", "terminal", "goal", "initial"):
        np.testing.assert_array_equal(getattr(there, name), getattr(here, name)[to])
    inner = np.zeros((16, 16), dtype=bool)
    inner[4:-4, 4:-4] = True
    kept = np.flatnonzero(inner.ravel())
    moved, still = dense(there), dense(here)
    np.testing.assert_array_equal(moved[kept], still[to[kept]][:, :, to])


@given(client=st.integers(0, 50), shift=levels(3.0))
def test_a_shifted_frame_moves_all_sites_by_one_offset_within_the_dial(client, shift):
    offset = moved(shared(), client, frame_shift=shift) - shared()
    np.testing.assert_allclose(offset, np.tile(offset[:1], (4, 1)), atol=1e-12)
    assert np.abs(offset).max() <= shift + 1e-12


def test_offsets_fill_the_dial_evenly_in_both_directions():
    offsets = np.array([(moved(shared(), i, frame_shift=3.0) - shared())[0] for i in range(400)])
    np.testing.assert_allclose(offsets.mean(axis=0), 0.0, atol=4 * 3 / np.sqrt(3 * 400))
    np.testing.assert_allclose((offsets**2).mean(axis=0), 3.0, rtol=0.15)
    assert abs(np.corrcoef(offsets.T)[0, 1]) < 0.2


def test_shifted_sites_move_each_alone():
    offsets = np.array([moved(shared(), i, site_shift=1.0) - shared() for i in range(200)])
    assert np.abs(np.corrcoef(offsets.reshape(200, -1).T) - np.eye(8)).max() < 0.3
    assert np.abs(offsets).max() <= 1.0


@pytest.mark.parametrize("client", range(5))
def test_a_turned_and_stretched_frame_keeps_all_angles_and_ratios(client):
    # Complex numbers turn and stretch in one multiplication.
    flat = (shared() - 7.5) @ [1.0, 1.0j]
    after = (moved(shared(), client, frame_turn=30.0, frame_scale=20.0) - 7.5) @ [1.0, 1.0j]
    factor = after / flat
    np.testing.assert_allclose(factor, factor[0], rtol=1e-12)
    assert abs(np.angle(factor[0], deg=True)) <= 30.0
    assert 0.8 <= abs(factor[0]) <= 1.2
    turned = (moved(shared(), client, frame_turn=30.0) - 7.5) @ [1.0, 1.0j] / flat
    assert abs(turned[0]) == pytest.approx(1.0)
    assert np.angle(turned[0]) == pytest.approx(np.angle(factor[0]))


@pytest.mark.parametrize("dial", DIALS)
def test_a_dial_turned_up_moves_the_same_way_but_farther(dial):
    half, whole = (moved(shared(), **{dial: share * DIALS[dial]}) for share in (0.5, 1.0))
    if dial == "frame_turn":
        flat, half, whole = ((one - 7.5) @ [1.0, 1.0j] for one in (shared(), half, whole))
        half, whole = np.angle(half / flat), np.angle(whole / flat)
    else:
        half, whole = half - shared(), whole - shared()
    assert np.abs(whole).max() > 0.001
    np.testing.assert_allclose(whole, 2.0 * half, atol=1e-9)


@pytest.mark.parametrize("dial", DIALS)
def test_a_dial_moves_clients_and_nobody_else_and_at_0_nothing(dial):
    level = {dial: DIALS[dial]}
    for role in ("held-out", "probe"):
        assert bytes_of(draw(role, **level)) == bytes_of(draw(role))
    none = sites.world(dataclasses.replace(MAP), shared(), 0.0)
    assert np.array_equal(draw().reward, none.reward)
    rewards = [draw(index=i, **level).reward.tobytes() for i in range(6)]
    assert len(set(rewards)) > 3
    assert rewards == [draw(index=i, **level).reward.tobytes() for i in range(6)]
    # What else is drawn of a world stays as it is.
    open_now, open_then = (~draw(**one).terminal for one in ({}, level))
    both = np.flatnonzero(open_now & open_then)
    np.testing.assert_array_equal(draw(**level).probabilities[both], draw().probabilities[both])


def test_each_dial_has_a_draw_of_its_own_and_further_sites_leave_the_first_theirs():
    few, many = (sites.displacement(k, 0, 0, 7) for k in (2, 5))
    np.testing.assert_array_equal(few.sites, many.sites[:2])
    drawn = np.concatenate([many.shift, [many.turn, many.scale], many.sites.ravel()])
    assert len(set(drawn.tolist())) == 14
    assert not np.array_equal(few.shift, sites.displacement(2, 0, 1, 7).shift)


def test_recorded_clients_keep_their_displacement_whatever_the_seed(tmp_path):
    recorded = {"demonstrations_file": tmp_path / "shown.npz", "frame_shift": 2.0}
    assert bytes_of(draw(seed=5, **recorded)) == bytes_of(draw(seed=0, **recorded))


@settings(max_examples=60, deadline=None)
@given(
    turn=levels(180.0), scale=levels(40.0), shift=levels(3.0),
    alone=levels(2.0), seed=st.integers(0, 99),
)  # fmt: skip
def test_what_is_let_in_keeps_every_site_on_the_map(turn, scale, shift, alone, seed):
    dials = {"frame_turn": turn, "frame_scale": scale, "frame_shift": shift, "site_shift": alone}
    config = dataclasses.replace(MAP, **dials)
    worst = itertools.product((-1.0, 1.0), repeat=5)
    try:
        sites.require_inside(config)
    except ConfigError:
        return
    corners = np.array(list(itertools.product((4.0, 11.0), repeat=2)))
    for down, right, angle, grown, out in worst:
        # The corner that is turned farthest out lies at 45 degrees, or at the dial.
        angle *= min(1.0, 45.0 / turn) if turn else 1.0
        one = sites.Displacement(
            np.array([down, right]), angle, grown, out * np.sign(corners - 7.5)
        )
        found = one.moved(corners, config)
        assert -1e-9 <= found.min() <= found.max() <= 15.0 + 1e-9


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        ({"frame_shift": 4.5}, r"problem.frame-shift must be so small that sites stay on a map of "
         r"problem.size 16, .* as far as 8\), got 4.5"),
        ({"frame_shift": 2.0, "site_shift": 2.5}, r"problem.frame-shift, problem.site-shift must .*"
         r"got 2, 2.5"),
        ({"size": 8, "frame_turn": 90.0, "frame_scale": 80.0}, "problem.frame-turn, problem.frame"),
        ({"sites": 7}, r"problem.sites must have room 3.5 cells apart on a map of problem.size 16, "
         r"4 from its border, got 7"),
        ({"size": 2}, "problem.site-radius must be so small that a goal can be reached from some"),
        ({"site_radius": 30.0}, "problem.site-radius must be so small that a goal can be reached"),
    ],
)  # fmt: skip
def test_maps_that_cannot_be_are_refused_in_one_line(problem, message):
    with pytest.raises(ConfigError, match=message) as error:
        draw(**problem)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "law"),
    [
        ("sites", 0, "an integer >= 1"),
        ("goals", 0, "an integer from 1 to problem.sites, 4"),
        ("goals", 5, "an integer from 1 to problem.sites, 4"),
        ("site_radius", -0.5, ">= 0 and finite"),
        ("frame_shift", -1.0, ">= 0 and finite"),
        ("frame_shift", float("inf"), ">= 0 and finite"),
        ("site_shift", float("nan"), ">= 0 and finite"),
        ("frame_turn", 181.0, r"in \[0, 180\]"),
        ("frame_scale", 100.0, r"in \[0, 99\]"),
    ],
)
def test_a_level_beyond_its_ends_is_refused_by_name(name, value, law):
    with pytest.raises(ConfigError, match=f"problem.{name.replace('_', '-')} must be {law}, got"):
        ProblemConfig(**{name: value})


@pytest.mark.parametrize("name", ["GridWorld", "FrozenLake-v1", "mine:world"])
@pytest.mark.parametrize("setting", [*DIALS, "sites", "goals", "site_radius"])
def test_what_is_said_of_sites_means_nothing_elsewhere(name, setting):
    config = ProblemConfig(name=name, **{setting: 2})
    spelt = f"problem.{setting.replace('_', '-')}"
    with pytest.raises(ConfigError, match=rf"{spelt} is SitesWorld's alone, got 2 for {name}"):
        draw_world(config, 0, 0, "client", 0)


def test_the_goal_of_gridworld_is_no_site():
    with pytest.raises(ConfigError, match=r"problem.goal and problem.goal-shift move GridWorld's"):
        draw(goal_shift=0.5)
