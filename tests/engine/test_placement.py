import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedirl_ray.config import IRLConfig, RunConfig
from fedirl_ray.config_problem import HeterogeneityConfig, ProblemConfig
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.engine.placement import ROOMY, place

SIZES = """
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.problem.family import draw_world

def world(role, index, rng):
    size = 3 if role == "probe" else 3 + index % 3
    return draw_world(ProblemConfig(size=size), int(rng.integers(99)), 0, role, index)
"""


@given(
    work=st.lists(st.floats(0.1, 100.0), min_size=1, max_size=60),
    asked=st.one_of(st.just("auto"), st.integers(1, 70)),
    cpus=st.integers(1, 8),
)
def test_every_client_has_one_actor_and_every_actor_a_client(work, asked, cpus):
    blocks, _ = place(work, asked, cpus)
    assert sorted(client for block in blocks for client in block) == list(range(len(work)))
    assert all(block == tuple(sorted(block)) for block in blocks)
    assert all(blocks)


@given(
    work=st.lists(st.floats(0.1, 100.0), min_size=1, max_size=60),
    asked=st.integers(1, 70),
    cpus=st.integers(1, 8),
)
def test_no_actor_has_more_to_do_than_an_even_share_and_one_client(work, asked, cpus):
    blocks, _ = place(work, asked, cpus)
    loads = [sum(work[client] for client in block) for block in blocks]
    assert max(loads) <= sum(work) / len(blocks) + max(work) + 1e-9


def test_few_clients_get_an_actor_each_and_many_share_one_a_cpu():
    assert len(place([1.0] * 2 * ROOMY, "auto", 2).blocks) == 2 * ROOMY
    many = place([1.0] * (2 * ROOMY + 1), "auto", 2)
    assert len(many.blocks) == 2
    assert many.reason == (
        "17 clients in 2 actors on 2 CPUs (auto: more than 8 clients a CPU share one a CPU)"
    )


def test_the_number_a_user_asks_for_is_kept():
    placed = place([1.0] * 10, 4, 8)
    assert sorted(map(len, placed.blocks)) == [3, 3, 4]
    assert "engine.clients-per-actor 4" in placed.reason


def test_clients_of_one_family_count_alike():
    assert domain_of(RunConfig(clients=4)).costs() == [1.0] * 4


def test_larger_worlds_of_a_user_count_for_more(tmp_path, monkeypatch):
    (tmp_path / "sizes_for_placement.py").write_text(SIZES)
    monkeypatch.syspath_prepend(tmp_path)
    config = RunConfig(clients=3, problem=ProblemConfig(name="sizes_for_placement:world"))
    small, medium, large = domain_of(config).costs()
    assert (medium / small, large / small) == pytest.approx((16 / 9, 25 / 9))
    assert "loads" in place([small, medium, large], 2, 2).reason


def test_clients_that_stop_early_count_for_less():
    config = RunConfig(
        clients=10,
        irl=IRLConfig(optimizer="adam", iterations=100),
        heterogeneity=HeterogeneityConfig(weak_clients=0.5),
        seeds=1,
    )
    assert sum(work < 1.0 for work in domain_of(config).costs()) == 5
