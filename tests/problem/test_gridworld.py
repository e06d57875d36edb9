import itertools
from collections import Counter, deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.errors import ConfigError
from fedirl_ray.problem import gridworld
from fedirl_ray.problem.family import draw_world
from fedirl_ray.problem.kind import TABULAR


def has_path(obstacles):
    """Breadth-first search from corner to corner."""
    n = len(obstacles)
    seen, queue = {(0, 0)}, deque([(0, 0)])
    while queue:
        i, j = queue.popleft()
        for cell in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
            inside = min(cell) >= 0 and max(cell) < n
            if inside and cell not in seen and not obstacles[cell]:
                seen.add(cell)
                queue.append(cell)
    return (n - 1, n - 1) in seen


def layout(world):
    n = len(world.axes[0])
    return (world.terminal & ~world.goal).reshape(n, n)


def draw(seed=0, index=0, role="client", **problem):
    return draw_world(ProblemConfig(**problem), 0, seed, role, index)


@settings(deadline=None, max_examples=60)
@given(
    size=st.integers(2, 12),
    density=st.floats(0, 1),
    dial=st.floats(0, 1),
    seed=st.integers(0, 10_000),
)
def test_the_exact_number_of_obstacles_always_leaves_a_path(size, density, dial, seed):
    densest = (size - 1) ** 2 / (size**2 - 2)
    share = density * densest
    obstacles = layout(draw(size=size, obstacles=share, layout=dial, seed=seed))
    assert obstacles.sum() == round(share * (size**2 - 2))
    assert has_path(obstacles)


@pytest.mark.parametrize("share", [0.25, 0.45, 0.96])
def test_large_grids_have_a_path_at_any_density_that_allows_one(share):
    obstacles = layout(draw(size=50, obstacles=share))
    assert obstacles.sum() == round(share * 2498)
    assert has_path(obstacles)


def test_layouts_with_a_path_are_equally_likely():
    free = [(i, j) for i in range(3) for j in range(3)][1:-1]
    possible = set()
    for pair in itertools.combinations(free, 2):
        obstacles = np.zeros((3, 3), dtype=bool)
        obstacles[tuple(zip(*pair, strict=True))] = True
        if has_path(obstacles):
            possible.add(obstacles.tobytes())
    rng = np.random.default_rng(0)
    nothing = np.zeros((3, 3), dtype=bool)
    drawn = Counter(gridworld.place(nothing, 2, rng).tobytes() for _ in range(4000))
    assert set(drawn) == possible
    expected = 4000 / len(possible)
    assert max(abs(count - expected) for count in drawn.values()) < 5 * np.sqrt(expected)


def test_dial_0_gives_all_clients_one_layout():
    layouts = {layout(draw(size=8, layout=0.0, index=i)).tobytes() for i in range(5)}
    assert len(layouts) == 1


def test_dial_0_still_gives_each_seed_its_own_layout():
    assert (layout(draw(layout=0.0, size=8)) != layout(draw(layout=0.0, size=8, seed=1))).any()


def test_dial_1_gives_every_client_a_layout_of_its_own():
    layouts = {layout(draw(size=8, layout=1.0, index=i)).tobytes() for i in range(5)}
    assert len(layouts) == 5


def test_dial_1_forgets_the_common_layout():
    common = layout(draw(size=30, layout=0.0))
    shared = np.mean([layout(draw(size=30, index=i))[common].mean() for i in range(40)])
    assert shared == pytest.approx(common.mean(), abs=0.02)


def test_the_dial_is_the_share_of_obstacles_placed_anew():
    common = layout(draw(size=30, layout=0.0))
    kept = np.mean([layout(draw(size=30, layout=0.3, index=i))[common].mean() for i in range(40)])
    # Of the 0.3 lifted some land where an obstacle was before: 0.3 n of the cells left free.
    back = 0.3 * common.sum() / (common.size - 0.7 * common.sum())
    assert kept == pytest.approx(0.7 + 0.3 * back, abs=0.02)


def test_the_same_seed_gives_the_same_world():
    one, other = draw(seed=3, index=2), draw(seed=3, index=2)
    assert one.probabilities.tobytes() == other.probabilities.tobytes()
    assert one.successors.tobytes() == other.successors.tobytes()


