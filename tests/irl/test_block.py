import dataclasses

import numpy as np
import pytest
from worlds import save_episodes

from fedirl_ray.config import IRLConfig, ProblemConfig, RunConfig
from fedirl_ray.errors import DataError
from fedirl_ray.irl.block import prepare
from fedirl_ray.problem.demonstrations import (
    demonstrate,
    expert_policy,
    feature_expectation,
)
from fedirl_ray.problem.family import NAMES
from fedirl_ray.problem.mdp import Stack
from fedirl_ray.problem.planning import occupancy

RUN = RunConfig(clients=5, problem=ProblemConfig(demonstrations=5))


@pytest.mark.parametrize("name", NAMES)
def test_a_client_is_the_same_in_whatever_block(name):
    run = dataclasses.replace(
        RUN, problem=ProblemConfig(name=name, demonstrations=3, expert_temperature=0.1)
    )
    whole = prepare(run, 1, range(5))
    for members in ((3,), (4, 1), (2, 3)):
        part = prepare(run, 1, members)
        assert part.members == members
        for at, i in enumerate(members):
            assert (
                part.worlds[at].probabilities.tobytes() == whole.worlds[i].probabilities.tobytes()
            )
            assert part.counts[at].tobytes() == whole.counts[i].tobytes()


def test_clients_seeds_and_roots_hold_different_data():
    blocks = [
        prepare(RUN, 0, range(2)),
        prepare(RUN, 1, range(2)),
        prepare(dataclasses.replace(RUN, seed=1), 0, range(2)),
    ]
    counts = [row.tobytes() for block in blocks for row in block.counts]
    assert len(set(counts)) == len(counts)


def test_counts_tend_to_those_of_the_expert():
    run = RunConfig(problem=ProblemConfig(demonstrations=4000, slip=0.5, size=4))
    block = prepare(run, 0, range(3))
    stack = Stack(block.worlds)
    policy = expert_policy(stack, run.problem, 24)
    exact = stack.feature_sums(occupancy(stack, policy, discount=run.irl.discount))
    np.testing.assert_allclose(block.counts, exact, rtol=0.05, atol=0.2)


def test_a_demonstrations_file_takes_the_experts_place(tmp_path):
    block = prepare(RUN, 0, range(5))
    data = [
        demonstrate(world, np.full((30, 4, 25), 0.25), 2 + i, np.random.default_rng(i))
        for i, world in enumerate(block.worlds)
    ]
    path = tmp_path / "demos.npz"
    save_episodes(path, data)
    problem = ProblemConfig(demonstrations_file=path)
    run = dataclasses.replace(RUN, problem=problem, irl=IRLConfig(discount=0.8))
    found = prepare(run, 0, (4, 2))
    for at, i in enumerate((4, 2)):
        expected = feature_expectation(block.worlds[i], data[i], 0.8)
        np.testing.assert_array_equal(found.counts[at], expected)


def test_a_file_for_another_horizon_is_refused(tmp_path):
    block = prepare(RUN, 0, range(5))
    data = [
        demonstrate(world, np.full((7, 4, 25), 0.25), 2, np.random.default_rng(0))
        for world in block.worlds
    ]
    path = tmp_path / "demos.npz"
    save_episodes(path, data)
    run = dataclasses.replace(RUN, problem=ProblemConfig(demonstrations_file=path))
    with pytest.raises(DataError, match=r"states must have shape \(10, 30\)"):
        prepare(run, 0, range(1))
