import dataclasses

import numpy as np
import pytest
from worlds import save_episodes

from fedirl_ray.config import IRLConfig, RunConfig
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.errors import DataError
from fedirl_ray.irl.block import prepare
from fedirl_ray.problem.demonstrations import (
    demonstrate,
    demonstrate_all,
    expert_policy,
    feature_expectation,
)
from fedirl_ray.problem.family import draw_world, varies
from fedirl_ray.problem.kind import TABULAR
from fedirl_ray.problem.mdp import Stack
from fedirl_ray.problem.planning import occupancy

RUN = RunConfig(clients=5, problem=ProblemConfig(demonstrations=5))


@pytest.mark.parametrize("name", TABULAR)
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


def shown(worlds, steps=30):
    """Some episodes of a random walk in each world."""
    return [
        demonstrate(world, np.full((steps, 4, 25), 0.25), 2 + i, np.random.default_rng(i))
        for i, world in enumerate(worlds)
    ]


def recorded(path, **problem):
    problem = ProblemConfig(demonstrations_file=path, **problem)
    return dataclasses.replace(RUN, problem=problem, irl=IRLConfig(discount=0.8))


def test_a_demonstrations_file_takes_the_experts_place(tmp_path):
    block = prepare(RUN, 0, range(5))
    data = shown(block.worlds)
    path = tmp_path / "demos.npz"
    save_episodes(path, data)
    found = prepare(recorded(path), 0, (4, 2))
    for at, i in enumerate((4, 2)):
        expected = feature_expectation(block.worlds[i], data[i], 0.8)
        np.testing.assert_array_equal(found.counts[at], expected)


def test_recorded_clients_are_the_same_for_every_seed_and_held_out_worlds_are_not(tmp_path):
    path = tmp_path / "demos.npz"
    save_episodes(path, shown(prepare(RUN, 0, range(5)).worlds))
    run = recorded(path)
    first, third = (prepare(run, seed, range(5)) for seed in (0, 2))
    assert first.counts.tobytes() == third.counts.tobytes()
    for one, other in zip(first.worlds, third.worlds, strict=True):
        assert one.successors.tobytes() == other.successors.tobytes()

    def drawn(role, seed, problem):
        world = draw_world(problem, 0, seed, role, 0)
        return world.successors.tobytes() + world.probabilities.tobytes()

    assert drawn("held-out", 0, run.problem) != drawn("held-out", 1, run.problem)
    assert drawn("held-out", 0, run.problem) == drawn("held-out", 0, RUN.problem)
    for role in ("client", "probe"):
        assert drawn(role, 0, run.problem) == drawn(role, 1, run.problem)
        assert drawn(role, 0, RUN.problem) != drawn(role, 1, RUN.problem)
    assert varies(run.problem).startswith("held-out worlds alone")
    assert varies(RUN.problem) == "worlds and demonstrations"


def test_held_out_worlds_of_recorded_clients_share_their_common_layout(tmp_path):
    still = dataclasses.replace(recorded(tmp_path / "any.npz", layout=0.0).problem, slip=0.0)
    worlds = [draw_world(still, 0, seed, "held-out", 0) for seed in range(3)]
    worlds.append(draw_world(still, 0, 1, "client", 3))
    assert len({world.successors.tobytes() for world in worlds}) == 1


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda data: [data[1], data[0], *data[2:]], ": client [01], episode [0-9]+(, step|: its)"),
        (
            lambda data: [*data[:4], dataclasses.replace(data[4], states=data[4].states[:, ::-1])],
            ": client 4, episode 0: its world never starts in state",
        ),
    ],
    ids=["of another client", "backwards"],
)
def test_demonstrations_of_another_world_are_refused_whoever_asks(tmp_path, spoil, said):
    path = tmp_path / "demos.npz"
    save_episodes(path, spoil(shown(prepare(RUN, 0, range(5)).worlds)))
    with pytest.raises(DataError, match=said) as error:
        prepare(recorded(path), 1, range(5))
    assert str(error.value).startswith(f"problem.demonstrations-file {path}: client ")
    assert "\n" not in str(error.value)


def test_episodes_padded_with_zeros_are_refused(tmp_path):
    block = prepare(RUN, 0, range(5))
    stack = Stack(block.worlds)
    policy = expert_policy(stack, RUN.problem, 30)
    streams = [np.random.default_rng(i) for i in range(5)]
    data = demonstrate_all(block.worlds, policy, [3] * 5, streams)
    path = tmp_path / "demos.npz"
    save_episodes(path, data)
    prepare(recorded(path), 0, range(5))
    over = block.worlds[3].terminal[data[3].states]
    padded = dataclasses.replace(data[3], states=np.where(over, 0, data[3].states))
    save_episodes(path, [*data[:3], padded, data[4]])
    with pytest.raises(DataError, match=r": client 3, episode 0, step [0-9]+: "):
        prepare(recorded(path), 0, range(5))


def test_a_file_for_another_horizon_is_refused(tmp_path):
    path = tmp_path / "demos.npz"
    save_episodes(path, shown(prepare(RUN, 0, range(5)).worlds, 7))
    with pytest.raises(DataError, match=r"states must have shape \(20, 30\)"):
        prepare(recorded(path), 0, range(1))


@pytest.mark.parametrize(("field", "most"), [("states", 24), ("actions", 3)])
def test_states_and_actions_that_the_worlds_do_not_have_are_refused(field, most, tmp_path):
    path = tmp_path / "demos.npz"
    first, *others = shown(prepare(RUN, 0, range(5)).worlds)
    strange = getattr(first, field).copy()
    strange[0, 0] = most + 1
    save_episodes(path, [dataclasses.replace(first, **{field: strange}), *others])
    with pytest.raises(DataError, match=rf"{field} must lie in 0\.\.{most}, got 0\.\.{most + 1}"):
        prepare(recorded(path), 0, range(1))