@pytest.mark.parametrize("slip", [0.0, 0.3])
def test_transitions_are_those_counted_by_hand(slip):
    obstacles = np.zeros((3, 3), dtype=bool)
    obstacles[1, 1] = True
    world = gridworld.world(obstacles, slip)
    directions = [(0, -1), (1, 0), (0, 1), (-1, 0)]
    for s, a in itertools.product(range(9), range(4)):
        expected = Counter()
        for turn, weight in ((0, 1 - slip), (1, slip / 2), (-1, slip / 2)):
            i, j = divmod(s, 3)
            if s not in (4, 8):
                di, dj = directions[(a + turn) % 4]
                i, j = min(max(i + di, 0), 2), min(max(j + dj, 0), 2)
            expected[3 * i + j] += weight
        got = Counter()
        for to, chance in zip(world.successors[s, a], world.probabilities[s, a], strict=True):
            got[int(to)] += chance
        assert +got == pytest.approx(+expected)


def test_slip_is_uniform_up_to_the_limit_and_absent_in_the_probe():
    slips = [1.0 - draw(slip=0.2, index=i).probabilities[0, 0, 0] for i in range(300)]
    assert 0.0 <= min(slips) < 0.01
    assert 0.19 < max(slips) <= 0.2
    assert np.mean(slips) == pytest.approx(0.1, abs=0.01)
    probe = draw(role="probe", slip=0.2)
    assert set(np.unique(probe.probabilities)) == {0.0, 1.0}


def test_features_are_distances_in_cells():
    obstacles = layout(draw(size=7))
    features = gridworld.world(obstacles, 0.1).features
    assert features.shape == (49, 1, 2)
    for s, (i, j) in enumerate(itertools.product(range(7), repeat=2)):
        nearest = min(np.hypot(i - x, j - y) for x, y in np.argwhere(obstacles))
        expected = [np.hypot(6 - i, 6 - j), nearest]
        np.testing.assert_allclose(features[s, 0], expected, atol=1e-12)


def test_without_obstacles_each_is_a_diagonal_away():
    world = draw(size=4, obstacles=0.0)
    np.testing.assert_allclose(world.features[:, 0, 1], np.sqrt(32))


def test_only_goal_and_obstacles_end_the_episode_and_pay():
    world = draw(size=6)
    assert np.flatnonzero(world.goal).tolist() == [35]
    assert world.initial.argmax() == 0
    assert not world.terminal[0]
    assert world.reward[35, 0] == 1.0
    assert (world.reward[world.terminal & ~world.goal] == -1.0).all()
    assert (world.reward[~world.terminal] == 0.0).all()


@pytest.mark.parametrize(("size", "allowed"), [(2, "0.50"), (5, "0.69"), (50, "0.96")])
def test_a_density_that_leaves_no_path_is_refused(size, allowed):
    draw(size=size, obstacles=float(allowed))
    law = rf"problem.obstacles must leave a path .* at most {allowed} with problem.size {size}"
    with pytest.raises(ConfigError, match=law + r", got 1\.0"):
        draw(size=size, obstacles=1.0)


def test_100_clients_on_50_x_50_fit_in_one_gibibyte():
    worlds = [draw(size=50, index=i) for i in range(100)]
    arrays = ("successors", "probabilities", "features", "reward", "initial", "terminal", "goal")
    held = sum(getattr(world, name).nbytes for world in worlds for name in arrays)
    assert held < 2**30
    assert held / 2**20 == pytest.approx(42, abs=2)  # published: 42 MiB; keep it that way


def test_a_slip_anywhere_shares_its_chance_among_the_three_other_moves():
    obstacles = np.zeros((3, 3), dtype=bool)
    world = gridworld.world(obstacles, 0.3, gridworld.SLIPS["anywhere"])
    middle, right = 4, 2
    reached = dict.fromkeys((1, 3, 5, 7), 0.0)
    for to, p in zip(
        world.successors[middle, right], world.probabilities[middle, right], strict=True
    ):
        reached[int(to)] += float(p)
    assert reached == pytest.approx({5: 0.7, 1: 0.1, 3: 0.1, 7: 0.1})


@pytest.mark.parametrize("name", TABULAR)
def test_where_a_slip_leads_is_a_dial_of_every_family(name):
    sideways, anywhere = (draw(name=name, slip=0.9, slip_to=to) for to in ("sideways", "anywhere"))
    assert sideways.successors.shape[2] == 3
    assert anywhere.successors.shape[2] == 4
