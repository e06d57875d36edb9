"""The greedy planner against exact arithmetic, SciPy's linear programs and plain recursions."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import dense, random_world

from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.errors import DataError, RunError
from fedirl_ray.problem import greedy as greedy_module
from fedirl_ray.problem.family import draw_world
from fedirl_ray.problem.greedy import greedy_policy
from fedirl_ray.problem.mdp import Stack, TabularMDP, absorb

DISCOUNTS = (0.5, 0.95, 1 - 1e-3, 1 - 1e-6, 1 - 1e-9)


def planned(world, table, discount):
    """The policy `[s, a]` for rewards `[s, a]` or `[s, 1]`."""
    return greedy_policy(Stack([world]), table.T[:, :, None], discount=discount)[:, :, 0].T


def exact_values(matrix, table, policy, discount):
    """Values of a policy and of its rewards' magnitudes, by Gaussian elimination in fractions."""
    s = len(matrix)
    one, gamma = Fraction(1), Fraction(discount)
    rows = []
    for x in range(s):
        chance = [Fraction(float(p)) for p in policy[x]]
        total = sum(chance)
        moves = [
            sum(
                (c / total * Fraction(float(matrix[x, a, y])) for a, c in enumerate(chance)),
                Fraction(0),
            )
            for y in range(s)
        ]
        full = sum(moves)
        paid = sum(c / total * Fraction(float(table[x, a])) for a, c in enumerate(chance))
        size = sum(c / total * abs(Fraction(float(table[x, a]))) for a, c in enumerate(chance))
        row = [(one if x == y else 0) - gamma * moves[y] / full for y in range(s)]
        rows.append([*row, paid, size])
    for j in range(s):
        pivot = rows[j][j]
        rows[j] = [entry / pivot for entry in rows[j]]
        for i in range(s):
            if i != j and rows[i][j]:
                share = rows[i][j]
                rows[i] = [a - share * b for a, b in zip(rows[i], rows[j], strict=True)]
    return [row[s] for row in rows], [row[s + 1] for row in rows]


def exact_optimum(matrix, table, discount):
    """The optimal values, by policy iteration in fractions."""
    s, a, _ = matrix.shape
    choice = [0] * s
    while True:
        value, _ = exact_values(matrix, table, np.eye(a)[choice], discount)
        q = [
            [
                Fraction(float(table[x, b]))
                + Fraction(discount)
                * sum(
                    (Fraction(float(p)) * v for p, v in zip(matrix[x, b], value, strict=True)),
                    Fraction(0),
                )
                / sum(Fraction(float(p)) for p in matrix[x, b])
                for b in range(a)
            ]
            for x in range(s)
        ]
        fresh = [
            choice[x] if q[x][choice[x]] == max(q[x]) else q[x].index(max(q[x])) for x in range(s)
        ]
        if fresh == choice:
            return value
        choice = fresh


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    discount=st.sampled_from(DISCOUNTS),
    spread=st.sampled_from([0.0, 6.0, 12.0]),
    ends=st.integers(0, 2),
    dense_up_to=st.sampled_from([0, 64]),
)
def test_no_policy_is_worth_more_in_exact_arithmetic(seed, discount, spread, ends, dense_up_to):
    world = random_world(seed, s=5, a=3, b=2, ends=ends)
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(5, 3)) * 10.0 ** rng.uniform(-spread / 2, spread / 2, (5, 3))
    matrix = dense(world)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fedirl_ray.problem.chains.DENSE", dense_up_to)
        policy = planned(world, table, discount)
    value, size = exact_values(matrix, table, policy, discount)
    best = exact_optimum(matrix, table, discount)
    for reached, possible, scale in zip(value, best, size, strict=True):
        assert float(possible - reached) <= 1e-6 * float(scale)


@given(seed=st.integers(0, 2**31), discount=st.sampled_from([0.3, 0.9, 0.99]))
def test_values_are_those_of_the_linear_program(seed, discount):
    world = random_world(seed, s=6, a=3, ends=1)
    table, matrix = np.random.default_rng(seed).normal(size=(6, 3)), dense(world)
    # Least values that no action can raise: v >= r + discount P v.
    above = (discount * matrix - np.eye(6)[:, None]).reshape(18, 6)
    found = scipy.optimize.linprog(np.ones(6), above, -table.ravel(), bounds=(None, None))
    policy = planned(world, table, discount)
    moves = np.einsum("sa,sat->st", policy, matrix)
    value = np.linalg.solve(np.eye(6) - discount * moves, (policy * table).sum(axis=1))
    np.testing.assert_allclose(value, found.x, atol=1e-7)


def corridor(penalty, length=6):
    """Cells in a row: 0 back, 1 on, and 2, forbidden at that penalty, which stays put."""
    cell = np.arange(length)
    to = np.stack([np.maximum(cell - 1, 0), np.minimum(cell + 1, length - 1), cell], axis=1)
    ends = cell == length - 1
    to, chance = absorb(to[:, :, None].astype(np.int32), np.ones((length, 3, 1)), ends)
    reward = np.where(ends[:, None], 0.0, np.array([-1.0, -1.0, -penalty]))
    return TabularMDP(
        to, chance, np.eye(length)[0], ends, ends, np.eye(length)[:, None], reward,
        (cell.astype(float),),
    )  # fmt: skip


@pytest.mark.parametrize("penalty", [1e2, 1e7, 1e9, 1e12, -0.0 + 1e15])
@pytest.mark.parametrize("discount", [0.99, 1 - 1e-6, 1.0])
def test_a_huge_penalty_ties_nothing_that_avoids_it(penalty, discount):
    world = corridor(penalty)
    policy = planned(world, world.reward, discount)
    np.testing.assert_array_equal(policy[:-1], np.tile([0.0, 1.0, 0.0], (5, 1)))


@pytest.mark.parametrize("bonus", [1e7, 1e12])
def test_a_huge_reward_out_of_reach_ties_nothing(bonus):
    world = corridor(2.0)
    table = world.reward.copy()
    start = 3  # what lies behind cannot be reached from beyond a one-way door
    successors = world.successors.copy()
    successors[start, 0] = start
    table[:start] = bonus
    world = dataclasses.replace(world, successors=successors)
    np.testing.assert_array_equal(planned(world, table, 0.99)[start:-1], [[0.0, 1.0, 0.0]] * 2)


@pytest.mark.parametrize("discount", [0.9, 1 - 1e-9, 1.0])
@pytest.mark.parametrize("constant", [0.0, 1.0, -0.1, 3e17, 7e-300, 1e308])
@pytest.mark.parametrize("size", [5, 9])
def test_a_constant_reward_leaves_every_action_equally_good(constant, discount, size):
    world = draw_world(ProblemConfig(size=size, slip=0.3), 0, 0, "client", 1)
    table = np.full((size**2, 1), constant)
    np.testing.assert_array_equal(planned(world, table, discount), 0.25)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("discount", [0.9, 1.0])
def test_rewards_that_are_not_finite_are_refused(bad, discount):
    table = np.zeros((6, 3))
    table[2, 1] = bad
    with pytest.raises(DataError, match=f"rewards to plan for must be finite, got {bad}"):
        planned(random_world(0), table, discount)


@pytest.mark.parametrize("discount", [0.95, 1 - 1e-7, 1.0])
@pytest.mark.parametrize("size", [5, 9])
def test_a_pair_is_planned_to_the_same_bytes_alone_or_beside_others(discount, size):
    worlds = [draw_world(ProblemConfig(size=size), 0, 0, "client", i) for i in range(3)]
    stack = Stack(worlds)
    rng = np.random.default_rng(1)
    toward = [world.features @ np.array([-1.0, 0.02]) for world in worlds]
    table = np.concatenate(toward).T[:, :, None] + 1e-3 * rng.normal(size=(1, 3 * size**2, 4))
    goal = np.repeat(stack.goal[None, :, None], 4, axis=2)
    table[goal] = 1.0  # the best there is, so that also without a discount ending pays
    together = greedy_policy(stack, table, discount=discount)
    s = size**2
    for i in range(3):
        for c in range(4):
            own = np.ascontiguousarray(table[:, i * s : (i + 1) * s, c : c + 1])
            alone = greedy_policy(Stack([worlds[i]]), own, discount=discount)
            block = together[:, i * s : (i + 1) * s, c]
            assert block.tobytes() == alone[:, :, 0].tobytes()


@pytest.mark.parametrize("size", [5, 9])
def test_dense_and_sparse_elimination_lead_to_the_same_policies(monkeypatch, size):
    worlds = [draw_world(ProblemConfig(size=size, slip=0.4), 0, 0, "client", i) for i in range(4)]
    theta = np.random.default_rng(0).normal(size=(4, 2))
    stack = Stack(worlds)
    found = []
    for states in (0, 100):
        monkeypatch.setattr("fedirl_ray.problem.chains.DENSE", states)
        found.append(greedy_policy(stack, stack.rewards(theta)[:, :, None], discount=0.99))
    np.testing.assert_array_equal(*found)


def test_a_first_policy_that_is_poor_changes_nothing(monkeypatch):
    stack = Stack([draw_world(ProblemConfig(size=7), 0, 0, "client", i) for i in range(3)])
    reward = stack.rewards(np.random.default_rng(2).normal(size=(3, 2)))[:, :, None]
    patient = greedy_policy(stack, reward, discount=0.99)
    monkeypatch.setattr(greedy_module, "LOOKS", 1)
    monkeypatch.setattr(greedy_module, "SWEEPS", 1)
    np.testing.assert_array_equal(greedy_policy(stack, reward, discount=0.99), patient)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**31))
def test_without_a_discount_nothing_is_worth_more_as_the_discount_tends_to_one(seed):
    world = random_world(seed, s=5, a=3, ends=2)
    table = np.random.default_rng(seed).normal(size=(5, 3)) - 6.0
    table[-2:] = [[-1.0], [-2.0]]  # to end pays more than any step
    close = 1 - Fraction(1, 10**18)
    value, _ = exact_values(dense(world), table, planned(world, table, 1.0), close)
    best = exact_optimum(dense(world), table, close)
    for x in np.flatnonzero(reached(world)):
        assert float(best[x] - value[x]) <= 1e-4


def reached(world):
    """States that some policy comes to."""
    near = (dense(world).max(axis=1) > 0.0) | np.eye(len(world.initial), dtype=bool)
    return np.linalg.matrix_power(near.astype(float), 8).T @ world.initial > 0.0


def test_without_a_discount_the_way_to_the_goal_is_the_shortest():
    world = draw_world(ProblemConfig(size=6, slip=0.0), 0, 0, "client", 2)
    table = np.where(world.goal, 0.0, np.where(world.terminal, -50.0, -1.0))[:, None]
    policy = planned(world, table, 1.0)
    steps, matrix = {int(np.argmax(world.goal)): 0}, dense(world)
    for far in range(1, 36):  # breadth first, backwards
        near = [x for x in steps if steps[x] == far - 1]
        for x in np.flatnonzero(matrix[:, :, near].any(axis=(1, 2)) & ~world.terminal):
            steps.setdefault(int(x), far)
    for x in np.flatnonzero(~world.terminal & reached(world)):
        for y in np.flatnonzero(policy[x] @ matrix[x]):
            assert steps[int(y)] == steps[int(x)] - 1


def test_without_a_discount_the_better_end_is_worth_any_way():
    # Two ends: one step back pays 1 a step for ever, five steps on pay 1.001.
    cell = np.arange(7)
    to = np.stack([np.maximum(cell - 1, 0), np.minimum(cell + 1, 6)], axis=1)[:, :, None]
    ends = (cell == 0) | (cell == 6)
    to, chance = absorb(to.astype(np.int32), np.ones((7, 2, 1)), ends)
    table = np.where(cell == 0, 1.0, np.where(cell == 6, 1.001, -9.0))[:, None]
    world = TabularMDP(
        to, chance, np.eye(7)[1], ends, cell == 6, np.eye(7)[:, None], table, (cell.astype(float),)
    )
    np.testing.assert_array_equal(planned(world, table, 1.0)[1:6], [[0.0, 1.0]] * 5)
    np.testing.assert_array_equal(planned(world, table, 0.9)[1], [1.0, 0.0])


def test_without_a_discount_staying_must_not_pay():
    world = corridor(1.0)
    table = np.full((6, 1), -1.0)
    table[1] = 0.5  # better for ever than the end
    with pytest.raises(RunError, match="not ending pays more than any end; set a discount below 1"):
        planned(world, table, 1.0)


def test_without_a_discount_episodes_must_be_able_to_end():
    world = random_world(3, ends=0)
    with pytest.raises(RunError, match=r"evaluation\.discount.*no end can be reached"):
        planned(world, np.ones((6, 1)), 1.0)
